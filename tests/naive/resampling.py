"""Slow, obvious resampling in exact rational arithmetic."""

from fractions import Fraction


def inverse_cdf(weights, points):
    """Smallest i with W_0 + ... + W_i > u, for each u in [0, 1)."""
    exact = [Fraction(w) for w in weights]
    total, out = sum(exact), []
    for u in points:
        below, at = Fraction(0), Fraction(u) * total
        for i, w in enumerate(exact):
            below += w
            if below > at:
                out.append(i)
                break
    return out


def systematic(weights, uniform, m):
    return inverse_cdf(weights, [(k + Fraction(uniform)) / m for k in range(m)])


def alias_law(keep, alias):
    """Probability of each index under an alias table."""
    n = len(keep)
    law = [Fraction(0)] * n
    for i in range(n):
        law[i] += Fraction(keep[i]) / n
        law[alias[i]] += (1 - Fraction(keep[i])) / n
    return law
