"""Statistical assertions whose rate of false alarms is known, so that no tolerance is set by hand.

A right method fails ``assert_mean_close`` with probability 2e-9 (normal law, z = 6), ``assert_proportion`` with at
most ``alpha`` (default 1e-6) and ``two_stage_coverage`` with at most 1e-6. All seeds are fixed, so a test that passes
today passes tomorrow; ``MCSTAT_TEST_SEED`` moves them all, to see that none passes by luck.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np

# (replicates, alpha) of each stage: few fits for a right method, many before a method is called wrong.
STAGES = ((400, 1e-2), (4000, 1e-4))


def seed_for(node_id: str) -> int:
    """Seed of a test: crc32 of its pytest id, plus ``MCSTAT_TEST_SEED`` (default 0)."""
    return crc32(node_id.encode()) + int(os.environ.get("MCSTAT_TEST_SEED", "0"))


def assert_mean_close(x, truth, mcse, z: float = 6.0) -> None:
    """``x`` is within ``z`` Monte Carlo standard errors of ``truth``, element by element (NaN never is)."""
    x, truth, mcse = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (x, truth, mcse)))
    far = ~(np.abs(x - truth) <= z * mcse)
    if far.any():
        i = tuple(int(k) for k in np.argwhere(far)[0])
        raise AssertionError(
            f"{int(far.sum())} of {far.size} mean(s) off by more than {z:g} mcse; at {list(i)}: {x[i]:.8g}, "
            f"truth {truth[i]:.8g}, mcse {mcse[i]:.3g}"
        )


def binomial_p_value(k: int, n: int, p: float) -> float:
    """Exact two-sided p-value of ``k`` successes in ``n``: twice the smaller tail, so P(p-value <= a) <= a."""
    from scipy.special import bdtr, bdtrc

    at_most = bdtr(k, n, p)
    at_least = bdtrc(k - 1, n, p) if k > 0 else 1.0
    return float(min(1.0, 2.0 * min(at_most, at_least)))


def assert_proportion(k: int, n: int, p: float, alpha: float = 1e-6) -> None:
    """``k`` successes in ``n`` trials agree with probability ``p`` (exact binomial test, two-sided)."""
    p_value = binomial_p_value(k, n, p)
    if not p_value > alpha:
        raise AssertionError(f"{k} of {n} ({k / n:.4f}) against {p:g}: p-value {p_value:.2g} <= {alpha:g}")


def two_stage_coverage(
    count_covered: Callable[[int, int], int], level: float = 0.95, stages: Sequence[tuple[int, float]] = STAGES
) -> None:
    """An interval covers as often as its level says.

    ``count_covered(start, n)`` returns how many of the intervals of replicates start, ..., start + n - 1 cover the
    truth. A later stage runs only if the one before alarmed, on fresh replicates; only the last one fails the test.
    With the default stages a right interval fails with probability below 1e-6 (``false_alarm_rate``), and one of 95 %
    that covers 90 % fails with probability 0.90.
    """
    start, seen = 0, []
    for n, alpha in stages:
        k = int(count_covered(start, n))
        p_value = binomial_p_value(k, n, level)
        if p_value > alpha:
            return
        seen.append(f"{k}/{n} = {k / n:.4f} (p-value {p_value:.2g} <= {alpha:g})")
        start += n
    raise AssertionError(f"coverage is not {level:g}: " + ", then ".join(seen))


def alarm_rate(coverage: float, level: float, stages: Sequence[tuple[int, float]] = STAGES) -> float:
    """Exact probability that ``two_stage_coverage`` fails when the true coverage is ``coverage``."""
    from scipy.stats import binom

    rate = 1.0
    for n, alpha in stages:
        alarms = np.array([binomial_p_value(k, n, level) <= alpha for k in range(n + 1)])
        rate *= binom.pmf(np.arange(n + 1), n, coverage)[alarms].sum()
    return float(rate)


def false_alarm_rate(level: float, stages: Sequence[tuple[int, float]] = STAGES) -> float:
    """Exact probability that ``two_stage_coverage`` fails a right interval."""
    return alarm_rate(level, level, stages)
