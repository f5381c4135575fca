"""One path of noise for every grid: what refining the steps of an SDE changes is then the steps alone."""

from __future__ import annotations

from math import exp, sqrt

import torch
from numpy.random import SeedSequence

from mcstat.core.rng import Purpose
from mcstat.torch._bridge import generator

__all__ = ["BrownianPath"]

# The interval is halved so often; within the last halves the path is drawn anew.
_DEPTH = 16


class BrownianPath:
    """Brownian motion in the clock e^(2 lambda), by halving the interval in lambda.

    In that clock the noise of the reverse diffusion between two levels is a scaled increment. Values at the halves
    come from generators of their own, so the path is a function of the seed and the ends alone, whatever is asked.

    Parameters
    ----------
    root : SeedSequence
    x : tensor
        Whose shape, dtype and device the increments have.
    start, end : float
        Range of lambda.
    """

    def __init__(self, root: SeedSequence, x: torch.Tensor, start: float, end: float) -> None:
        self.root, self.x, self.start, self.end = root, x, start, end

    def increment(self, start: float, end: float) -> torch.Tensor:
        """Standard normal numbers of the shape of x: the path's increment over its standard deviation."""
        scale = sqrt(self._clock(end) - self._clock(start))
        return ((self._value(end) - self._value(start)) / scale).to(self.x.dtype)

    def _value(self, lam: float) -> torch.Tensor:
        """The path at ``lam``; 0 at the start. O(depth) normal draws of the shape of x."""
        low, high = self.start, self.end
        left = torch.zeros(self.x.shape, dtype=torch.float64, device=self.x.device)
        right = sqrt(self._clock(high) - self._clock(low)) * self._draw(1)
        node = 1
        for _ in range(_DEPTH):
            if lam in (low, high):
                break
            middle = 0.5 * (low + high)
            between = self._bridge(low, middle, high, left, right, 2 * node)
            if lam < middle:
                high, right, node = middle, between, 2 * node
            else:
                low, left, node = middle, between, 2 * node + 1
        if lam == low:
            return left
        return right if lam == high else self._bridge(low, lam, high, left, right, 2 * node)

    def _bridge(
        self, low: float, at: float, high: float, left: torch.Tensor, right: torch.Tensor, key: int
    ) -> torch.Tensor:
        """The path at ``at``, given it at ``low`` and ``high``."""
        before, after = self._clock(at) - self._clock(low), self._clock(high) - self._clock(at)
        share = before / (before + after)
        return torch.lerp(left, right, share) + sqrt(share * after) * self._draw(key)

    def _draw(self, key: int) -> torch.Tensor:
        source = generator(self.root, type(self).__name__, Purpose.SAMPLE, key, self.x.device)
        return torch.randn(self.x.shape, generator=source, dtype=torch.float64, device=self.x.device)

    def _clock(self, lam: float) -> float:
        # From the end, so that nothing overflows.
        return exp(2.0 * (lam - self.end))
