"""A random walk that learns its step from where it has been."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Walk", "first_walk"]

FloatArray = NDArray[np.float64]
_TARGET = 0.3
_FIRST_STEP = 0.3
_RIDGE = 1e-10


class Walk(NamedTuple):
    """Normal steps with covariance exp(2 log_scale) cov; mean and cov are those of the chain so far.

    Andrieu and Thoms (2008), A tutorial on adaptive MCMC, algorithm 4.
    """

    log_scale: float
    mean: FloatArray
    cov: FloatArray
    factor: FloatArray  # of log_scale and cov together
    n_adapted: int

    def propose(self, at: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A point near ``at`` (k,)."""
        return np.asarray(at + self.factor @ rng.standard_normal(len(at)))

    def adapted(self, at: FloatArray, chance: float) -> Walk:
        """After a step that ended at ``at`` and was accepted with that chance; the steps change ever less."""
        n = self.n_adapted + 1
        rate = min(0.5, 2.0 * n**-0.7)
        centred = at - self.mean
        log_scale = self.log_scale + rate * (chance - _TARGET)
        cov = self.cov + rate * (np.outer(centred, centred) - self.cov)
        return Walk(log_scale, self.mean + rate * centred, cov, _factor(log_scale, cov), n)


def first_walk(at: FloatArray) -> Walk:
    """Before anything is known."""
    log_scale, cov = float(np.log(2.38 / np.sqrt(len(at)))), _FIRST_STEP**2 * np.eye(len(at))
    return Walk(log_scale, at, cov, _factor(log_scale, cov), 0)


def _factor(log_scale: float, cov: FloatArray) -> FloatArray:
    return np.asarray(np.exp(log_scale) * np.linalg.cholesky(cov + _RIDGE * np.eye(len(cov))))
