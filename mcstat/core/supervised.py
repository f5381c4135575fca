"""Data of estimators that are scikit-learn regressors or classifiers: its checks, in our words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from mcstat.core.errors import InvalidData

__all__ = ["check_design", "check_features", "check_regression"]

FloatArray = NDArray[np.float64]


def check_regression(estimator: Any, X: Any, y: Any) -> tuple[FloatArray, FloatArray]:
    """X (n, d) and y (n,) as finite float64, C-contiguous; sets ``n_features_in_`` and ``feature_names_in_``.

    Raises
    ------
    InvalidData
        NaN, infinity, unequal lengths, fewer than two rows, complex numbers.
    TypeError
        Strings, dates, sparse matrices.
    """
    _refuse_text("X", X)
    _refuse_text("y", y)
    matrix, response = _validated(estimator, X, y=y, y_numeric=True, ensure_min_samples=2)
    return matrix, np.ascontiguousarray(response, dtype=np.float64)


def check_design(estimator: Any, X: Any) -> FloatArray:
    """X (n, d) as finite float64, C-contiguous; sets ``n_features_in_`` and ``feature_names_in_``.

    Raises
    ------
    InvalidData
        NaN, infinity, fewer than two rows, complex numbers.
    TypeError
        Strings, dates, sparse matrices.
    """
    _refuse_text("X", X)
    matrix: FloatArray = _validated(estimator, X, ensure_min_samples=2)
    return matrix


def check_features(estimator: Any, X: Any, **options: Any) -> FloatArray:
    """X (m, d) for a prediction: as many columns as in ``fit``, of the same names; options of ``validate_data``."""
    _refuse_text("X", X)
    matrix: FloatArray = _validated(estimator, X, reset=False, **options)
    return matrix


def _validated(estimator: Any, X: Any, **options: Any) -> Any:
    try:
        return validate_data(estimator, X, dtype=np.float64, order="C", **options)
    except ValueError as error:
        words = str(error)
        finite = " Data must be finite." if "NaN" in words or "infinity" in words else ""
        raise InvalidData(words + finite) from error


def _refuse_text(name: str, data: Any) -> None:
    """scikit-learn would read numbers out of text, and dates as numbers."""
    kind = getattr(getattr(data, "dtype", None), "kind", "f")
    if kind in "USMm":
        raise TypeError(f"{name} must hold real numbers, got dtype {data.dtype}")
