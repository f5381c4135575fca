"""Audits from a single training run: m canaries, each in or out by a fair coin, and guesses which are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_level, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.privacy._gdp import gdp_to_eps
from mcstat.privacy._lower import LowerBound
from mcstat.privacy._scores import Challenges

__all__ = [
    "OneRun",
    "OneRunGaussian",
    "check_guesses",
    "count_guesses",
    "one_run_lower",
    "one_run_mu",
    "one_run_pvalue",
]

FloatArray = NDArray[np.float64]
# Bisections of a bracket that starts at 1 or doubles: 60 reach the last bit.
_BISECTIONS = 60
# No audit of fewer than 1e300 canaries reaches these.
_MOST_EPSILON, _MOST_MU = 700.0, 40.0


def one_run_pvalue(*, n_canaries: int, n_guesses: int, n_correct: int, epsilon: float, delta: float = 1e-5) -> float:
    """P-value of "the algorithm is (epsilon, delta)-private" from the guesses about one trained model.

    Each of ``n_canaries`` examples is included with probability 1/2, independently. An attack then guesses for
    ``n_guesses`` of them whether they were, abstains from the others, and is right ``n_correct`` times.

    Parameters
    ----------
    n_canaries, n_guesses, n_correct : int
        ``0 <= n_correct <= n_guesses <= n_canaries``.
    epsilon : float
        At least 0.
    delta : float
        In [0, 1).

    Returns
    -------
    float
        In [0, 1]. At most a with probability at most a when the algorithm is (epsilon, delta)-private, provided that
        ``n_guesses`` was set before the outcome was seen.

    Raises
    ------
    InvalidParameter
        Naming the argument.

    Notes
    -----
    Under (epsilon, 0)-privacy the number of right guesses is stochastically below W ~ Bin(n_guesses, q),
    q = e^epsilon / (1 + e^epsilon); delta adds 2 m delta max_i P(v - i <= W < v) / i [1]_. The cost is O(n_correct).

    References
    ----------
    .. [1] Steinke, T., Nasr, M. and Jagielski, M. (2023). Privacy auditing with one (1) training run. NeurIPS.
       arXiv:2305.08846.

    Examples
    --------
    >>> from mcstat.privacy import one_run_pvalue
    >>> round(one_run_pvalue(n_canaries=1000, n_guesses=100, n_correct=100, epsilon=3.46538), 4)
    0.05
    """
    m, r, v = check_guesses(n_canaries, n_guesses, n_correct)
    check_real("epsilon", epsilon, 0.0)
    check_real("delta", delta, 0.0, 1.0, closed="left")
    return _p_value(m, r, v, float(epsilon), float(delta))


def one_run_lower(n_canaries: int, n_guesses: int, n_correct: int, delta: float, level: float) -> float:
    """Lower confidence bound of epsilon: the one whose p-value is 1 - level, 0 if that of 0 is larger."""
    m, r, v = check_guesses(n_canaries, n_guesses, n_correct)
    limit = 1.0 - check_level(level)
    return _largest_rejected(lambda epsilon: _p_value(m, r, v, epsilon, delta) <= limit, _MOST_EPSILON)


def one_run_mu(n_canaries: int, n_guesses: int, n_correct: int, level: float) -> float:
    """Lower confidence bound of mu when the algorithm's trade-off curve is that of mu-Gaussian privacy.

    The recursion of Mahloujifar, Melis and Chaudhuri (2024), "Auditing f-differential privacy in one run",
    arXiv:2410.22235, which uses the whole trade-off curve and not one (epsilon, delta) on it.
    """
    m, c, v = check_guesses(n_canaries, n_guesses, n_correct)
    limit = 1.0 - check_level(level)
    return _largest_rejected(lambda mu: _rejects_mu(m, c, v, mu, limit), _MOST_MU)


def count_guesses(challenges: Challenges, n_guesses: int, rng: Generator) -> tuple[int, int]:
    """Guesses made and right ones: the highest scores "in", as many of the lowest "out", the others abstain.

    Ties are broken at random: the order in which the challenges came may know who is a member.
    """
    n = check_integer("n_guesses", n_guesses, 1)
    if n > len(challenges):
        raise InvalidParameter(f"n_guesses must be at most the number of canaries {len(challenges)}, got {n}")
    order = np.lexsort((rng.random(len(challenges)), challenges.scores))
    n_out = n // 2
    called_out, called_in = order[:n_out], order[len(order) - (n - n_out) :]
    right = np.sum(~challenges.member[called_out]) + np.sum(challenges.member[called_in])
    return n, int(right)


@dataclass(frozen=True, eq=False)
class OneRun(LowerBound):
    """Bounds of Steinke, Nasr and Jagielski (2023), for any algorithm. The attack may be weak: there is no upper one.

    Parameters
    ----------
    n_canaries, n_guesses, n_correct : array_like, shape (q,)
    delta : array_like, shape (q,)
    """

    n_canaries: FloatArray
    n_guesses: FloatArray
    n_correct: FloatArray
    delta: FloatArray

    def lower(self, level: float) -> FloatArray:
        """Bounds, (q,)."""
        rows = zip(self.n_canaries, self.n_guesses, self.n_correct, self.delta, strict=True)
        return np.array([self.bound(int(m), int(r), int(v), float(d), level) for m, r, v, d in rows])

    def bound(self, m: int, r: int, v: int, delta: float, level: float) -> float:
        """Bound of one audit."""
        return one_run_lower(m, r, v, delta, level)


@dataclass(frozen=True, eq=False)
class OneRunGaussian(OneRun):
    """Bounds of Mahloujifar, Melis and Chaudhuri (2024), for algorithms with a Gaussian trade-off curve."""

    def bound(self, m: int, r: int, v: int, delta: float, level: float) -> float:
        """Bound of one audit."""
        return float(gdp_to_eps(one_run_mu(m, r, v, level), delta))


def _p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    from scipy.special import betainc, expit, gammaln, xlogy

    if v == 0:
        return 1.0
    # P(W >= v).
    p = float(betainc(v, r - v + 1, expit(epsilon)))
    if delta > 0:
        k = np.arange(v - 1, -1, -1.0)
        log_choose = gammaln(r + 1) - gammaln(k + 1) - gammaln(r - k + 1)
        just_below = np.cumsum(np.exp(log_choose + xlogy(k, expit(epsilon)) + (r - k) * np.log(expit(-epsilon))))
        p += 2 * m * delta * float(np.max(just_below / np.arange(1, v + 1)))
    return min(1.0, p)


def _rejects_mu(m: int, c: int, v: int, mu: float, limit: float) -> bool:
    """Whether mu-Gaussian privacy is rejected at error probability ``limit``."""
    from scipy.special import ndtr, ndtri

    right, wrong = limit * v / m, limit * (c - v) / m
    for i in range(v - 1, -1, -1):
        more = max(wrong, float(ndtr(ndtri(right) - mu)))
        if more == wrong:
            break
        right = min(1.0, right + i / (c - i) * (more - wrong))
        wrong = more
    return right + wrong > c / m


def _largest_rejected(rejects: Callable[[float], bool], most: float) -> float:
    """End of the rejected values [0, x), 0 where 0 itself is not rejected."""
    if not rejects(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high < most and rejects(high):
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rejects(middle) else (low, middle)
    return low


def check_guesses(n_canaries: Any, n_guesses: Any, n_correct: Any) -> tuple[int, int, int]:
    """Integers, 0 <= n_correct <= n_guesses <= n_canaries."""
    m = check_integer("n_canaries", n_canaries, 1)
    r = check_integer("n_guesses", n_guesses, 0)
    v = check_integer("n_correct", n_correct, 0)
    if r > m:
        raise InvalidData(f"n_guesses must be at most n_canaries {m}, got {r}")
    if v > r:
        raise InvalidData(f"n_correct must be at most n_guesses {r}, got {v}")
    return m, r, v
