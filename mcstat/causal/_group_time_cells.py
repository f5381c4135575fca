"""The effect on one cohort in one period: who is compared with whom, and the estimators of that comparison.

A cell compares the change of the outcome since a base period, dY, between the cohort (D = 1) and its controls (D = 0),
with weights w of the units. Each estimator gives the effect and its influence values on the units compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._staggered import Staggered
from mcstat.core.errors import InvalidData

__all__ = ["Cell", "Compared", "doubly_robust", "experimental", "list_cells", "outcome_regression", "weighting"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Found = tuple[float, FloatArray]

_NEWTON_STEPS, _SETTLED = 50, 1e-10


@dataclass(frozen=True)
class Cell:
    """A cohort in a period.

    Attributes
    ----------
    group : float
        When the cohort was first treated, on the clock.
    period, base : int
        Places of the period and of its base; equal where the effect is zero by definition.
    treated, control : ndarray of bool, shape (n,)
        Units observed in both periods.
    """

    group: float
    period: int
    base: int
    treated: BoolArray
    control: BoolArray

    @property
    def compared(self) -> BoolArray:
        """Units that take part, (n,)."""
        return self.treated | self.control


@dataclass(frozen=True)
class Compared:
    """The units of a cell: change of the outcome, treated or not, weights and constant-and-covariates; (m,), (m, p)."""

    dy: FloatArray
    d: FloatArray
    w: FloatArray
    design: FloatArray


def list_cells(panel: Staggered, control: str, anticipation: float, universal: bool) -> list[Cell]:
    """Every cohort in every period that has a base."""
    cells, seen = [], np.isfinite(panel.Y)
    for group in panel.cohorts:
        before = int(np.searchsorted(panel.clock, group - anticipation)) - 1
        for period in range(len(panel.clock)):
            is_pre = panel.clock[period] < group - anticipation
            base = before
            if is_pre and not universal:
                base = int(np.searchsorted(panel.clock, panel.clock[period] - anticipation)) - 1
            if base < 0:
                continue
            latest = max(panel.clock[period], panel.clock[base])
            # Treated after the last period is never treated as far as can be seen.
            start = panel.clock[-1] if control == "never" else latest
            free = panel.first > start + anticipation
            both = seen[:, period] & seen[:, base]
            of_group = panel.first == group
            cells.append(Cell(float(group), period, base, both & of_group, both & free & ~of_group))
    return cells


def doubly_robust(c: Compared, mu: FloatArray, p: FloatArray, normalize: bool) -> Found:
    """Sant'Anna and Zhao (2020): residuals of the controls' regression mu, weighted by the odds of p."""
    residual, odds = c.dy - mu, c.w * p * (1.0 - c.d) / (1.0 - p)
    treated = c.w * c.d / np.mean(c.w * c.d)
    if not normalize:
        weight = (c.w * c.d - odds) / np.mean(c.w * c.d)
        effect = float(np.mean(weight * residual))
        return effect, weight * residual - treated * effect
    return _difference(residual, treated, odds / odds.mean())


def experimental(c: Compared, mu: FloatArray, mu_treated: FloatArray) -> Found:
    """Chang (2020) under random assignment: regressions of both arms, no propensity."""
    treated, control = c.w * c.d / np.mean(c.w * c.d), c.w * (1.0 - c.d) / np.mean(c.w * (1.0 - c.d))
    effect, influence = _difference(c.dy - mu, treated, control)
    gap = mu_treated - mu
    everybody = c.w / c.w.mean()
    more, more_influence = _difference(gap, everybody, treated)
    return effect + more, influence + more_influence


def outcome_regression(c: Compared) -> Found:
    """Linear regression of the controls' change on covariates; without covariates the difference of means."""
    treated, control = c.w * c.d / np.mean(c.w * c.d), c.w * (1.0 - c.d)
    bread = _inverse(c.design.T @ (control[:, None] * c.design) / len(c.dy))
    slopes = bread @ (c.design.T @ (control * c.dy)) / len(c.dy)
    residual = c.dy - c.design @ slopes
    effect = float(np.mean(treated * residual))
    # What the regression's own error adds.
    towards = (treated @ c.design) / len(c.dy)
    return effect, treated * (residual - effect) - control * residual * (c.design @ (bread @ towards))


def weighting(c: Compared, clip: float) -> tuple[float, FloatArray, int]:
    """Odds of a logistic propensity as the controls' weights; also how many propensities were clipped."""
    p, bread = _logistic(c)
    clipped = np.clip(p, clip, 1.0 - clip)
    treated, odds = c.w * c.d / np.mean(c.w * c.d), c.w * clipped * (1.0 - c.d) / (1.0 - clipped)
    control = odds / odds.mean()
    effect, influence = _difference(c.dy, treated, control)
    # What the propensity's own error adds.
    centred = control * (c.dy - np.mean(control * c.dy))
    towards = (centred @ c.design) / len(c.dy)
    influence = influence - c.w * (c.d - p) * (c.design @ (bread @ towards))
    return effect, influence, int(np.sum(clipped != p))


def _difference(values: FloatArray, treated: FloatArray, control: FloatArray) -> Found:
    """Difference of two weighted means, the weights of mean 1."""
    above, below = np.mean(treated * values), np.mean(control * values)
    return float(above - below), treated * (values - above) - control * (values - below)


def _logistic(c: Compared) -> tuple[FloatArray, FloatArray]:
    """Fitted probabilities (m,) of a logistic regression and its inverse mean information, by Newton's method."""
    slopes = np.zeros(c.design.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(c.design @ slopes, -30.0, 30.0)))
        bread = _inverse(c.design.T @ ((c.w * p * (1.0 - p))[:, None] * c.design) / len(c.dy))
        step = bread @ (c.design.T @ (c.w * (c.d - p))) / len(c.dy)
        slopes = slopes + step
        if np.max(np.abs(step)) < _SETTLED * (1.0 + np.max(np.abs(slopes))):
            break
    return p, bread


def _inverse(matrix: FloatArray) -> FloatArray:
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scaled = matrix / np.outer(scale, scale)
    if np.linalg.eigvalsh(scaled)[0] < 1e-12:
        raise InvalidData("X has columns that are constant or linearly dependent among the units compared")
    return np.asarray(np.linalg.inv(scaled) / np.outer(scale, scale))
