"""Mixtures of von Mises-Fisher-Nakagami laws: a direction and a radius, for points in many dimensions.

A point is x = r a with |a| = 1. Its direction a is von Mises-Fisher with mean direction nu and concentration kappa, its
radius r is independent of it and Nakagami with shape m and spread Omega (r^2 is Gamma with mean Omega):

    density  =  r^(1 - d)  *  2 m^m r^(2 m - 1) exp(-m r^2 / Omega) / (Gamma(m) Omega^m)  *  c_d(kappa) exp(kappa nu'a)

kappa = 0, m = d / 2, Omega = d is the standard normal law. There are d + 3 parameters a part where a Gaussian has
d (d + 3) / 2: that is why it can be learned from a thousand points in a hundred dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import gammaln, ive, logsumexp, xlogy

FloatArray = NDArray[np.float64]

# Above it the scaled Bessel function is a normal floating-point number, below it the asymptotic series takes over.
_LEAST_BESSEL = 1e-290
# Directions that all but agree, and radii that all but agree, keep a finite concentration and shape.
_LARGEST_ALIGNMENT, _LEAST_SPREAD = 1 - 1e-6, 1e-6


@dataclass(frozen=True)
class Vmfnm:
    """Mixture of C parts: weights, concentrations, shapes, spreads (C,), unit directions (C, d), d >= 2."""

    weights: FloatArray
    directions: FloatArray
    concentrations: FloatArray
    shapes: FloatArray
    spreads: FloatArray

    def log_terms(self, x: FloatArray) -> FloatArray:
        """(n, C) log of weight times density at x (n, d). O(n d C)."""
        d = x.shape[1]
        radius = np.linalg.norm(x, axis=1)[:, None]
        cosine = (x @ self.directions.T) / np.where(radius > 0, radius, 1.0)
        m, spread, kappa = self.shapes, self.spreads, self.concentrations
        log_sphere = np.log(2.0) + d / 2 * np.log(np.pi) - gammaln(d / 2)
        constant = np.log(2.0) + m * np.log(m / spread) - gammaln(m) - log_sphere - _log_excess(d, kappa)
        radial = xlogy(2 * m - d, radius) - radius**2 * (m / spread)
        return np.asarray(np.log(self.weights) + constant + radial + kappa * cosine)

    def logpdf(self, x: FloatArray) -> FloatArray:
        """(n,) log densities."""
        return np.asarray(logsumexp(self.log_terms(x), axis=1))

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) draws."""
        labels = rng.choice(len(self.weights), size=n, p=self.weights)
        cosine = np.empty(n)
        for c, kappa in enumerate(self.concentrations):
            cosine[labels == c] = _cosines(int(np.sum(labels == c)), self.directions.shape[1], float(kappa), rng)
        nu = self.directions[labels]
        across = rng.standard_normal(nu.shape)
        across -= np.sum(across * nu, axis=1, keepdims=True) * nu
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        direction = cosine[:, None] * nu + np.sqrt(np.maximum(1 - cosine**2, 0.0))[:, None] * across
        radius = np.sqrt(rng.standard_gamma(self.shapes[labels]) * (self.spreads / self.shapes)[labels])
        return np.asarray(radius[:, None] * direction)


def _log_excess(d: int, kappa: FloatArray) -> FloatArray:
    """Log of the mean of exp(kappa nu'a) over the unit sphere: Gamma(v + 1) (2 / kappa)^v I_v(kappa), v = d/2 - 1."""
    order = d / 2 - 1
    out = np.zeros(len(kappa))
    some = kappa > 0
    k = kappa[some]
    scaled = ive(order, k)
    with np.errstate(divide="ignore"):
        log_bessel = np.where(scaled > _LEAST_BESSEL, np.log(scaled) + k, _log_bessel_series(max(order, 1.0), k))
    out[some] = log_bessel + gammaln(order + 1) + order * np.log(2 / k)
    return np.maximum(out, 0.0)


def _log_bessel_series(order: float, k: FloatArray) -> FloatArray:
    """Log of I_order(k) by the uniform asymptotic series for large orders (DLMF 10.41.3), four terms."""
    z = k / order
    root = np.hypot(1.0, z)
    p = 1 / root
    series = (
        1
        + (3 * p - 5 * p**3) / (24 * order)
        + (81 * p**2 - 462 * p**4 + 385 * p**6) / (1152 * order**2)
        + (30375 * p**3 - 369603 * p**5 + 765765 * p**7 - 425425 * p**9) / (414720 * order**3)
    )
    exponent = order * (root + np.log(z / (1 + root)))
    return np.asarray(exponent - 0.5 * np.log(2 * np.pi * order * root) + np.log(series))


def _cosines(n: int, d: int, kappa: float, rng: Generator) -> FloatArray:
    """(n,) cosines nu'a of von Mises-Fisher draws, by Wood's rejection from a transformed Beta law."""
    # b = (sqrt(4 kappa^2 + (d - 1)^2) - 2 kappa) / (d - 1) without cancellation.
    b = (d - 1) / (np.hypot(2 * kappa, d - 1) + 2 * kappa)
    x0 = (1 - b) / (1 + b)
    c = kappa * x0 + (d - 1) * np.log1p(-(x0**2))
    out, filled = np.empty(n), 0
    while filled < n:
        beta = rng.beta((d - 1) / 2, (d - 1) / 2, size=n - filled)
        w = (1 - (1 + b) * beta) / (1 - (1 - b) * beta)
        log_u = np.log1p(-rng.random(n - filled))
        kept = w[kappa * w + (d - 1) * np.log1p(-x0 * w) - c >= log_u]
        out[filled : filled + len(kept)] = kept
        filled += len(kept)
    return out


def weighted_vmfnm(x: FloatArray, responsibilities: FloatArray) -> Vmfnm:
    """One part a column of ``responsibilities`` (n, C), the sums of which are its weight; empty columns are dropped.

    Moments for the radius, m = Omega^2 / var(r^2); for the direction kappa = R (d - R^2) / (1 - R^2) (Banerjee and
    others, 2005). R is not the length of the mean direction of these points but, with the same mean for many points,
    how well a fresh one agrees with it: few points in many dimensions always agree with their own mean.
    """
    d = x.shape[1]
    squares = np.einsum("nd,nd->n", x, x)
    a = x / np.sqrt(np.where(squares > 0, squares, 1.0))[:, None]
    parts = []
    for column in responsibilities.T:
        mass = column.sum()
        if mass <= 0:
            continue
        share = column / mass
        inverse_ess = float(share @ share)
        mean = share @ a
        length = float(np.linalg.norm(mean))
        nu = mean / length if length > 0 else np.eye(d)[0]
        fresh = max(length**2 - inverse_ess, 0.0) / max(length * (1 - inverse_ess), np.finfo(float).tiny)
        R = min(fresh, _LARGEST_ALIGNMENT)
        omega = float(share @ squares)
        # As for the Gaussians' covariances: nothing where the points are many, all of it where they are too few.
        shrink = min(1.0, 3 * inverse_ess) ** 2
        variance = (1 - shrink) * float(share @ (squares - omega) ** 2) + (shrink + _LEAST_SPREAD) * 2 * omega**2 / d
        parts.append((mass, nu, R * (d - R**2) / (1 - R**2), omega**2 / variance, omega))
    weights, directions, concentrations, shapes, spreads = (np.array(field) for field in zip(*parts, strict=True))
    return Vmfnm(weights / weights.sum(), directions, concentrations, shapes, spreads)
