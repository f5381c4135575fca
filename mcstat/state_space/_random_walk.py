"""A random walk that learns its step from where it has been."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Walk", "first_walk"]

FloatArray = NDArray[np.float64]
_TARGET = 0.3
_FIRST_STEP = 0.3


class Walk(NamedTuple):
    """Normal steps of covariance exp(2 log_scale) cov; mean and cov are those of the chain so far.

    Andrieu and Thoms (2008), A tutorial on adaptive MCMC, algorithm 4.
    """

    log_scale: float
    mean: FloatArray
    cov: FloatArray
    n_adapted: int

    def propose(self, at: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A point near ``at`` (k,)."""
        ridge = 1e-10 * np.eye(len(at))
        step = np.linalg.cholesky(self.cov + ridge) @ rng.standard_normal(len(at))
        return np.asarray(at + np.exp(self.log_scale) * step)

    def adapted(self, at: FloatArray, accept_probability: float) -> Walk:
        """After a step that ended at ``at``; steps change ever less."""
        n = self.n_adapted + 1
        rate = min(0.5, 2.0 * n**-0.7)
        centred = at - self.mean
        return Walk(
            self.log_scale + rate * (accept_probability - _TARGET),
            self.mean + rate * centred,
            self.cov + rate * (np.outer(centred, centred) - self.cov),
            n,
        )


def first_walk(at: FloatArray) -> Walk:
    """Before anything is known."""
    return Walk(np.log(2.38 / np.sqrt(len(at))), at, _FIRST_STEP**2 * np.eye(len(at)), 0)
