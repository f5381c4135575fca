"""What users hand in as an ordered response, read into class codes and counts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning

__all__ = ["Response", "read_response"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Response:
    """An ordered response, one entry an observed (row, class) pair.

    Attributes
    ----------
    classes : ndarray, shape (K,)
        Labels from the lowest to the highest.
    codes : ndarray of int, shape (m,)
        Class of each entry.
    rows : ndarray of int, shape (m,), or None
        Row of X of each entry; None where entry i is row i.
    counts : ndarray of int, shape (m,)
        How many observations the entry stands for.
    """

    classes: NDArray[Any]
    codes: IntArray
    rows: IntArray | None
    counts: IntArray


def read_response(y: Any, categories: Sequence[Any] | None, n_rows: int) -> Response:
    """Read labels, an ordered categorical or a table of counts.

    Parameters
    ----------
    y : array_like, shape (n,) or (n, K)
        Numbers (ordered by value), an ordered Categorical (polars: Enum), strings, or counts of each class a row.
    categories : sequence, optional
        The order of the labels; for counts, the labels of the columns.
    n_rows : int
        Rows of X.

    Raises
    ------
    InvalidData
        Missing labels, another number of rows, a class without rows, one class only.
    """
    if y is None:
        raise InvalidData("this estimator requires y to be passed, but the target y is None")
    ordered = _ordered_categories(y)
    if ordered is None and np.asarray(y).ndim == 2 and np.asarray(y).shape[1] > 1:
        return _read_counts(y, categories, n_rows)
    values = _column(y)
    if len(values) != n_rows:
        raise InvalidData(
            f"y must have as many rows as X, {n_rows}, got {len(values)}: inconsistent numbers of samples"
        )
    classes = _given(categories) if categories is not None else ordered
    if classes is None:
        classes = _sorted_labels(values)
    codes = _codes(values, classes)
    counts = np.bincount(codes, minlength=len(classes))
    if np.any(counts == 0):
        lost = [classes[k] for k in np.flatnonzero(counts == 0)]
        raise InvalidData(
            f"y must hold every class at least once, got no row of {lost}; leave it out of the categories"
        )
    return Response(classes, codes, None, np.ones(len(codes), dtype=np.int64))


def _ordered_categories(y: Any) -> NDArray[Any] | None:
    """Categories of an ordered pandas Categorical or polars Enum, lowest first."""
    dtype: Any = getattr(y, "dtype", None)
    categories = getattr(dtype, "categories", None)
    if categories is None or type(dtype).__name__ not in ("CategoricalDtype", "Enum"):
        return None
    if type(dtype).__name__ == "CategoricalDtype" and not dtype.ordered:
        return None
    return np.asarray(list(categories))


def _column(y: Any) -> NDArray[Any]:
    """The labels as a vector; missing ones are refused."""
    from sklearn.utils import column_or_1d

    if np.ma.isMaskedArray(y) or hasattr(y, "toarray"):
        raise TypeError(f"y must be dense and without a mask, got {type(y).__name__}")
    values = column_or_1d(np.asarray(y), warn=True)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = "NaN" if np.isnan(values).any() else "infinity or a value too large for dtype('float64')"
        raise InvalidData(f"y must be finite: Input y contains {bad}.")
    if values.dtype.kind == "O" and any(label is None or label != label for label in values):
        raise InvalidData("y must hold a label in every row, without None or NaN")
    if values.dtype.kind not in "fiubOUST":
        raise TypeError(f"y must hold numbers, booleans or strings, got dtype {values.dtype}")
    return np.asarray(values, dtype=values.dtype.newbyteorder("="))


def _given(categories: Sequence[Any]) -> NDArray[Any]:
    if isinstance(categories, str) or not isinstance(categories, (Sequence, np.ndarray)):
        raise InvalidParameter(f"categories must be a list of labels, lowest first, got {categories!r}")
    classes = np.asarray(categories)
    if classes.ndim != 1 or len(classes) < 2 or len(set(classes.tolist())) != len(classes):
        raise InvalidParameter(f"categories must be at least two labels, each once, got {categories!r}")
    return classes


def _sorted_labels(values: NDArray[Any]) -> NDArray[Any]:
    """Labels in their natural order, which for strings is the alphabet's: told, for it is seldom meant."""
    from sklearn.utils.multiclass import check_classification_targets

    check_classification_targets(values)
    classes = np.unique(values)
    if len(classes) < 2:
        raise InvalidData(f"y must hold at least 2 classes, got 1 class: {classes.tolist()}")
    if classes.dtype.kind not in "fiub" and len(classes) > 2:
        warnings.warn(
            f"y holds labels without an order; sorted as {classes.tolist()}. Say the order by categories=[lowest, ..., "
            "highest] or by an ordered Categorical",
            ReliabilityWarning,
            stacklevel=4,
        )
    return classes


def _codes(values: NDArray[Any], classes: NDArray[Any]) -> IntArray:
    """Position of each label among the classes."""
    order = np.argsort(classes, kind="stable")
    try:
        place = np.minimum(np.searchsorted(classes, values, sorter=order), len(classes) - 1)
        codes = order[place]
        unknown = values[classes[codes] != values]
    except (TypeError, np.exceptions.DTypePromotionError) as error:
        raise InvalidData(f"y must hold labels of the kind of {classes.tolist()}, got dtype {values.dtype}") from error
    if len(unknown):
        raise InvalidData(f"y must hold labels out of {classes.tolist()}, got {unknown[0]!r}")
    return codes.astype(np.int64)


def _read_counts(y: Any, categories: Sequence[Any] | None, n_rows: int) -> Response:
    """A table with one row an x and one column a class."""
    names = getattr(y, "columns", None)
    table = check_array("y", np.asarray(y), 2)
    if len(table) != n_rows:
        raise InvalidData(f"y must have as many rows as X, {n_rows}, got {len(table)}")
    if np.any(table < 0) or np.any(table != np.rint(table)):
        raise InvalidData("y must hold counts: whole numbers, not negative")
    if categories is not None:
        classes = _given(categories)
    else:
        classes = np.asarray(list(names)) if names is not None else np.arange(table.shape[1])
    if len(classes) != table.shape[1]:
        raise InvalidParameter(f"categories must name the {table.shape[1]} columns of y, got {len(classes)} labels")
    if np.any(table.sum(axis=0) == 0):
        lost = [classes[k] for k in np.flatnonzero(table.sum(axis=0) == 0)]
        raise InvalidData(f"y must hold every class at least once, got no count of {lost}; leave its column out")
    rows, codes = np.nonzero(table)
    return Response(classes, codes.astype(np.int64), rows.astype(np.int64), table[rows, codes].astype(np.int64))
