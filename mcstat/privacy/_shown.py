"""Laws that show another interval when asked for the two-sided one: the shortest, or the lower bound alone."""

from __future__ import annotations

from mcstat.privacy._gdp_posterior import GaussianPosterior
from mcstat.privacy._joint import JointExact
from mcstat.privacy._posterior import EpsilonPosterior, FloatArray
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle

__all__ = [
    "LowerClopperPearson",
    "LowerGaussian",
    "LowerJeffreys",
    "LowerJointExact",
    "LowerPosterior",
    "ShortestGaussian",
    "ShortestPosterior",
]

Ends = tuple[FloatArray, FloatArray]


class ShortestPosterior(EpsilonPosterior):
    """Posterior of epsilon whose two-sided interval is the shortest one."""

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """Shortest interval, or the one-sided ones."""
        return self.hpd(level) if sides == "two" else super().interval(level, sides)


class LowerPosterior(EpsilonPosterior):
    """Posterior of epsilon whose interval is its lower bound."""

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """[lower, inf) unless the upper one is asked for."""
        return super().interval(level, _lower(sides))


class ShortestGaussian(GaussianPosterior):
    """Posterior under a Gaussian curve whose two-sided interval is the shortest one."""

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """Shortest interval, or the one-sided ones."""
        return self.hpd(level) if sides == "two" else super().interval(level, sides)


class LowerGaussian(GaussianPosterior):
    """Posterior under a Gaussian curve whose interval is its lower bound."""

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """[lower, inf) unless the upper one is asked for."""
        return super().interval(level, _lower(sides))


class LowerClopperPearson(ClopperPearsonRectangle):
    """Exact rectangle whose interval is its lower bound."""

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """[lower, inf) unless the upper one is asked for."""
        return super().interval(level, _lower(sides))


class LowerJeffreys(JeffreysRectangle):
    """Jeffreys' rectangle whose interval is its lower bound."""

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """[lower, inf) unless the upper one is asked for."""
        return super().interval(level, _lower(sides))


class LowerJointExact(JointExact):
    """Joint inversion whose interval is its lower bound."""

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """[lower, inf) unless the upper one is asked for."""
        return super().interval(level, _lower(sides))


def _lower(sides: str) -> str:
    return "lower" if sides == "two" else sides
