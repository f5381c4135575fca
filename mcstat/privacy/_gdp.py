"""Gaussian differential privacy: mu, its (epsilon, delta) curve, and the divergence between two normal laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.errors import InvalidParameter
from mcstat.privacy._rates import check_delta

__all__ = [
    "eps_to_gdp",
    "find_roots",
    "gaussian_divergence",
    "gaussian_eps",
    "gdp_to_eps",
    "log_gdp_delta",
    "mu_from_rates",
]

FloatArray = NDArray[np.float64]


def gdp_to_eps(mu: ArrayLike, delta: ArrayLike = 1e-5) -> FloatArray:
    """Epsilon at ``delta`` of a mu-Gaussian private algorithm.

    Parameters
    ----------
    mu : array_like
        At least 0: the hardness of telling N(0, 1) from N(mu, 1).
    delta : array_like
        In [0, 1); broadcasts with ``mu``.

    Returns
    -------
    ndarray
        The epsilon with delta(epsilon; mu) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) [1]_, solved on
        its logarithm; infinite for delta = 0 and mu > 0.

    References
    ----------
    .. [1] Dong, J., Roth, A. and Su, W. J. (2022). Gaussian differential privacy. JRSS B 84, 3-37.
       doi:10.1111/rssb.12454.

    Examples
    --------
    >>> from mcstat.privacy import gdp_to_eps
    >>> float(gdp_to_eps(1.0, 1e-5).round(6))
    4.377178
    """
    from scipy.special import ndtri

    mu, delta = np.broadcast_arrays(_not_negative("mu", mu), check_delta(delta))
    epsilon = np.where((delta == 0) & (mu > 0), np.inf, 0.0)
    solve = (delta > 0) & (np.exp(log_gdp_delta(0.0, mu)) > delta)
    if np.any(solve):
        m, log_delta = mu[solve], np.log(delta[solve])
        # Without its second term delta is larger, so this epsilon is enough.
        enough = m**2 / 2 - m * ndtri(delta[solve])
        epsilon[solve] = find_roots(lambda e, m, wanted: log_gdp_delta(e, m) - wanted, 0 * m, enough, m, log_delta)
    return epsilon


def eps_to_gdp(eps: ArrayLike, delta: ArrayLike = 1e-5) -> FloatArray:
    """Largest mu whose Gaussian trade-off curve is (eps, delta)-private.

    Parameters
    ----------
    eps : array_like
        At least 0.
    delta : array_like
        In [0, 1); broadcasts with ``eps``.

    Returns
    -------
    ndarray
        0 for delta = 0, because no Gaussian mechanism is (eps, 0)-private.

    Notes
    -----
    For one (eps, delta) only: the algorithm with this mu obeys it, but an (eps, delta)-private algorithm need not be
    mu-Gaussian private.
    """
    eps, delta = np.broadcast_arrays(_not_negative("eps", eps), check_delta(delta))
    mu = np.zeros(eps.shape)
    solve = delta > 0
    if np.any(solve):
        e, log_delta = eps[solve], np.log(delta[solve])
        # At mu/2 - eps/mu = t delta is at least Phi(t) - phi(t) / t (Mills' ratio), which is 1 in double precision.
        much = 40.0 + np.sqrt(40.0**2 + 2 * e)
        small = np.full_like(e, 1e-12)
        mu[solve] = find_roots(lambda m, e, wanted: log_gdp_delta(e, m) - wanted, small, much, e, log_delta)
    return mu


def log_gdp_delta(eps: ArrayLike, mu: ArrayLike) -> FloatArray:
    """Log of the smallest delta at which a mu-Gaussian private algorithm is (eps, delta)-private."""
    from scipy.special import log_ndtr

    eps, mu = np.broadcast_arrays(np.asarray(eps, dtype=np.float64), np.asarray(mu, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = log_ndtr(mu / 2 - eps / mu), eps + log_ndtr(-mu / 2 - eps / mu)
        # Rounding must not make the second term the larger one.
        found = first + np.log(-np.expm1(np.minimum(second - first, 0.0)))
    return np.where(mu > 0, found, -np.inf)


def mu_from_rates(fnr: ArrayLike, fpr: ArrayLike) -> FloatArray:
    """The mu at which error rates lie on the Gaussian trade-off curve; attacks worse than chance are turned round."""
    from scipy.special import ndtri

    return np.asarray(np.abs(ndtri(np.asarray(fpr, dtype=np.float64)) + ndtri(np.asarray(fnr, dtype=np.float64))))


def gaussian_divergence(
    eps: ArrayLike, mean_p: ArrayLike, sd_p: ArrayLike, mean_q: ArrayLike, sd_q: ArrayLike
) -> FloatArray:
    """Hockey-stick divergence of N(mean_p, sd_p^2) from N(mean_q, sd_q^2): the integral of max(0, p - e^eps q).

    log(p / q) - eps is a quadratic in x, so p exceeds e^eps q between its two roots or outside them.
    """
    eps, mean_p, sd_p, mean_q, sd_q = np.broadcast_arrays(
        *(np.asarray(value, dtype=np.float64) for value in (eps, mean_p, sd_p, mean_q, sd_q))
    )
    # In units of q: p = N(d, s^2), q = N(0, 1); log(p/q) - eps = a z^2 + 2 h z + c.
    d, s = (mean_p - mean_q) / sd_q, sd_p / sd_q
    a, h = 0.5 - 0.5 / s**2, 0.5 * d / s**2
    c = -0.5 * (d / s) ** 2 - np.log(s) - eps
    low, high = _roots(a, h, c)
    inside = a <= 0
    mass_p = _mass((low - d) / s, (high - d) / s, inside)
    mass_q = _mass(low, high, inside)
    return np.asarray(np.maximum(mass_p - np.exp(np.minimum(eps, 700.0)) * mass_q, 0.0))


def gaussian_eps(
    mean_p: ArrayLike, sd_p: ArrayLike, mean_q: ArrayLike, sd_q: ArrayLike, delta: ArrayLike = 1e-5
) -> FloatArray:
    """Smallest epsilon at which both divergences of two normal laws are at most ``delta`` > 0."""
    args = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (mean_p, sd_p, mean_q, sd_q, delta)))

    def excess(eps: FloatArray, mp: FloatArray, sp: FloatArray, mq: FloatArray, sq: FloatArray, d: FloatArray) -> Any:
        both = np.maximum(gaussian_divergence(eps, mp, sp, mq, sq), gaussian_divergence(eps, mq, sq, mp, sp))
        return both - d

    epsilon = np.zeros(args[0].shape)
    solve = excess(epsilon, *args) > 0
    if np.any(solve):
        some = tuple(array[solve] for array in args)
        low, high = np.zeros(len(some[0])), np.ones(len(some[0]))
        while np.any(excess(high, *some) > 0):
            high *= 2.0
        epsilon[solve] = find_roots(excess, low, high, *some)
    return epsilon


def find_roots(function: Callable[..., Any], low: FloatArray, high: FloatArray, *args: FloatArray) -> FloatArray:
    """Roots in ``x`` of ``function(x, *args)``, element by element, each between its ends."""
    from scipy.optimize import elementwise

    find_root: Any = elementwise.find_root
    return np.asarray(find_root(function, (low, high), args=args).x)


def _roots(a: FloatArray, h: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Roots of a z^2 + 2 h z + c, the lower first; equal where there are none, infinite where it is a line."""
    discriminant = h**2 - a * c
    # The sum that does not cancel, and the other root from the product of both.
    t = -(h + np.where(h >= 0, 1.0, -1.0) * np.sqrt(np.maximum(discriminant, 0.0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.where(a == 0, np.sign(h) * np.inf, t / a)
        near = np.where(t == 0, 0.0, c / t)
    none = (discriminant < 0) | ((a == 0) & (h == 0))
    return np.where(none, 0.0, np.minimum(far, near)), np.where(none, 0.0, np.maximum(far, near))


def _mass(low: FloatArray, high: FloatArray, inside: NDArray[np.bool_]) -> FloatArray:
    """Standard normal mass between two points, or outside them."""
    from scipy.special import ndtr

    between = np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
    return np.where(inside, between, ndtr(low) + ndtr(-high))


def _not_negative(name: str, value: ArrayLike) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    if not np.all((array >= 0) & np.isfinite(array)):
        raise InvalidParameter(f"{name} must be finite and at least 0, got {value!r}")
    return array
