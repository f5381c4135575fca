"""The parts of the sampling mixture: Gaussians, mixtures of them, or of von Mises-Fisher-Nakagami laws.

Everything here lives in standardised coordinates (zero mean and unit variance under the initial law), so that the
ridge means the same whatever the units of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import logsumexp

from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidParameter
from mcstat.importance._vmfnm import Vmfnm, weighted_vmfnm
from mcstat.kernels.linalg import cholesky, log_gaussian, weighted_moments

FAMILIES = ("gaussian", "gmm", "vmfnm")

FloatArray = NDArray[np.float64]

_EM_TOLERANCE, _EM_SWEEPS = 1e-5, 500
_DEGENERATE = 1e-12


def is_degenerate(z: FloatArray) -> bool:
    """Whether standardised points (n, d) lie in a plane of fewer than d dimensions, up to rounding."""
    return bool(np.linalg.eigvalsh(np.atleast_2d(np.cov(z, rowvar=False)))[0] < _DEGENERATE)


@dataclass(frozen=True)
class Component:
    """One density g_j: weights (C,), means (C, d) and lower Cholesky factors (C, d, d) of its Gaussians."""

    weights: FloatArray
    means: FloatArray
    factors: FloatArray

    def log_terms(self, z: FloatArray) -> FloatArray:
        """(n, C) log of weight times density."""
        terms = np.empty((len(self.weights), len(z)))
        for c in range(len(self.weights)):
            log_gaussian(z, self.means[c], self.factors[c], terms[c])
        return terms.T + np.log(self.weights)

    def logpdf(self, z: FloatArray) -> FloatArray:
        """(n,) log densities."""
        terms = self.log_terms(z)
        return np.asarray(terms[:, 0] if terms.shape[1] == 1 else logsumexp(terms, axis=1))

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) draws."""
        normals = rng.standard_normal((n, self.means.shape[1]))
        if len(self.weights) == 1:
            return np.asarray(self.means[0] + normals @ self.factors[0].T)
        labels = rng.choice(len(self.weights), size=n, p=self.weights)
        return np.asarray(self.means[labels] + np.einsum("nij,nj->ni", self.factors[labels], normals))

    def covariance(self) -> FloatArray:
        """(d, d) of the whole mixture."""
        centred = self.means - self.weights @ self.means
        within = np.einsum("c,cij,ckj->ik", self.weights, self.factors, self.factors)
        return np.asarray(within + (centred * self.weights[:, None]).T @ centred)


@dataclass(frozen=True)
class DirectionalComponent(Component):
    """A mixture of von Mises-Fisher-Nakagami laws, with the Gaussians of the same moments."""

    directional: Vmfnm

    def log_terms(self, z: FloatArray) -> FloatArray:
        """(n, C) log of weight times density."""
        return self.directional.log_terms(z)

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) draws."""
        return self.directional.rvs(n, rng)


class Mixture(Protocol):
    """What expectation-maximisation asks of a mixture."""

    def log_terms(self, z: FloatArray) -> FloatArray:
        """(n, C) log of weight times density."""


AnyMixture = TypeVar("AnyMixture", bound=Mixture)


def expectation_maximisation(
    z: FloatArray, weights: FloatArray, start: FloatArray, maximise: Callable[[FloatArray], AnyMixture]
) -> tuple[AnyMixture, FloatArray]:
    """Weighted EM from responsibilities ``start`` (n, C), and its last responsibilities times weights, (n, C)."""
    shares = weights[:, None] * start
    mixture = maximise(shares)
    before = -np.inf
    for _ in range(_EM_SWEEPS):
        terms = mixture.log_terms(z)
        # By hand: for so few columns SciPy's logsumexp takes longer than all the rest.
        top = terms.max(axis=1)
        total = top + np.log(np.exp(terms - top[:, None]).sum(axis=1))
        likelihood = float(weights @ total)
        if abs(likelihood - before) < _EM_TOLERANCE * abs(likelihood):
            break
        before = likelihood
        shares = weights[:, None] * np.exp(terms - total[:, None])
        mixture = maximise(shares)
    return mixture, shares


@dataclass(frozen=True)
class ComponentFitter:
    """How components are fitted: how many Gaussians each, full or diagonal covariance, ridge.

    ``n_gaussians = 0`` stands for ``n_directions`` von Mises-Fisher-Nakagami laws instead.
    """

    n_gaussians: int
    diagonal: bool
    ridge: float
    n_directions: int = 0

    @classmethod
    def of(cls, family: str, n_components: int, *, diagonal: bool = False, ridge: float) -> Self:
        """The fitter of a family: one Gaussian, or ``n_components`` of a mixture."""
        if family == "vmfnm":
            return cls(0, diagonal, ridge, n_components)
        return cls(n_components if family == "gmm" else 1, diagonal, ridge)

    def fit(self, z: FloatArray, weights: FloatArray, previous: FloatArray) -> Component:
        """Weighted maximum likelihood; ``previous`` (d, d) is what covariances shrink to where few points count."""
        used = weights > 0
        z, weights = frozen_view(z[used]), weights[used] / weights[used].sum()
        single = self._gaussians(z, weights[:, None], previous)
        if self.n_gaussians == 0:
            return self._directional(z, weights, single)
        if self.n_gaussians == 1:
            return single
        shrink_to = single.covariance()
        start = slices(z, weights, shrink_to, self.n_gaussians)
        return expectation_maximisation(z, weights, start, lambda shares: self._gaussians(z, shares, shrink_to))[0]

    def _directional(self, z: FloatArray, weights: FloatArray, single: Component) -> Component:
        if z.shape[1] < 2:
            raise InvalidParameter("family='vmfnm' wants points of at least 2 dimensions, got 1; use 'gmm'")
        shrink_to = single.covariance()
        start = slices(z, weights, shrink_to, self.n_directions)
        directional, shares = expectation_maximisation(z, weights, start, lambda shares: weighted_vmfnm(z, shares))
        twin = self._gaussians(z, shares, shrink_to)
        return DirectionalComponent(twin.weights, twin.means, twin.factors, directional)

    def _gaussians(self, z: FloatArray, responsibilities: FloatArray, shrink_to: FloatArray) -> Component:
        """One Gaussian a column of ``responsibilities`` (n, C); columns without weight are dropped."""
        d = z.shape[1]
        weights, means, factors = [], [], []
        for column in np.ascontiguousarray(responsibilities.T):
            mass = column.sum()
            if mass <= 0:
                continue
            mean, cov = np.empty(d), np.empty((d, d))
            weighted_moments(z, column, mean, cov)
            cov = self._guarded(cov, column, shrink_to)
            factor = np.empty((d, d))
            if cholesky(cov, factor) != 0:
                continue
            weights.append(mass)
            means.append(mean)
            factors.append(factor)
        share = np.array(weights)
        return Component(share / share.sum(), np.array(means), np.array(factors))

    def _guarded(self, cov: FloatArray, column: FloatArray, shrink_to: FloatArray) -> FloatArray:
        """Covariance that stays usable when few points carry the weight."""
        d = len(cov)
        ess = column.sum() ** 2 / np.sum(column**2)
        # Quadratic in (d + 2) / ess: nothing where the points are many, all of it where they are fewer than needed.
        shrink = min(1.0, ((d + 2) / ess)) ** 2
        cov = (1 - shrink) * cov + shrink * shrink_to
        if self.diagonal:
            cov = np.diag(np.diag(cov))
        return cov + self.ridge * np.eye(d)


def slices(z: FloatArray, weights: FloatArray, covariance: FloatArray, n_slices: int) -> FloatArray:
    """(n, n_slices) zeros and ones: slices of equal weight across the direction of largest spread."""
    direction = np.linalg.eigh(covariance)[1][:, -1]
    order = np.argsort(z @ direction, kind="stable")
    rank = np.empty(len(z))
    rank[order] = np.cumsum(weights[order]) - weights[order] / 2
    labels = np.minimum((rank * n_slices).astype(np.int64), n_slices - 1)
    return np.eye(n_slices)[labels]
