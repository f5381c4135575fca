"""Averages of group-time effects: over all of them, by time since treatment, by cohort, by period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "Averages", "Effects", "Exposed", "average"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
KINDS = ("simple", "dynamic", "group", "calendar")


@dataclass(frozen=True)
class Averages:
    """Values (k,) and influence (n, k); the first is the overall one, the others have labels on the clock."""

    values: FloatArray
    influence: FloatArray
    labels: FloatArray


@dataclass(frozen=True)
class Effects:
    """Group-time effects a (J,), their influence (n, J), group and time of each, and the units' groups and weights."""

    a: FloatArray
    influence: FloatArray
    group: FloatArray
    time: FloatArray
    first: FloatArray
    weights: FloatArray

    def mean(self, cells: BoolArray) -> tuple[float, FloatArray]:
        """Mean of some cells, each with the share of its cohort as weight; those shares are estimates, too."""
        member = self.weights[:, None] * (self.first[:, None] == self.group[cells])
        share = member.mean(axis=0)
        total, centred = share.sum(), member - share
        of_weights = centred / total - np.outer(centred.sum(axis=1), share) / total**2
        value = self.a[cells] @ (share / total)
        return float(value), self.influence[:, cells] @ (share / total) + of_weights @ self.a[cells]

    def plain_mean(self, cells: BoolArray) -> tuple[float, FloatArray]:
        """Mean of some cells with equal weights."""
        return float(self.a[cells].mean()), self.influence[:, cells].mean(axis=1)


@dataclass(frozen=True)
class Exposed:
    """Effects theta that confounding could move by its strength times S.

    Attributes
    ----------
    names : tuple of str
    theta, scale : ndarray, shape (q,)
    cov : ndarray, shape (q, 2, 2)
        Of theta and S.
    """

    names: tuple[str, ...]
    theta: FloatArray
    scale: FloatArray
    cov: FloatArray


def average(effects: Effects, kind: str, post: BoolArray, balance_e: float | None, horizon: float) -> Averages:
    """Callaway and Sant'Anna (2021), section 3.

    Parameters
    ----------
    effects : Effects
    kind : {"simple", "dynamic", "group", "calendar"}
    post : ndarray of bool, shape (J,)
        Cells after the beginning of treatment.
    balance_e : float or None
        For "dynamic": only cohorts observed for so long after treatment, and no later times.
    horizon : float
        Last period on the clock.
    """
    if kind == "simple":
        value, influence = effects.mean(post)
        return Averages(np.array([value]), influence[:, None], np.empty(0))
    since = effects.time - effects.group
    used = np.ones(len(since), dtype=bool) if kind == "dynamic" else post
    if kind == "dynamic" and balance_e is not None:
        used = (since <= balance_e) & (effects.group + balance_e <= horizon)
    by = {"dynamic": since, "group": effects.group, "calendar": effects.time}[kind]
    labels = np.unique(by[used])
    mean = effects.plain_mean if kind == "group" else effects.mean
    found = [mean(used & (by == label)) for label in labels]
    values, parts = np.array([value for value, _ in found]), np.column_stack([part for _, part in found])
    if kind == "group":
        # Cohorts count by their shares, like cells that hold a cohort's mean.
        cohorts = Effects(values, parts, labels, labels, effects.first, effects.weights)
        overall, influence = cohorts.mean(np.ones(len(labels), dtype=bool))
    else:
        counted = labels >= 0 if kind == "dynamic" else np.ones(len(labels), dtype=bool)
        overall, influence = float(values[counted].mean()), parts[:, counted].mean(axis=1)
    return Averages(np.append(overall, values), np.column_stack([influence, parts]), labels)
