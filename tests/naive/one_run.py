"""Slow, obvious twins of the one-run audits, in plain Python."""

import math


def binomial(k, r, q):
    return math.comb(r, k) * q**k * (1 - q) ** (r - k)


def p_value(m, r, v, epsilon, delta):
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    beta = math.fsum(binomial(k, r, q) for k in range(v, r + 1))
    most = 0.0
    for i in range(1, v + 1):
        most = max(most, math.fsum(binomial(k, r, q) for k in range(v - i, v)) / i)
    return min(1.0, beta + 2 * m * delta * most)
