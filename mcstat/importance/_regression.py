"""Coefficients of control variates: how much of each regressor to subtract from each column.

All take Y (n, J) and regressors C (n, M) of known mean 0 and give coefficients (M, J) of the regression with intercept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Start: TypeAlias = Callable[[NDArray[np.bool_]], FloatArray] | None

SOLVERS = ("lstsq", "ridge", "lasso")
# Singular values below this part of the largest one are rounding: equal or dependent regressors.
_CUT = 1e-11
# A regressor that varies by less than this part of its size is constant but for rounding.
_CONSTANT = 1e-14
_PENALTIES = 10.0 ** np.arange(-12, 3)
_LASSO_PATH, _LASSO_FOLDS = np.geomspace(1.0, 1e-3, 50), 5


def coefficients(
    Y: FloatArray, C: FloatArray, solver: str, sizes: FloatArray, start: FloatArray | None = None
) -> FloatArray:
    """(M, J) by the solver; ``sizes`` (M,) is what each regressor is measured against to call it constant.

    ``start`` (M, J) is what penalised coefficients shrink to, in place of 0.
    """
    if start is not None:
        return start + coefficients(Y - C @ start, C, solver, sizes)
    middle, spread = C.mean(axis=0), C.std(axis=0)
    varies = spread > _CONSTANT * sizes
    found = np.zeros((C.shape[1], Y.shape[1]))
    if varies.any():
        Z = (C[:, varies] - middle[varies]) / spread[varies]
        centred = Y - Y.mean(axis=0)
        fit = {"lstsq": _least_squares, "ridge": _ridge, "lasso": _lasso}[solver]
        found[varies] = fit(centred, Z) / spread[varies, None]
    return found


def cross_fitted(
    Y: FloatArray, C: FloatArray, solver: str, n_folds: int, sizes: FloatArray, start: Start = None
) -> FloatArray:
    """(n, J) residuals Y - C b in which the coefficients of each fold come from the other folds.

    ``start`` gives what they shrink to, from the rows that it is told to use.
    """
    folds = np.arange(len(Y)) % n_folds
    rows = np.empty_like(Y)
    for fold in range(n_folds):
        inside = folds == fold
        toward = None if start is None else start(~inside)
        rows[inside] = Y[inside] - C[inside] @ coefficients(Y[~inside], C[~inside], solver, sizes, toward)
    return rows


def in_sample(
    Y: FloatArray, C: FloatArray, solver: str, sizes: FloatArray, start: Start = None
) -> tuple[FloatArray, FloatArray, int]:
    """Residuals (n, J) of the regression on all points, covariance (J, J) of their mean, degrees of freedom."""
    n = len(Y)
    toward = None if start is None else start(np.ones(n, dtype=bool))
    rows = Y - C @ coefficients(Y, C, solver, sizes, toward)
    df = n - 1 - C.shape[1]
    middle, spread = C.mean(axis=0), C.std(axis=0)
    used = spread > _CONSTANT * sizes
    # Variance of an intercept: what the mean of the regressors is off by makes the coefficients' errors count.
    Z = (C[:, used] - middle[used]) / spread[used]
    off = np.linalg.lstsq(Z.T, middle[used] / spread[used], rcond=_CUT)[0] if used.any() else np.zeros(n)
    centred = rows - rows.mean(axis=0)
    return rows, centred.T @ centred / df * (1 / n + float(off @ off)), df


def _least_squares(Y: FloatArray, Z: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.lstsq(Z, Y, rcond=_CUT)[0])


def _ridge(Y: FloatArray, Z: FloatArray) -> FloatArray:
    """Penalty of each column by generalised cross-validation over a grid, in units of n."""
    n = len(Y)
    left, values, right = np.linalg.svd(Z, full_matrices=False)
    kept = values > _CUT * values[0]
    left, values, right = left[:, kept], values[kept], right[kept]
    inner = left.T @ Y
    unexplained = np.sum(Y**2, axis=0) - np.sum(inner**2, axis=0)
    shrink = values**2 / (values**2 + n * _PENALTIES[:, None])
    residual = np.maximum(unexplained, 0.0) + np.einsum("pk,kj->pj", (1 - shrink) ** 2, inner**2)
    scores = residual / np.maximum(n - 1 - shrink.sum(axis=1), 1e-3)[:, None] ** 2
    best = shrink[np.argmin(scores, axis=0)].T
    return np.asarray(right.T @ (best * inner / values[:, None]))


def _lasso(Y: FloatArray, Z: FloatArray) -> FloatArray:
    """Regressors chosen by a cross-validated lasso, then least squares on them (Leluc, Portier and Segers 2021)."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoCV

    found = np.zeros((Z.shape[1], Y.shape[1]))
    for j, column in enumerate(Y.T):
        size = column.std()
        if size == 0 or not np.any(Z.T @ column):
            continue
        with warnings.catch_warnings():
            # Which regressors are in is settled long before the last digits, which are computed anew below.
            warnings.simplefilter("ignore", ConvergenceWarning)
            penalties = np.abs(Z.T @ column).max() / (len(Z) * size) * _LASSO_PATH
            lasso = LassoCV(alphas=penalties, cv=_LASSO_FOLDS, fit_intercept=False).fit(Z, column / size)
        chosen = lasso.coef_ != 0
        if chosen.any():
            found[chosen, j] = _least_squares(column[:, None], Z[:, chosen])[:, 0]
    return found
