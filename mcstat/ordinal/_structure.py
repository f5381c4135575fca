"""How the boundaries of a cumulative model depend on what is estimated.

The likelihood knows boundaries (K - 1, 1 + p), intercept first. A structure writes them as a linear function of the
parameters theta (q,), and carries gradient and Hessian back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mcstat.ordinal._likelihood import Boundaries, CumulativeLikelihood

__all__ = ["STRUCTURES", "Common", "Differences", "Free", "Structure", "Structured"]

FloatArray = NDArray[np.float64]


class Structure(Protocol):
    """Linear map between theta (q,) and boundaries (n_cuts, r)."""

    @property
    def n_cuts(self) -> int:
        """Boundaries."""

    @property
    def r(self) -> int:
        """Numbers a boundary: intercept and slopes."""

    def boundaries(self, theta: FloatArray) -> FloatArray:
        """(q,) to (n_cuts, r)."""

    def parameters(self, boundaries: FloatArray) -> FloatArray:
        """The theta that gives these boundaries, (n_cuts, r) to (q,)."""

    def gradient(self, gradient: FloatArray) -> FloatArray:
        """(n_cuts, r) to (q,)."""

    def hessian(self, hessian: FloatArray) -> FloatArray:
        """(n_cuts, r, n_cuts, r) to (q, q)."""

    def penalties(self, factors: FloatArray, first: bool) -> FloatArray:
        """What the penalty multiplies, (q,), given factors (p,) of the columns; ``first`` is penalize_first."""


@dataclass(frozen=True)
class Differences:
    """PRESTO: theta holds the first boundary and each one's difference to that before it."""

    n_cuts: int
    r: int

    def boundaries(self, theta: FloatArray) -> FloatArray:
        """Sums of the differences."""
        return np.cumsum(theta.reshape(self.n_cuts, self.r), axis=0)

    def parameters(self, boundaries: FloatArray) -> FloatArray:
        """Differences of the boundaries."""
        return np.diff(boundaries, axis=0, prepend=0.0).ravel()

    def gradient(self, gradient: FloatArray) -> FloatArray:
        """A difference acts on its own boundary and all later ones: sums from the end."""
        return _sums_from_the_end(gradient, 0).ravel()

    def hessian(self, hessian: FloatArray) -> FloatArray:
        """Sums from the end on both sides."""
        summed = _sums_from_the_end(_sums_from_the_end(hessian, 0), 2)
        return summed.reshape(self.n_cuts * self.r, -1)

    def penalties(self, factors: FloatArray, first: bool) -> FloatArray:
        """Every slope's difference; the first slopes as ``first`` says; no intercept."""
        table = np.zeros((self.n_cuts, self.r))
        table[:, 1:] = factors
        if not first:
            table[0] = 0.0
        return table.ravel()


@dataclass(frozen=True)
class Free:
    """Slopes of their own for each boundary: theta is the boundaries."""

    n_cuts: int
    r: int

    def boundaries(self, theta: FloatArray) -> FloatArray:
        """The same numbers as a table."""
        return theta.reshape(self.n_cuts, self.r)

    def parameters(self, boundaries: FloatArray) -> FloatArray:
        """The same numbers in a row."""
        return boundaries.ravel().copy()

    def gradient(self, gradient: FloatArray) -> FloatArray:
        """Unchanged."""
        return gradient.ravel()

    def hessian(self, hessian: FloatArray) -> FloatArray:
        """Unchanged, as a matrix."""
        return hessian.reshape(self.n_cuts * self.r, -1)

    def penalties(self, factors: FloatArray, first: bool) -> FloatArray:
        """Every slope; those of the first boundary as ``first`` says."""
        return Differences(self.n_cuts, self.r).penalties(factors, first)


@dataclass(frozen=True)
class Common:
    """Proportional odds: theta holds the n_cuts intercepts, then the slopes that all boundaries share."""

    n_cuts: int
    r: int

    def boundaries(self, theta: FloatArray) -> FloatArray:
        """Each intercept beside the same slopes."""
        return np.column_stack([theta[: self.n_cuts], np.tile(theta[self.n_cuts :], (self.n_cuts, 1))])

    def parameters(self, boundaries: FloatArray) -> FloatArray:
        """Intercepts, then the slopes of the first boundary."""
        return np.concatenate([boundaries[:, 0], boundaries[0, 1:]])

    def gradient(self, gradient: FloatArray) -> FloatArray:
        """Slopes gather over all boundaries."""
        return np.concatenate([gradient[:, 0], gradient[:, 1:].sum(axis=0)])

    def hessian(self, hessian: FloatArray) -> FloatArray:
        """Slopes gather over all boundaries, on both sides."""
        k = self.n_cuts
        pulled = np.empty((k + self.r - 1, k + self.r - 1))
        pulled[:k, :k] = hessian[:, 0, :, 0]
        pulled[:k, k:] = hessian[:, 0, :, 1:].sum(axis=1)
        pulled[k:, :k] = pulled[:k, k:].T
        pulled[k:, k:] = hessian[:, 1:, :, 1:].sum(axis=(0, 2))
        return pulled

    def penalties(self, factors: FloatArray, first: bool) -> FloatArray:
        """The common slopes; there is no first among them."""
        return np.concatenate([np.zeros(self.n_cuts), factors])


STRUCTURES: dict[str, Callable[[int, int], Structure]] = {"differences": Differences, "free": Free, "common": Common}


class Structured:
    """The likelihood as a function of a structure's parameters, for :func:`mcstat.core.proximal.minimise`."""

    def __init__(self, likelihood: CumulativeLikelihood, structure: Structure) -> None:
        self.likelihood, self.structure = likelihood, structure

    def __call__(self, theta: FloatArray) -> Pulled:
        """Expand about theta (q,)."""
        return Pulled(self.likelihood(self.structure.boundaries(theta)), self.structure)


class Pulled:
    """An expansion carried back from boundaries to parameters."""

    def __init__(self, at: Boundaries, structure: Structure) -> None:
        self.value = at.value
        self.gradient = structure.gradient(at.gradient)
        self.at, self._structure = at, structure

    def hessian(self) -> FloatArray:
        """(q, q)."""
        return self._structure.hessian(self.at.hessian)


def _sums_from_the_end(array: FloatArray, axis: int) -> FloatArray:
    return np.flip(np.cumsum(np.flip(array, axis), axis), axis)
