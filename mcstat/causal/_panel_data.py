"""Panels as they come in: arrays, data frames with column names, frames indexed by (entity, time)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_array, check_option
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.frames import as_matrix

__all__ = ["Panel", "codes_of", "read_columns", "read_panel", "read_weights", "sample_name"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_SHOWN = 5
# Integer labels from a range at most so many times their number are coded by counting.
_DENSE = 4


@dataclass(frozen=True)
class Panel:
    """Rows without gaps in them, units and periods as codes.

    Attributes
    ----------
    y, D, X, Z : ndarray, shapes (n,), (n, q), (n, J), (n, r) or None
    unit, period : ndarray of int, shape (n,)
        Periods in the order of time.
    clock : ndarray, shape (n,), or None
        Time as numbers, None where it is labels.
    step : float
        Smallest difference between periods.
    weights : ndarray, shape (n,)
    cluster : ndarray of int, shape (n,)
    group : ndarray of int, shape (n,), or None
    group_labels : tuple of str
    rows : ndarray of int, shape (n,)
        Places in the input.
    n_input : int
    all_clusters : ndarray of int, shape (n_input,)
    treatments, covariates, instruments : tuple of str
    named : bool
        Whether covariates came with names.
    sample_id : str
    """

    y: FloatArray
    D: FloatArray
    X: FloatArray
    Z: FloatArray | None
    unit: IntArray
    period: IntArray
    clock: FloatArray | None
    step: float
    weights: FloatArray
    cluster: IntArray
    group: IntArray | None
    group_labels: tuple[str, ...]
    rows: IntArray
    n_input: int
    all_clusters: IntArray
    treatments: tuple[str, ...]
    covariates: tuple[str, ...]
    named: bool
    sample_id: str

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def n_units(self) -> int:
        """Number of units, those without rows left included."""
        return int(self.unit.max()) + 1

    def take(self, rows: IntArray) -> Panel:
        """Some of the rows, given in increasing order; units coded anew."""
        if len(rows) == self.n:
            return self
        part: dict[str, Any] = {
            name: None if (value := getattr(self, name)) is None else value[rows]
            for name in ("y", "D", "X", "Z", "period", "clock", "weights", "cluster", "group", "rows")
        }
        return replace(self, **part, unit=np.unique(self.unit[rows], return_inverse=True)[1].astype(np.int64))


def read_panel(
    y: Any, d: Any, X: Any, *, unit: Any, time: Any, z: Any, weights: Any, cluster: Any, groups: Any, missing: str
) -> Panel:
    """Check and code a panel.

    Raises
    ------
    InvalidData
        NaN or infinity (unless ``missing="drop"``), columns of different lengths, repeated (unit, time) pairs.
    TypeError
        Columns that hold no numbers.
    """
    check_option("missing", missing, ("raise", "drop"))
    if unit is None or time is None:
        unit, time = _from_index(y, d, X)
    outcome = check_array("y", y, 1, finite=False)
    n = len(outcome)
    D, treatments, _ = read_columns("d", d, n, "d")
    covariates, names, named = read_columns("X", X, n, "x")
    Z, instruments, _ = (None, (), False) if z is None else read_columns("z", z, n, "z")
    w = read_weights(weights, n)
    unit_codes, _ = codes_of("unit", unit, n)
    period, clock, step = _read_time(time, n)
    cluster_codes = unit_codes if cluster is None else codes_of("cluster", cluster, n)[0]
    group, labels = (None, ()) if groups is None else codes_of("groups", groups, n)
    columns = [("y", outcome[:, None], ("y",)), ("d", D, treatments), ("X", covariates, names)]
    columns += [] if Z is None else [("z", Z, instruments)]
    kept = _finite_rows(columns, missing)
    _refuse_repeats(unit_codes[kept], period[kept], kept)
    panel = Panel(
        y=outcome, D=D, X=covariates, Z=Z, unit=unit_codes, period=period, clock=clock, step=step, weights=w,
        cluster=cluster_codes, group=group, group_labels=tuple(str(label) for label in labels),
        rows=np.arange(n), n_input=n,
        all_clusters=cluster_codes, treatments=treatments, covariates=names, named=named,
        sample_id=sample_name(outcome, unit_codes * (int(period.max()) + 1) + period),
    )  # fmt: skip
    return panel.take(kept)


def read_columns(name: str, data: Any, n: int, letter: str) -> tuple[FloatArray, tuple[str, ...], bool]:
    """A matrix (n, k) that may hold NaN, its names, and whether they came with it."""
    if data is None:
        if name != "X":
            raise TypeError(f"{name} must hold numbers, got None")
        return np.zeros((n, 0)), (), False
    shape = getattr(data, "shape", None)
    if len(np.shape(data) if shape is None else shape) == 1:
        label = getattr(data, "name", None)
        matrix = check_array(name, data, 1, finite=False)[:, None]
        names: tuple[str, ...] | None = (label,) if isinstance(label, str) and label else None
    else:
        matrix, names = as_matrix(name, data, finite=False)
    if len(matrix) != n:
        raise InvalidData(f"{name} must have as many rows as y, {n}, got {len(matrix)}")
    k = matrix.shape[1]
    default = (letter,) if k == 1 and letter != "x" else tuple(f"{letter}{j + 1}" for j in range(k))
    return matrix, names or default, names is not None


def read_weights(weights: Any, n: int) -> FloatArray:
    """Weights of rows, ones by default."""
    if weights is None:
        return np.ones(n)
    w = check_array("weights", weights, 1)
    if len(w) != n or np.any(w < 0) or not np.any(w > 0):
        raise InvalidData(f"weights must be {n} numbers >= 0, not all of them 0, got {len(w)} with minimum {w.min()}")
    return w


def codes_of(name: str, labels: Any, n: int) -> tuple[IntArray, Any]:
    """Codes 0, 1, ... of labels in their order, and the labels."""
    import pandas as pd

    if labels is None:
        raise InvalidData(f"{name} must be given")
    values = labels if isinstance(labels, (pd.Series, pd.Index, pd.Categorical)) else np.asarray(labels)
    if getattr(values, "ndim", 1) != 1 or len(values) != n:
        raise InvalidData(f"{name} must have one entry a row, ({n},), got shape {np.shape(labels)}")
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        values = values.astype(values.dtype.newbyteorder("="))
        values = values.astype(np.float64) if values.dtype.itemsize > 8 else values
    if isinstance(values, np.ndarray) and values.dtype.kind == "c":
        raise TypeError(f"{name} must hold labels, got complex numbers")
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and n:
        low, high = int(values.min()), int(values.max())
        if high - low <= _DENSE * n:
            return _dense_codes((values - values.dtype.type(low)).astype(np.int64, copy=False), low)
    codes, found = pd.factorize(values, sort=True, use_na_sentinel=True)
    if np.any(codes < 0) or (isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.isinf(values).any()):
        raise InvalidData(f"{name} must be finite and not missing, got {int(np.sum(codes < 0))} missing label(s)")
    return codes.astype(np.int64, copy=False), found


def _dense_codes(values: IntArray, low: int) -> tuple[IntArray, IntArray]:
    """The same for integers from a range that is not much longer than they are, many times faster."""
    seen = np.bincount(values) > 0
    codes = values if seen.all() else (np.cumsum(seen) - 1)[values]
    return codes, np.flatnonzero(seen) + low


def sample_name(*columns: NDArray[Any]) -> str:
    """A name that samples share exactly if they hold the same rows."""
    # Processors have instructions for this one: three times as fast as blake2b.
    digest = sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column).view(np.uint8).data)
    return digest.hexdigest()[:16]


def _from_index(y: Any, d: Any, X: Any) -> tuple[Any, Any]:
    """Unit and time from a (entity, time) index, as linearmodels has it."""
    for data in (y, X, d):
        if getattr(getattr(data, "index", None), "nlevels", 1) == 2:
            return data.index.get_level_values(0), data.index.get_level_values(1)
    raise InvalidData("unit and time must be given, unless y or X has a (unit, time) index")


def _read_time(time: Any, n: int) -> tuple[IntArray, FloatArray | None, float]:
    """Codes of periods in order, time as numbers, and the smallest step."""
    period, _ = codes_of("time", time, n)
    clock = _clock(time)
    if clock is None:
        return period, None, np.nan
    seen = np.empty(int(period.max()) + 1)
    seen[period] = clock
    return period, clock, float(np.diff(np.sort(seen)).min()) if len(seen) > 1 else 1.0


def _clock(time: Any) -> FloatArray | None:
    """Numbers as they are; dates as months where all fall on one day of the month, else as days."""
    import pandas as pd

    if isinstance(getattr(time, "dtype", None), pd.PeriodDtype):
        return np.asarray(pd.PeriodIndex(time).asi8, dtype=np.float64)
    values = np.asarray(time)
    if values.dtype.kind == "M":
        dates = pd.DatetimeIndex(values)
        if dates.day.nunique() == 1 and (dates.normalize() == dates).all():
            return np.asarray(12 * dates.year + dates.month, dtype=np.float64)
        return np.asarray((dates - dates[0]) / pd.Timedelta(days=1), dtype=np.float64)
    if values.dtype.kind in "fiub":
        return values.astype(np.float64)
    return None


def _finite_rows(columns: Sequence[tuple[str, FloatArray, tuple[str, ...]]], missing: str) -> IntArray:
    bad_rows = np.zeros(len(columns[0][1]), dtype=bool)
    bad_columns = []
    for name, matrix, labels in columns:
        bad = ~np.isfinite(matrix)
        if bad.any():
            bad_rows |= bad.any(axis=1)
            bad_columns += [name if name == "y" else f"{name}[{labels[j]!r}]" for j in np.flatnonzero(bad.any(axis=0))]
    if bad_columns and missing == "raise":
        raise InvalidData(
            f"{', '.join(bad_columns)} must be finite, got NaN or infinity in {int(bad_rows.sum())} row(s); "
            "missing='drop' leaves these rows out"
        )
    if bad_rows.all():
        raise InvalidData(f"every row has NaN or infinity in {', '.join(bad_columns)}")
    return np.flatnonzero(~bad_rows)


def _refuse_repeats(unit: IntArray, period: IntArray, rows: IntArray) -> None:
    key = unit * (int(period.max()) + 1) + period
    if key.max() <= _DENSE * len(key) and np.bincount(key).max() == 1:
        return
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(np.diff(key[order]) == 0)
    if len(again):
        shown = [f"{rows[order[i]]} and {rows[order[i + 1]]}" for i in again[:_SHOWN]]
        raise InvalidData(
            f"unit and time must name each row once, got {len(again)} repeated pair(s), the first in rows "
            f"{', '.join(shown)}"
        )


def from_frame(data: Any, outcome: str, treatment: Any, covariates: Any, **others: Any) -> dict[str, Any]:
    """Columns of a data frame by their names, as arguments of ``fit``."""
    import narwhals.stable.v2 as nw

    frame = nw.from_native(data, eager_only=True)
    wanted = {"y": outcome, "d": treatment, "X": list(covariates or [])} | others
    used = [
        name
        for value in wanted.values()
        if value is not None
        for name in ([value] if isinstance(value, str) else value)
    ]
    unknown = [name for name in used if name not in frame.columns]
    if unknown or outcome is None or treatment is None:
        raise InvalidParameter(
            f"data must have the columns that outcome, treatment and others name, not found: "
            f"{list(dict.fromkeys(unknown))} among {frame.columns}"
        )
    found: dict[str, Any] = {}
    for name, value in wanted.items():
        if value is None:
            found[name] = None
        elif isinstance(value, str):
            found[name] = frame.get_column(value).to_native()
        else:
            found[name] = frame.select(list(value)).to_native() if len(value) else None
    return found
