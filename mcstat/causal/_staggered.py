"""Panels of staggered treatment: a row a unit, a column a period, and when each unit was first treated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._panel_data import codes_of, read_columns, read_weights, sample_name
from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData

__all__ = ["Staggered", "read_staggered"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Staggered:
    """Units in the order of their codes, periods in the order of time.

    Attributes
    ----------
    Y : ndarray, shape (n, T)
        NaN where a unit was not observed.
    X : ndarray, shape (n, T, p)
    first : ndarray, shape (n,)
        When treatment began, on the clock; infinity for never.
    clock : ndarray, shape (T,)
        Time as numbers, or places in the order of time where it is dates or labels.
    periods, units : tuple of str
    cluster : ndarray of int, shape (n,)
    weights : ndarray, shape (n,)
        Of mean 1.
    covariates : tuple of str
    n_dropped : int
        Units that were treated from their first period on.
    sample_id : str
    """

    Y: FloatArray
    X: FloatArray
    first: FloatArray
    clock: FloatArray
    periods: tuple[str, ...]
    units: tuple[str, ...]
    cluster: IntArray
    weights: FloatArray
    covariates: tuple[str, ...]
    n_dropped: int
    sample_id: str

    @property
    def cohorts(self) -> FloatArray:
        """Times at which some unit was first treated, and observed to be, (g,)."""
        return np.unique(self.first[self.first <= self.clock[-1]])

    def label(self, time: float) -> str:
        """A time of the clock as the user wrote it."""
        at = np.flatnonzero(self.clock == time)
        return self.periods[int(at[0])] if len(at) else f"{time:g}"


def read_staggered(
    y: Any, X: Any, *, unit: Any, time: Any, first_treated: Any, weights: Any, cluster: Any
) -> Staggered:
    """Check and reshape.

    Raises
    ------
    InvalidData
        NaN or infinity, columns of different lengths, repeated (unit, time) pairs, a first treatment, weight or cluster
        that differs within a unit, no unit that is ever treated.
    TypeError
        Columns that hold no numbers.
    """
    outcome = check_array("y", y, 1)
    n_rows = len(outcome)
    covariates, names, _ = read_columns("X", X, n_rows, "x")
    if not np.isfinite(covariates).all():
        raise InvalidData("X must be finite, got NaN or infinity")
    codes, units = codes_of("unit", unit, n_rows)
    period, labels = codes_of("time", time, n_rows)
    # Years that came as 2004.0 are years.
    periods = tuple(str(label).removesuffix(".0") for label in labels)
    if len(np.unique(codes * len(periods) + period)) < n_rows:
        raise InvalidData("unit and time must name each row once, got repeated pairs")
    clock, began = _read_clock(time, first_treated, period, n_rows)
    per_unit: dict[str, NDArray[Any]] = {"first_treated": began, "weights": read_weights(weights, n_rows)}
    per_unit["cluster"] = codes if cluster is None else codes_of("cluster", cluster, n_rows)[0]
    n, n_periods = len(units), len(periods)
    Y = np.full((n, n_periods), np.nan)
    Y[codes, period] = outcome
    wide = np.full((n, n_periods, covariates.shape[1]), np.nan)
    wide[codes, period] = covariates
    found = {name: _constant(name, values, codes, n) for name, values in per_unit.items()}
    first = found["first_treated"]
    # Whoever was treated when first seen has no base period.
    start = clock[np.argmax(np.isfinite(Y), axis=1)]
    kept = first > start
    if not np.isfinite(first[kept]).any() or not (first[kept] <= clock[-1]).any():
        raise InvalidData("first_treated must hold units that are first treated after the first period, got none")
    return Staggered(
        Y=Y[kept], X=wide[kept], first=first[kept], clock=clock, periods=periods,
        units=tuple(np.array([str(label) for label in units])[kept]), cluster=found["cluster"][kept].astype(np.int64),
        weights=found["weights"][kept] / found["weights"][kept].mean(), covariates=names,
        n_dropped=int((~kept).sum()), sample_id=sample_name(outcome, codes, period),
    )  # fmt: skip


def _constant(name: str, values: NDArray[Any], codes: IntArray, n: int) -> NDArray[Any]:
    """One value a unit, (n,)."""
    first_row = np.full(n, len(codes), dtype=np.intp)
    np.minimum.at(first_row, codes, np.arange(len(codes)))
    chosen = values[first_row]
    if not np.array_equal(chosen[codes], values):
        raise InvalidData(f"{name} must not change within a unit, and does in row {np.argmax(chosen[codes] != values)}")
    return np.asarray(chosen)


def _read_clock(time: Any, first_treated: Any, period: IntArray, n_rows: int) -> tuple[FloatArray, FloatArray]:
    """Time of each period (T,), and when each row's unit was first treated (n_rows,), infinity for never."""
    import pandas as pd

    times = np.asarray(time)
    began = np.asarray(first_treated)
    if began.shape != (n_rows,):
        raise InvalidData(f"first_treated must have one entry a row, ({n_rows},), got shape {began.shape}")
    n_periods = int(period.max()) + 1
    if times.dtype.kind in "fiub" and began.dtype.kind in "fiub":
        clock = np.empty(n_periods)
        clock[period] = times
        start = began.astype(np.float64)
        never = np.isnan(start) | (start == np.inf)
        if clock[0] > 0:
            never |= start == 0
        if np.isneginf(start).any():
            raise InvalidData("first_treated must be a time, or infinity, NaN or 0 for never, got -infinity")
        return clock, np.where(never, np.inf, start)
    # Dates and labels: places in the order of time; a date between two periods begins with the later one.
    order = pd.Index(pd.Series(times).drop_duplicates()).sort_values()
    never = pd.isna(pd.Series(began)).to_numpy()
    places = np.full(n_rows, np.inf)
    try:
        places[~never] = order.searchsorted(pd.Index(began[~never]))
    except TypeError as error:
        raise InvalidData(
            f"first_treated must be of the same kind as time, got {began.dtype}, {times.dtype}"
        ) from error
    places[places >= n_periods] = np.inf
    return np.arange(n_periods, dtype=np.float64), places
