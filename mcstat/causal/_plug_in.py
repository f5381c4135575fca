"""The lasso with the penalty of Belloni, Chernozhukov, Hansen and Kozbur (2016): theory in place of validation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._folds import Folds
from mcstat.causal._grams import Moments, Standardised
from mcstat.causal._linear import FoldSolver
from mcstat.core.checks import frozen_view
from mcstat.kernels.coordinate import coordinate_descent

__all__ = ["plug_in_lasso"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_SLACK, _ROUNDS, _SETTLED = 1.1, 15, 1e-4
_TOL, _SWEEPS = 1e-9, 10_000


def plug_in_lasso(
    Z: FloatArray, targets: FloatArray, weights: FloatArray, unit: IntArray
) -> Callable[[Moments, Folds], FoldSolver]:
    """Penalty of column j in a training set of n rows: c Phi^-1(1 - gamma / 2p) phi_j / sqrt(n).

    c = 1.1, gamma = 0.1 / log n; phi_j^2 is the sum over units of squared sums of z_j e, over n, which is the variance
    of the gradient where rows of a unit are alike (e: residuals; z: columns in deviations). As residuals need the lasso
    and the lasso needs them, starts from deviations of the target and goes round until penalties settle. O(n p) a
    round.
    """

    def make(moments: Moments, folds: Folds) -> FoldSolver:
        def solve(k: int) -> tuple[Standardised, FloatArray]:
            at = moments.standardised(folds.train[k])
            rows = np.flatnonzero(folds.training_rows(k) & (weights > 0))
            z = (Z[rows] - at.mean) / at.scale
            w = weights[rows] / weights[rows].mean()
            codes = np.unique(unit[rows], return_inverse=True)[1]
            slopes = np.zeros_like(at.cross)
            for target in range(at.cross.shape[1]):
                y = targets[rows, target] - at.target_mean[target]
                slopes[:, target] = _one_target(at, target, z, y, w, codes)
            return at, slopes

        return solve

    return make


def _one_target(
    at: Standardised, target: int, z: FloatArray, y: FloatArray, w: FloatArray, codes: IntArray
) -> FloatArray:
    from scipy.special import ndtri

    n, p = z.shape
    factor = _SLACK * ndtri(1.0 - 0.1 / np.log(n) / (2.0 * p)) / n
    x, gradient, penalties = np.zeros(p), -at.cross[:, target], np.zeros(p)
    tol = _TOL * float(np.sqrt(at.variance[target]))
    for _ in range(_ROUNDS):
        pulls = z * (w * (y - z @ x))[:, None]
        sums = np.stack([np.bincount(codes, column) for column in pulls.T])
        before, penalties = penalties, factor * np.sqrt((sums**2).sum(axis=1))
        if np.all(np.abs(penalties - before) <= _SETTLED * penalties):
            break
        coordinate_descent(frozen_view(at.gram), penalties.copy(), x, gradient, tol, _SWEEPS)
    return x
