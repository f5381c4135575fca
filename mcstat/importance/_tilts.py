"""The law nearest to a marginal, in Kullback-Leibler divergence, among those with another mean or variance.

It is the exponential tilt f(x) exp(a t + b t^2 - c) with t = (x - mean) / sd; b = 0 where only the mean moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import logsumexp

from mcstat.core.errors import InvalidParameter
from mcstat.importance._scores import quantiles

FloatArray = NDArray[np.float64]

# Normal scores on which a marginal is integrated: what lies outside has probability 2e-33.
_SCORES = np.linspace(-12.0, 12.0, 2401)
# Tilts that put more than this beyond the scores of +-11 have no moment to speak of.
_END, _MOST_AT_END = 11.0, 1e-9
_MOMENT_ERROR = 1e-7


@dataclass(frozen=True)
class Tilt:
    """Tilted marginal: log ratio to the marginal itself, and draws by its inverse distribution function."""

    marginal: Any
    mean: float
    sd: float
    slopes: FloatArray
    log_normaliser: float
    cdf: FloatArray
    scores: FloatArray

    def log_ratio(self, x: FloatArray) -> FloatArray:
        """(n,) log of the tilted over the original density."""
        t = (x - self.mean) / self.sd
        return np.asarray(t * (self.slopes[0] + self.slopes[1] * t) - self.log_normaliser)

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n,) draws; the inverse is interpolated to about 1e-7."""
        from scipy.interpolate import PchipInterpolator

        return quantiles(self.marginal, PchipInterpolator(self.cdf, self.scores)(rng.random(n)))


def tilted(name: str, marginal: Any, perturb: str, delta: float) -> Tilt:
    """Tilt of ``marginal`` to the mean ``mean + delta * sd``, or to ``delta`` times the variance at the same mean."""
    from scipy.optimize import minimize

    mean, sd = float(marginal.mean()), float(marginal.std())
    if not (np.isfinite(mean) and np.isfinite(sd) and sd > 0):
        raise InvalidParameter(f"{name} must have a finite mean and a positive variance, got {mean} and {sd**2}")
    t = (quantiles(marginal, _SCORES) - mean) / sd
    log_base = -0.5 * _SCORES**2
    log_base -= logsumexp(log_base)
    # The grid's own moments, which the dual problem moves; they differ from the law's by rounding.
    wanted = np.array([delta]) if perturb == "mean" else np.array([0.0, delta])
    powers = t[:, None] ** np.arange(1, len(wanted) + 1)

    def dual(slopes: FloatArray) -> tuple[float, FloatArray]:
        logs = log_base + powers @ slopes
        normaliser = logsumexp(logs)
        return float(normaliser - slopes @ wanted), np.exp(logs - normaliser) @ powers - wanted

    # Exact for a normal marginal.
    start = np.array([delta]) if perturb == "mean" else np.array([0.0, 0.5 * (1 - 1 / delta)])
    slopes = minimize(dual, start, jac=True, method="BFGS", options={"gtol": 1e-11}).x
    logs = log_base + powers @ slopes
    weights = np.exp(logs - logsumexp(logs))
    far = weights[np.abs(_SCORES) > _END].sum() > _MOST_AT_END
    if far or np.abs(weights @ powers - wanted).max() > _MOMENT_ERROR * max(1.0, abs(delta)):
        what = f"mean moved by {delta:g} sd" if perturb == "mean" else f"variance times {delta:g}"
        raise InvalidParameter(
            f"{name} has no nearest law with its {what}: its support is bounded or its tails are too heavy; take a "
            "delta nearer to no change, or state the model in terms of a transformed input"
        )
    return Tilt(marginal, mean, sd, np.append(slopes, 0.0)[:2], float(logsumexp(logs)), *_cdf(weights))


def _cdf(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distribution function at the scores where it grows, and those scores."""
    from scipy.integrate import cumulative_simpson

    cdf = cumulative_simpson(weights, initial=0.0)
    grows = np.concatenate([[True], cdf[1:] > np.maximum.accumulate(cdf)[:-1]])
    cdf = cdf[grows] / cdf[grows][-1]
    return cdf, _SCORES[grows]


@dataclass(frozen=True)
class IndependentLaw:
    """Independent marginals, one of which may be tilted: ``rvs`` and ``logpdf`` as the sampler wants them."""

    marginals: tuple[Any, ...]
    index: int = -1
    tilt: Tilt | None = None

    def rvs(self, size: int, random_state: Generator) -> FloatArray:
        """(size, d) draws."""
        columns = [np.asarray(marginal.rvs(size=size, random_state=random_state)) for marginal in self.marginals]
        if self.tilt is not None:
            columns[self.index] = self.tilt.rvs(size, random_state)
        return np.column_stack(columns)

    def logpdf(self, x: FloatArray) -> FloatArray:
        """(n,) log densities."""
        logs = np.sum([marginal.logpdf(column) for marginal, column in zip(self.marginals, x.T, strict=True)], axis=0)
        if self.tilt is None:
            return np.asarray(logs)
        return np.asarray(logs + self.tilt.log_ratio(x[:, self.index]))
