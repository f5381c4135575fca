"""Intervals of an Estimate: which law, which critical value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import SFC64, Generator
from numpy.typing import NDArray

from mcstat.core.checks import check_option, frozen_view
from mcstat.core.errors import InvalidParameter, JointLawError
from mcstat.core.laws import tail_probabilities

if TYPE_CHECKING:
    from mcstat.core.estimate import Estimate

FloatArray = NDArray[np.float64]
HOW = ("law", "quantile", "t", "normal")

# Draws behind a joint critical value: its own Monte Carlo error is then about 0.003.
_JOINT_DRAWS = 100_000


@dataclass(frozen=True)
class Interval:
    """Ends (q,), and the words that say how they were found."""

    lower: FloatArray
    upper: FloatArray
    label: str


def interval(est: Estimate, level: float, *, how: str | None, joint: bool, sides: str) -> Interval:
    """Ends of the interval of every quantity; see :meth:`Estimate.conf_int`."""
    below_lower, below_upper = tail_probabilities(level, sides)
    how = default_how(est) if how is None else check_option("how", how, HOW)
    if joint:
        lower, upper = _joint_ends(est, level, how, sides)
    elif how == "law":
        if est.law is None:
            raise InvalidParameter('how="law" wants an Estimate with a law; this one has none')
        lower, upper = est.law.interval(level, sides)
    elif how == "quantile":
        lower, upper = _quantiles(est, below_lower, below_upper)
    else:
        lower = est.value + _times(_ppf(est, how, below_lower), est.std_error)
        upper = est.value + _times(_ppf(est, how, below_upper), est.std_error)
    return Interval(lower, upper, _label(est, level, how, joint, sides))


def default_how(est: Estimate) -> str:
    """The law if there is one, then draws, then Student's t, then the normal law."""
    if est.law is not None:
        return "law"
    if est.draws is not None and est.kind in ("posterior", "bootstrap"):
        return "quantile"
    return "normal" if est.df is None else "t"


def _label(est: Estimate, level: float, how: str, joint: bool, sides: str) -> str:
    words = "credible" if est.kind == "posterior" else "confidence"
    side = "" if sides == "two" else f"{sides} "
    law = "simulated max " + how if joint else how
    return f"{100 * level:g} % {side}{words} ({law})"


def _times(critical: float, std_error: FloatArray) -> FloatArray:
    """Product in which an infinite critical value gives an infinite end even beside a zero error."""
    return np.full_like(std_error, critical) if np.isinf(critical) else critical * std_error


def _ppf(est: Estimate, how: str, probability: float) -> float:
    from scipy.special import ndtri, stdtrit

    if probability in (0.0, 1.0):
        return np.inf if probability == 1.0 else -np.inf
    if how == "normal":
        return float(ndtri(probability))
    if est.df is None:
        raise InvalidParameter('how="t" wants an Estimate with df; this one has none')
    return float(stdtrit(est.df, probability))


def _quantiles(est: Estimate, below_lower: float, below_upper: float) -> tuple[FloatArray, FloatArray]:
    if est.draws is None or est.kind == "monte_carlo":
        raise InvalidParameter('how="quantile" wants posterior or bootstrap draws; this Estimate has none')
    flat = est.draws.reshape(-1, len(est))
    if est.log_weights is None:
        ends = np.quantile(flat, [below_lower, below_upper], axis=0)
    else:
        from mcstat.core._fields import normalised_weights

        weights = normalised_weights(est.log_weights)
        at = np.array([below_lower, below_upper])
        ends = np.stack([weighted_quantiles(column, weights, at) for column in flat.T], axis=1)
    lower = np.full(len(est), -np.inf) if below_lower == 0.0 else ends[0]
    upper = np.full(len(est), np.inf) if below_upper == 1.0 else ends[1]
    return lower, upper


def weighted_quantiles(values: FloatArray, weights: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Quantiles (m,) of values (n,) with weights (n,), in any order; O(n log n). Weight zero counts for nothing."""
    from mcstat.kernels.quantiles import quantiles_of_sorted

    used = weights > 0
    values, weights = values[used], weights[used] / weights.sum()
    # Equal values by weight: the answer must not depend on the order in which they came.
    order = np.lexsort((weights, values))
    out = np.empty(len(probabilities))
    quantiles_of_sorted(frozen_view(values[order]), frozen_view(weights[order]), frozen_view(probabilities), out)
    return out


def _joint_ends(est: Estimate, level: float, how: str, sides: str) -> tuple[FloatArray, FloatArray]:
    """Band by the quantile of the largest standardised deviation over all quantities."""
    if how == "law":
        raise JointLawError("a joint band from laws is not known; ask for how='normal' or joint=False")
    if how == "quantile":
        deviations = _standardised_draws(est)
    else:
        deviations = _simulated_deviations(est, how)
    # A lower end must lie below nearly all draws, so it is the low deviations that decide it.
    signed = {"two": np.abs(deviations), "lower": -deviations, "upper": deviations}[sides]
    largest = signed.max(axis=1)
    critical = float(np.quantile(largest, level))
    lower = est.value - critical * est.std_error
    upper = est.value + critical * est.std_error
    if sides == "lower":
        upper = np.full_like(upper, np.inf)
    elif sides == "upper":
        lower = np.full_like(lower, -np.inf)
    return lower, upper


def _standardised_draws(est: Estimate) -> FloatArray:
    if est.draws is None or est.kind == "monte_carlo" or est.log_weights is not None:
        raise JointLawError('a joint band with how="quantile" wants unweighted posterior or bootstrap draws')
    flat = est.draws.reshape(-1, len(est))
    return np.asarray((flat - est.value) / np.where(est.std_error > 0, est.std_error, 1.0))


def _simulated_deviations(est: Estimate, how: str) -> FloatArray:
    from mcstat.core._algebra import joint_covariance

    cov = joint_covariance(est)
    scale = np.sqrt(np.diag(cov))
    scale = np.where(scale > 0, scale, 1.0)
    eigenvalues, vectors = np.linalg.eigh(cov / np.outer(scale, scale))
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    # A fixed stream: the same Estimate has the same band each time it is asked.
    rng = Generator(SFC64(0))
    n_draws = max(10_000, min(_JOINT_DRAWS, 10_000_000 // len(est)))
    deviations = rng.standard_normal((n_draws, len(est))) @ root.T
    if how == "t":
        if est.df is None:
            raise InvalidParameter('how="t" wants an Estimate with df; this one has none')
        deviations /= np.sqrt(rng.chisquare(est.df, size=(n_draws, 1)) / est.df)
    return np.asarray(deviations)
