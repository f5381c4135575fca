"""A series basis of at most min(300, n / 10) columns: polynomials and hinges of each feature, then products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.causal._folds import Folds
from mcstat.causal._grams import block_moments
from mcstat.causal._linear import FoldSolver, predict_rows, ridge

__all__ = ["SeriesColumns", "cross_fit_series"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MOST_COLUMNS, _ROWS_PER_COLUMN = 300, 10
_SHARE_OF_FEATURES = 0.8
_DEGREE, _MOST_KNOTS = 3, 60
_CLIP = 6.0
_ON_POWERS, _ON_PRODUCTS = 1e-3, 1e-1
# Rows that say where features lie, and rows that products are screened on.
_MOST_LOOKED_AT, _MOST_SCREENED = 50_000, 20_000


@dataclass(frozen=True)
class SeriesColumns:
    """Turns rows of features (k, J) into columns (k, p): powers, hinges and products of standardised features.

    Attributes
    ----------
    mean, scale : ndarray, shape (J,)
    smooth : ndarray of int
        Features that have more than their linear column: powers up to ``degree``.
    degree : int
    bent : ndarray of int
        Features that have hinges.
    knots : ndarray, shape (number of bent features, number of knots)
    pairs : ndarray of int, shape (number of products, 2)
    """

    mean: FloatArray
    scale: FloatArray
    smooth: IntArray
    degree: int
    bent: IntArray
    knots: FloatArray
    pairs: IntArray

    def __call__(self, Z: FloatArray) -> FloatArray:
        """(k, J) to (k, p)."""
        z = self.standardised(Z)
        smooth = z[:, self.smooth]
        parts = [z, *(smooth**power for power in range(2, self.degree + 1))]
        if self.knots.size:
            parts.append(np.maximum(z[:, self.bent, None] - self.knots, 0.0).reshape(len(z), -1))
        if len(self.pairs):
            parts.append(z[:, self.pairs[:, 0]] * z[:, self.pairs[:, 1]])
        return np.concatenate(parts, axis=1)

    def standardised(self, Z: FloatArray) -> FloatArray:
        """Features in deviations, cut off at 6 of them: a far row must not reach the cube of its distance."""
        return np.asarray(np.clip((Z - self.mean) / self.scale, -_CLIP, _CLIP))

    @property
    def n_main(self) -> int:
        """Columns that are not products."""
        return len(self.mean) + len(self.smooth) * (self.degree - 1) + self.knots.size

    @property
    def factors(self) -> FloatArray:
        """Share of the ridge penalty on each column: little on powers, whose shrinkage would be confounding left."""
        n_powers = self.n_main - self.knots.size
        return np.repeat([_ON_POWERS, 1.0, _ON_PRODUCTS], [n_powers, self.knots.size, len(self.pairs)])

    def with_pairs(self, pairs: IntArray) -> SeriesColumns:
        """The same with these products."""
        return replace(self, pairs=pairs)


def cross_fit_series(
    Z: FloatArray,
    linear: NDArray[np.bool_],
    between: NDArray[np.bool_],
    targets: FloatArray,
    weights: FloatArray,
    folds: Folds,
    rng: Generator,
) -> FloatArray:
    """Ridge regression on the series basis; predictions (n, m) of rows in their test folds.

    Parameters
    ----------
    Z : ndarray, shape (n, J)
    linear : ndarray of bool, shape (J,)
        Features (dummies) that enter as they are and in no product.
    between : ndarray of bool, shape (J,)
        Features without variation within units, which get no hinges and no products with each other: those would be
        fitted to the effects of the few units there are, and cross-validation by rows would take that for structure.
    targets : ndarray, shape (n, m)
    weights : ndarray, shape (n,)
    folds : Folds
    rng : Generator
        Picks the rows that products are screened on, if there are too many.

    Notes
    -----
    Where features lie (means, deviations, quantiles) is read off all rows; nothing about the targets is. Products are
    screened in each training set by their correlation with what the other columns leave unexplained; those beyond the
    largest that noise would show take part, the strongest first.
    """
    budget = max(1, min(_MOST_COLUMNS, int(np.count_nonzero(weights)) // _ROWS_PER_COLUMN))
    basis = main_columns(Z, linear, between, weights, budget)
    candidates = np.flatnonzero(~linear & (np.ptp(Z[:: max(1, len(Z) // _MOST_LOOKED_AT)], axis=0) > 0))
    first, second = np.triu_indices(len(candidates), k=1)
    pairs = np.column_stack([candidates[first], candidates[second]])
    pairs = pairs[~between[pairs].all(axis=1)]
    room = max(0, budget - basis.n_main)
    chosen: Callable[[int, int], IntArray] | None = None
    if len(pairs) <= room:
        basis = basis.with_pairs(pairs)
    elif room:
        ranked = _screen(basis, pairs, Z, targets, weights, folds, rng)
        basis, chosen = _within_budget(basis, pairs, ranked, room)
    moments = block_moments(basis, Z, targets, weights, folds.blocks, folds.n_blocks)
    return _predictions(basis, Z, folds, ridge(moments, folds, chosen, basis.factors))


def main_columns(
    Z: FloatArray, linear: NDArray[np.bool_], between: NDArray[np.bool_], weights: FloatArray, budget: int
) -> SeriesColumns:
    """The basis without products: as many powers and hinges a feature as the budget has."""
    rows = np.flatnonzero(weights > 0)
    look = Z[rows[:: max(1, len(rows) // _MOST_LOOKED_AT)]]
    mean, scale = look.mean(axis=0), look.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    two_valued = np.all((look == look.min(axis=0)) | (look == look.max(axis=0)), axis=0)
    smooth = np.flatnonzero(~linear & ~two_valued)
    bent = np.flatnonzero(~linear & ~two_valued & ~between)
    spare = int(_SHARE_OF_FEATURES * budget) - (len(mean) - len(smooth))
    degree = min(_DEGREE, max(1, spare // max(1, len(smooth))))
    spare -= degree * len(smooth)
    n_knots = min(_MOST_KNOTS, max(0, spare // max(1, len(bent)))) if degree == _DEGREE else 0
    at = (np.arange(n_knots) + 1.0) / (n_knots + 1.0)
    z = (look[:, bent] - mean[bent]) / scale[bent]
    knots = np.quantile(z, at, axis=0).T if n_knots and len(bent) else np.zeros((len(bent), 0))
    pairs = np.zeros((0, 2), dtype=np.int64)
    return SeriesColumns(mean, scale, smooth, degree, bent, np.ascontiguousarray(knots), pairs)


def _screen(
    basis: SeriesColumns,
    pairs: IntArray,
    Z: FloatArray,
    targets: FloatArray,
    weights: FloatArray,
    folds: Folds,
    rng: Generator,
) -> list[list[IntArray]]:
    """For each fold and target the products that stand out of the noise, strongest first."""
    rows = np.flatnonzero(weights > 0)
    if len(rows) > _MOST_SCREENED:
        rows = np.sort(rng.choice(rows, _MOST_SCREENED, replace=False))
    Z, targets, weights = Z[rows], targets[rows], weights[rows]
    part = Folds(folds.blocks[rows], folds.test, folds.train)
    moments = block_moments(basis, Z, targets, weights, part.blocks, part.n_blocks)
    solve = ridge(moments, part, None, basis.factors)
    z = basis.standardised(Z)
    main = basis(Z)
    ranked = []
    for k in range(folds.n_folds):
        at, slopes = solve(k)
        intercept, raw = at.raw(slopes)
        used = part.training_rows(k)
        rest = (targets - intercept - main @ raw)[used] * np.sqrt(weights[used])[:, None]
        strength = _correlations(z[used], pairs, rest)
        threshold = np.sqrt(2.0 * np.log(len(pairs)) / np.count_nonzero(used))
        order = np.argsort(-strength, axis=0, kind="stable")
        ranked.append([o[s[o] > threshold] for o, s in zip(order.T, strength.T, strict=True)])
    return ranked


def _correlations(z: FloatArray, pairs: IntArray, rest: FloatArray) -> FloatArray:
    """Absolute correlations of each product with each residual (k, m)."""
    rest = rest - rest.mean(axis=0)
    rest = rest / np.maximum(np.sqrt((rest**2).sum(axis=0)), 1e-300)
    out = np.empty((len(pairs), rest.shape[1]))
    size = max(1, (1 << 22) // len(z))
    for start in range(0, len(pairs), size):
        chunk = pairs[start : start + size]
        product = z[:, chunk[:, 0]] * z[:, chunk[:, 1]]
        product -= product.mean(axis=0)
        norm = np.maximum(np.sqrt((product**2).sum(axis=0)), 1e-300)
        out[start : start + size] = np.abs(product.T @ rest) / norm[:, None]
    return out


def _within_budget(
    basis: SeriesColumns, pairs: IntArray, ranked: list[list[IntArray]], room: int
) -> tuple[SeriesColumns, Callable[[int, int], IntArray]]:
    """A basis with the products of all folds, at most ``room``, and the columns that each fold and target chose."""
    depth = max(len(order) for fold in ranked for order in fold)
    while True:
        union = np.unique(np.concatenate([order[:depth] for fold in ranked for order in fold]))
        if len(union) <= room:
            break
        depth = max(0, min(depth - 1, int(depth * room / len(union))))
    main = np.arange(basis.n_main)

    def columns(k: int, target: int) -> IntArray:
        own = np.searchsorted(union, np.sort(ranked[k][target][:depth]))
        return np.concatenate([main, basis.n_main + own])

    return basis.with_pairs(pairs[union.astype(np.int64)]), columns


def _predictions(basis: SeriesColumns, Z: FloatArray, folds: Folds, solve: FoldSolver) -> FloatArray:
    fitted = [at.raw(slopes) for at, slopes in map(solve, range(folds.n_folds))]
    return predict_rows(basis, Z, folds, np.array([f[0] for f in fitted]), np.array([f[1] for f in fitted]))
