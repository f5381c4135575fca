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
    """Scores (n,), for each whether it is a member's, and the number of the model it was asked of, if they differ."""

    scores: FloatArray
    member: NDArray[np.bool_]
    model: NDArray[np.intp] | None = None

    @classmethod
    def checked(cls, scores: ArrayLike, membership: ArrayLike, groups: ArrayLike | None = None) -> Challenges:
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
        return cls(values, bits == 1, None if groups is None else _model_numbers(groups, len(values)))

    def __getitem__(self, index: NDArray[np.intp]) -> Challenges:
        """Some of the challenges."""
        return Challenges(self.scores[index], self.member[index], None if self.model is None else self.model[index])

    def __len__(self) -> int:
        """Number of challenges."""
        return len(self.scores)

    def halves(self, share: float, rng: Generator) -> tuple[Challenges, Challenges]:
        """Random ``share`` of members and of non-members, and the rest; both kinds in both parts.

        Challenges of one model stay together, because they share its luck.
        """
        unit = np.arange(len(self)) if self.model is None else self.model
        held = np.bincount(unit, self.member) > 0, np.bincount(unit, ~self.member) > 0
        first = np.zeros(len(held[0]), dtype=bool)
        for members, others in ((True, False), (False, True), (True, True)):
            places = rng.permutation(np.flatnonzero((held[0] == members) & (held[1] == others)))
            first[places[: min(max(round(share * len(places)), 1), max(len(places) - 1, 0))]] = True
        chosen = first[unit]
        for kind, word in ((True, "members"), (False, "non-members")):
            if not (np.any(chosen & (self.member == kind)) and np.any(~chosen & (self.member == kind))):
                what = f"2 {word}" if self.model is None else f"2 models with {word}"
                raise InvalidData(
                    f"threshold='split' wants at least {what} to split, got {held[0 if kind else 1].sum()}"
                )
        return self[np.flatnonzero(chosen)], self[np.flatnonzero(~chosen)]


def _model_numbers(groups: ArrayLike, length: int) -> NDArray[np.intp]:
    """Names of models as numbers from 0."""
    import pandas as pd

    names = np.asarray(groups)
    if names.shape != (length,):
        raise InvalidData(f"groups must be one a score, ({length},), got {names.shape}")
    numbers, levels = pd.factorize(names)
    if np.any(numbers < 0):
        raise InvalidData(f"groups must name every challenge's model, got {names[numbers < 0][0]!r}")
    if len(levels) < 2:
        raise InvalidData(f"groups must name at least 2 models, got {len(levels)}")
    return np.asarray(numbers, dtype=np.intp)


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
