"""From the scores of an attack to counts: which challenges choose the threshold, which are counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData
from mcstat.privacy._rectangles import ClopperPearsonRectangle

__all__ = ["Challenges", "candidates", "count", "tuned_threshold"]

FloatArray = NDArray[np.float64]

# Thresholds that are tried on the tuning half; between neighbours lie 0.2 % of the scores.
_MOST_CANDIDATES = 512


@dataclass(frozen=True)
class Challenges:
    """Scores (n,), and for each whether it is a member's."""

    scores: FloatArray
    member: NDArray[np.bool_]

    @classmethod
    def checked(cls, scores: ArrayLike, membership: ArrayLike) -> Challenges:
        """Refuse what cannot be counted, naming it."""
        values = check_array("scores", scores, 1)
        bits = check_array("membership", membership, 1)
        if len(values) != len(bits):
            raise InvalidData(f"scores and membership must be of one length, got {len(values)} and {len(bits)}")
        if not np.all((bits == 0) | (bits == 1)):
            bad = bits[(bits != 0) & (bits != 1)][0]
            raise InvalidData(f"membership must hold 0 and 1 only, got {bad:g}")
        for code, kind in ((1, "members (1)"), (0, "non-members (0)")):
            if not np.any(bits == code):
                raise InvalidData(f"membership must hold both kinds of challenges, got no {kind}")
        return cls(values, bits == 1)

    def __getitem__(self, index: NDArray[np.intp]) -> Challenges:
        """Some of the challenges."""
        return Challenges(self.scores[index], self.member[index])

    def __len__(self) -> int:
        """Number of challenges."""
        return len(self.scores)

    def halves(self, share: float, rng: Generator) -> tuple[Challenges, Challenges]:
        """Random ``share`` of members and of non-members, and the rest; at least one of each kind in both."""
        first = []
        for kind in (True, False):
            places = rng.permutation(np.flatnonzero(self.member == kind))
            if len(places) < 2:
                word = "members" if kind else "non-members"
                raise InvalidData(f"threshold='split' wants at least 2 {word} to split, got {len(places)}")
            first.append(places[: min(max(round(share * len(places)), 1), len(places) - 1)])
        chosen = np.zeros(len(self), dtype=bool)
        chosen[np.concatenate(first)] = True
        return self[np.flatnonzero(chosen)], self[np.flatnonzero(~chosen)]


def count(challenges: Challenges, thresholds: ArrayLike) -> dict[str, FloatArray]:
    """Counts fn, fp, tn, tp at each threshold (k,): a score of at least the threshold says "member"."""
    at = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    members, others = np.sort(challenges.scores[challenges.member]), np.sort(challenges.scores[~challenges.member])
    fn, tn = (np.searchsorted(group, at, side="left").astype(np.float64) for group in (members, others))
    return {"fn": fn, "fp": len(others) - tn, "tn": tn, "tp": len(members) - fn}


def tuned_threshold(challenges: Challenges, delta: float, level: float) -> tuple[float, float]:
    """The score at which the exact lower bound of epsilon is highest, the middle one of several, and that bound.

    The plain ratio of rates would pick a threshold without false positives, where epsilon is infinite and says nothing.
    """
    at = candidates(challenges)
    law = ClopperPearsonRectangle(**count(challenges, at), delta=np.full(len(at), delta))
    bounds = law.interval(level, "lower")[0]
    best = np.flatnonzero(bounds == bounds.max())
    return float(at[best[len(best) // 2]]), float(bounds.max())


def candidates(challenges: Challenges) -> FloatArray:
    """Scores that are tried as thresholds."""
    at = np.unique(challenges.scores)
    if len(at) > _MOST_CANDIDATES:
        at = np.unique(np.quantile(at, np.linspace(0, 1, _MOST_CANDIDATES), method="nearest"))
    return np.asarray(at)
