"""Confidence intervals for epsilon from an interval for each error rate: the usual frequentist baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcstat.core.laws import Law, tail_probabilities
from mcstat.kernels.special import clopper_pearson, jeffreys
from mcstat.privacy._rates import epsilon_from_rates

__all__ = ["ClopperPearsonRectangle", "JeffreysRectangle", "range_over"]

FloatArray = NDArray[np.float64]
Ends = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False)
class _Rectangle(Law):
    """Epsilon over a rectangle of error rates; each of its two intervals takes half of the error probability.

    Two-sided at level 1 - a, each rate has tails of a/4; one-sided, of a/2, because only one side of each rate bounds
    epsilon. An end is infinite where an error rate may be 0.
    """

    fn: FloatArray
    fp: FloatArray
    tn: FloatArray
    tp: FloatArray
    delta: FloatArray

    def rate_interval(self, wrong: FloatArray, right: FloatArray, tail: float) -> Ends:
        """Interval of one error rate with ``tail`` on each side."""
        raise NotImplementedError

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """Lower and upper ends, (q,) each; one-sided intervals are open at infinity or end at 0."""
        below, above = tail_probabilities(level, sides)
        tail = max(below, 1.0 - above) / 2
        x = self.rate_interval(self.fn, self.tp, tail)
        y = self.rate_interval(self.fp, self.tn, tail)
        lower, upper = range_over([(x[1], y[1])], [(x[0], y[0])], self.delta)
        if sides == "lower":
            return lower, np.full_like(upper, np.inf)
        return (lower, upper) if sides == "two" else (np.zeros_like(lower), upper)


@dataclass(frozen=True, eq=False)
class ClopperPearsonRectangle(_Rectangle):
    """Rectangle of exact binomial intervals: its coverage is at least the level, for every attack.

    Parameters
    ----------
    fn, fp, tn, tp : array_like, shape (q,)
        Counts.
    delta : array_like, shape (q,)
    """

    def rate_interval(self, wrong: FloatArray, right: FloatArray, tail: float) -> Ends:
        """Exact interval of one error rate."""
        lower, upper = clopper_pearson(wrong, wrong + right, tail, tail)
        return lower, upper


@dataclass(frozen=True, eq=False)
class JeffreysRectangle(_Rectangle):
    """Rectangle of Jeffreys' intervals: narrower than the exact one, and its coverage is only close to the level.

    Parameters
    ----------
    fn, fp, tn, tp : array_like, shape (q,)
        Counts.
    delta : array_like, shape (q,)
    """

    def rate_interval(self, wrong: FloatArray, right: FloatArray, tail: float) -> Ends:
        """Jeffreys' interval of one error rate."""
        lower, upper = jeffreys(wrong, wrong + right, tail, tail)
        return lower, upper


def range_over(highest: list[Ends], lowest: list[Ends], delta: FloatArray) -> Ends:
    """Smallest and largest epsilon over a set of rates, given the points of its upper-right and lower-left borders.

    Between rates that are better than chance and rates that are worse lies the line of epsilon 0.
    """
    above = np.stack([epsilon_from_rates(x, y, delta) for x, y in highest])
    below = np.stack([epsilon_from_rates(x, y, delta) for x, y in lowest])
    over = np.stack([x + y for x, y in highest]).max(axis=0)
    under = np.stack([x + y for x, y in lowest]).min(axis=0)
    straddles = (over >= 1.0 - delta) & (under <= 1.0 + delta)
    low = np.where(straddles, 0.0, np.minimum(above.min(axis=0), below.min(axis=0)))
    return low, np.maximum(above.max(axis=0), below.max(axis=0))
