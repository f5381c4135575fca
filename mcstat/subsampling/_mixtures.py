"""Shares of domains of unequal size in training: probabilities, weights, and what they do to the variance."""

from __future__ import annotations

from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning

__all__ = [
    "check_shares",
    "check_tau",
    "gradient_variance_gap",
    "scalarization_weights",
    "temperature_probabilities",
    "temperatures",
    "unimax_probabilities",
    "variance_inflation",
]

FloatArray = NDArray[np.float64]
SCHEDULES = ("step", "linear", "cosine", "exponential")


def check_tau(name: str, tau: Any) -> float:
    """A temperature: positive, infinity included."""
    if isinstance(tau, float) and np.isposinf(tau):
        return tau
    return check_real(name, tau, 0.0, closed="neither")


def temperature_probabilities(sizes: ArrayLike, tau: float, *, allow_empty: bool = False) -> FloatArray:
    """Probability of each domain at a temperature: ``sizes**(1/tau)``, normalised.

    Parameters
    ----------
    sizes : array_like, shape (K,)
        Rows, tokens or any other size of each domain; only their ratios matter.
    tau : float
        > 0. 1 is in proportion to size, infinity is uniform over domains. (The exponent that others call alpha is
        1/tau.)
    allow_empty : bool
        Give a domain of size 0 probability 0 instead of refusing it.

    Returns
    -------
    ndarray, shape (K,)

    Raises
    ------
    InvalidParameter
        tau not positive.
    InvalidData
        Negative or empty sizes.

    References
    ----------
    .. [1] Li, T., Xu, H., Tan, W., Murray, K., Khashabi, D. (2025). Upsample or upweight? Balanced training on heavily
       imbalanced datasets. NAACL. arXiv:2410.04579.

    Examples
    --------
    >>> from mcstat.subsampling import temperature_probabilities
    >>> temperature_probabilities([99, 1], tau=1).round(3)
    array([0.99, 0.01])
    >>> temperature_probabilities([99, 1], tau=5).round(3)
    array([0.715, 0.285])
    """
    counts = _check_sizes(sizes, allow_empty)
    # By logarithms, relative to the largest: a size to the power of 1/tau overflows for small tau.
    powers, some = np.zeros(len(counts)), counts > 0
    powers[some] = np.exp((np.log(counts[some]) - np.log(counts.max())) / check_tau("tau", tau))
    return np.asarray(powers / powers.sum())


def scalarization_weights(sizes: ArrayLike, tau: float, *, allow_empty: bool = False) -> FloatArray:
    """Loss weight of each domain under which rows drawn uniformly from all data have the objective of temperature tau.

    Parameters
    ----------
    sizes, tau, allow_empty
        As in :func:`temperature_probabilities`.

    Returns
    -------
    ndarray, shape (K,)
        p(tau) / p(1); its mean over rows is 1. An empty domain has weight 0.

    Notes
    -----
    A batch's loss must be divided by the number of its rows, not by the sum of their weights, or the objective is
    another one.

    Examples
    --------
    >>> from mcstat.subsampling import scalarization_weights
    >>> scalarization_weights([99, 1], tau=float("inf")).round(3)
    array([ 0.505, 50.   ])
    """
    natural = temperature_probabilities(sizes, 1.0, allow_empty=allow_empty)
    wanted = temperature_probabilities(sizes, tau, allow_empty=allow_empty)
    return np.divide(wanted, natural, out=np.zeros_like(wanted), where=natural > 0)


def variance_inflation(sizes: ArrayLike, tau: float) -> float:
    """Second moment of a weighted row's gradient over that of a drawn one, if all domains' gradients are of one size.

    Parameters
    ----------
    sizes, tau
        As in :func:`temperature_probabilities`.

    Returns
    -------
    float
        F = sum p(tau)^2 / p(1) = 1 + chi-squared(p(tau), p(1)) >= 1. N / F is the effective number of rows of the
        weights.

    Notes
    -----
    Not a bound: where domains' gradients differ, weighting can have the smaller variance
    (:func:`gradient_variance_gap`).

    Examples
    --------
    >>> from mcstat.subsampling import variance_inflation
    >>> round(variance_inflation([1 / i for i in range(1, 11)], tau=5), 4)
    1.4033
    """
    return float(temperature_probabilities(sizes, tau) @ scalarization_weights(sizes, tau))


def gradient_variance_gap(probabilities: ArrayLike, weights: ArrayLike, second_moments: ArrayLike) -> float:
    """Variance of a weighted row's gradient minus that of a drawn one, from measured second moments.

    Parameters
    ----------
    probabilities : array_like, shape (K,)
        Target shares of the domains; normalised if they do not sum to 1.
    weights : array_like, shape (K,)
        Loss weights that give the same objective (:func:`scalarization_weights`).
    second_moments : array_like, shape (K,)
        Mean squared norm of a single row's gradient in each domain.

    Returns
    -------
    float
        sum p (w - 1) m. **It can be negative**: the published theorem that it is not assumes equal second moments. A
        batch of b independent rows divides it by b.

    Examples
    --------
    >>> from mcstat.subsampling import gradient_variance_gap, scalarization_weights, temperature_probabilities
    >>> p, w = temperature_probabilities([99, 1], float("inf")), scalarization_weights([99, 1], float("inf"))
    >>> round(gradient_variance_gap(p, w, [1, 1]), 3), round(gradient_variance_gap(p, w, [10, 0.01]), 3)
    (24.253, -2.23)
    """
    moments = check_array("second_moments", second_moments, 1)
    factors = check_array("weights", weights, 1)
    shares = check_shares("probabilities", probabilities, len(moments))
    if len(factors) != len(moments) or (factors < 0).any() or (moments < 0).any():
        raise InvalidData("weights and second_moments must hold one number >= 0 a domain")
    return float(np.sum(shares * (factors - 1) * moments))


def unimax_probabilities(sizes: ArrayLike, budget: float, max_epochs: float) -> FloatArray:
    """Shares of domains when each gets an equal part of a budget, but none is passed more often than allowed.

    Parameters
    ----------
    sizes : array_like, shape (K,)
    budget : float
        Rows (tokens, ...) that will be drawn in all, in the unit of ``sizes``.
    max_epochs : float
        Passes through a domain that are allowed.

    Returns
    -------
    ndarray, shape (K,)
        From the smallest domain to the largest: the smaller of an equal part of what is left and ``max_epochs`` times
        its size; then normalised.

    References
    ----------
    .. [1] Chung, H. W., et al. (2023). UniMax: fairer and more effective language sampling for large-scale multilingual
       pretraining. ICLR. arXiv:2304.09151.

    Examples
    --------
    >>> from mcstat.subsampling import unimax_probabilities
    >>> unimax_probabilities([1000, 1000, 10], budget=300, max_epochs=4).round(3)
    array([0.433, 0.433, 0.133])
    """
    counts = _check_sizes(sizes, False)
    left = check_real("budget", budget, 0.0, closed="neither")
    most = check_real("max_epochs", max_epochs, 0.0, closed="neither")
    given = np.empty_like(counts)
    for i, k in enumerate(np.argsort(counts, kind="stable")):
        given[k] = min(left / (len(counts) - i), most * counts[k])
        left -= given[k]
    return np.asarray(given / given.sum())


def check_shares(name: str, shares: ArrayLike, n_domains: int) -> FloatArray:
    """Probabilities, one a domain; normalised with a warning where they do not sum to 1."""
    array = check_array(name, shares, 1)
    total = array.sum()
    if len(array) != n_domains or (array < 0).any() or total <= 0:
        raise InvalidParameter(f"{name} must hold {n_domains} numbers >= 0, not all zero, got {shares!r}")
    if abs(total - 1) > 1e-9:
        warn(f"{name} sum to {total:g}: divided by it", ReliabilityWarning, stacklevel=3)
    return np.asarray(array / total)


def _check_sizes(sizes: ArrayLike, allow_empty: bool) -> FloatArray:
    counts = check_array("sizes", sizes, 1)
    if (counts < 0).any() or (not allow_empty and (counts == 0).any()) or not counts.any():
        wanted = ">= 0 and not all zero" if allow_empty else "> 0 (allow_empty=True lets a domain be empty)"
        raise InvalidData(f"sizes must be {wanted}, got {sizes!r}")
    return counts


def temperatures(schedule: Any, tau: Any, tau_cold: Any, switch: Any, n_steps: int) -> FloatArray:
    """Temperature of each step, (n_steps,).

    "step" is tau for the share ``switch`` of the steps and tau_cold from there on; "linear", "cosine" and
    "exponential" go from tau to tau_cold; pairs (fraction of the steps, temperature from there on) are any other
    piecewise constant schedule.
    """
    hot, cold = check_tau("tau", tau), check_tau("tau_cold", tau_cold)
    at = check_real("switch", switch, 0.0, 1.0)
    time = np.arange(n_steps) / n_steps
    if not isinstance(schedule, str):
        starts, values = _check_pairs(schedule)
        return np.asarray(values[np.searchsorted(starts, time, side="right") - 1])
    check_option("schedule", schedule, SCHEDULES)
    if schedule == "step":
        return np.where(time < at, hot, cold)
    if not np.isfinite([hot, cold]).all():
        raise InvalidParameter(f"schedule {schedule!r} wants finite tau and tau_cold, got {hot:g} and {cold:g}")
    if schedule == "exponential":
        return np.asarray(hot * (cold / hot) ** time)
    left = 1 - time if schedule == "linear" else (1 + np.cos(np.pi * time)) / 2
    return np.asarray(cold + (hot - cold) * left)


def _check_pairs(schedule: Any) -> tuple[FloatArray, FloatArray]:
    try:
        starts, values = zip(*schedule, strict=True)
    except (TypeError, ValueError) as error:
        wanted = f"one of {SCHEDULES} or pairs (fraction, tau)"
        raise InvalidParameter(f"schedule must be {wanted}, got {schedule!r}") from error
    fractions = np.array([check_real("fraction of schedule", start, 0.0, 1.0, closed="left") for start in starts])
    if fractions[0] != 0 or (np.diff(fractions) <= 0).any():
        raise InvalidParameter(f"fractions of schedule must start at 0 and increase, got {list(starts)}")
    return fractions, np.array([check_tau("temperature of schedule", value) for value in values])
