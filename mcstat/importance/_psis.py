"""Pareto-smoothed importance sampling: how heavy is the tail of the weights, and a tamer version of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_real, frozen_view
from mcstat.core.errors import DegenerateWeightsError, InvalidData
from mcstat.kernels.weights import effective_sample_size, fit_generalised_pareto, logsumexp

__all__ = ["PsisResult", "ess", "khat_threshold", "psis", "tail_shape"]

FloatArray = NDArray[np.float64]

# Fewer exceedances than this say nothing about a tail.
_LEAST_TAIL = 5


@dataclass(frozen=True)
class PsisResult:
    """Smoothed weights and the diagnosis.

    Attributes
    ----------
    log_weights : ndarray, shape (n,)
        Smoothed log-weights, normalised so that the weights sum to one.
    khat : float
        Shape of the generalised Pareto law fitted to the largest raw weights: their moments of order 1/khat and above
        are infinite. -inf where the largest weights are all equal, inf where too few are left to fit, or where they
        span more than floating point can.
    ess : float
        Effective sample size of the smoothed weights.
    threshold : float
        min(1 - 1/log10 n, 0.7): from there on the Monte Carlo error is not to be trusted.
    """

    log_weights: FloatArray
    khat: float
    ess: float
    threshold: float

    @property
    def reliable(self) -> bool:
        """Whether khat is below the threshold; never for a single weight, whose threshold is -inf."""
        return self.khat < self.threshold


def psis(log_weights: ArrayLike, *, relative_efficiency: float = 1.0) -> PsisResult:
    """Smooth the largest importance weights by a generalised Pareto law.

    Parameters
    ----------
    log_weights : array_like, shape (n,)
        Log importance ratios up to a constant; -inf is a weight of zero.
    relative_efficiency : float
        Effective over actual number of draws, for dependent draws.

    Returns
    -------
    PsisResult

    Raises
    ------
    InvalidData
        For NaN or +inf.
    DegenerateWeightsError
        When every weight is zero.

    Notes
    -----
    The min(n/5, 3 sqrt(n / relative_efficiency)) largest weights are replaced by quantiles of the fitted law, cut at
    the largest raw weight. Same definition as arviz-stats for weights without ties. Weights that tie with the largest
    one left out are not replaced here, so there is an answer where its fit divides by zero. O(n log n).

    References
    ----------
    .. [1] Vehtari, A., Simpson, D., Gelman, A., Yao, Y. and Gabry, J. (2024). Pareto smoothed importance sampling.
       Journal of Machine Learning Research 25. arXiv:1507.02646.
    """
    logs = _checked(log_weights)
    efficiency = check_real("relative_efficiency", relative_efficiency, 0.0, closed="neither")
    logs = _below_largest(logs)
    tail, cutoff = _tail(logs, efficiency)
    khat, scale = _fit(logs, tail, cutoff)
    smoothed = logs.copy()
    if np.isfinite(khat):
        at = np.arange(0.5, len(tail)) / len(tail)
        with np.errstate(over="ignore"):  # cut at the largest weight
            excess = scale * (np.expm1(-khat * np.log1p(-at)) / khat if abs(khat) > 1e-15 else -np.log1p(-at))
        smoothed[tail] = np.minimum(cutoff + np.log1p(excess), 0.0)
    smoothed -= logsumexp(frozen_view(smoothed))
    return PsisResult(smoothed, khat, float(effective_sample_size(frozen_view(smoothed))), khat_threshold(len(logs)))


def ess(log_weights: ArrayLike) -> float:
    """Effective sample size (sum w)^2 / sum w^2 of weights given by their logarithms, shape (n,)."""
    return float(effective_sample_size(frozen_view(_checked(log_weights))))


def khat_threshold(n: int) -> float:
    """Largest trustworthy khat for n weights."""
    return min(1.0 - 1.0 / log10(n), 0.7) if n > 1 else -np.inf


def tail_shape(logs: FloatArray) -> float:
    """Pareto khat of weights given by their logarithms (n,), -inf allowed; -inf where all are zero."""
    if np.isneginf(logs).all():
        return -np.inf
    logs = _below_largest(logs)
    return _fit(logs, *_tail(logs, 1.0))[0]


def _checked(log_weights: ArrayLike) -> FloatArray:
    logs = check_array("log_weights", log_weights, 1, finite=False)
    if len(logs) == 0:
        raise InvalidData("log_weights must hold at least one weight, got none")
    bad = np.isnan(logs) | np.isposinf(logs)
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidData(f"log_weights must be finite or -inf, got {logs[first]} at [{first}]")
    if np.isneginf(logs).all():
        raise DegenerateWeightsError("log_weights are -inf throughout: every weight is zero")
    return logs


def _below_largest(logs: FloatArray) -> FloatArray:
    """Log-weights relative to the largest one."""
    with np.errstate(over="ignore"):  # a difference beyond floating point is a weight of zero
        return np.asarray(logs - logs.max())


def _tail(logs: FloatArray, efficiency: float) -> tuple[NDArray[np.int64], float]:
    """Indices of the largest weights in ascending order, and the log-weight that they exceed."""
    n = len(logs)
    length = max(1, int(min(n / 5.0, 3.0 * sqrt(n / efficiency))))
    position = max(n - length - 1, 0)
    cutoff = max(float(np.partition(logs, position)[position]), float(np.log(np.finfo(float).tiny)))
    above = np.flatnonzero(logs > cutoff)
    return above[np.argsort(logs[above], kind="stable")], cutoff


def _fit(logs: FloatArray, tail: NDArray[np.int64], cutoff: float) -> tuple[float, float]:
    """Shape and scale of the exceedances, in units of the weight that they exceed."""
    if len(tail) < _LEAST_TAIL:
        # Many weights tied at the top are bounded; a few lonely ones say that more draws are needed.
        return (-np.inf if len(tail) == 0 else np.inf), 0.0
    # expm1, because weights that differ by rounding only have equal exponentials, and exceedances must be positive.
    shape, scale = fit_generalised_pareto(frozen_view(np.expm1(logs[tail] - cutoff)))
    return (float(shape), float(scale)) if np.isfinite(shape) and scale > 0 else (np.inf, 0.0)
