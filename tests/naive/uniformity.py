"""The test of uniform ranks by enumeration of every possible outcome."""

from itertools import product
from math import comb


def tails(n, n_draws, last, count):
    """P(S <= count) and P(S >= count) where S ranks of n are at most ``last``."""
    z = (last + 1) / (n_draws + 1)
    pmf = [comb(n, s) * z**s * (1 - z) ** (n - s) for s in range(n + 1)]
    return sum(pmf[: count + 1]), sum(pmf[count:])


def smallest_tail(ranks, n_draws):
    out = 1.0
    for last in range(n_draws):
        count = sum(rank <= last for rank in ranks)
        out = min(out, *tails(len(ranks), n_draws, last, count))
    return out


def p_value(ranks, n_draws):
    """Share of all (n_draws + 1)^n outcomes that are at least as extreme."""
    found = smallest_tail(ranks, n_draws)
    outcomes = list(product(range(n_draws + 1), repeat=len(ranks)))
    return sum(smallest_tail(outcome, n_draws) <= found * (1 + 1e-12) for outcome in outcomes) / len(outcomes)
