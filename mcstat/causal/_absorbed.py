"""An intercept for each unit, without a column for each unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._folds import Folds
from mcstat.causal._grams import Columns, Moments, block_moments
from mcstat.causal._linear import FoldSolver
from mcstat.causal._row_kernels import average_groups, expand_groups, subtract_groups
from mcstat.core.checks import frozen_view

__all__ = ["beside_groups", "cross_fit_absorbed", "encode_units", "group_means", "within_groups"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ENCODING_PARTS = 5


def group_means(values: FloatArray, codes: IntArray, weights: FloatArray, n_groups: int) -> FloatArray:
    """Weighted means (n_groups, ...) of values (n, ...) in each group; zero where a group has no weight."""
    columns = values.reshape(len(values), -1)
    means = np.zeros((n_groups, columns.shape[1]))
    average_groups(frozen_view(columns), frozen_view(weights), frozen_view(codes), means)
    return means.reshape(n_groups, *values.shape[1:])


def within_groups(values: FloatArray, codes: IntArray, weights: FloatArray, n_groups: int) -> FloatArray:
    """Values (n, ...) less the weighted means of their groups."""
    columns = values.reshape(len(values), -1)
    means, out = np.zeros((n_groups, columns.shape[1])), np.empty(columns.shape)
    average_groups(frozen_view(columns), frozen_view(weights), frozen_view(codes), means)
    subtract_groups(frozen_view(columns), frozen_view(codes), frozen_view(means), out)
    return out.reshape(values.shape)


def beside_groups(values: FloatArray, table: FloatArray, codes: IntArray) -> FloatArray:
    """Rows of values (n, k), each beside its group's row of the table (n_groups, l)."""
    out = np.empty((len(values), values.shape[1] + table.shape[1]))
    expand_groups(frozen_view(values), frozen_view(codes), frozen_view(table), out)
    return out


def cross_fit_absorbed(
    columns: Columns,
    Z: FloatArray,
    targets: FloatArray,
    weights: FloatArray,
    folds: Folds,
    make: Callable[[Moments, Folds], FoldSolver],
    unit: IntArray,
) -> FloatArray:
    """As ``cross_fit`` with unit intercepts: slopes from deviations from unit means, intercepts shrunken.

    An intercept is n_i / (n_i + lam) times the unit's mean residual, with lam the ratio of the variance of the
    residuals to that of the intercepts, by moments. O(n p^2) a fold, and a copy of the columns.
    """
    n_units = int(unit.max()) + 1
    W = columns(Z)
    out = np.empty(targets.shape)
    for k in range(folds.n_folds):
        train = folds.training_rows(k) & (weights > 0)
        w = np.where(train, weights, 0.0)
        inner, moved = within_groups(W, unit, w, n_units), within_groups(targets, unit, w, n_units)
        moments = block_moments(lambda rows: rows, inner, moved, w, folds.blocks, folds.n_blocks)
        solve = make(moments, Folds(folds.blocks, folds.test[k : k + 1], folds.train[k : k + 1]))
        at, slopes = solve(0)
        slopes = slopes / at.scale[:, None]
        intercepts, level = _shrunken(targets - W @ slopes, moved - inner @ slopes, unit, w, n_units)
        test = folds.of_row == k
        out[test] = level + intercepts[unit[test]] + W[test] @ slopes
    return out


def _shrunken(
    residual: FloatArray, within: FloatArray, unit: IntArray, w: FloatArray, n_units: int
) -> tuple[FloatArray, FloatArray]:
    """Unit intercepts (n_units, m) about a common level (m,)."""
    counts = np.bincount(unit, w, minlength=n_units)
    seen = counts > 0
    means = group_means(residual, unit, w, n_units)
    level = counts @ means / counts.sum()
    noise = (w @ within**2) / max(counts.sum() - seen.sum(), 1.0)
    spread = np.var(means[seen], axis=0) - noise * np.mean(1.0 / counts[seen])
    # A variance of zero means intercepts of zero.
    ratio = noise / np.maximum(spread, 1e-12 * (noise + np.var(means[seen], axis=0)) + 1e-300)
    return np.asarray((means - level) * (counts[:, None] / (counts[:, None] + ratio)) * seen[:, None]), level


def encode_units(Z: FloatArray, unit: IntArray, y: FloatArray, train: IntArray, seed: int) -> FloatArray:
    """Z with the shrunken mean of y in each unit beside it, learnt on the training rows.

    A training row gets the mean over other parts of them, so that a tree does not find its own y in it.
    """
    n_units = int(unit.max()) + 1
    level = y[train].mean()

    def means(rows: IntArray) -> FloatArray:
        counts = np.bincount(unit[rows], minlength=n_units)
        sums = np.bincount(unit[rows], y[rows], minlength=n_units)
        return np.asarray((sums + level) / (counts + 1.0))

    column = means(train)[unit]
    part = np.random.default_rng(seed).permutation(len(train)) % _ENCODING_PARTS
    for k in range(_ENCODING_PARTS):
        mine = train[part == k]
        column[mine] = means(train[part != k])[unit[mine]]
    return np.column_stack([Z, column])
