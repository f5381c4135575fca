"""Likelihood of one class of a cumulative link model: P(y = k) = F(upper) - F(lower), with two derivatives.

A class is a run of rows (the design is sorted by class), so each row needs its own two boundaries only.
"""

import math

import numpy as np

from mcstat.kernels._jit import kernel

LOGIT, PROBIT, CLOGLOG, CAUCHIT = 0, 1, 2, 3
LINKS = {"logit": LOGIT, "probit": PROBIT, "cloglog": CLOGLOG, "cauchit": CAUCHIT}


@kernel
def logit_terms(lower, upper, has_lower, has_upper):
    """-log P, its gradient (lower, upper) and Hessian (lower, mixed, upper); P by differences that do not cancel.

    With d = upper - lower, P = F(upper) F(-lower) (1 - exp(-d)), so -log P is a sum of convex terms (card, step 3).
    """
    product = 1.0
    linear = 0.0
    g_lower, g_upper, h_lower, h_mixed, h_upper = 0.0, 0.0, 0.0, 0.0, 0.0
    if has_upper:
        e = math.exp(-abs(upper))
        tail = (e if upper >= 0.0 else 1.0) / (1.0 + e)
        product *= 1.0 + e
        linear += max(-upper, 0.0)
        g_upper = -tail
        h_upper = tail * (1.0 - tail)
    if has_lower:
        e = math.exp(-abs(lower))
        tail = (1.0 if lower >= 0.0 else e) / (1.0 + e)
        product *= 1.0 + e
        linear += max(lower, 0.0)
        g_lower = tail
        h_lower = tail * (1.0 - tail)
    if has_lower and has_upper:
        if not upper > lower:
            return np.inf, 0.0, 0.0, 0.0, 0.0, 0.0
        gap = -math.expm1(lower - upper)
        ratio = (1.0 - gap) / gap
        product /= gap
        g_lower += ratio
        g_upper -= ratio
        h_mixed = -ratio * (1.0 + ratio)
        h_lower -= h_mixed
        h_upper -= h_mixed
    return linear + math.log(product), g_lower, g_upper, h_lower, h_mixed, h_upper


@kernel
def log_normal_tail(t):
    """Log P(N > t) of a standard normal, also where the probability underflows."""
    if t < 35.0:
        return math.log(0.5 * math.erfc(t / math.sqrt(2.0)))
    return -0.5 * t * t - math.log(t) - 0.5 * math.log(2.0 * math.pi) - 1.0 / (t * t)


@kernel
def capped_exp(t):
    """exp(t) without overflow: past 700 every probability that it serves is 0 anyway."""
    return math.exp(min(t, 700.0))


@kernel
def log_difference(link, lower, upper, has_lower, has_upper):
    """log(F(upper) - F(lower)) for probit, cloglog and cauchit."""
    if link == PROBIT:
        if not has_lower:
            return log_normal_tail(-upper)
        if not has_upper:
            return log_normal_tail(lower)
        # Both ends in the same tail, so that the difference keeps its digits.
        low, high = (lower, upper) if lower + upper > 0.0 else (-upper, -lower)
        return math.log(0.5 * (math.erfc(low / math.sqrt(2.0)) - math.erfc(high / math.sqrt(2.0))))
    if link == CLOGLOG:
        if not has_upper:
            return -capped_exp(lower)
        if not has_lower:
            return math.log(-math.expm1(-capped_exp(upper))) if upper > -30.0 else upper
        below = capped_exp(lower)
        apart = capped_exp(upper) - below if upper > lower + 1.0 else below * math.expm1(upper - lower)
        return math.log(-math.expm1(-apart)) - below
    if not has_lower:
        return math.log(math.atan2(1.0, -upper) / math.pi)
    if not has_upper:
        return math.log(math.atan2(1.0, lower) / math.pi)
    return math.log(math.atan2(upper - lower, 1.0 + upper * lower) / math.pi)


@kernel
def log_density(link, t):
    """Log f(t) and f'(t) / f(t)."""
    if link == PROBIT:
        return -0.5 * t * t - 0.5 * math.log(2.0 * math.pi), -t
    if link == CLOGLOG:
        return t - capped_exp(t), 1.0 - capped_exp(t)
    return -math.log(math.pi * (1.0 + t * t)), -2.0 * t / (1.0 + t * t)


@kernel
def other_terms(link, lower, upper, has_lower, has_upper):
    """As logit_terms, for the other links, through log densities relative to log P."""
    if has_lower and has_upper and not upper > lower:
        return np.inf, 0.0, 0.0, 0.0, 0.0, 0.0
    log_p = log_difference(link, lower, upper, has_lower, has_upper)
    if not log_p > -np.inf:
        return np.inf, 0.0, 0.0, 0.0, 0.0, 0.0
    at_lower, at_upper, h_lower, h_upper = 0.0, 0.0, 0.0, 0.0
    if has_lower:
        log_f, slope = log_density(link, lower)
        at_lower = math.exp(log_f - log_p)
        h_lower = at_lower * (at_lower + slope)
    if has_upper:
        log_f, slope = log_density(link, upper)
        at_upper = math.exp(log_f - log_p)
        h_upper = at_upper * (at_upper - slope)
    return -log_p, at_lower, -at_upper, h_lower, -at_lower * at_upper, h_upper


@kernel
def class_terms(link, eta, has_lower, has_upper, weights, gradient, curvature):
    """Weighted -log P summed over rows; eta (m, 2) lower and upper, into gradient (m, 2) and curvature (m, 3)."""
    total = 0.0
    for i in range(eta.shape[0]):
        if link == LOGIT:
            terms = logit_terms(eta[i, 0], eta[i, 1], has_lower, has_upper)
        else:
            terms = other_terms(link, eta[i, 0], eta[i, 1], has_lower, has_upper)
        loss, g_lower, g_upper, h_lower, h_mixed, h_upper = terms
        if not loss < np.inf:
            return np.inf
        w = weights[i]
        total += w * loss
        gradient[i, 0] = w * g_lower
        gradient[i, 1] = w * g_upper
        curvature[i, 0] = w * h_lower
        curvature[i, 1] = w * h_mixed
        curvature[i, 2] = w * h_upper
    return total


@kernel
def scaled_rows(z, curvature, first, n_parts, out):
    """Rows of z (m, r) times columns first, ... of curvature (m, 3), side by side into out (m, n_parts r)."""
    m, r = z.shape
    for i in range(m):
        for part in range(n_parts):
            c = curvature[i, first + part]
            for j in range(r):
                out[i, part * r + j] = c * z[i, j]
