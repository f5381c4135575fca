"""The ladder of easier events that leads cross-entropy sampling to a rare one.

A rule looks at the points of a level and answers with a step: how much each point counts when the next density is
fitted, the value of the level, and whether the next density is the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from mcstat.importance._limit_state import Points

FloatArray = NDArray[np.float64]

LEVELS = ("smooth", "quantile")
# The search for a smoothing width: from this many times the size of g down to this part of the last width.
_WIDEST, _NARROWEST, _HALVINGS = 1e3, 1e-4, 32


@dataclass(frozen=True)
class Step:
    """Log of how much each point counts (n,), up to a constant; the level; whether failure is reached."""

    log_importance: FloatArray
    level: float
    reached: bool


@dataclass(frozen=True)
class QuantileLevels:
    """Events g <= gamma, with gamma the ``rho``-quantile of g under the current density, but at least 0."""

    rho: float

    def __call__(self, points: Points, last: float | None) -> Step:
        """Step from the points of a level; ``last`` is not used."""
        level = max(0.0, float(np.quantile(points.g, self.rho, method="inverted_cdf")))
        with np.errstate(divide="ignore"):
            return Step(points.log_weights + np.log(points.g <= level), level, level == 0.0)


@dataclass(frozen=True)
class SmoothLevels:
    """Indicators smoothed to Phi(-g / sigma); sigma falls as fast as the weights' variation ``target_cv`` allows."""

    target_cv: float

    def __call__(self, points: Points, last: float | None) -> Step:
        """Step from the points of a level, whose density was fitted with the width ``last``; None at the first."""
        failed = points.g <= 0
        log_smooth = np.full(len(failed), -np.log(2.0)) if last is None else log_ndtr(-points.g / last)
        with np.errstate(divide="ignore"):
            log_failed = np.log(failed)
        if _variation(log_failed - log_smooth) <= self.target_cv:
            return Step(points.log_weights + log_failed, 0.0, True)
        sigma = self._width(points, _WIDEST * float(np.mean(np.abs(points.g))) if last is None else last)
        return Step(points.log_weights + log_ndtr(-points.g / sigma), sigma, False)

    def _width(self, points: Points, widest: float) -> float:
        """The width at which the variation is ``target_cv``; the widest one where even that varies more."""
        low, high = np.log(_NARROWEST * widest), np.log(widest)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            varies = _variation(points.log_weights + log_ndtr(-points.g / np.exp(middle))) > self.target_cv
            low, high = (middle, high) if varies else (low, middle)
        return min(float(np.exp(high)), widest)


def _variation(log_weights: FloatArray) -> float:
    """Coefficient of variation of weights given by their logarithms; inf where all are zero."""
    top = log_weights.max()
    if np.isneginf(top):
        return np.inf
    weights = np.exp(log_weights - top)
    return float(weights.std() / weights.mean())
