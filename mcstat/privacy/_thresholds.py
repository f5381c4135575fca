"""Lower bounds over thresholds that the data choose, without the bias of choosing.

The largest of many bounds is no bound: each is wrong with probability 1 - level, and the largest is wrong far more
often. Three ways to look at many thresholds all the same: the median over many halves of which one chooses and the
other counts, a correction for the number of thresholds, and a band that holds at all of them. Each is a law: tables
(k,) from which one lower bound is made, at any level.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.core.checks import check_integer
from mcstat.privacy._lower import LowerBound
from mcstat.privacy._methods import CONFIDENCE, LAWS
from mcstat.privacy._rates import epsilon_from_rates
from mcstat.privacy._scores import Challenges, count, tuned_threshold

__all__ = ["CHOSEN", "BonferroniBound", "DkwBound", "MultisplitBound", "pareto", "tables_of"]

FloatArray = NDArray[np.float64]
_N_SPLITS = 100


@dataclass(frozen=True, eq=False)
class _ChosenBound(LowerBound):
    """One lower bound of epsilon from k tables; there is no upper one.

    Parameters
    ----------
    threshold, fn, fp, tn, tp : array_like, shape (k,)
        Thresholds and the counts at them.
    delta : array_like, shape (k,)
    method : array_like, shape (k,)
        Place of the method in ``CONFIDENCE``, the same for all: numbers are what a law is saved as.
    """

    threshold: FloatArray
    fn: FloatArray
    fp: FloatArray
    tn: FloatArray
    tp: FloatArray
    delta: FloatArray
    method: FloatArray

    @abstractmethod
    def reported(self, level: float) -> float:
        """The threshold that the bound speaks of."""

    def each(self, level: float) -> FloatArray:
        """Lower bounds (k,) of the tables, each at ``level``."""
        law = LAWS[CONFIDENCE[int(self.method[0])]]["equal-tailed"]
        counts = {name: getattr(self, name) for name in ("fn", "fp", "tn", "tp", "delta")}
        return law(**counts).interval(level, "lower")[0]

    def __len__(self) -> int:
        """One quantity, whatever the number of tables."""
        return 1

    def __getitem__(self, index: Any) -> Self:
        """Law of the one quantity."""
        if np.arange(1)[index].size != 1:
            raise IndexError(f"the law has one quantity, got index {index!r}")
        return self


class MultisplitBound(_ChosenBound):
    """Median of the bounds of many splits, each at half the error probability.

    Twice the median of dependent p-values is a p-value (Meinshausen, Meier and Bühlmann 2009), so the median of bounds
    at 1 - (1 - level) / 2 is a bound at ``level``, and depends less on the luck of one split. The threshold is the
    median one.
    """

    def lower(self, level: float) -> FloatArray:
        """The bound, (1,)."""
        # Of an even number of p-values the upper median counts, so of bounds the lower one.
        return np.sort(self.each(1 - (1 - level) / 2))[[(len(self.fn) - 1) // 2]]

    def reported(self, level: float) -> float:
        """Median threshold."""
        return float(np.median(self.threshold))


class BonferroniBound(_ChosenBound):
    """Largest bound over the undominated thresholds, each at 1 - (1 - level) / their number.

    Exact bounds at the ranks of one group's scores hold for random thresholds, too. That only the undominated ones are
    counted is not covered by that argument; neighbours are so alike that the correction is far too large anyway.
    """

    def lower(self, level: float) -> FloatArray:
        """The bound, (1,)."""
        return np.array([self.each(self._shared(level)).max()])

    def reported(self, level: float) -> float:
        """Threshold of the largest bound."""
        return float(self.threshold[np.argmax(self.each(self._shared(level)))])

    def _shared(self, level: float) -> float:
        return 1 - (1 - level) / len(self.fn)


class DkwBound(_ChosenBound):
    """Largest epsilon of the upper ends of bands that hold both error rates at all thresholds at once.

    One-sided bands of Dvoretzky, Kiefer, Wolfowitz and Massart (1990), each with half of the error probability,
    whatever the method. They are equally wide everywhere, and so say little about the small error rates on which a
    large epsilon rests.
    """

    def lower(self, level: float) -> FloatArray:
        """The bound, (1,)."""
        return np.array([self._over_band(level).max()])

    def reported(self, level: float) -> float:
        """Threshold of the largest epsilon."""
        return float(self.threshold[np.argmax(self._over_band(level))])

    def _over_band(self, level: float) -> FloatArray:
        log_share = np.log(2 / (1 - level))
        rates = []
        for wrong, right in ((self.fn, self.tp), (self.fp, self.tn)):
            n = wrong + right
            rates.append(np.minimum(wrong / n + np.sqrt(log_share / (2 * n)), 1.0))
        # Past chance the bands say nothing.
        return np.where(rates[0] + rates[1] < 1, epsilon_from_rates(rates[0], rates[1], self.delta), 0.0)


CHOSEN: dict[str, Callable[..., _ChosenBound]] = {
    "multisplit": MultisplitBound,
    "bonferroni": BonferroniBound,
    "dkw": DkwBound,
}


def tables_of(
    challenges: Challenges,
    strategy: str,
    delta: float,
    level: float,
    rng: Generator,
    share: float = 0.5,
    n_splits: int = _N_SPLITS,
) -> dict[str, FloatArray]:
    """Thresholds and counts (k,) from which ``CHOSEN[strategy]`` makes its bound."""
    if strategy == "multisplit":
        tables = []
        for _ in range(check_integer("n_splits", n_splits, 1)):
            tuning, counted = challenges.halves(share, rng)
            threshold, _ = tuned_threshold(tuning, delta, 1 - (1 - level) / 2)
            tables.append({"threshold": np.array([threshold]), **count(counted, threshold)})
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    at = pareto(challenges) if strategy == "bonferroni" else np.unique(challenges.scores)
    return {"threshold": at, **count(challenges, at)}


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
