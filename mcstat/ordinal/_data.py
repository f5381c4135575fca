"""Design, response and weights, read once and handed to the likelihood in parts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData, ReliabilityWarning
from mcstat.ordinal._likelihood import CumulativeLikelihood
from mcstat.ordinal._response import read_response

__all__ = ["OrdinalData", "read_data"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class OrdinalData:
    """One entry an observed (row, class) pair; entries without weight are gone.

    Attributes
    ----------
    X : ndarray, shape (m, p)
    codes : ndarray of int, shape (m,)
    counts : ndarray of int, shape (m,)
        Observations that the entry stands for: what folds and bootstrap resamples deal out.
    weights : ndarray, shape (m,)
        Weight of one such observation.
    classes : ndarray, shape (K,)
    names : tuple of str
    """

    X: FloatArray
    codes: IntArray
    counts: IntArray
    weights: FloatArray
    classes: NDArray[Any]
    names: tuple[str, ...]

    def likelihood(self, link: str, standardize: bool, counts: IntArray | None = None) -> CumulativeLikelihood:
        """The likelihood of all observations, or of ``counts`` (m,) of them."""
        weights = self.weights * (self.counts if counts is None else counts)
        return CumulativeLikelihood(
            self.X, self.codes, weights, len(self.classes), link=link, standardize=bool(standardize)
        )

    def class_counts(self) -> IntArray:
        """Observations of each class, (K,)."""
        return np.bincount(self.codes, self.counts, minlength=len(self.classes)).astype(np.int64)


def read_data(
    X: FloatArray, names: tuple[str, ...] | None, y: Any, categories: Sequence[Any] | None, sample_weight: Any
) -> OrdinalData:
    """Read and check what goes with a checked design (n, p); a column without variation is told of.

    Raises
    ------
    InvalidData
        Naming the argument, what it wants and what it got.
    """
    n, p = X.shape
    response = read_response(y, categories, n)
    weights = _weights(sample_weight, n)
    design = X if response.rows is None else X[response.rows]
    each = weights if response.rows is None else weights[response.rows]
    codes, counts = response.codes, response.counts
    if np.all(each == np.rint(each)):
        # Whole weights are frequencies throughout: folds and resamples deal out single observations.
        counts, each = counts * each.astype(np.int64), np.ones(len(each))
    if np.any(each * counts == 0):
        kept = each * counts > 0
        design, each, codes, counts = design[kept], each[kept], codes[kept], counts[kept]
    left = np.bincount(codes, minlength=len(response.classes))
    if np.any(left == 0):
        lost = [response.classes[k] for k in np.flatnonzero(left == 0)]
        raise InvalidData(f"sample_weight must leave every class at least one row, got only zeros for {lost}")
    constant = np.flatnonzero(design.max(axis=0) == design.min(axis=0))
    named = names or tuple(f"x{j + 1}" for j in range(p))
    if len(constant):
        warnings.warn(
            f"X holds {len(constant)} column(s) without variation, whose slopes stay zero: "
            f"{[named[j] for j in constant[:5]]}",
            ReliabilityWarning,
            stacklevel=3,
        )
    return OrdinalData(design, codes, counts, each, response.classes, named)


def _weights(sample_weight: Any, n: int) -> FloatArray:
    if sample_weight is None:
        return np.ones(n)
    weights = check_array("sample_weight", np.asarray(sample_weight), (0, 1, 2))
    if weights.ndim == 2:
        raise InvalidData(f"Sample weights must be 1D array or scalar: sample_weight has shape {weights.shape}")
    weights = np.broadcast_to(weights, n) if weights.ndim == 0 else weights
    if len(weights) != n:
        raise InvalidData(
            f"sample_weight must have {n} entries, sample_weight.shape == {weights.shape}, expected ({n},)"
        )
    if np.any(weights < 0):
        raise InvalidData(f"sample_weight must not be negative, got {weights.min()}")
    return weights
