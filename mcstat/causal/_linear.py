"""Cross-fitted linear models of a basis: least squares, ridge and lasso, all from the blocks' Gram matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._folds import Folds
from mcstat.causal._grams import Columns, Moments, Standardised, as_they_are, block_moments
from mcstat.causal._lasso_kernels import add_errors, lasso_path
from mcstat.causal._row_kernels import predict_linear
from mcstat.core.checks import frozen_view

__all__ = ["cross_fit", "lasso", "least_squares", "predict_rows", "ridge"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_RIDGE_PENALTIES = np.logspace(-9, 1, 40)
_PATH_LENGTH, _PATH_RATIO = 100, 1e-3
_PATIENCE = 10
_SWEEPS = 1000
# Up to so many columns a loop over rows beats gathering them for BLAS.
_NARROW = 16
# A path's gradients are right to these shares of the target's deviation: roughly where it only helps to choose a
# penalty (scikit-learn's default is no finer), exactly where it predicts.
_ROUGH, _EXACT = 1e-3, 1e-7


class FoldSolver(Protocol):
    """All folds of one problem, which may share work."""

    def __call__(self, k: int) -> tuple[Standardised, FloatArray]:
        """Moments of the training set of fold k, and standardised slopes (p, m)."""


def least_squares(moments: Moments, folds: Folds) -> FoldSolver:
    """Ordinary least squares; along directions that the training rows do not determine, the shortest."""

    def solve(k: int) -> tuple[Standardised, FloatArray]:
        at = moments.standardised(folds.train[k])
        values, vectors = np.linalg.eigh(at.gram)
        kept = values > 1e-11 * max(values[-1], 1e-300) if len(values) else values > 0
        inverse = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
        return at, vectors @ (inverse[:, None] * (vectors.T @ at.cross))

    return solve


def ridge(
    moments: Moments,
    folds: Folds,
    columns: Callable[[int, int], IntArray] | None = None,
    factors: FloatArray | None = None,
) -> FoldSolver:
    """Ridge regression with the penalty of the smallest generalised cross-validation error, one a target.

    In a panel it judges by rows, so columns that are constant within units are shrunken too little to predict new
    units best. What they add is constant within units as well and leaves the effect alone; leaving out whole units
    instead shrinks the columns that matter too much (bias of design 2 of Clarke and Polselli: 0.028 against 0.004).

    ``columns(k, target)`` says which columns the model of a fold and target may use (default all), ``factors`` (p,) how
    much of the penalty falls on each.
    """
    roots = np.ones(moments.n_columns) if factors is None else np.sqrt(factors)

    def solve(k: int) -> tuple[Standardised, FloatArray]:
        at = moments.standardised(folds.train[k])
        if columns is None:
            return at, _ridge_of(at, roots)
        slopes = np.zeros_like(at.cross)
        for target in range(at.cross.shape[1]):
            used = columns(k, target)
            part = moments.standardised(folds.train[k], used)
            slopes[used, target] = _ridge_of(part, roots[used])[:, target]
        return at, slopes

    return solve


def _ridge_of(at: Standardised, roots: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(at.gram / np.outer(roots, roots))
    values = np.maximum(values, 0.0)
    rotated = vectors.T @ (at.cross / roots[:, None])
    shrunk = 1.0 / (values + _RIDGE_PENALTIES[:, None])
    slopes = np.empty_like(at.cross)
    freedom = 1.0 + (values * shrunk).sum(axis=1)
    for target in range(at.cross.shape[1]):
        fit = shrunk * rotated[:, target]
        rest = at.variance[target] - 2.0 * fit @ rotated[:, target] + (fit**2) @ values
        criterion = np.maximum(rest, 0.0) / np.maximum(1.0 - freedom / at.n_rows, 1e-3) ** 2
        slopes[:, target] = vectors @ fit[np.argmin(criterion)] / roots
    return slopes


class _Path:
    """The lasso's path of one training set and target, as far along the penalties as anybody asked.

    Attributes
    ----------
    slopes : ndarray, shape (L, p)
        Standardised; filled as far as reached.
    models : ndarray, shape (L, 1 + p)
        Intercepts and slopes on the shifted columns.
    """

    def __init__(self, moments: Moments, at: Standardised, target: int, penalties: FloatArray, tol: float) -> None:
        p = len(at.scale)
        self._gram, self._penalties = frozen_view(at.gram), frozen_view(penalties)
        self._tol = tol * float(np.sqrt(at.variance[target]))
        self._end = np.zeros(p), -at.cross[:, target]
        self._offset, self._centre, self._scale = moments.in_shifted_units(at, target)
        self._reached = 0
        self.slopes, self.models = np.empty((len(penalties), p)), np.empty((len(penalties), p + 1))

    def reach(self, count: int) -> None:
        """Go on until the first ``count`` penalties are done."""
        part = slice(self._reached, count)
        if self._reached < count:
            lasso_path(self._gram, self._penalties[part], self._tol, _SWEEPS, *self._end, self.slopes[part])
            raw = self.slopes[part] / self._scale
            self.models[part, 1:], self.models[part, 0] = raw, self._offset - raw @ self._centre
            self._reached = count


def lasso(moments: Moments, folds: Folds) -> FoldSolver:
    """The lasso, its penalty chosen by leaving out training blocks in turn.

    The path with blocks j and k left out serves fold k validated on j and fold j validated on k, so K folds need
    K (K - 1) / 2 paths in place of K^2, and validation needs Gram matrices only. Penalties fall until ten in
    a row have not bettered the validation error.
    """
    everything = moments.standardised(np.arange(folds.n_blocks))
    top = np.abs(everything.cross).max(axis=0, initial=0.0)
    shares = np.geomspace(1.0, _PATH_RATIO, _PATH_LENGTH)
    sets: dict[bytes, list[_Path]] = {}

    def paths(blocks: NDArray[np.bool_]) -> list[_Path]:
        key = blocks.tobytes()
        if key not in sets:
            at = moments.standardised(blocks)
            sets[key] = [_Path(moments, at, target, lam * shares, _ROUGH) for target, lam in enumerate(top)]
        return sets[key]

    def solve(k: int) -> tuple[Standardised, FloatArray]:
        at = moments.standardised(folds.train[k])
        slopes = np.zeros_like(at.cross)
        rivals = []
        for left_out in folds.inner(k):
            kept = folds.train[k].copy()
            kept[left_out] = False
            rivals.append((frozen_view(moments.total(left_out)), paths(kept)))
        for target in range(len(top)):
            if top[target] > 0:
                best = _best_penalty(moments, rivals, target)
                path = _Path(moments, at, target, top[target] * shares[: best + 1], _EXACT)
                path.reach(best + 1)
                slopes[:, target] = path.slopes[best]
        return at, slopes

    return solve


def _best_penalty(moments: Moments, rivals: list[tuple[FloatArray, list[_Path]]], target: int) -> int:
    """Where along the path the summed validation error is least."""
    column = 1 + moments.n_columns + target
    errors = np.zeros(_PATH_LENGTH)
    for count in range(_PATIENCE, _PATH_LENGTH + 1, _PATIENCE):
        for total, one in rivals:
            one[target].reach(count)
            add_errors(total, column, frozen_view(one[target].models), count - _PATIENCE, count, errors)
        best = int(np.argmin(errors[:count]))
        if best < count - _PATIENCE:
            break
    return best


def predict_rows(
    columns: Columns, Z: FloatArray, folds: Folds, intercepts: FloatArray, slopes: FloatArray
) -> FloatArray:
    """Out-of-fold predictions (n, m) from intercepts (K, m) and slopes (K, p, m) of each fold's models."""
    of_row = folds.of_row
    out = np.empty((len(Z), intercepts.shape[1]))
    if columns is as_they_are and slopes.shape[1] <= _NARROW:
        models = frozen_view(intercepts), frozen_view(slopes.swapaxes(1, 2))
        predict_linear(frozen_view(Z), frozen_view(of_row), *models, out)
        return out
    size = max(64, (1 << 20) // (8 * slopes.shape[1] + 8))
    for k in range(len(intercepts)):
        inside = np.flatnonzero(of_row == k)
        for start in range(0, len(inside), size):
            rows = inside[start : start + size]
            out[rows] = intercepts[k] + columns(Z.take(rows, axis=0)) @ slopes[k]
    return out


def cross_fit(
    columns: Columns,
    Z: FloatArray,
    targets: FloatArray,
    weights: FloatArray,
    folds: Folds,
    make: Callable[[Moments, Folds], FoldSolver],
) -> FloatArray:
    """Predict each target (n, m) in each fold from models of the other rows."""
    moments = block_moments(columns, Z, targets, weights, folds.blocks, folds.n_blocks)
    solve = make(moments, folds)
    fitted = [at.raw(slopes) for at, slopes in map(solve, range(folds.n_folds))]
    return predict_rows(columns, Z, folds, np.array([f[0] for f in fitted]), np.array([f[1] for f in fitted]))
