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
    n = len(y)
    a = np.full(n, 1.0 - quantile)
    room = 1.0 - a
    start = np.linalg.solve(weighted_gram(x, np.ones(n)), x.T @ y)
    residual = y - x @ start
    # Slack variables of a >= 0 and a <= 1; z - w = -residual holds throughout.
    offset = 1e-3 * np.abs(residual).mean() + np.finfo(float).tiny
    z, w = np.maximum(-residual, 0.0) + offset, np.maximum(residual, 0.0) + offset
    b = -start
    steps = 0
    floor = rounding_loss(y, 1.0)
    while (gap := z @ a + w @ room) > max(tol * check_loss(y + x @ b, quantile), floor) and steps < max_iter:
        steps += 1
        q = 1.0 / (z / a + w / room)
        metric = weighted_gram(x, q)
        drive = z - w
        db = np.linalg.solve(metric, x.T @ (q * drive))
        da = q * (x @ db - drive)
        dz, dw = -z * (1.0 + da / a), -w * (1.0 - da / room)
        primal, dual = _step(a, da, room, -da), _step(z, dz, w, dw)
        if min(primal, dual) < 1.0:
            reached = (z + dual * dz) @ (a + primal * da) + (w + dual * dw) @ (room - primal * da)
            centre = gap * (reached / gap) ** 3 / (2 * n)
            correction = (centre - da * dz) / a - (centre + da * dw) / room
            db = np.linalg.solve(metric, x.T @ (q * (drive - correction)))
            change = q * (x @ db - drive + correction)
            dz, dw = (centre - da * dz - z * change) / a - z, (centre + da * dw + w * change) / room - w
            da = change
            primal, dual = _step(a, da, room, -da), _step(z, dz, w, dw)
        a, room = a + primal * da, room - primal * da
        b, z, w = b + dual * db, z + dual * dz, w + dual * dw
    return np.asarray(-b), a, steps


def _step(u: FloatArray, du: FloatArray, v: FloatArray, dv: FloatArray) -> float:
    """Longest step, at most one, that keeps u and v positive."""
    # The largest rate of shrinkage decides; no indexing by sign, which would copy.
    fastest = max(float((-du / u).max()), float((-dv / v).max()), 0.0)
    return min(1.0, _BACK_OFF / fastest) if fastest > 0 else 1.0


def check_loss(residual: FloatArray, quantile: float) -> float:
    """Sum of quantile * r where r > 0 and (quantile - 1) * r where r < 0."""
    return float(np.maximum(quantile * residual, (quantile - 1.0) * residual).sum())
