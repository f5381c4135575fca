"""A part of the sampling mixture with heavy tails: a multivariate Student t."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import gammaln

from mcstat.importance._components import Component

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StudentComponent(Component):
    """One multivariate t with ``df`` degrees of freedom around means[0], with scale matrix factors[0] factors[0]^T."""

    df: float

    def log_terms(self, z: FloatArray) -> FloatArray:
        """(n, 1) log densities."""
        from scipy.linalg import solve_triangular

        d, factor = self.means.shape[1], self.factors[0]
        standard = solve_triangular(factor, (z - self.means[0]).T, lower=True)
        constant = gammaln((self.df + d) / 2) - gammaln(self.df / 2) - 0.5 * d * np.log(self.df * np.pi)
        constant -= np.log(np.diag(factor)).sum()
        return np.asarray(constant - 0.5 * (self.df + d) * np.log1p(np.sum(standard**2, axis=0) / self.df))[:, None]

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) draws."""
        radius = np.sqrt(self.df / rng.chisquare(self.df, size=n))
        normals = rng.standard_normal((n, self.means.shape[1]))
        return np.asarray(self.means[0] + (normals @ self.factors[0].T) * radius[:, None])
