"""Shares of the parts in the sampling mixture: a convex problem on the simplex."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_SWEEPS, _KKT_GAP, _START = 2_000, 1e-4, 1e-4


def optimal_shares(ratios: FloatArray, numerators: FloatArray, floors: FloatArray, start: FloatArray) -> FloatArray:
    """Minimise F(a) = mean[ c / (G a) ] over the simplex with lower bounds.

    Parameters
    ----------
    ratios : ndarray, shape (n, K)
        G: density of each part over the density the points were drawn from.
    numerators : ndarray, shape (n,)
        c: weighted squared residuals at the points.
    floors : ndarray, shape (K,)
        Least share of each part; they sum to less than 1.
    start : ndarray, shape (K,)

    Returns
    -------
    ndarray, shape (K,)

    Notes
    -----
    The step a_k <- a_k sqrt(-dF/da_k), normalised, never increases F; at the optimum -dF/da_k = F wherever
    a_k > 0. O(n K) a sweep.
    """
    shares = np.maximum(start, _START)
    shares /= shares.sum()
    counts = numerators > 0
    if counts.any():
        # Points with c = 0 contribute nothing; the scale of c does not move the optimum.
        active = np.ascontiguousarray(ratios[counts])
        c = numerators[counts] / numerators.sum()
        for _ in range(_SWEEPS):
            density = active @ shares
            slopes = active.T @ (c / density**2)
            value = float(shares @ slopes)
            if slopes.max() - value < _KKT_GAP * value:
                break
            shares = shares * np.sqrt(slopes)
            shares /= shares.sum()
    return np.asarray(floors + (1 - floors.sum()) * shares)
