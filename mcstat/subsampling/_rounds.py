"""The rows of each round of repeated random sampling, and the learning rates of its updates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.rng import Purpose, stream
from mcstat.subsampling._rounds_kernels import draw_subset

__all__ = [
    "MODES",
    "Rounds",
    "StratifiedRounds",
    "allocate",
    "learning_rates",
    "narrow_integer",
    "subset_size",
    "updates_per_round",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
MODES = ("without_replacement", "with_replacement", "independent")
SCHEDULES = ("cosine", "constant")


def subset_size(n: int, ratio: Any) -> int:
    """Rows of a round: ratio * n to the nearest integer, halves to the even one."""
    m = round(check_real("ratio", ratio, 0.0, 1.0, closed="right") * n)
    if m == 0:
        raise InvalidParameter(
            f"ratio must be at least {0.5 / n:.3g} for {n} rows to give one row a round, got {ratio}"
        )
    return m


def updates_per_round(m: int, batch_size: int | None) -> int:
    """ceil(m / b): the last batch of a round may be a small one."""
    return 1 if batch_size is None else -(-m // check_integer("batch_size", batch_size, 1))


def learning_rates(schedule: Any, total: int, eta0: float, eta_min: Any) -> FloatArray:
    """Rate of each of ``total`` updates: half a cosine from eta0 that would be at eta_min after the last one."""
    low = check_real("eta_min", eta_min, 0.0)
    if check_option("learning_rate", schedule, SCHEDULES) == "constant":
        return np.full(total, eta0)
    if low > eta0:
        raise InvalidParameter(f"eta_min must be at most eta0 = {eta0:g}, got {low:g}")
    return low + (eta0 - low) / 2 * (1 + np.cos(np.pi * np.arange(total) / total))


def narrow_integer(n: int) -> type[np.signedinteger[Any]]:
    """The type of places among n rows: shuffles wait for memory, and half the bytes are nearly half the time."""
    return np.int32 if n < 2**31 else np.int64


class Rounds:
    """Subsets of m of n rows, a subset a round: functions of the seed and the round alone.

    Parameters
    ----------
    n, m : int
        1 <= m <= n.
    mode : {"without_replacement", "with_replacement", "independent"}
        Across rounds; inside a round the m rows are distinct, but for "independent", where each is drawn from all n.
        Without replacement, the rounds walk through
        permutations of all rows. A round that meets the end of one takes the rest of it and fills up from the next,
        skipping the rows that it already holds; these come later in that next pass. So every round holds m rows and
        every pass holds each row once.
    root : SeedSequence
    name : str
        Names the streams; strata have names of their own.

    Notes
    -----
    With replacement: O(m) a round. Without: O(n) a pass, and rounds are cheap in ascending order. Memory O(n).
    """

    def __init__(self, n: int, m: int, mode: str, root: SeedSequence, name: str = "RS2Estimator") -> None:
        self.n, self.m = n, m
        self.mode = check_option("mode", mode, MODES)
        self._root, self._name = root, name
        self._identity = np.arange(n, dtype=narrow_integer(n))
        self._passes: dict[int, IntArray] = {}

    def rows(self, k: int) -> IntArray:
        """Rows of round ``k`` in the order of use, shape (m,)."""
        if self.mode == "independent":
            return stream(self._root, self._name, Purpose.SAMPLE, k).integers(0, self.n, self.m)
        if self.mode == "with_replacement":
            subset = np.empty(self.m, dtype=np.int64)
            rng = stream(self._root, self._name, Purpose.SAMPLE, k)
            draw_subset(rng.random(self.m), self._identity, np.empty_like(subset), subset)
            return subset
        p, start = divmod(k * self.m, self.n)
        head = self._pass(p)[start : start + self.m]
        if len(head) == self.m:
            return head.copy()
        return np.concatenate([head, self._pass(p + 1)[: self.m - len(head)]])

    def _pass(self, p: int) -> IntArray:
        """Order of all rows in pass ``p``, from the pass before it; the last two are kept."""
        if p not in self._passes:
            before = max((q for q in self._passes if q < p), default=-1)
            for q in range(before + 1, p + 1):
                self._passes[q] = self._make_pass(q)
                self._passes.pop(q - 2, None)
        return self._passes[p]

    def _make_pass(self, p: int) -> IntArray:
        order = stream(self._root, self._name, Purpose.SAMPLE, p).permutation(self.n)
        taken = p * self.n % self.m
        if taken == 0:
            return order
        in_round = np.zeros(self.n, dtype=bool)
        in_round[self._passes[p - 1][self.n - taken :]] = True
        first = np.zeros(self.n, dtype=bool)
        first[np.flatnonzero(~in_round[order])[: self.m - taken]] = True
        return np.concatenate([order[first], order[~first]])


class StratifiedRounds:
    """Rounds that hold of each stratum its share, shuffled together.

    Parameters
    ----------
    strata : ndarray of int, shape (n,)
        Codes 0, ..., C - 1, each of them present.
    m, mode, root
        As in :class:`Rounds`.
    """

    def __init__(self, strata: IntArray, m: int, mode: str, root: SeedSequence) -> None:
        self.n, self.m = len(strata), m
        self._root = root
        sizes = np.bincount(strata)
        members = np.split(np.argsort(strata, kind="stable"), np.cumsum(sizes)[:-1])
        shares = allocate(sizes, m)
        self._parts = [
            (rows, Rounds(len(rows), int(share), mode, root, f"RS2Estimator stratum {c}"))
            for c, (rows, share) in enumerate(zip(members, shares, strict=True))
        ]

    def rows(self, k: int) -> IntArray:
        """Rows of round ``k`` in the order of use, shape (m,)."""
        chosen = np.concatenate([members[part.rows(k)] for members, part in self._parts])
        return stream(self._root, "RS2Estimator strata", Purpose.SAMPLE, k).permutation(chosen)


def allocate(sizes: ArrayLike, m: int) -> IntArray:
    """Share m among strata in proportion to their sizes, at least one each: largest remainders.

    Strata whose quota is below one get one; the others share the rest. Where no quota is below one, each share is
    within one of its quota.

    Raises
    ------
    InvalidParameter
        When there are more strata than m.
    """
    counts = np.asarray(sizes, dtype=np.int64)
    if counts.ndim != 1 or len(counts) == 0 or (counts < 1).any():
        raise InvalidData(f"sizes must hold positive numbers, got {sizes!r}")
    if m < len(counts):
        raise InvalidParameter(f"ratio must give at least one row to each of the {len(counts)} strata, got {m} row(s)")
    shares = np.ones_like(counts)
    large = np.ones(len(counts), dtype=bool)
    while large.any():
        left = m - int(shares[~large].sum())
        total = int(counts[large].sum())
        floors, remainders = left * counts[large] // total, left * counts[large] % total
        if (floors >= 1).all():
            extra = np.argsort(-remainders, kind="stable")[: left - int(floors.sum())]
            floors[extra] += 1
            shares[large] = floors
            break
        large[np.flatnonzero(large)[floors < 1]] = False
    return shares
