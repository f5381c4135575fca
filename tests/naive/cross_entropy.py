"""Cross-entropy sampling written point by point, as the papers have it."""

import math

import numpy as np
from scipy.special import iv


def vmfnm_density(x, weights, directions, concentrations, shapes, spreads):
    """Density at one point, Bessel function and powers unscaled: for few dimensions and small concentrations."""
    d = len(x)
    r = math.sqrt(sum(float(coordinate) ** 2 for coordinate in x))
    total = 0.0
    for w, nu, kappa, m, omega in zip(weights, directions, concentrations, shapes, spreads, strict=True):
        nakagami = 2 * m**m * r ** (2 * m - 1) * math.exp(-m * r**2 / omega) / (math.gamma(m) * omega**m)
        if kappa == 0:
            sphere = math.gamma(d / 2) / (2 * math.pi ** (d / 2))
        else:
            order = d / 2 - 1
            sphere = kappa**order / ((2 * math.pi) ** (d / 2) * float(iv(order, kappa)))
        cosine = sum(float(a) * float(b) for a, b in zip(nu, x, strict=True)) / r
        total += w * r ** (1 - d) * nakagami * sphere * math.exp(kappa * cosine)
    return total


def vmfnm_update(x, weights):
    """(direction, kappa, m, omega) of one part from weighted points, large-sample formulas."""
    mass = sum(weights)
    d = x.shape[1]
    mean = np.zeros(d)
    omega = 0.0
    for w, point in zip(weights, x, strict=True):
        mean += w / mass * point / np.linalg.norm(point)
        omega += w / mass * float(point @ point)
    variance = 0.0
    for w, point in zip(weights, x, strict=True):
        variance += w / mass * (float(point @ point) - omega) ** 2
    R = float(np.linalg.norm(mean))
    return mean / R, (R * d - R**3) / (1 - R**2), omega**2 / variance, omega


def variation(weights):
    """Coefficient of variation, divisor n."""
    mean = sum(weights) / len(weights)
    return math.sqrt(sum((w - mean) ** 2 for w in weights) / len(weights)) / mean


def smooth_weights(g, weights, sigma):
    """Weights times Phi(-g / sigma)."""
    return [w * 0.5 * math.erfc(one / sigma / math.sqrt(2)) for one, w in zip(g, weights, strict=True)]


def probability(g, log_weights):
    """Value and standard error from a final sample."""
    summands = [math.exp(w) if one <= 0 else 0.0 for one, w in zip(g, log_weights, strict=True)]
    n = len(summands)
    mean = sum(summands) / n
    return mean, math.sqrt(sum((s - mean) ** 2 for s in summands) / (n - 1) / n)
