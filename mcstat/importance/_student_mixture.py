"""Mixtures of multivariate Student t laws, fitted by moments: proposals whose tails are never lighter than wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import gammaln

from mcstat.core.checks import frozen_view
from mcstat.importance._components import Component
from mcstat.kernels.linalg import log_gaussian

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StudentMixture(Component):
    """Weights (C,), means (C, d) and Cholesky factors (C, d, d) of the scale matrices; ``df`` > 2 for all."""

    df: float

    @staticmethod
    def with_moments(gaussians: Component, df: float) -> StudentMixture:
        """Each Student law gets the mean and covariance of a Gaussian."""
        return StudentMixture(gaussians.weights, gaussians.means, gaussians.factors * np.sqrt((df - 2) / df), df)

    def log_terms(self, z: FloatArray) -> FloatArray:
        """(n, C) log of weight times density."""
        d, z = self.means.shape[1], frozen_view(z)
        constant = gammaln((self.df + d) / 2) - gammaln(self.df / 2) - 0.5 * d * np.log(self.df * np.pi)
        terms = np.empty((len(self.weights), len(z)))
        for c, factor in enumerate(self.factors):
            log_gaussian(z, self.means[c], factor, terms[c])
            log_det = np.log(np.diag(factor)).sum()
            squared = -2 * (terms[c] + log_det + 0.5 * d * np.log(2 * np.pi))
            terms[c] = constant - log_det - 0.5 * (self.df + d) * np.log1p(np.maximum(squared, 0.0) / self.df)
        return np.asarray(terms.T + np.log(self.weights))

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) draws."""
        labels = rng.choice(len(self.weights), size=n, p=self.weights)
        normals = rng.standard_normal((n, self.means.shape[1]))
        radius = np.sqrt(self.df / rng.chisquare(self.df, size=n))
        return np.asarray(self.means[labels] + np.einsum("nij,nj->ni", self.factors[labels], normals) * radius[:, None])

    def covariance(self) -> FloatArray:
        """(d, d) of the whole mixture."""
        wider = np.sqrt(self.df / (self.df - 2))
        return Component(self.weights, self.means, self.factors * wider).covariance()
