"""Panels for difference in differences: outcomes as a table of units by periods, and who is treated when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._panel_data import Panel, read_panel
from mcstat.core.errors import InvalidData

__all__ = ["Staggered", "read_staggered"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Staggered:
    """Outcomes and covariates of N units in T periods.

    Attributes
    ----------
    Y : ndarray, shape (N, T)
        NaN where a unit is not observed.
    X : ndarray, shape (N, T, J)
    first : ndarray, shape (N,)
        First treated period, infinite for the never treated.
    times : ndarray, shape (T,)
        Ascending.
    cluster : ndarray of int, shape (N,)
    covariates : tuple of str
    named : bool
    sample_id : str
    notes : list of str
        Warnings.
    """

    Y: FloatArray
    X: FloatArray
    first: FloatArray
    times: FloatArray
    cluster: IntArray
    covariates: tuple[str, ...]
    named: bool
    sample_id: str
    notes: list[str]


def read_staggered(y: Any, X: Any, *, unit: Any, time: Any, first_treated: Any, cluster: Any) -> Staggered:
    """Check and pivot; units treated in the first period are dropped.

    Raises
    ------
    InvalidData
        NaN, repeated (unit, time) pairs, first_treated or cluster that changes within a unit, nobody treated.
    """
    n = len(y) if hasattr(y, "__len__") else 0
    first = _first_periods(first_treated, n)
    panel = read_panel(
        y, np.zeros(n), X, unit=unit, time=time, z=None, weights=None, cluster=cluster, groups=None, missing="raise"
    )
    if panel.clock is None:
        raise InvalidData("time must hold numbers or dates: differences want to know what comes before")
    times = np.unique(panel.clock)
    shape = (panel.n_units, len(times))
    Y, covariates = np.full(shape, np.nan), np.full((*shape, panel.X.shape[1]), np.nan)
    Y[panel.unit, panel.period], covariates[panel.unit, panel.period] = panel.y, panel.X
    of_unit = _constant_within("first_treated", first, panel)
    clusters = _constant_within("cluster", panel.cluster.astype(np.float64), panel).astype(np.int64)
    early = of_unit <= times[0]
    notes = [f"{int(early.sum())} unit(s) treated from the first period on were dropped"] if early.any() else []
    kept = ~early
    if not np.isfinite(of_unit[kept]).any():
        raise InvalidData("first_treated must name a period after the first one for some units, got none")
    return Staggered(
        Y[kept], covariates[kept], of_unit[kept], times, clusters[kept], panel.covariates, panel.named,
        panel.sample_id, notes,
    )  # fmt: skip


def _first_periods(first_treated: Any, n: int) -> FloatArray:
    """Numbers; 0, NaN and infinity are the never treated."""
    values = np.asarray(first_treated)
    if values.shape != (n,) or values.dtype.kind not in "fiub":
        raise InvalidData(f"first_treated must hold one number a row, ({n},), 0 or NaN for never, got {values.shape}")
    first = values.astype(np.float64)
    return np.where(np.isnan(first) | (first == 0), np.inf, first)


def _constant_within(name: str, values: FloatArray, panel: Panel) -> FloatArray:
    """One value a unit."""
    out = np.empty(panel.n_units)
    out[panel.unit] = values
    changed = out[panel.unit] != values
    if changed.any():
        raise InvalidData(f"{name} must not change within a unit, got changes in {int(changed.sum())} row(s)")
    return out
