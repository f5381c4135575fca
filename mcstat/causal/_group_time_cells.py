"""The effect on one cohort in one period: who is compared with whom, and the estimators of that comparison.

A cell compares the change of the outcome since a base period between the cohort (D = 1) and its controls (D = 0), with
weights w of the units. In a panel that is one comparison, of the units' own changes; in repeated cross sections it is
the difference of two, of outcomes in the period and in its base. The estimators below are those of one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._staggered import Part, Staggered
from mcstat.core.errors import InvalidData

__all__ = [
    "Cell",
    "Compared",
    "Found",
    "doubly_robust",
    "experimental",
    "list_cells",
    "outcome_regression",
    "weighting",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

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
        Units whose observations tell of the change between the two.
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

    def lacks(self, parts: Sequence[Part]) -> str:
        """Which side has no units in some part, or nothing."""
        if not all((self.treated & part.seen).any() for part in parts):
            return "no treated units"
        return "" if all((self.control & part.seen).any() for part in parts) else "no control units"


@dataclass(frozen=True)
class Compared:
    """The units of a comparison: what is compared, treated or not, weights, constant and covariates; (m,), (m, p)."""

    y: FloatArray
    d: FloatArray
    w: FloatArray
    design: FloatArray


@dataclass(frozen=True)
class Found:
    """An effect with what its error and its sensitivity to confounding come from.

    Attributes
    ----------
    effect : float
    influence : ndarray, shape (m,)
    residual : ndarray, shape (m,), or None
        Of the outcome given covariates and treatment; None where the outcome has no model.
    riesz : ndarray, shape (m,), or None
        Representer alpha: without a model of the outcome the effect is the mean of w alpha y.
    moment : ndarray, shape (m,), or None
        Whose weighted mean is that of alpha^2 with less noise.
    clipped : int
        Propensities that were.
    """

    effect: float
    influence: FloatArray
    residual: FloatArray | None = None
    riesz: FloatArray | None = None
    moment: FloatArray | None = None
    clipped: int = 0


def list_cells(panel: Staggered, control: str, anticipation: float, universal: bool) -> list[Cell]:
    """Every cohort in every period that has a base."""
    cells = []
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
            seen = np.any([part.seen for part in panel.parts(period, base)], axis=0)
            of_group = panel.first == group
            cells.append(Cell(float(group), period, base, seen & of_group, seen & free & ~of_group))
    return cells


def doubly_robust(c: Compared, mu: FloatArray, propensity: FloatArray, clip: float, normalize: bool) -> Found:
    """Sant'Anna and Zhao (2020): residuals of the controls' regression mu, weighted by the propensity's odds."""
    p = np.clip(propensity, clip, 1.0 - clip)
    residual, odds, n_treated = c.y - mu, p / (1.0 - p), np.mean(c.w * c.d)
    n_control = np.mean(c.w * (1.0 - c.d) * odds) if normalize else n_treated
    treated, control = c.d / n_treated, (1.0 - c.d) * odds / n_control
    effect, influence = _difference(residual, c.w * treated, c.w * control)
    if not normalize:
        effect = float(np.mean(c.w * (treated - control) * residual))
        influence = c.w * (treated - control) * residual - c.w * treated * effect
    return Found(
        effect, influence, residual - c.d * np.mean(c.w * treated * residual), treated - control,
        treated * (1.0 / n_treated + odds / n_control), int(np.sum(p != propensity)),
    )  # fmt: skip


def experimental(c: Compared, mu: FloatArray, mu_treated: FloatArray) -> Found:
    """Chang (2020) under random assignment: regressions of both arms, no propensity."""
    treated, control = c.d / np.mean(c.w * c.d), (1.0 - c.d) / np.mean(c.w * (1.0 - c.d))
    effect, influence = _difference(c.y - mu, c.w * treated, c.w * control)
    gap = mu_treated - mu
    more, more_influence = _difference(gap, c.w / c.w.mean(), c.w * treated)
    return Found(effect + more, influence + more_influence, c.y - mu - c.d * gap, treated - control)


def outcome_regression(c: Compared) -> Found:
    """Linear regression of the controls on covariates; without covariates the difference of means."""
    treated, control = c.d / np.mean(c.w * c.d), c.w * (1.0 - c.d)
    bread = _inverse(c.design.T @ (control[:, None] * c.design) / len(c.y))
    slopes = bread @ (c.design.T @ (control * c.y)) / len(c.y)
    residual = c.y - c.design @ slopes
    effect = float(np.mean(c.w * treated * residual))
    # Weights that the regression gives to controls: they have the mean of the treated in every covariate.
    riesz = treated - (1.0 - c.d) * (c.design @ (bread @ ((c.w * treated) @ c.design) / len(c.y)))
    centred = residual - c.d * effect
    return Found(effect, c.w * riesz * centred, centred, riesz)


def weighting(c: Compared, clip: float) -> Found:
    """Odds of a logistic propensity as the controls' weights."""
    p, bread = _logistic(c)
    clipped = np.clip(p, clip, 1.0 - clip)
    treated, odds = c.w * c.d / np.mean(c.w * c.d), c.w * clipped * (1.0 - c.d) / (1.0 - clipped)
    control = odds / odds.mean()
    effect, influence = _difference(c.y, treated, control)
    # What the propensity's own error adds.
    centred = control * (c.y - np.mean(control * c.y))
    towards = (centred @ c.design) / len(c.y)
    influence = influence - c.w * (c.d - p) * (c.design @ (bread @ towards))
    return Found(effect, influence, clipped=int(np.sum(clipped != p)))


def _difference(values: FloatArray, treated: FloatArray, control: FloatArray) -> tuple[float, FloatArray]:
    """Difference of two weighted means, the weights of mean 1."""
    above, below = np.mean(treated * values), np.mean(control * values)
    return float(above - below), treated * (values - above) - control * (values - below)


def _logistic(c: Compared) -> tuple[FloatArray, FloatArray]:
    """Fitted probabilities (m,) of a logistic regression and its inverse mean information, by Newton's method."""
    slopes = np.zeros(c.design.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(c.design @ slopes, -30.0, 30.0)))
        bread = _inverse(c.design.T @ ((c.w * p * (1.0 - p))[:, None] * c.design) / len(c.y))
        step = bread @ (c.design.T @ (c.w * (c.d - p))) / len(c.y)
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
