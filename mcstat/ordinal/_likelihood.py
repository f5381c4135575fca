"""The cumulative link likelihood as a smooth function of its boundaries, on a design that is sorted by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mcstat.ordinal._ordinal_kernels import LINKS, class_terms, scaled_rows

__all__ = ["Boundaries", "CumulativeLikelihood"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Rows handled at once times 3 (1 + p)^2: up to about a million multiplications OpenBLAS takes its kernels for small
# matrices, four times as fast here as those for large ones. Then the fewest rows, and the most.
_BLOCK_PRODUCT, _FEWEST_ROWS, _MOST_ROWS = 600_000, 256, 4096
# A column that varies by less than this part of its mean is constant up to rounding.
_CONSTANT = 1e-13


class CumulativeLikelihood:
    """Mean of -log P(y_i) over weighted rows, as a function of boundaries (K - 1, 1 + p).

    Row k of the boundaries holds the intercept and the slopes of P(y <= k) = F(intercept + z slopes), z being the
    standardised columns. Rows are kept sorted by class: a row of class k then touches boundaries k - 1 and k only, and
    one matrix product a class gives its part of the Hessian.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    codes : ndarray of int, shape (n,)
        Class of each row, 0 to K - 1.
    weights : ndarray, shape (n,)
        Not negative; rows of weight zero are left out.
    n_classes : int
    link : {"logit", "probit", "cloglog", "cauchit"}
    standardize : bool
        Divide by the weighted population standard deviation; columns are always centred.

    Attributes
    ----------
    mean, scale : ndarray, shape (p,)
    constant : ndarray of bool, shape (p,)
        Columns without variation, whose slopes stay zero.
    frequencies : ndarray, shape (K,)
        Share of each class.
    total : float
        Sum of weights.

    Notes
    -----
    One copy of X, and 6 numbers a row beside it. Value and gradient cost O(n p), the Hessian O(n p^2): two to three
    weighted Gram matrices a row whatever K is.
    """

    def __init__(
        self, X: FloatArray, codes: IntArray, weights: FloatArray, n_classes: int, *, link: str, standardize: bool
    ) -> None:
        kept = np.flatnonzero(weights > 0)
        order = kept[np.argsort(codes[kept], kind="stable")]
        self.n_classes, self.link = n_classes, link
        self.starts = np.searchsorted(codes[order], np.arange(n_classes + 1))
        self.total = float(weights[order].sum())
        self.weights = weights[order] / self.total
        self.frequencies = np.array(
            [self.weights[a:b].sum() for a, b in zip(self.starts, self.starts[1:], strict=False)]
        )
        self._fill(X, order, standardize)

    def _fill(self, X: FloatArray, order: NDArray[np.intp], standardize: bool) -> None:
        """The design: a column of ones and the centred, scaled columns, block by block."""
        n, p = len(order), X.shape[1]
        self.z = z = np.empty((n, p + 1))
        z[:, 0] = 1.0
        size = self._block_rows(p + 1)
        blocks = [slice(a, min(a + size, n)) for a in range(0, n, size)]
        self.mean, square = np.zeros(p), np.zeros(p)
        for block in blocks:
            z[block, 1:] = X[order[block]]
            self.mean += self.weights[block] @ z[block, 1:]
        for block in blocks:
            z[block, 1:] -= self.mean
            square += self.weights[block] @ z[block, 1:] ** 2
        deviation = np.sqrt(square)
        self.constant = deviation <= _CONSTANT * np.abs(self.mean)
        self.scale = np.where(self.constant, 1.0, deviation) if standardize else np.ones(p)
        for block in blocks:
            z[block, 1:] *= np.where(self.constant, 0.0, 1.0 / self.scale)

    @staticmethod
    def _block_rows(r: int) -> int:
        return int(np.clip(_BLOCK_PRODUCT // (3 * r * r), _FEWEST_ROWS, _MOST_ROWS))

    def blocks(self) -> Iterator[tuple[int, slice]]:
        """(class, rows) pieces that together are all rows."""
        size = self._block_rows(self.z.shape[1])
        for k in range(self.n_classes):
            for first in range(self.starts[k], self.starts[k + 1], size):
                yield k, slice(first, min(first + size, int(self.starts[k + 1])))

    def __call__(self, boundaries: FloatArray) -> Boundaries:
        """Expand about boundaries (K - 1, 1 + p)."""
        n_cuts, r = boundaries.shape
        # A row of zeros at either end stands for the boundaries that the outer classes do not have.
        padded = np.zeros((n_cuts + 2, r))
        padded[1:-1] = boundaries
        n = len(self.z)
        curvature = np.empty((n, 3))
        gradient = np.zeros((n_cuts + 2, r))
        value = 0.0
        for k, rows in self.blocks():
            z = self.z[rows]
            eta = z @ padded[k : k + 2].T
            slopes = np.empty_like(eta)
            value += class_terms(LINKS[self.link], eta, k > 0, k < n_cuts, self.weights[rows], slopes, curvature[rows])
            if not value < np.inf:
                return Boundaries(np.inf, np.zeros_like(boundaries), self, curvature)
            gradient[k : k + 2] += slopes.T @ z
        return Boundaries(value, gradient[1:-1], self, curvature)

    def null_boundaries(self) -> FloatArray:
        """Intercepts that reproduce the frequencies of the classes, and no slopes."""
        from mcstat.ordinal._links import link_function

        boundaries = np.zeros((self.n_classes - 1, self.z.shape[1]))
        boundaries[:, 0] = link_function(self.link, np.cumsum(self.frequencies)[:-1])
        return boundaries

    def to_raw(self, boundaries: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Intercepts (..., K - 1) and slopes (..., K - 1, p) on the scale of X, from boundaries (..., K - 1, 1 + p)."""
        slopes = boundaries[..., 1:] / self.scale
        return boundaries[..., 0] - slopes @ self.mean, slopes


@dataclass
class Boundaries:
    """Expansion of the mean loss about some boundaries: value, gradient (K - 1, 1 + p), and the Hessian on demand."""

    value: float
    gradient: FloatArray
    likelihood: CumulativeLikelihood
    curvature: FloatArray

    @cached_property
    def hessian(self) -> FloatArray:
        """(K - 1, 1 + p, K - 1, 1 + p), tri-diagonal in the boundaries."""
        z, n_cuts, curvature = self.likelihood.z, len(self.gradient), self.curvature
        r = z.shape[1]
        hessian = np.zeros((n_cuts, r, n_cuts, r))
        grams = np.zeros((n_cuts + 1, 3, r, r))
        scaled = np.empty((0, 0))
        for k, rows in self.likelihood.blocks():
            # The outer classes have one boundary, so one Gram matrix instead of three.
            first, n_parts = (2, 1) if k == 0 else (0, 1) if k == n_cuts else (0, 3)
            m = rows.stop - rows.start
            if scaled.shape != (m, n_parts * r):
                scaled = np.empty((m, n_parts * r))
            scaled_rows(z[rows], curvature[rows], first, n_parts, scaled)
            grams[k, first : first + n_parts] += (scaled.T @ z[rows]).reshape(n_parts, r, r)
        for k in range(n_cuts):
            hessian[k, :, k] = grams[k, 2] + grams[k + 1, 0]
            if k > 0:
                hessian[k - 1, :, k] = grams[k, 1]
                hessian[k, :, k - 1] = grams[k, 1].T
        # Three numbers a row that nobody needs any more.
        self.curvature = np.empty((0, 3))
        return hessian
