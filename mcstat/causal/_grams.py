"""Gram matrices of blocks of rows: added up, they are the Gram matrix of any training set.

One pass over the rows serves all folds, all penalties and all targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._row_kernels import gather_rows
from mcstat.core.checks import frozen_view

__all__ = ["Columns", "Moments", "Standardised", "as_they_are", "block_moments"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Columns = Callable[[FloatArray], FloatArray]

# Rows turned into columns at a time: their block stays in the processor's second cache.
_BLOCK_BYTES = 1 << 20
_SHIFT_ROWS = 256


def as_they_are(Z: FloatArray) -> FloatArray:
    """Features as columns."""
    return Z


@dataclass(frozen=True)
class Standardised:
    """Second moments of p columns and m targets of a training set, columns centred and of unit variance.

    Attributes
    ----------
    gram : ndarray, shape (p, p)
        Correlations; rows and columns of a constant are zero.
    cross : ndarray, shape (p, m)
    variance : ndarray, shape (m,)
        Of the targets.
    mean, scale : ndarray, shape (p,)
    target_mean : ndarray, shape (m,)
    n_rows : float
        Rows of positive weight.
    """

    gram: FloatArray
    cross: FloatArray
    variance: FloatArray
    mean: FloatArray
    scale: FloatArray
    target_mean: FloatArray
    n_rows: float

    def raw(self, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Intercepts (m,) and slopes (p, m) on the columns as they are, from those on standardised ones (p, m)."""
        slopes = coefficients / self.scale[:, None]
        return self.target_mean - self.mean @ slopes, slopes


@dataclass(frozen=True)
class Moments:
    """Sums of products of [1, columns, targets] over each block of rows, after a shift to the overall means.

    Attributes
    ----------
    sums : ndarray, shape (B, 1 + p + m, 1 + p + m)
    rows : ndarray, shape (B,)
    shift : ndarray, shape (p + m,)
    n_columns : int
    """

    sums: FloatArray
    rows: FloatArray
    shift: FloatArray
    n_columns: int

    def standardised(self, blocks: NDArray[np.bool_] | IntArray, columns: IntArray | None = None) -> Standardised:
        """Moments of a training set: the union of ``blocks``; of some ``columns`` only, if given."""
        total = self.total(blocks)
        p = self.n_columns
        kept = np.arange(p) if columns is None else columns
        if columns is not None:
            at = np.concatenate([[0], 1 + kept, 1 + np.arange(p, total.shape[0] - 1)])
            total = total[np.ix_(at, at)]
        total = total / total[0, 0]
        mean = total[0, 1:]
        cov = total[1:, 1:] - np.outer(mean, mean)
        q = len(kept)
        variance = np.diag(cov).copy()
        # What is constant up to rounding has no slope.
        alive = variance[:q] > 1e-14 * (variance[:q] + mean[:q] ** 2 + self.shift[kept] ** 2)
        scale = np.sqrt(np.where(alive, variance[:q], 1.0))
        inverse = alive / scale
        shift = np.concatenate([self.shift[kept], self.shift[p:]])
        return Standardised(
            gram=cov[:q, :q] * inverse[:, None] * inverse,
            cross=cov[:q, q:] * inverse[:, None],
            variance=np.maximum(variance[q:], 0.0),
            mean=mean[:q] + shift[:q],
            scale=scale,
            target_mean=mean[q:] + shift[q:],
            n_rows=float(self.rows[blocks].sum()),
        )

    def total(self, blocks: NDArray[np.bool_] | IntArray) -> FloatArray:
        """Sums over some of the blocks."""
        return np.asarray(self.sums[blocks].sum(axis=0))

    def in_shifted_units(self, at: Standardised, target: int) -> tuple[float, FloatArray, FloatArray]:
        """Mean of the target, means and scales of the columns in a training set, after the shift."""
        p = self.n_columns
        return float(at.target_mean[target] - self.shift[p + target]), at.mean - self.shift[:p], at.scale


def block_moments(
    columns: Columns, Z: FloatArray, targets: FloatArray, weights: FloatArray, blocks: IntArray, n_blocks: int
) -> Moments:
    """One pass over the rows.

    Parameters
    ----------
    columns : callable
        Rows (k, p0) to columns (k, p).
    Z : ndarray, shape (n, p0)
    targets : ndarray, shape (n, m)
    weights : ndarray, shape (n,)
        Rows of weight zero count for nothing.
    blocks : ndarray of int, shape (n,)
    n_blocks : int

    Notes
    -----
    O(n (p + m)^2) time at the speed of BLAS; memory beside the result O(1).
    """
    counted = weights > 0
    p = columns(Z[:1]).shape[1]
    size = max(64, _BLOCK_BYTES // (8 * (p + targets.shape[1] + 1)))
    # The means of some rows serve as well as all: the shift only keeps large numbers from cancelling.
    sample = np.flatnonzero(counted)
    sample = sample[:: max(1, len(sample) // _SHIFT_ROWS)]
    shift = np.concatenate([columns(Z[sample]).mean(axis=0), targets[sample].mean(axis=0)])
    sums = np.zeros((n_blocks, len(shift) + 1, len(shift) + 1))
    counts = np.bincount(blocks[counted], minlength=n_blocks).astype(np.float64)
    weighted = bool(np.any(counted & (weights != 1.0)))
    for block in range(n_blocks):
        inside = np.flatnonzero((blocks == block) & counted)
        for start in range(0, len(inside), size):
            rows = inside[start : start + size]
            wide = _shifted_rows(columns, Z, targets, shift, rows)
            sums[block] += wide.T @ (wide * weights[rows, None] if weighted else wide)
    return Moments(sums, counts, shift, p)


def _shifted_rows(
    columns: Columns, Z: FloatArray, targets: FloatArray, shift: FloatArray, rows: IntArray
) -> FloatArray:
    """[1, columns, targets] of some rows, less the shift."""
    wide = np.empty((len(rows), len(shift) + 1))
    if columns is as_they_are:
        gather_rows(frozen_view(Z), frozen_view(targets), frozen_view(shift), frozen_view(rows), wide)
        return wide
    p = len(shift) - targets.shape[1]
    wide[:, 0] = 1.0
    # Taken, not indexed: NumPy gathers whole rows several times faster so.
    np.subtract(columns(Z.take(rows, axis=0)), shift[:p], out=wide[:, 1 : 1 + p])
    np.subtract(targets.take(rows, axis=0), shift[p:], out=wide[:, 1 + p :])
    return wide
