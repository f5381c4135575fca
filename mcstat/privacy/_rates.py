"""The hypothesis-testing view of differential privacy: error rates of an attack, and the region they must lie in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidParameter

__all__ = ["epsilon_from_rates", "rates_region"]

FloatArray = NDArray[np.float64]


def epsilon_from_rates(fnr: ArrayLike, fpr: ArrayLike, delta: ArrayLike = 1e-5) -> FloatArray:
    """Smallest epsilon at which the error rates of an attack are compatible with (epsilon, delta)-privacy.

    Parameters
    ----------
    fnr, fpr : array_like
        False negative and false positive rates in [0, 1]. They broadcast, with ``delta``.
    delta : array_like
        In [0, 1).

    Returns
    -------
    ndarray
        Of the joint shape; infinite where an error rate is 0 and the other one leaves room.

    Notes
    -----
    No attack on an (epsilon, delta)-private algorithm has error rates outside :func:`rates_region` [1]_, so this is a
    lower bound on the algorithm's epsilon, at the attack's operating point.

    References
    ----------
    .. [1] Kairouz, P., Oh, S. and Viswanath, P. (2015). The composition theorem for differential privacy. ICML,
       1376-1385. arXiv:1311.0776.

    Examples
    --------
    >>> from mcstat.privacy import epsilon_from_rates
    >>> float(epsilon_from_rates(fnr=0.2, fpr=0.01, delta=0.0).round(4))
    4.382
    """
    x, y, delta = np.broadcast_arrays(_rate("fnr", fnr), _rate("fpr", fpr), check_delta(delta))
    # An attack that is wrong more often than right is right when turned round.
    wrong = x + y > 1.0
    x, y = np.where(wrong, 1.0 - x, x), np.where(wrong, 1.0 - y, y)
    small, large = np.minimum(x, y), np.maximum(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        epsilon = np.log(1.0 - delta - large) - np.log(small)
    return np.where(small + large >= 1.0 - delta, 0.0, epsilon)


def rates_region(eps: ArrayLike, delta: ArrayLike, x: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest false positive rate at false negative rate ``x`` under (eps, delta)-privacy.

    Parameters
    ----------
    eps, delta, x : array_like
        Privacy parameters, eps >= 0 and delta in [0, 1), and rates in [0, 1]; they broadcast.

    Returns
    -------
    low, high : ndarray
        Ends of the region, within [0, 1].
    """
    x, delta = _rate("x", x), check_delta(delta)
    eps = check_array("eps", np.asarray(eps), tuple(range(33)), finite=False)
    if not np.all(eps >= 0):
        raise InvalidParameter(f"eps must be at least 0, got {np.min(eps)}")
    return _lowest(eps, delta, x), 1.0 - _lowest(eps, delta, 1.0 - x)


def _lowest(eps: FloatArray, delta: FloatArray, x: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):
        steep = 1.0 - delta - np.where(x > 0, np.exp(eps) * x, 0.0)
        flat = np.exp(-eps) * (1.0 - delta - x)
    return np.asarray(np.maximum(0.0, np.maximum(steep, flat)))


def check_delta(delta: ArrayLike) -> FloatArray:
    """An array of deltas in [0, 1)."""
    array = np.asarray(delta, dtype=np.float64)
    if not np.all((array >= 0) & (array < 1)):
        raise InvalidParameter(f"delta must be in [0, 1), got {delta!r}")
    return array


def _rate(name: str, value: ArrayLike) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    if not np.all((array >= 0) & (array <= 1)):
        raise InvalidParameter(f"{name} must be in [0, 1], got {value!r}")
    return array
