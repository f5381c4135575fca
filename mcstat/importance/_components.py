"""The parts of the sampling mixture: Gaussians, or mixtures of them, fitted to weighted points.

Everything here lives in standardised coordinates (zero mean and unit variance under the initial law), so that the
ridge means the same whatever the units of the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import logsumexp

from mcstat.kernels.linalg import cholesky, log_gaussian, weighted_moments

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
class ComponentFitter:
    """How components are fitted: how many Gaussians each, full or diagonal covariance, ridge."""

    n_gaussians: int
    diagonal: bool
    ridge: float

    def fit(self, z: FloatArray, weights: FloatArray, previous: FloatArray) -> Component:
        """Weighted maximum likelihood; ``previous`` (d, d) is what covariances shrink to where few points count."""
        used = weights > 0
        z, weights = np.ascontiguousarray(z[used]), weights[used] / weights[used].sum()
        single = self._gaussians(z, weights[:, None], previous)
        if self.n_gaussians == 1:
            return single
        return self._expectation_maximisation(z, weights, single)

    def _expectation_maximisation(self, z: FloatArray, weights: FloatArray, single: Component) -> Component:
        shrink_to = single.covariance()
        component = self._gaussians(z, weights[:, None] * self._slices(z, weights, single), shrink_to)
        before = -np.inf
        for _ in range(_EM_SWEEPS):
            terms = component.log_terms(z)
            total = logsumexp(terms, axis=1)
            likelihood = float(weights @ total)
            if abs(likelihood - before) < _EM_TOLERANCE * abs(likelihood):
                break
            before = likelihood
            component = self._gaussians(z, weights[:, None] * np.exp(terms - total[:, None]), shrink_to)
        return component

    def _slices(self, z: FloatArray, weights: FloatArray, single: Component) -> FloatArray:
        """(n, C) first responsibilities: slices of equal weight across the direction of largest spread."""
        direction = np.linalg.eigh(single.covariance())[1][:, -1]
        order = np.argsort(z @ direction, kind="stable")
        rank = np.empty(len(z))
        rank[order] = np.cumsum(weights[order]) - weights[order] / 2
        labels = np.minimum((rank * self.n_gaussians).astype(np.int64), self.n_gaussians - 1)
        return np.eye(self.n_gaussians)[labels]

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
