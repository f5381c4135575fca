"""Independent marginals on normal scores: x_i = quantile_i(Phi(z_i)) with z standard normal.

Gaussian parts fit there whatever the supports are: nothing is drawn outside of an interval or below 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidParameter

FloatArray = NDArray[np.float64]


def quantiles(marginal: Any, scores: FloatArray) -> FloatArray:
    """Quantiles at normal scores, by the nearer tail (where the marginal has ``isf``) so that no digit is lost."""
    if not callable(getattr(marginal, "isf", None)):
        return np.asarray(marginal.ppf(ndtr(scores)))
    x = np.empty(scores.shape)
    left = scores <= 0
    x[left] = marginal.ppf(ndtr(scores[left]))
    x[~left] = marginal.isf(ndtr(-scores[~left]))
    return x


@dataclass(frozen=True)
class StandardNormal:
    """Law of ``dim`` independent standard normal scores."""

    dim: int

    def rvs(self, size: int, random_state: Generator) -> FloatArray:
        """(size, dim) draws."""
        return random_state.standard_normal((size, self.dim))

    def logpdf(self, z: FloatArray) -> FloatArray:
        """(n,) log densities."""
        return np.asarray(-0.5 * np.sum(z**2, axis=1) - 0.5 * self.dim * np.log(2 * np.pi))


@dataclass(frozen=True)
class NormalScores:
    """The way from scores to inputs of given marginals."""

    marginals: tuple[Any, ...]

    def inputs(self, z: FloatArray) -> FloatArray:
        """(n, d) inputs at scores (n, d)."""
        columns = [
            check_array(f"law[{i}].ppf", quantiles(marginal, column), 1)
            for i, (marginal, column) in enumerate(zip(self.marginals, z.T, strict=True))
        ]
        return np.column_stack(columns)

    def log_change(self, z: FloatArray, x: FloatArray) -> FloatArray:
        """(n,) what turns a log density at inputs x into one at their scores z."""
        for i, marginal in enumerate(self.marginals):
            if not callable(getattr(marginal, "logpdf", None)):
                raise InvalidParameter(f"law[{i}] must have logpdf(x) to be compared with other laws, got {marginal!r}")
        own = [marginal.logpdf(column) for marginal, column in zip(self.marginals, x.T, strict=True)]
        return np.asarray(StandardNormal(len(self.marginals)).logpdf(z) - np.sum(own, axis=0))


@dataclass(frozen=True)
class AtInputs:
    """A function of the inputs as one of their scores."""

    func: Callable[[FloatArray], Any]
    scores: NormalScores

    def __call__(self, z: FloatArray) -> Any:
        return self.func(self.scores.inputs(z))


def scores_of(law: Any) -> NormalScores | None:
    """Scores for a list of marginals; None for a law in one piece."""
    if not isinstance(law, (list, tuple)):
        return None
    if not law:
        raise InvalidParameter("law must hold at least one marginal, got an empty list")
    for i, marginal in enumerate(law):
        if not (callable(getattr(marginal, "ppf", None)) and callable(getattr(marginal, "isf", None))):
            raise InvalidParameter(f"law[{i}] must have ppf(u) and isf(u), as SciPy marginals do, got {marginal!r}")
    return NormalScores(tuple(law))
