"""Weighted sums of group-time effects, with the error of the weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData

__all__ = ["AGGREGATIONS", "combine"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

AGGREGATIONS = ("simple", "dynamic", "group", "calendar")


def combine(
    how: str,
    theta: FloatArray,
    influence: FloatArray,
    group: FloatArray,
    time: FloatArray,
    first: FloatArray,
    balance_e: int | None,
) -> tuple[FloatArray, FloatArray, list[str], FloatArray]:
    """Values, influences (N, k), names, and labels of what an aggregation reports; the last is the overall mean.

    Parameters
    ----------
    how : str
    theta : ndarray, shape (q,)
        Effects of the cells.
    influence : ndarray, shape (N, q)
    group, time : ndarray, shape (q,)
    first : ndarray, shape (N,)
        First treated period of each unit.
    balance_e : int or None
    """
    after = time >= group
    if how == "simple":
        value, column = _mean(after, theta, influence, group, first)
        return np.array([value]), column[:, None], ["overall"], np.array([np.nan])
    label = {"dynamic": time - group, "group": group, "calendar": time}[how]
    used = np.ones(len(theta), dtype=bool) if how == "dynamic" else after
    if how == "dynamic" and balance_e is not None:
        long_enough = [g for g in np.unique(group) if (time[group == g] - g).max() >= balance_e]
        used = np.isin(group, long_enough) & (label <= balance_e)
    if not (used & after).any():
        raise InvalidData("aggregate wants cells after treatment, got none")
    labels = np.unique(label[used])
    found = [_mean(used & (label == one), theta, influence, group, first) for one in labels]
    values, columns = np.array([v for v, _ in found]), np.column_stack([c for _, c in found])
    if how == "group":
        sizes = np.array([np.mean(first == g) for g in labels])
        overall, column = _weighted(values, columns, sizes, labels, first)
    else:
        post = labels >= 0 if how == "dynamic" else np.ones(len(labels), dtype=bool)
        overall, column = float(values[post].mean()), columns[:, post].mean(axis=1)
    word = {"dynamic": "e = ", "group": "group ", "calendar": "time "}[how]
    names = [f"{word}{one:g}" for one in labels]
    return np.r_[values, overall], np.column_stack([columns, column]), [*names, "overall"], np.r_[labels, np.nan]


def _mean(
    cells: BoolArray, theta: FloatArray, influence: FloatArray, group: FloatArray, first: FloatArray
) -> tuple[float, FloatArray]:
    """Mean over cells, weighted by the sizes of their groups."""
    groups = group[cells]
    sizes = np.array([np.mean(first == g) for g in groups])
    return _weighted(theta[cells], influence[:, cells], sizes, groups, first)


def _weighted(
    values: FloatArray, columns: FloatArray, sizes: FloatArray, groups: FloatArray, first: FloatArray
) -> tuple[float, FloatArray]:
    """Sum p_k a_k / S and its influence: that of the values, and that of the estimated sizes p_k."""
    total = sizes.sum()
    value = float(sizes @ values / total)
    deviations = (first[:, None] == groups) - sizes
    return value, columns @ sizes / total + deviations @ (values - value) / total
