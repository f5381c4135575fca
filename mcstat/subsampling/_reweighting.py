"""lp regression for p > 1 by iteratively reweighted least squares, with its dual bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["lp_by_reweighting", "rounding_loss", "weighted_gram"]

FloatArray = NDArray[np.float64]

_BLOCK_ROWS = 2048


def rounding_loss(y: FloatArray, p: float) -> float:
    """Loss ``|r|_p^p`` of residuals that are rounding errors of the response y."""
    return float(len(y) * (100 * np.finfo(float).eps * np.abs(y).max()) ** p)


def weighted_gram(x: FloatArray, weights: FloatArray) -> FloatArray:
    """Find x' diag(weights) x in blocks of rows, without a second copy of x (n, r)."""
    total = np.zeros((x.shape[1], x.shape[1]))
    roots = np.sqrt(weights)
    for start in range(0, len(x), _BLOCK_ROWS):
        # A product of a matrix with itself takes half the work.
        part = x[start : start + _BLOCK_ROWS] * roots[start : start + _BLOCK_ROWS, None]
        total += part.T @ part
    return total


def lp_by_reweighting(
    x: FloatArray, y: FloatArray, p: float, tol: float, max_iter: int, start: FloatArray | None = None
) -> tuple[FloatArray, float, int]:
    """Minimise ``|y - x b|_p^p``.

    Parameters
    ----------
    x : ndarray, shape (n, r)
        Full column rank.
    y : ndarray, shape (n,)
    p : float
        > 1.
    tol : float
        Stops when best loss and best bound differ by less than this, relatively.
    max_iter : int
    start : ndarray, shape (r,), optional
        Coefficients near the answer; by default the first step is least squares.

    Returns
    -------
    coefficients : ndarray, shape (r,)
    bound : float
        No coefficients have a smaller loss.
    n_iter : int
    """
    power = p / (p - 1)
    damping = 1 / (p - 1) if p > 2 else 1.0
    weights, smoothing = np.ones(len(y)), 1e-3
    best: FloatArray = np.zeros(x.shape[1])
    best_loss, bound = np.inf, 0.0
    if start is not None:
        residual = np.abs(y - x @ start)
        best, best_loss = start, float((residual**p).sum())
        weights, smoothing = _weights(residual, p, 1e-9), 1e-9
    for step in range(1, max_iter + 1):
        b = np.linalg.solve(weighted_gram(x, weights), x.T @ (weights * y))
        residual = y - x @ b
        # x' dual = 0, so dual . y = dual . (y - x b) <= |dual|_q |y - x b|_p for every b (Hoelder).
        dual = weights * residual
        scale = np.abs(dual).max()
        size = np.abs(residual)
        loss = float((size**p).sum())
        if scale == 0 or loss <= rounding_loss(y, p):
            return np.asarray(b), 0.0, step
        norm = scale * (np.abs(dual / scale) ** power).sum() ** (1 / power)
        bound = max(bound, max(float(dual @ y / norm), 0.0) ** p)
        if loss < best_loss:
            best, best_loss = np.asarray(b), loss
        if best_loss - bound <= tol * best_loss:
            break
        weights = weights ** (1 - damping) * _weights(size, p, smoothing) ** damping
        smoothing *= 0.7
    return best, bound, step


def _weights(size: FloatArray, p: float, smoothing: float) -> FloatArray:
    scaled = size / size.max() if size.any() else size
    return np.asarray((scaled**2 + smoothing**2) ** ((p - 2) / 2))
