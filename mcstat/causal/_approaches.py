"""What each approach to unit effects makes of a panel before the learners see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._absorbed import beside_groups, group_means, within_groups
from mcstat.causal._learners import Design
from mcstat.causal._panel_data import Panel
from mcstat.core.errors import InvalidData, InvalidParameter

__all__ = ["APPROACHES", "TIME_EFFECTS", "Prepared", "prepare"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Demean = Callable[[FloatArray], FloatArray]

APPROACHES = ("cre", "cre_normal", "cre_mundlak", "fd", "within", "late", "dummies", "pooled")
TIME_EFFECTS = ("none", "dummies", "means")
_MOST_PERIOD_DUMMIES = 50
_PROJECTIONS, _PROJECTION_TOL = 10_000, 1e-10


@dataclass(frozen=True)
class Prepared:
    """Rows that enter the estimate, as the nuisance models and the score see them.

    Attributes
    ----------
    rows : ndarray of int, shape (m,)
        Their places among the rows of the panel.
    y, D, Z : ndarray, shapes (m,), (m, q) and (m, r) or None
    for_y, for_d : Design
        Features of the outcome's and of the treatments' (and instruments') models.
    unit, period : ndarray of int, shape (m,)
    weights : ndarray, shape (m,)
    demean : callable or None
        Applied to residuals: takes unit (and period) means out.
    raw : bool
        Whether the treatments are in their own units, so that a classifier may learn a binary one.
    dropped : dict
        Rows left out, by reason.
    notes : list of str
        Warnings.
    """

    rows: IntArray
    y: FloatArray
    D: FloatArray
    Z: FloatArray | None
    for_y: Design
    for_d: Design
    unit: IntArray
    period: IntArray
    weights: FloatArray
    demean: Demean | None
    raw: bool
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def prepare(panel: Panel, approach: str, time_effects: str, time_step: float | None) -> Prepared:
    """Build features, transform outcome and treatments, and choose the residual step.

    Raises
    ------
    InvalidData
        If a treatment does not vary within units where the approach needs that, or no pair of periods is consecutive.
    """
    if approach != "pooled":
        _check_variation(panel)
    if approach == "fd":
        return _first_differences(panel, time_effects, time_step)
    notes: list[str] = []
    dropped: dict[str, int] = {}
    kept = np.arange(panel.n)
    if approach != "pooled":
        single = np.bincount(panel.unit)[panel.unit] == 1
        if single.any():
            kept = np.flatnonzero(~single)
            dropped["unit observed once"] = int(single.sum())
            notes.append(f"{int(single.sum())} unit(s) observed once were dropped: they tell nothing within units")
    part = panel.take(kept)
    demean = _demeaner(part, time_effects != "none") if approach in ("cre", "late", "within") else None
    y, D, Z, X, names = part.y, part.D, part.Z, part.X, list(part.covariates)
    if approach == "within":
        assert demean is not None  # noqa: S101
        y, D, X = (demean(v) + np.average(v, axis=0, weights=part.weights) for v in (y, D, X))
        Z = None if Z is None else demean(Z)
        X, names = _without_constant(X, names, part.X, notes)
        demean = None
    features, names, linear = _with_period_features(part, X, names, time_effects)
    for_y = for_d = _design(part, features, names, linear, approach == "dummies")
    if approach.startswith("cre"):
        for_y, for_d = _correlated(part, features, names, linear, approach)
    return Prepared(
        rows=kept, y=y, D=D, Z=Z, for_y=for_y, for_d=for_d, unit=part.unit, period=part.period, weights=part.weights,
        demean=demean, raw=approach != "within", dropped=dropped, notes=notes,
    )  # fmt: skip


def _correlated(
    part: Panel, X: FloatArray, names: list[str], linear: NDArray[np.bool_], approach: str
) -> tuple[Design, Design]:
    """Unit means as features beside the covariates: correlated random effects."""
    smooth = np.flatnonzero(~linear)
    of_units = [_unit_means(part, part.X)]
    labels = [names[j] for j in smooth] + [f"{n} (mean)" for n in part.covariates]
    counts = np.bincount(part.unit, minlength=part.n_units)
    if np.ptp(counts[counts > 0]) > 0:
        of_units.append(counts[:, None].astype(np.float64))
        labels.append("periods observed")
    dummies = X[:, linear]
    named = [names[j] for j in np.flatnonzero(linear)]

    def design(with_treatment: bool) -> Design:
        extra = [_unit_means(part, part.D)] if with_treatment else []
        Z = beside_groups(X[:, smooth] if dummies.size else X, np.hstack([*of_units, *extra]), part.unit)
        words = labels + ([f"{n} (mean)" for n in part.treatments] if with_treatment else []) + named
        flags = np.zeros(len(words), dtype=bool)
        flags[len(words) - dummies.shape[1] :] = True
        between = ~flags & (np.arange(len(words)) >= len(smooth))
        return _design(part, np.hstack([Z, dummies]) if dummies.size else Z, words, flags, False, between)

    for_y = design(approach == "cre_mundlak")
    return for_y, (for_y if approach == "cre" else design(True))


def _unit_means(part: Panel, values: FloatArray) -> FloatArray:
    return group_means(values, part.unit, part.weights, part.n_units)


def _design(
    part: Panel,
    Z: FloatArray,
    names: list[str],
    linear: NDArray[np.bool_],
    absorb: bool,
    between: NDArray[np.bool_] | None = None,
) -> Design:
    between = np.zeros(len(names), dtype=bool) if between is None else between
    return Design(np.ascontiguousarray(Z), tuple(names), linear, between, part.unit, absorb, part.named)


def _with_period_features(
    part: Panel, X: FloatArray, names: list[str], time_effects: str
) -> tuple[FloatArray, list[str], NDArray[np.bool_]]:
    """Dummies of the periods, or the periods' means of the covariates."""
    count = int(part.period.max()) + 1
    linear = np.zeros(X.shape[1], dtype=bool)
    if time_effects == "dummies":
        if count > _MOST_PERIOD_DUMMIES:
            raise InvalidParameter(
                f"time_effects='dummies' wants at most {_MOST_PERIOD_DUMMIES} periods, got {count}; use 'means'"
            )
        dummies = (part.period[:, None] == np.arange(1, count)).astype(np.float64)
        labels = [f"period {t}" for t in range(1, count)]
        return np.hstack([X, dummies]), names + labels, np.r_[linear, np.ones(count - 1, dtype=bool)]
    if time_effects == "means":
        means = group_means(np.hstack([part.X, part.D]), part.period, part.weights, count)[part.period]
        labels = [f"{n} (period mean)" for n in (*part.covariates, *part.treatments)]
        return np.hstack([X, means]), names + labels, np.r_[linear, np.zeros(means.shape[1], dtype=bool)]
    return X, names, linear


def _demeaner(part: Panel, two_way: bool) -> Demean:
    """Takes out means of units, and of periods too by alternating projections."""
    unit, period, weights = part.unit, part.period, part.weights
    n_units, n_periods = part.n_units, int(part.period.max()) + 1

    def demean(values: FloatArray) -> FloatArray:
        out = within_groups(values, unit, weights, n_units)
        if not two_way:
            return out
        for _ in range(_PROJECTIONS):
            by_period = group_means(out, period, weights, n_periods)
            out = out - by_period[period]
            by_unit = group_means(out, unit, weights, n_units)
            out = out - by_unit[unit]
            if max(np.abs(by_period).max(), np.abs(by_unit).max()) < _PROJECTION_TOL:
                break
        return out

    return demean


def _first_differences(panel: Panel, time_effects: str, time_step: float | None) -> Prepared:
    if panel.clock is None:
        raise InvalidData("time must hold numbers or dates with approach='fd', which asks what periods are consecutive")
    order = np.lexsort((panel.clock, panel.unit))
    clock, unit = panel.clock[order], panel.unit[order]
    step = panel.step if time_step is None else time_step
    consecutive = (unit[1:] == unit[:-1]) & (np.abs(np.diff(clock) - step) <= 1e-9 * step)
    now, before = order[1:][consecutive], order[:-1][consecutive]
    if len(now) < 2:
        raise InvalidData(
            f"time must have consecutive periods (a step of {step:g}) in some units, got {len(now)} pairs"
        )
    back = np.argsort(now, kind="stable")
    now, before = now[back], before[back]
    notes: list[str] = []
    part = panel.take(now)
    y, D = panel.y[now] - panel.y[before], panel.D[now] - panel.D[before]
    Z = None if panel.Z is None else panel.Z[now] - panel.Z[before]
    X = np.hstack([panel.X[now], panel.X[before]])
    names = [*panel.covariates, *(f"{name} (before)" for name in panel.covariates)]
    constant = np.ptp(panel.X[now] - panel.X[before], axis=0) == 0 if panel.X.shape[1] else np.zeros(0, dtype=bool)
    keep = np.r_[np.ones(panel.X.shape[1], dtype=bool), ~constant]
    X, names = X[:, keep], [name for name, k in zip(names, keep, strict=True) if k]
    if constant.any():
        fixed = [panel.covariates[j] for j in np.flatnonzero(constant)]
        notes.append(f"covariate(s) that move alike in all units enter once, not with their lag: {fixed}")
    features, names, linear = _with_period_features(part, X, names, time_effects)
    design = _design(part, features, names, linear, False)
    lost = panel.n - len(now)
    return Prepared(
        rows=now, y=y, D=D, Z=Z, for_y=design, for_d=design, unit=part.unit, period=part.period, weights=part.weights,
        demean=None, raw=False, dropped={"no observation one period before": lost} if lost else {}, notes=notes,
    )  # fmt: skip


def _without_constant(
    X: FloatArray, names: list[str], before: FloatArray, notes: list[str]
) -> tuple[FloatArray, list[str]]:
    """Drop covariates that do not vary within units."""
    constant = np.ptp(X, axis=0) <= 1e-12 * np.abs(before).max(axis=0, initial=0.0)
    if constant.any():
        notes.append(
            f"covariate(s) that do not vary within units were dropped: {[names[j] for j in np.flatnonzero(constant)]}"
        )
    return X[:, ~constant], [name for name, c in zip(names, constant, strict=True) if not c]


def _check_variation(panel: Panel) -> None:
    if np.bincount(panel.unit).max() == 1:
        raise InvalidData("unit must have several periods a unit, got one each; use approach='pooled' or PLR")
    within = within_groups(panel.D, panel.unit, np.ones(panel.n), panel.n_units)
    fixed = (within**2).sum(axis=0) <= 1e-20 * (panel.D**2).sum(axis=0)
    if fixed.any():
        raise InvalidData(
            f"treatment does not vary within units: {[panel.treatments[j] for j in np.flatnonzero(fixed)]}"
        )
