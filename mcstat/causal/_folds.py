"""Who predicts whom: test rows of each fold and the rows its models may learn from.

Rows are dealt into blocks, and a fold is a set of test blocks and a set of training blocks. So sums over training
rows (Gram matrices) are sums over blocks, whatever the splitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.causal._panel_data import codes_of
from mcstat.core.errors import InvalidData, InvalidParameter

__all__ = ["SPLITTERS", "Folds", "given_folds", "make_folds", "restrict"]

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SPLITTERS = ("unit", "row", "period", "time_block", "nlo", "two_way")

# Penalties are chosen by leaving out training blocks in turn: at least so many must there be, and more are merged.
_FEWEST_BLOCKS, _MOST_BLOCKS = 3, 10
_NLO_FOLDS = 10


@dataclass(frozen=True)
class Folds:
    """Blocks of rows, and which of them each fold tests and learns from.

    Attributes
    ----------
    blocks : ndarray of int, shape (n,)
    test, train : ndarray of bool, shape (K, B)
        Every block is tested in exactly one fold.
    """

    blocks: IntArray
    test: BoolArray
    train: BoolArray

    @property
    def n_folds(self) -> int:
        """K."""
        return len(self.test)

    @property
    def n_blocks(self) -> int:
        """B."""
        return int(self.test.shape[1])

    @property
    def of_row(self) -> IntArray:
        """The fold in which each row is tested, (n,)."""
        return np.asarray(np.argmax(self.test, axis=0)[self.blocks])

    def training_rows(self, k: int) -> BoolArray:
        """Rows that the models of fold k learn from, (n,)."""
        return np.asarray(self.train[k][self.blocks])

    def inner(self, k: int) -> list[IntArray]:
        """Parts of the training blocks of fold k, to be left out in turn."""
        blocks = np.flatnonzero(self.train[k])
        return [blocks[i::_MOST_BLOCKS] for i in range(min(_MOST_BLOCKS, len(blocks)))]


def make_folds(splitter: str, n_folds: int, unit: IntArray, period: IntArray, rng: Generator) -> Folds:
    """Deal the rows out.

    Parameters
    ----------
    splitter : str
        One of ``SPLITTERS``.
    n_folds : int
    unit, period : ndarray of int, shape (n,)
        Codes 0, 1, ...; periods in the order of time.
    rng : Generator

    Returns
    -------
    Folds

    Raises
    ------
    InvalidParameter
        If there are fewer units, periods or rows than a split needs.
    """
    K = n_folds
    if splitter == "row":
        folds = _simple(_deal(np.ones(len(unit)), K, rng, "rows"), K)
    elif splitter == "unit":
        folds = _simple(_deal(np.bincount(unit), K, rng, "units")[unit], K)
    elif splitter == "period":
        folds = _simple(_deal(np.ones(period.max() + 1), K, rng, "periods")[period], K)
    elif splitter in ("time_block", "nlo"):
        labels = _time_blocks(period, K)[period]
        if splitter == "nlo" and K < _NLO_FOLDS:
            raise InvalidParameter(f"n_folds must be at least {_NLO_FOLDS} with splitter='nlo', got {K}")
        near = 0 if splitter == "time_block" else 1
        apart = np.abs(np.subtract.outer(np.arange(K), np.arange(K)))
        folds = Folds(labels, np.eye(K, dtype=bool), apart > near)
    else:
        by_unit = _deal(np.bincount(unit), K, rng, "units")[unit]
        by_period = _deal(np.ones(period.max() + 1), K, rng, "periods")[period]
        first, second = np.divmod(np.arange(K * K), K)
        train = (first[:, None] != first) & (second[:, None] != second)
        folds = Folds(by_unit * K + by_period, np.eye(K * K, dtype=bool), train)
    return _refine(_without_empty(folds), unit, rng)


def given_folds(folds: Any, n_rows: int) -> Folds:
    """Folds from labels (n,), or from a list of (train, test) index arrays whose tests cover every row once.

    Raises
    ------
    InvalidData
        Wrong length, an empty training or test set, a row tested twice or never.
    """
    if not _is_pairs(folds):
        labels = np.asarray(folds)
        if labels.shape != (n_rows,):
            raise InvalidData(f"folds must hold one label a row, ({n_rows},), got shape {labels.shape}")
        codes = codes_of("folds", labels, n_rows)[0]
        if codes.max() < 1:
            raise InvalidData("folds must hold at least 2 labels, got 1: no row would be left to learn from")
        return _simple(codes, int(codes.max()) + 1)
    pattern = np.zeros((2 * len(folds), n_rows), dtype=bool)
    for k, (train, test) in enumerate(folds):
        pattern[k][np.asarray(test)] = True
        pattern[len(folds) + k][np.asarray(train)] = True
    if not pattern.any(axis=1).all():
        raise InvalidData("folds must hold no empty training or test set")
    if not np.all(pattern[: len(folds)].sum(axis=0) == 1):
        raise InvalidData("folds must test every row exactly once")
    kinds, blocks = np.unique(pattern, axis=1, return_inverse=True)
    return Folds(blocks.ravel().astype(np.int64), kinds[: len(folds)], kinds[len(folds) :])


def restrict(folds: Folds, rows: IntArray, unit: IntArray, rng: Generator) -> Folds:
    """The same folds on some of the rows, given in increasing order."""
    if len(rows) == len(folds.blocks):
        return _refine(_without_empty(folds), unit, rng)
    return _refine(_without_empty(Folds(folds.blocks[rows], folds.test, folds.train)), unit, rng)


def _is_pairs(folds: Any) -> bool:
    return (
        isinstance(folds, Sequence)
        and not isinstance(folds, str)
        and len(folds) > 0
        and all(isinstance(pair, (tuple, list)) and len(pair) == 2 and np.ndim(pair[0]) == 1 for pair in folds)
    )


def _simple(labels: IntArray, n_folds: int) -> Folds:
    tested = np.eye(n_folds, dtype=bool)
    return Folds(labels.astype(np.int64, copy=False), tested, ~tested)


def _deal(sizes: Any, n_folds: int, rng: Generator, what: str) -> IntArray:
    """A fold for each of the shuffled groups; large groups are dealt first, to and fro, so that rows balance."""
    if len(sizes) < n_folds:
        raise InvalidParameter(f"n_folds must be at most the number of {what}, {len(sizes)}, got {n_folds}")
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-np.asarray(sizes)[order], kind="stable")]
    round_, place = np.divmod(np.arange(len(sizes)), n_folds)
    labels = np.empty(len(sizes), dtype=np.int64)
    labels[order] = np.where(round_ % 2 == 0, place, n_folds - 1 - place)
    return labels


def _time_blocks(period: IntArray, n_folds: int) -> IntArray:
    count = int(period.max()) + 1
    if count < n_folds:
        raise InvalidParameter(f"n_folds must be at most the number of periods, {count}, got {n_folds}")
    return np.arange(count) * n_folds // count


def _without_empty(folds: Folds) -> Folds:
    """Drop folds without test rows (cells of two-way folds in unbalanced panels); all others must have both."""
    filled = np.bincount(folds.blocks, minlength=folds.n_blocks) > 0
    used = (folds.test & filled).any(axis=1)
    if not (folds.train[used] & filled).any(axis=1).all():
        raise InvalidParameter("n_folds or folds leave a fold without rows to learn from")
    return Folds(folds.blocks, folds.test[used], folds.train[used])


def _refine(folds: Folds, unit: IntArray, rng: Generator) -> Folds:
    """Halve blocks, by unit, until each training set has enough of them to choose a penalty by."""
    fewest = int(folds.train.sum(axis=1).min())
    if fewest >= _FEWEST_BLOCKS:
        return folds
    parts = -(-_FEWEST_BLOCKS // fewest)
    part = (rng.permutation(int(unit.max()) + 1) % parts)[unit]
    return Folds(folds.blocks * parts + part, folds.test.repeat(parts, axis=1), folds.train.repeat(parts, axis=1))
