"""Quantile regression by the Frisch-Newton interior point method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcstat.subsampling._reweighting import rounding_loss, weighted_gram

__all__ = ["check_loss", "quantile_by_interior_point"]

FloatArray = NDArray[np.float64]

# Share of the way to the boundary that a step goes.
_BACK_OFF = 0.9995


def quantile_by_interior_point(
    x: FloatArray,
    y: FloatArray,
    quantile: float,
    tol: float,
    max_iter: int,
) -> tuple[FloatArray, FloatArray, int]:
    """Minimise the check loss sum rho(y - x b), with the dual variables that certify it.

    Parameters
    ----------
    x : ndarray, shape (n, r)
        Full column rank.
    y : ndarray, shape (n,)
    quantile : float
        In (0, 1).
    tol : float
        Stops when the duality gap is below ``tol`` times the loss.
    max_iter : int

    Returns
    -------
    coefficients : ndarray, shape (r,)
    dual : ndarray, shape (n,)
        a in [0, 1] with x' a = (1 - quantile) x' 1; the loss is at least y' (a - (1 - quantile)) for every b.
    n_iter : int

    Notes
    -----
    Mehrotra's predictor-corrector steps on max y' a subject to the constraints of ``dual``, of Portnoy and Koenker
    (1997), The Gaussian hare and the Laplacian tortoise, Statistical Science 12, 279-300. O(n r^2) a step.
    """
    from mcstat.subsampling import _interior_kernels as kernels

    n = len(y)
    a = np.full(n, 1.0 - quantile)
    room = 1.0 - a
    b = -np.linalg.solve(x.T @ x, x.T @ y)
    residual = y + x @ b
    # Slack variables of a >= 0 and a <= 1; z - w = -residual holds throughout.
    offset = 1e-3 * np.abs(residual).mean() + np.finfo(float).tiny
    z, w = np.maximum(-residual, 0.0) + offset, np.maximum(residual, 0.0) + offset
    q, pull, da, dz, dw = (np.empty(n) for _ in range(5))
    gap, floor, steps = float(z @ a + w @ room), rounding_loss(y, 1.0), 0
    while gap > max(tol * check_loss(w - z, quantile), floor) and steps < max_iter:
        steps += 1
        kernels.barrier_weights(a, room, z, w, q, pull)
        metric = weighted_gram(x, q)
        lengths = _lengths(kernels.predict(a, room, z, w, q, x @ np.linalg.solve(metric, x.T @ pull), da))
        centre = gap * (kernels.gap_after(a, room, z, w, da, *lengths) / gap) ** 3 / (2 * n)
        kernels.corrected_pull(a, room, z, w, q, da, centre, pull)
        db = np.linalg.solve(metric, x.T @ pull)
        primal, dual = _lengths(kernels.correct(a, room, z, w, q, x @ db, centre, da, dz, dw))
        gap = float(kernels.advance(a, room, z, w, da, dz, dw, primal, dual))
        b = b + dual * db
    return np.asarray(-b), a, steps


def _lengths(fastest: tuple[float, float]) -> tuple[float, float]:
    """Longest steps, at most one, that keep primal and dual variables positive, from their fastest shrinkages."""
    primal, dual = (min(1.0, _BACK_OFF / rate) if rate > 0 else 1.0 for rate in fastest)
    return primal, dual


def check_loss(residual: FloatArray, quantile: float) -> float:
    """Sum of quantile * r where r > 0 and (quantile - 1) * r where r < 0."""
    return float(np.maximum(quantile * residual, (quantile - 1.0) * residual).sum())
