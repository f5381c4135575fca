"""Laws of an estimate's uncertainty where it is not normal.

A law is a frozen dataclass whose fields are arrays with one entry a reported quantity. It answers
``interval(level, sides)`` and, where they exist, ``cdf``, ``ppf`` and ``rvs``. It is saved as the name of its class
and its arrays, so rooms may add their own by deriving from :class:`Law`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_level, check_option
from mcstat.core.errors import InvalidData

__all__ = ["SIDES", "Binomial", "Law", "tail_probabilities"]

FloatArray = NDArray[np.float64]
SIDES = ("two", "lower", "upper")


def tail_probabilities(level: float, sides: str) -> tuple[float, float]:
    """Probability below the lower and below the upper end; ``sides="lower"`` is the interval [lower, inf)."""
    level, sides = check_level(level), check_option("sides", sides, SIDES)
    if sides == "two":
        return (1 - level) / 2, (1 + level) / 2
    return (1 - level, 1.0) if sides == "lower" else (0.0, level)


@dataclass(frozen=True, eq=False)
class Law(ABC):
    """Joint base: fields are float arrays of equal length q."""

    def __post_init__(self) -> None:
        """Own read-only float64 copies of the fields, all of one length."""
        lengths = set()
        for field in fields(self):
            array = np.array(getattr(self, field.name), dtype=np.float64, ndmin=1)
            array.flags.writeable = False
            object.__setattr__(self, field.name, array)
            lengths.add(array.shape)
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise InvalidData(f"the fields of {type(self).__name__} must be 1-d and of one length, got {lengths}")

    @abstractmethod
    def interval(self, level: float = 0.95, sides: str = "two") -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends, (q,) each; one-sided intervals are open at infinity or at the edge of the law."""

    def to_arrays(self) -> dict[str, FloatArray]:
        """Its fields by name, each (q,)."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __len__(self) -> int:
        """Number of quantities q."""
        return len(next(iter(self.to_arrays().values())))

    def __getitem__(self, index: Any) -> Self:
        """Law of some of the quantities."""
        return type(self)(**{name: np.atleast_1d(array[index]) for name, array in self.to_arrays().items()})


@dataclass(frozen=True, eq=False)
class Binomial(Law):
    """A proportion known from counts; its interval is the exact one of Clopper and Pearson (1934).

    Parameters
    ----------
    successes, trials : array_like, shape (q,)
        Counts, 0 <= successes <= trials, trials >= 1.

    Notes
    -----
    Coverage is at least ``level`` for every true proportion; never less, often more.
    """

    successes: FloatArray
    trials: FloatArray

    def __post_init__(self) -> None:
        """Check the counts."""
        super().__post_init__()
        if not (np.all(self.trials >= 1) and np.all(self.successes >= 0) and np.all(self.successes <= self.trials)):
            raise InvalidData("Binomial wants 0 <= successes <= trials and trials >= 1")

    def interval(self, level: float = 0.95, sides: str = "two") -> tuple[FloatArray, FloatArray]:
        """Clopper-Pearson ends, within [0, 1]."""
        from scipy.special import betaincinv

        below_lower, below_upper = tail_probabilities(level, sides)
        k, n = self.successes, self.trials
        lower, upper = np.zeros_like(k), np.ones_like(k)
        some, missing = k > 0, k < n
        lower[some] = betaincinv(k[some], n[some] - k[some] + 1, below_lower)
        upper[missing] = betaincinv(k[missing] + 1, n[missing] - k[missing], below_upper)
        return lower, upper
