"""Are ranks uniform? The exact simultaneous test of an empirical distribution function.

Säilynoja, Bürkner and Vehtari (2022), "Graphical test for discrete uniformity and its applications in goodness-of-fit
evaluation and multiple sample comparison", Statistics and Computing 32, 32. With n uniform ranks the number S_j of
ranks in the first j of K cells is binomial, and S_1, S_2, ... is a Markov chain: given S_{j-1}, the ranks not yet
counted fall into the next cell independently. So the probability that the whole path stays where each S_j has both
tail probabilities above g is a product of small matrices, and no simulation is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "uniform_cells"]

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

# More cells cost time and show nothing more: the path between two of them can hardly leave the band unseen.
_MOST_CELLS = 100


@dataclass(frozen=True)
class Cells:
    """Where the distribution function of ``n`` ranks is looked at, and the binomial tails there.

    Attributes
    ----------
    n : int
        Number of ranks.
    last : ndarray of int, shape (K - 1,)
        Last rank of each cell but the final one, whose count is no news.
    z : ndarray, shape (K - 1,)
        Probability of a rank up to ``last``.
    at_most, at_least : ndarray, shape (K - 1, n + 1)
        P(S_j <= s) and P(S_j >= s) for s = 0..n.
    """

    n: int
    last: IntArray
    z: FloatArray
    at_most: FloatArray
    at_least: FloatArray

    def counts(self, ranks: IntArray) -> IntArray:
        """Ranks in the first j cells, (K - 1,)."""
        return np.searchsorted(np.sort(ranks), self.last, side="right")

    def p_value(self, ranks: IntArray) -> float:
        """Probability that uniform ranks leave the tightest band that these ranks leave."""
        row, counts = np.arange(len(self.z)), self.counts(ranks)
        return 1.0 - self.inside(float(np.minimum(self.at_most[row, counts], self.at_least[row, counts]).min()))

    def inside(self, tail: float) -> float:
        """Probability that both tail probabilities stay above ``tail`` in all cells; O(K w^2) for a band w wide."""
        from scipy.special import gammaln

        log_factorial = gammaln(np.arange(self.n + 1) + 1.0)
        lower, upper = self._ends(tail)
        chance, states, before = np.ones(1), np.zeros(1, dtype=np.int64), 0.0
        for low, high, z in zip(lower, upper, self.z, strict=True):
            # P(S_j = t | S_{j-1} = s): t - s of the n - s ranks that are left fall into this cell.
            share = (z - before) / (1.0 - before)
            after = np.arange(low, high + 1)
            left, new = self.n - states[:, None], after[None, :] - states[:, None]
            possible = np.maximum(new, 0)
            log_step = log_factorial[left] - log_factorial[possible] - log_factorial[np.maximum(left - possible, 0)]
            log_step += possible * np.log(share) + (left - possible) * np.log1p(-share)
            chance = chance @ np.where((new >= 0) & (new <= left), np.exp(log_step), 0.0)
            states, before = after, z
        return float(min(chance.sum(), 1.0))

    def band(self, level: float) -> tuple[IntArray, IntArray]:
        """Smallest and largest count in each cell, (K - 1,) each, of the narrowest band of at least ``level``."""
        narrow, wide = 0.5, 0.0
        for _ in range(40):
            middle = 0.5 * (narrow + wide)
            if self.inside(middle) >= level:
                wide = middle
            else:
                narrow = middle
        return self._ends(wide)

    def _ends(self, tail: float) -> tuple[IntArray, IntArray]:
        # Both tails are monotone in s, so counting is finding. An empty range stays empty: its chance is then 0.
        lower = np.sum(self.at_most <= tail, axis=1)
        upper = np.sum(self.at_least > tail, axis=1) - 1
        return lower, upper


def uniform_cells(n: int, n_draws: int) -> Cells:
    """Cells for ``n`` ranks in 0..``n_draws``: one a rank, or about 100 of equal width (to one rank)."""
    from scipy.special import bdtr, bdtrc

    cells = min(n_draws + 1, _MOST_CELLS)
    last = np.arange(1, cells) * (n_draws + 1) // cells - 1
    z = np.asarray((last + 1.0) / (n_draws + 1.0), dtype=np.float64)
    s = np.arange(n + 1.0)
    at_most = np.asarray(bdtr(s[None, :], n, z[:, None]), dtype=np.float64)
    at_least = np.ones_like(at_most)
    at_least[:, 1:] = bdtrc(s[None, :-1], n, z[:, None])
    return Cells(n, last, z, at_most, at_least)
