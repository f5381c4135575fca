"""Data frames go in where arrays do; their column names come out in the Estimate.

narwhals reads pandas, polars and pyarrow alike, so no room knows which of them a user has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_array, check_finite, frozen_view
from mcstat.core.errors import InvalidData

__all__ = ["as_matrix"]


def as_matrix(name: str, data: Any, *, finite: bool = True) -> tuple[NDArray[np.float64], tuple[str, ...] | None]:
    """Turn a matrix or data frame into the one kind of array that kernels take, and its column names.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    data : array_like of shape (n, d), or data frame
        NumPy array, nested lists, or a pandas, polars or pyarrow table with numeric or boolean columns.
    finite : bool
        False lets NaN, infinity and missing values (as NaN) through.

    Returns
    -------
    matrix : ndarray of shape (n, d)
        float64, C-contiguous and read-only. Shares the memory of ``data`` where that already is so.
    names : tuple of str or None
        Column names where the input has them and all are strings.

    Raises
    ------
    InvalidData
        Duplicate column names; NaN, infinity or a missing value.
    TypeError
        A column without numbers, a lazy frame, a sparse or masked array.
    """
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import DuplicateError

    try:
        frame = nw.from_native(data, pass_through=True)
    except DuplicateError as error:
        raise InvalidData(f"{name} must have unique column names. {error}") from error
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(f"{name} must hold its data in memory, got a lazy frame; call .collect() first")
    if not isinstance(frame, nw.DataFrame):
        return frozen_view(check_array(name, data, 2, finite=finite)), None

    matrix = np.empty(frame.shape)
    for j, (column, dtype) in enumerate(frame.schema.items()):
        if not (dtype.is_numeric() or dtype == nw.Boolean):
            raise TypeError(f"{name} must hold numbers, got column {column!r} of type {dtype}")
        values = frame.get_column(column).cast(nw.Float64).to_numpy()
        matrix[:, j] = np.asarray(values, dtype=np.float64)
        if finite:
            check_finite(f"{name}[{column!r}]", matrix[:, j])
    names = tuple(frame.columns)
    return frozen_view(matrix), names if all(isinstance(column, str) for column in names) else None
