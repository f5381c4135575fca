"""Confidence intervals for epsilon by inverting one exact test of both error rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_level
from mcstat.core.laws import Law, tail_probabilities
from mcstat.kernels.special import clopper_pearson
from mcstat.privacy._rates import epsilon_from_rates
from mcstat.privacy._rectangles import range_over

__all__ = ["JointExact", "product_limit"]

FloatArray = NDArray[np.float64]
Ends = tuple[FloatArray, FloatArray]

_FIRST_GRID, _FINER_GRID, _ZOOMS = 32, 8, 4


@dataclass(frozen=True, eq=False)
class JointExact(Law):
    """All epsilons of the error rates that an exact test does not reject.

    The test multiplies an exact binomial p-value of each rate; the product p of two independent p-values is at most t
    with probability at most t (1 - log t) (Fisher 1932), which decides. So the set of rates that pass at 1 - level
    holds the true ones with at least that level, for every attack, and epsilon's interval is its range over the set.
    Against the rectangle, whose rates each take half of the error probability, it is narrower where both rates matter
    (few errors of both kinds, or alike rates) and a little wider where one rate alone decides epsilon.

    The lower bound (``sides="lower"``) is about attacks that are right more often than not: its test counts errors
    that are too few, so an attack that is wrong more often than right has the bound 0. The upper bound is the upper
    end of the two-sided interval, which holds the level and more.

    Parameters
    ----------
    fn, fp, tn, tp : array_like, shape (q,)
        Counts.
    delta : array_like, shape (q,)
    """

    fn: FloatArray
    fp: FloatArray
    tn: FloatArray
    tp: FloatArray
    delta: FloatArray

    def interval(self, level: float = 0.95, sides: str = "two") -> Ends:
        """Lower and upper ends, (q,) each; one-sided intervals are open at infinity or end at 0."""
        tail_probabilities(level, sides)
        log_limit = np.log(product_limit(1.0 - check_level(level)))
        # A two-sided p-value is twice the smaller tail.
        n_tails = 1 if sides == "lower" else 2
        # How the product is shared: log of the first p-value from log_limit to 0.
        shares = np.broadcast_to(np.linspace(0.0, 1.0, _FIRST_GRID)[:, None], (_FIRST_GRID, len(self)))
        lower = self._refined(shares, log_limit, n_tails, np.argmin)[0]
        if sides == "lower":
            return lower, np.full_like(lower, np.inf)
        upper = self._refined(shares, log_limit, n_tails, np.argmax)[1]
        return (lower, upper) if sides == "two" else (np.zeros_like(lower), upper)

    def _refined(self, shares: FloatArray, log_limit: float, n_tails: int, best: Callable[..., Any]) -> Ends:
        """Range of epsilon over the borders, on grids of ``shares`` (k, q) ever closer to where it is extreme."""
        width = 1.0 / (_FIRST_GRID - 1)
        offsets = np.linspace(-1.0, 1.0, _FINER_GRID)[:, None]
        lowest, highest = np.full(len(self), np.inf), np.zeros(len(self))
        for _ in range(1 + _ZOOMS):
            borders = self._borders(shares, log_limit, n_tails)
            points = [list(zip(*border, strict=True)) for border in borders]
            low, high = range_over(points[0], points[1], self.delta)
            lowest, highest = np.minimum(lowest, low), np.maximum(highest, high)
            shares = np.clip(self._best_share(borders, shares, best) + width * offsets, 0.0, 1.0)
            width *= 2.0 / (_FINER_GRID - 1)
        return lowest, highest

    def _best_share(self, borders: tuple[Ends, Ends], shares: FloatArray, best: Callable[..., Any]) -> FloatArray:
        """Share, (q,), at which epsilon is extreme over both borders."""
        values = np.concatenate([epsilon_from_rates(x, y, self.delta) for x, y in borders])
        return np.asarray(shares[best(values, axis=0) % len(shares), np.arange(len(self))])

    def _borders(self, shares: FloatArray, log_limit: float, n_tails: int) -> tuple[Ends, Ends]:
        """Rates (k, q) at which the product is just the limit: both too high, and both too low."""
        p_x, p_y = np.exp(shares * log_limit) / n_tails, np.exp((1.0 - shares) * log_limit) / n_tails
        # The one-sided set reaches down to no errors at all: a tail of 0 ends there.
        few = 0.0 if n_tails == 1 else 1.0
        x = clopper_pearson(self.fn, self.fn + self.tp, few * p_x, p_x)
        y = clopper_pearson(self.fp, self.fp + self.tn, few * p_y, p_y)
        return (x[1], y[1]), (x[0], y[0])


def product_limit(level: float) -> float:
    """The t with t (1 - log t) = level: what a product of two independent p-values undercuts with that probability."""
    from scipy.special import lambertw

    return float(np.exp(1.0 + lambertw(-level / np.e, -1).real))
