"""Link functions of cumulative models: P(y <= k) = F(eta_k)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcstat.ordinal._ordinal_kernels import LINKS

__all__ = ["SYMMETRIC", "cumulative", "density", "link_function", "survival"]

FloatArray = NDArray[np.float64]

# Links with F(-t) = 1 - F(t): only these allow the order of the classes to be turned round.
SYMMETRIC = ("logit", "probit", "cauchit")
NAMES = tuple(LINKS)


def cumulative(link: str, eta: FloatArray) -> FloatArray:
    """F(eta)."""
    from scipy.special import expit, ndtr

    if link == "logit":
        return np.asarray(expit(eta))
    if link == "probit":
        return np.asarray(ndtr(eta))
    if link == "cloglog":
        with np.errstate(over="ignore"):
            return np.asarray(-np.expm1(-np.exp(eta)))
    return np.asarray(np.arctan2(1.0, -eta) / np.pi)


def survival(link: str, eta: FloatArray) -> FloatArray:
    """1 - F(eta), without cancellation."""
    if link == "cloglog":
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(-np.exp(eta)))
    return cumulative(link, -eta)


def density(link: str, eta: FloatArray) -> FloatArray:
    """F'(eta)."""
    if link == "logit":
        return cumulative(link, eta) * cumulative(link, -eta)
    if link == "probit":
        return np.asarray(np.exp(-0.5 * eta**2) / np.sqrt(2.0 * np.pi))
    if link == "cloglog":
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(eta - np.exp(eta)))
    return np.asarray(1.0 / (np.pi * (1.0 + eta**2)))


def link_function(link: str, probability: FloatArray) -> FloatArray:
    """Eta with F(eta) = probability."""
    from scipy.special import logit, ndtri

    if link == "logit":
        return np.asarray(logit(probability))
    if link == "probit":
        return np.asarray(ndtri(probability))
    if link == "cloglog":
        return np.asarray(np.log(-np.log1p(-probability)))
    return np.asarray(np.tan(np.pi * (probability - 0.5)))
