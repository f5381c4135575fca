"""Points in standard normal space with the values of the limit state there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray
from scipy.special import logsumexp

from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidData
from mcstat.core.rng import Purpose, stream
from mcstat.importance._components import Component
from mcstat.importance._normal_space import Transform

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class UnitGaussians:
    """Mixture of Gaussians of unit covariance: weights (C,), means (C, d)."""

    weights: FloatArray
    means: FloatArray

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) draws."""
        labels = rng.choice(len(self.weights), size=n, p=self.weights)
        return np.asarray(self.means[labels] + rng.standard_normal((n, self.means.shape[1])))

    def logpdf(self, u: FloatArray) -> FloatArray:
        """(n,) log densities."""
        exponents = u @ self.means.T - 0.5 * np.sum(self.means**2, axis=1)
        return np.asarray(log_standard_normal(u) + logsumexp(exponents, axis=1, b=self.weights))


def log_standard_normal(u: FloatArray) -> FloatArray:
    """(n,) log densities at u (n, d)."""
    return np.asarray(-0.5 * (np.einsum("nd,nd->n", u, u) + u.shape[1] * np.log(2 * np.pi)))


@dataclass(frozen=True)
class Tilted:
    """Sampling density of a level: a fitted part, and a share of unit Gaussians at the means of its members.

    Tails of a fitted part are lighter than those of the law it is to replace, and the points that it misses would
    come seldom and with enormous weights. Under a unit Gaussian that is moved to where failures are, the weight falls
    all the way out from there.
    """

    part: Component | UnitGaussians
    companion: UnitGaussians
    defensive: float

    @classmethod
    def around(cls, part: Component, defensive: float) -> Tilted:
        """With the companion of that part."""
        return cls(part, UnitGaussians(part.weights, part.means), defensive)

    @classmethod
    def standard_normal(cls, d: int) -> Tilted:
        """The law itself, where everything begins."""
        unit = UnitGaussians(np.ones(1), np.zeros((1, d)))
        return cls(unit, unit, 0.0)

    def rvs(self, size: int, random_state: Generator) -> FloatArray:
        """(size, d) independent draws, grouped by part."""
        n_companion = int(random_state.binomial(size, self.defensive))
        drawn = [self.part.rvs(size - n_companion, random_state), self.companion.rvs(n_companion, random_state)]
        return np.concatenate(drawn)

    def logpdf(self, u: FloatArray) -> FloatArray:
        """(n,) log densities at u, (n, d)."""
        u = frozen_view(u)
        if self.defensive == 0:
            return self.part.logpdf(u)
        parts = self.part.logpdf(u) + np.log1p(-self.defensive), self.companion.logpdf(u) + np.log(self.defensive)
        return np.asarray(np.logaddexp(*parts))


@dataclass(frozen=True)
class Points:
    """Points u (n, d), limit state g (n,), log of the standard normal over the sampling density (n,)."""

    u: FloatArray
    g: FloatArray
    log_weights: FloatArray

    @staticmethod
    def joined(blocks: list[Points]) -> Points:
        """One of several."""
        return Points(*(np.concatenate([getattr(b, name) for b in blocks]) for name in ("u", "g", "log_weights")))


@dataclass(frozen=True)
class LimitState:
    """Draws points and calls the user's g on them, chunk by chunk."""

    g: Callable[[FloatArray], Any]
    transform: Transform
    root: SeedSequence
    chunk_size: int | None

    def draw(self, proposal: Tilted, purpose: Purpose, block: tuple[int, int]) -> Points:
        """Block (k, n): ``n`` points of stream ``k``, always the same for the same root seed and proposal."""
        k, n = block
        u = np.ascontiguousarray(proposal.rvs(n, stream(self.root, "CrossEntropy", purpose, k)))
        size = self.chunk_size or n
        g = np.concatenate([self._values(self.transform(u[at : at + size])) for at in range(0, n, size)])
        return Points(u, g, log_standard_normal(u) - proposal.logpdf(u))

    def _values(self, x: FloatArray) -> FloatArray:
        """(n,) finite values of g at inputs x."""
        # A model that writes into its argument must not spoil the point that an error message shows.
        raw = np.asarray(self.g(x.copy()))
        if raw.dtype.kind not in "fiub":
            raise TypeError(f"g must give real numbers, got dtype {raw.dtype}")
        if raw.shape not in ((len(x),), (len(x), 1)):
            raise InvalidData(f"g must give shape ({len(x)},) for points of shape {x.shape}, got {raw.shape}")
        values = raw.astype(np.float64).reshape(len(x))
        bad = ~np.isfinite(values)
        if bad.any():
            first = int(np.argmax(bad))
            raise InvalidData(
                f"g must be finite, got {values[first]} at the point {x[first].tolist()} "
                f"({int(bad.sum())} of {len(x)} values)"
            )
        return values
