"""Staggered treatment: when each unit was first treated, and what was observed of it in which period.

A unit may be observed in several periods (a panel) or in one (repeated cross sections, ``_sections.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._panel_data import codes_of, read_columns, read_weights, sample_name
from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData

__all__ = ["Long", "Part", "Rows", "Staggered", "StaggeredPanel", "constant_within", "read_rows", "read_staggered"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """Units observed alike, among whom the treated of a cell are compared with its controls.

    Attributes
    ----------
    key : tuple of int
        Places of the periods that the values come from.
    sign : float
        With which the comparison enters the effect.
    seen : ndarray of bool, shape (n,)
    values : ndarray, shape (n,)
        What is compared: anything where not seen.
    """

    key: tuple[int, ...]
    sign: float
    seen: BoolArray
    values: FloatArray


@dataclass(frozen=True)
class Long:
    """One entry an observation, (m,): outcome, code of what has an effect of its own, places of period and unit."""

    y: FloatArray
    fixed: IntArray
    period: IntArray
    unit: IntArray


@dataclass(frozen=True)
class Staggered:
    """Units and when they were first treated, periods in the order of time.

    Attributes
    ----------
    first : ndarray, shape (n,)
        When treatment began, on the clock; infinity for never.
    clock : ndarray, shape (T,)
        Time as numbers, or places in the order of time where it is dates or labels.
    periods : tuple of str
    units : tuple
        Labels.
    cluster : ndarray of int, shape (n,)
    weights : ndarray, shape (n,)
        Of mean 1.
    covariates : tuple of str
    n_dropped : int
        Units that were treated from their first period on.
    sample_id : str
    """

    first: FloatArray
    clock: FloatArray
    periods: tuple[str, ...]
    units: tuple[Any, ...]
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

    @property
    def together(self) -> IntArray:
        """Codes (n,) of units that must not be split between training and prediction."""
        return np.arange(len(self.first))

    def parts(self, period: int, base: int) -> tuple[Part, ...]:
        """What tells of the change between two periods."""
        raise TypeError(f"{type(self).__name__} must define parts")

    def covariates_at(self, base: int) -> FloatArray:
        """Covariates for comparisons with a base period, (n, p); 0 where not observed."""
        raise TypeError(f"{type(self).__name__} must define covariates_at")

    def long(self) -> Long:
        """All observations."""
        raise TypeError(f"{type(self).__name__} must define long")


@dataclass(frozen=True)
class StaggeredPanel(Staggered):
    """Units in the order of their codes, a column a period.

    Attributes
    ----------
    Y : ndarray, shape (n, T)
        NaN where a unit was not observed.
    X : ndarray, shape (n, T, p)
    """

    Y: FloatArray
    X: FloatArray

    def parts(self, period: int, base: int) -> tuple[Part, ...]:
        """The change of the units observed in both periods."""
        change = self.Y[:, period] - self.Y[:, base]
        return (Part((period, base), 1.0, np.isfinite(change), change),)

    def covariates_at(self, base: int) -> FloatArray:
        """Those of the base period, so that none is later than the treatment."""
        X = self.X[:, base]
        return np.where(np.isfinite(X), X, 0.0)

    def long(self) -> Long:
        """Units have effects of their own."""
        unit, period = np.nonzero(np.isfinite(self.Y))
        return Long(self.Y[unit, period], unit, period, unit)


@dataclass(frozen=True)
class Rows:
    """Data as they came, checked: a row an observation.

    Attributes
    ----------
    y : ndarray, shape (m,)
    X : ndarray, shape (m, p)
    period : ndarray of int, shape (m,)
    first, weights : ndarray, shape (m,)
    cluster : ndarray of int, shape (m,), or None
    clock, periods, covariates
        As in :class:`Staggered`.
    """

    y: FloatArray
    X: FloatArray
    period: IntArray
    first: FloatArray
    weights: FloatArray
    cluster: IntArray | None
    clock: FloatArray
    periods: tuple[str, ...]
    covariates: tuple[str, ...]

    def refuse_untreated(self, first: FloatArray) -> None:
        """Refuse units left over, first treated when ``first`` says, if nobody's treatment begins in sight."""
        if not (first <= self.clock[-1]).any():
            raise InvalidData("first_treated must hold units that are first treated after the first period, got none")


def read_rows(y: Any, X: Any, *, time: Any, first_treated: Any, weights: Any, cluster: Any) -> Rows:
    """Check the columns.

    Raises
    ------
    InvalidData
        NaN or infinity, columns of different lengths.
    TypeError
        Columns that hold no numbers.
    """
    outcome = check_array("y", y, 1)
    m = len(outcome)
    covariates, names, _ = read_columns("X", X, m, "x")
    if not np.isfinite(covariates).all():
        raise InvalidData("X must be finite, got NaN or infinity")
    period, labels = codes_of("time", time, m)
    clock, began = _read_clock(time, first_treated, period, m)
    return Rows(
        y=outcome, X=covariates, period=period, first=began, weights=read_weights(weights, m),
        cluster=None if cluster is None else codes_of("cluster", cluster, m)[0], clock=clock,
        # Years that came as 2004.0 are years.
        periods=tuple(str(label).removesuffix(".0") for label in labels), covariates=names,
    )  # fmt: skip


def read_staggered(rows: Rows, unit: Any) -> StaggeredPanel:
    """Reshape.

    Raises
    ------
    InvalidData
        Repeated (unit, time) pairs, a first treatment, weight or cluster that differs within a unit, no unit that is
        ever treated.
    """
    codes, units = codes_of("unit", unit, len(rows.y))
    n, n_periods = len(units), len(rows.periods)
    if len(np.unique(codes * n_periods + rows.period)) < len(rows.y):
        raise InvalidData("unit and time must name each row once, got repeated pairs")
    Y = np.full((n, n_periods), np.nan)
    Y[codes, rows.period] = rows.y
    X = np.full((n, n_periods, rows.X.shape[1]), np.nan)
    X[codes, rows.period] = rows.X
    first = constant_within("first_treated", rows.first, codes, n)
    weights = constant_within("weights", rows.weights, codes, n)
    cluster = np.arange(n) if rows.cluster is None else constant_within("cluster", rows.cluster, codes, n)
    # Whoever was treated when first seen has no base period.
    kept = first > rows.clock[np.argmax(np.isfinite(Y), axis=1)]
    rows.refuse_untreated(first[kept])
    return StaggeredPanel(
        Y=Y[kept], X=X[kept], first=first[kept], clock=rows.clock, periods=rows.periods,
        units=tuple(np.array([str(label) for label in units])[kept]), cluster=cluster[kept],
        weights=weights[kept] / weights[kept].mean(), covariates=rows.covariates, n_dropped=int((~kept).sum()),
        sample_id=sample_name(rows.y, codes, rows.period),
    )  # fmt: skip


def constant_within(name: str, values: NDArray[Any], codes: IntArray, n: int) -> NDArray[Any]:
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
