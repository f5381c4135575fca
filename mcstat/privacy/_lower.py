"""Laws that know a lower bound only."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcstat.core.laws import Law, tail_probabilities

__all__ = ["LowerBound"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LowerBound(Law):
    """A law whose two-sided interval is its lower bound, because no error probability must be kept for an upper one."""

    @abstractmethod
    def lower(self, level: float) -> FloatArray:
        """Lower bounds at ``level``, (q,)."""

    def interval(self, level: float = 0.95, sides: str = "two") -> tuple[FloatArray, FloatArray]:
        """[lower, inf) for ``"two"`` and ``"lower"``, [0, inf) for ``"upper"``; (q,) each."""
        tail_probabilities(level, sides)
        lower = np.zeros(len(self)) if sides == "upper" else self.lower(level)
        return lower, np.full(len(self), np.inf)
