"""Lower bounds over thresholds that the data choose, without the bias of choosing.

The largest of many bounds is no bound: each is wrong with probability 1 - level, and the largest is wrong far more
often. Five ways out, all at the same level: a threshold set beforehand, one half of the challenges that chooses for the
other, many such halves, a correction for the number of thresholds, and a band that holds at all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_level
from mcstat.core.laws import Law
from mcstat.privacy._rates import epsilon_from_rates
from mcstat.privacy._scores import Challenges, candidates, count

__all__ = [
    "Bound",
    "Selected",
    "best_threshold",
    "bonferroni",
    "dkw",
    "explicit",
    "law_bound",
    "multisplit",
    "pareto",
    "split",
]

FloatArray = NDArray[np.float64]


class Bound(Protocol):
    """Lower confidence bounds (k,) of epsilon from k tables of counts."""

    def __call__(self, fn: FloatArray, fp: FloatArray, tn: FloatArray, tp: FloatArray, level: float) -> FloatArray:
        """One bound a table, each at ``level``."""


@dataclass(frozen=True)
class Selected:
    """A valid lower bound, the threshold it speaks of, and the number of thresholds it had to choose from."""

    lower: float
    threshold: float
    n_candidates: int


def law_bound(law: Callable[..., Law], delta: float) -> Bound:
    """Bounds of a law that is made from counts and delta, such as ``ClopperPearsonRectangle``."""

    def bound(fn: FloatArray, fp: FloatArray, tn: FloatArray, tp: FloatArray, level: float) -> FloatArray:
        return law(fn=fn, fp=fp, tn=tn, tp=tp, delta=np.full(len(fn), delta)).interval(level, "lower")[0]

    return bound


def best_threshold(challenges: Challenges, bound: Bound, level: float) -> Selected:
    """Threshold with the largest bound (the middle one of several); on these very challenges the bound is invalid."""
    at = candidates(challenges)
    bounds = bound(**count(challenges, at), level=level)
    best = np.flatnonzero(bounds == bounds.max())
    return Selected(float(bounds.max()), float(at[best[len(best) // 2]]), len(at))


def explicit(challenges: Challenges, bound: Bound, level: float, threshold: float) -> Selected:
    """Bound at a threshold that was set before the scores were seen."""
    return Selected(float(bound(**count(challenges, threshold), level=check_level(level))[0]), float(threshold), 1)


def split(challenges: Challenges, bound: Bound, level: float, rng: Generator, share: float = 0.5) -> Selected:
    """Random ``share`` of members and of non-members chooses the threshold, the others are counted."""
    tuning, counted = challenges.halves(share, rng)
    chosen = best_threshold(tuning, bound, check_level(level))
    return Selected(explicit(counted, bound, level, chosen.threshold).lower, chosen.threshold, chosen.n_candidates)


def multisplit(
    challenges: Challenges, bound: Bound, level: float, rng: Generator, share: float = 0.5, n_splits: int = 100
) -> Selected:
    """Median of the bounds of many splits, each at half the error probability.

    Twice the median of dependent p-values is a p-value (Meinshausen, Meier and Bühlmann 2009), so the median of bounds
    at 1 - (1 - level) / 2 is a bound at ``level``, and depends less on the luck of one split. The threshold is the
    median one.
    """
    each = 1 - (1 - check_level(level)) / 2
    found = [split(challenges, bound, each, rng, share) for _ in range(check_integer("n_splits", n_splits, 1))]
    # Of an even number of p-values the upper median counts, so of bounds the lower one.
    lower = np.sort([one.lower for one in found])[(len(found) - 1) // 2]
    return Selected(float(lower), float(np.median([one.threshold for one in found])), found[0].n_candidates)


def bonferroni(challenges: Challenges, bound: Bound, level: float) -> Selected:
    """Largest bound over the undominated thresholds, each at 1 - (1 - level) / their number.

    Exact bounds at the ranks of one group's scores hold for random thresholds, too. That only the undominated ones are
    counted is not covered by that argument; neighbours are so alike that the correction is far too large anyway.
    """
    at = pareto(challenges)
    bounds = bound(**count(challenges, at), level=1 - (1 - check_level(level)) / len(at))
    return Selected(float(bounds.max()), float(at[np.argmax(bounds)]), len(at))


def pareto(challenges: Challenges) -> FloatArray:
    """Thresholds for which no other one has both fewer members missed and more non-members known.

    These are the lowest member's scores above each run of non-members.
    """
    at = np.unique(challenges.scores)
    counts = count(challenges, at)
    fn, tn = counts["fn"], counts["tn"]
    # Both grow with the threshold: one is dominated where its neighbour has the same of one and better of the other.
    more_known = np.append(True, tn[1:] > tn[:-1])
    fewer_missed = np.append(fn[1:] > fn[:-1], True)
    return np.asarray(at[more_known & fewer_missed])


def dkw(challenges: Challenges, delta: float, level: float) -> Selected:
    """Largest epsilon of the upper ends of bands that hold both error rates at all thresholds at once.

    One-sided bands of Dvoretzky, Kiefer, Wolfowitz and Massart (1990), each with half of the error probability. They
    are equally wide everywhere, and so say little about the small error rates on which a large epsilon rests.
    """
    at = np.unique(challenges.scores)
    counts = count(challenges, at)
    log_share = np.log(2 / (1 - check_level(level)))
    rates = []
    for wrong, right in (("fn", "tp"), ("fp", "tn")):
        n = counts[wrong] + counts[right]
        rates.append(np.minimum(counts[wrong] / n + np.sqrt(log_share / (2 * n)), 1.0))
    # Past chance the bands say nothing.
    bounds = np.where(rates[0] + rates[1] < 1, epsilon_from_rates(rates[0], rates[1], delta), 0.0)
    return Selected(float(bounds.max()), float(at[np.argmax(bounds)]), len(at))
