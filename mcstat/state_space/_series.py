"""Observations in any of the forms that users have them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData
from mcstat.state_space._model import Model

__all__ = ["named_series", "next_rows"]

FloatArray = NDArray[np.float64]


def named_series(model: Model, y: Any, group: str | None) -> dict[str, FloatArray]:
    """Clean series (T, p) by name: one array, a list or mapping of arrays, or a long table with a column of groups."""
    if group is not None:
        return _of_table(model, y, group)
    if isinstance(y, Mapping):
        return {str(key): model.clean(value, f"y[{key!r}]") for key, value in _some(y).items()}
    if isinstance(y, (list, tuple)) and len(y) > 0 and all(getattr(part, "ndim", 0) > 0 for part in y):
        return {f"y[{k}]": model.clean(part, f"y[{k}]") for k, part in enumerate(y)}
    return {"y": model.clean(y)}


def _some(y: Mapping[Any, Any]) -> Mapping[Any, Any]:
    if not y:
        raise InvalidData("y must hold at least one series, got an empty mapping")
    return y


def _of_table(model: Model, table: Any, group: str) -> dict[str, FloatArray]:
    """One series for each value of column ``group``, in order of first appearance; rows stay in their order."""
    import narwhals.stable.v2 as nw

    frame = nw.from_native(table, eager_only=True)
    if group not in frame.columns:
        raise InvalidData(f"y must have the column {group!r} that group names, got columns {frame.columns}")
    keys, values = frame.get_column(group).to_list(), frame.drop(group)
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return {str(key): model.clean(values[where].to_numpy(), f"y of {group} {key!r}") for key, where in rows.items()}


def next_rows(model: Model, y: Any) -> FloatArray:
    """What ``partial_fit`` gets: one observation, a number or (p,), or several of them."""
    p = model.dims[2]
    array = np.asarray(y)
    if array.ndim == 0 or (array.ndim == 1 and p > 1):
        array = array.reshape(1, -1)
    return model.clean(array)
