"""Slow, obvious twins of the privacy room, in plain Python and plain quadrature."""

import math
import warnings
from itertools import pairwise

from scipy.integrate import IntegrationWarning, quad
from scipy.special import betainc, betaincc
from scipy.stats import beta


def epsilon(x, y, delta):
    """Smallest epsilon >= 0 that allows the error rates x and y, from the four inequalities."""
    bounds = [0.0]
    for first, second in ((x, y), (y, x), (1 - x, 1 - y), (1 - y, 1 - x)):
        gap = 1 - delta - first
        if gap > 0:
            bounds.append(math.log(gap / second) if second > 0 else math.inf)
    return max(bounds)


def lowest(e, delta, x):
    return max(0.0, 1 - delta - math.exp(e) * x, math.exp(-e) * (1 - delta - x))


def cdf(e, fn, fp, tn, tp, delta, prior=(0.5, 0.5)):
    """P(epsilon <= e): the law of y between the ends of the region, averaged over the law of x."""
    a, b = prior[0] + fn, prior[1] + tp
    shapes = prior[0] + fp, prior[1] + tn
    law = beta(a, b)

    def inside(t):
        # x = sin(t)^2 takes the singular ends of the density away.
        x = math.sin(t) ** 2
        density = 2 * math.exp((2 * a - 1) * math.log(math.sin(t)) + (2 * b - 1) * math.log(math.cos(t)) - scale)
        above = betaincc(*shapes, 1 - lowest(e, delta, 1 - x))
        return density * (1 - betainc(*shapes, lowest(e, delta, x)) - above)

    scale = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    x0 = (1 - delta) / (1 + math.exp(e))
    marks = {0.0, math.pi / 2, *(math.asin(math.sqrt(x)) for x in (x0, 1 - x0, delta, 1 - delta))}
    # Where y is 0 or 1 its own law may be singular.
    for x in ((1 - delta) * math.exp(-e), delta + (1 - delta) * math.exp(-e)):
        marks |= {math.asin(math.sqrt(z)) for z in (x, 1 - x) if 0 < z < 1}
    marks |= {math.asin(math.sqrt(x)) for x in law.ppf([1e-12, 1e-6, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9])}
    marks |= {math.asin(math.sqrt(x)) for x in law.isf([1e-12, 1e-6, 1e-3])}
    for y in beta(*shapes).ppf([1e-9, 1e-4, 0.02, 0.5, 0.98, 0.9999]):
        for x in ((1 - delta - y) * math.exp(-e), 1 - delta - y * math.exp(e)):
            marks |= {math.asin(math.sqrt(z)) for z in (x, 1 - x) if 0 < z < 1}
    ends = sorted(marks)
    with warnings.catch_warnings():
        # QUADPACK complains of rounding at the singular ends; what it finds there is what is compared.
        warnings.simplefilter("ignore", IntegrationWarning)
        return math.fsum(quad(inside, low, high, epsabs=1e-12, epsrel=1e-10)[0] for low, high in pairwise(ends))
