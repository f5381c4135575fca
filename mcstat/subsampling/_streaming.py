"""Samples of rows that arrive in chunks and are seen once."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer, check_option, check_real, frozen_view
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.core.rows import RowBlocks
from mcstat.subsampling._designs import draw, inclusion_probabilities
from mcstat.subsampling._scores import row_scores
from mcstat.subsampling._weighted import WeightedSample

__all__ = ["MergeReduceCoreset", "OnlineSampler"]

FloatArray = NDArray[np.float64]
SCORES = ("lewis", "leverage", "uniform")


class MergeReduceCoreset(WeightedSample):
    """Keep a weighted sample of a stream of rows, in memory that grows with the logarithm of its length.

    Every 2 ``n_samples`` rows become a sample of ``n_samples``; two samples of one level are merged, scored anew and
    reduced to one of the next level. The rows of a level have passed as many reductions, so errors add over log n
    levels and not over n steps.

    Parameters
    ----------
    p : float
        Order of the norm that is kept, >= 1.
    score : {"lewis", "leverage", "uniform"}
    n_samples : int
        Expected rows of each level's sample.
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    rows_ : ndarray, shape (m, d)
        All levels' rows, and those that wait for the next reduction with weight 1.
    weights_ : ndarray, shape (m,)
    scale_ : ndarray, shape (m,)
        weights_^(1/p): what rows are to be multiplied by.
    n_rows_seen_ : int
    n_levels_ : int

    Notes
    -----
    O(n d^2 log(n) / m) in all for a sample of m. Chunks of any size give the same bits. Each reduction leaves totals
    unbiased, and its variance, given what went in, is estimated when it is made; their sum is the variance of
    ``estimate()``, whose totals are the columns' sums of ``|a_ij|^p`` and no others.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.subsampling import MergeReduceCoreset
    >>> rng = np.random.default_rng(0)
    >>> coreset = MergeReduceCoreset(p=1, n_samples=200, random_state=0)
    >>> for _ in range(10):
    ...     coreset = coreset.partial_fit(rng.normal(size=(1000, 3)))
    >>> coreset.n_rows_seen_, len(coreset.rows_) < 2000
    (10000, True)
    """

    def __init__(
        self, p: float = 2, *, score: str = "lewis", n_samples: int = 1000, random_state: RandomState = None
    ) -> None:
        self.p = p
        self.score = score
        self.n_samples = n_samples
        self.random_state = random_state

    def fit(self, X: Any, y: None = None) -> Self:
        """Start anew and take in all rows of X, (n, d)."""
        self._forget()
        self.__dict__.pop("_levels", None)
        if RowBlocks(X).n_rows < 2:
            raise InvalidData("X must have at least 2 rows, got 1")
        return self.partial_fit(X)

    def partial_fit(self, X: Any, y: None = None) -> Self:
        """Take in the next chunk of rows, (m, d)."""
        started = perf_counter()
        rows = RowBlocks(X)
        if not hasattr(self, "_levels"):
            self._start(rows)
        if rows.n_columns != self._waiting.shape[1]:
            raise InvalidData(
                f"X must have {self._waiting.shape[1]} columns like the chunks before, got {rows.n_columns}"
            )
        with single_threaded():
            for block in rows.map(lambda block: block.toarray() if hasattr(block, "toarray") else block):
                self._take(block)
        self.n_rows_seen_ = self._n_rows = self._n_rows + rows.n_rows
        self._publish()
        self._seconds += perf_counter() - started
        return self

    def _start(self, rows: RowBlocks) -> None:
        check_real("p", self.p, 1.0)
        check_option("score", self.score, SCORES)
        check_integer("n_samples", self.n_samples, 1)
        if self.n_samples < rows.n_columns:
            raise InvalidParameter(f"n_samples must be at least the {rows.n_columns} columns, got {self.n_samples}")
        self._root, self._names, self._seconds = root_seed(self.random_state), rows.names, 0.0
        self._n_rows = self._reductions = 0
        self._waiting = np.empty((0, rows.n_columns))
        self._variance = np.zeros((rows.n_columns, rows.n_columns))
        # One sample a level, or none: a binary counter.
        self._levels: list[tuple[FloatArray, FloatArray] | None] = []

    def _take(self, block: FloatArray) -> None:
        self._waiting = np.concatenate([self._waiting, block])
        size = 2 * self.n_samples
        while len(self._waiting) >= size:
            leaf, self._waiting = self._waiting[:size], self._waiting[size:]
            self._insert(self._reduce(leaf, np.ones(size)), 0)

    def _insert(self, sample: tuple[FloatArray, FloatArray], level: int) -> None:
        while level < len(self._levels) and (other := self._levels[level]) is not None:
            self._levels[level] = None
            merged = [np.concatenate(pair) for pair in zip(other, sample, strict=True)]
            sample, level = self._reduce(merged[0], merged[1]), level + 1
        if level == len(self._levels):
            self._levels.append(None)
        self._levels[level] = sample

    def _reduce(self, rows: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Draw ``n_samples`` of the weighted rows, and add what this does to the variance of the totals."""
        scores, _ = row_scores(rows * weights[:, None] ** (1 / self.p), self.p, self.score, 0)
        rng = stream(self._root, "MergeReduceCoreset", Purpose.SAMPLE, self._reductions)
        self._reductions += 1
        taken = draw(inclusion_probabilities(scores, self.n_samples), "poisson", rng)
        kept, weight = rows[taken.indices], weights[taken.indices] / taken.expected
        totals = weight[:, None] * self._default_values(kept)
        self._variance += ((1.0 - taken.expected)[:, None] * totals).T @ totals
        return kept, weight

    def _publish(self) -> None:
        samples = [sample for sample in self._levels if sample is not None]
        self.rows_ = np.concatenate([rows for rows, _ in samples] + [self._waiting])
        self.weights_ = np.concatenate([weights for _, weights in samples] + [np.ones(len(self._waiting))])
        self.scale_ = self.weights_ ** (1 / self.p)
        self.n_levels_ = len(self._levels)

    def estimate(self, target: Callable[[FloatArray], ArrayLike] | None = None) -> Estimate:
        """Totals over all rows seen of ``|a_ij|^p``, a column each; other totals' variance was not followed."""
        if target is not None:
            raise InvalidParameter(
                "MergeReduceCoreset follows the variance of its default totals only; target must be None"
            )
        return super().estimate()

    def _default_values(self, rows: FloatArray) -> FloatArray:
        return np.asarray(np.abs(rows) ** self.p)

    def _covariance(self, weighted: FloatArray) -> FloatArray:
        return self._variance.copy()


class OnlineSampler(WeightedSample):
    """Decide about each row of a stream when it comes, once and for all.

    Row i is kept with probability min(1, c l_i), where l_i = a_i' (S' S + lambda I)^{-1} a_i is its ridge leverage
    among the weighted rows S kept so far; the squared norm ``|A x|^2`` is kept for every x [1]_.

    Parameters
    ----------
    oversampling : float
        c > 0; larger keeps more rows, about c d log(``|A|^2`` / lambda) of them.
    ridge : float
        lambda > 0, in units of squared entries: directions in which all of A is shorter than this may be lost.
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    rows_ : ndarray, shape (m, d)
    weights_ : ndarray, shape (m,)
        1 / probability.
    indices_ : ndarray, shape (m,)
        Places of the rows in the stream.
    n_rows_seen_ : int

    Notes
    -----
    O(d^2) a row, O(d^2 + m d) memory. Chunks of any size give the same bits. Totals from ``estimate()`` are unbiased
    and so is their variance, although a row's probability depends on the draws before it.

    References
    ----------
    .. [1] Cohen, M. B., Musco, C., Pachocki, J. (2016). Online row sampling. APPROX. arXiv:1604.05448.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.subsampling import OnlineSampler
    >>> X = np.random.default_rng(0).normal(size=(20000, 3))
    >>> sampler = OnlineSampler(oversampling=20, random_state=0).fit(X)
    >>> len(sampler.rows_) < 2000
    True
    """

    p = 2

    def __init__(self, *, oversampling: float = 10.0, ridge: float = 1e-3, random_state: RandomState = None) -> None:
        self.oversampling = oversampling
        self.ridge = ridge
        self.random_state = random_state

    def fit(self, X: Any, y: None = None) -> Self:
        """Start anew and take in all rows of X, (n, d)."""
        self._forget()
        self.__dict__.pop("_inverse", None)
        if RowBlocks(X).n_rows < 2:
            raise InvalidData("X must have at least 2 rows, got 1")
        return self.partial_fit(X)

    def partial_fit(self, X: Any, y: None = None) -> Self:
        """Take in the next chunk of rows, (m, d)."""
        started = perf_counter()
        rows = RowBlocks(X)
        if not hasattr(self, "_inverse"):
            self._start(rows)
        if rows.n_columns != len(self._inverse):
            raise InvalidData(f"X must have {len(self._inverse)} columns like the chunks before, got {rows.n_columns}")
        with single_threaded():
            for block in rows.map(lambda block: block.toarray() if hasattr(block, "toarray") else block):
                self._take(block)
        self.n_rows_seen_ = self._n_rows
        self.rows_, self.indices_ = np.concatenate(self._kept), np.concatenate(self._places)
        self._expected = np.concatenate(self._probabilities)
        self._counts, self.weights_ = np.ones(len(self._expected)), 1.0 / self._expected
        self._seconds += perf_counter() - started
        return self

    def _start(self, rows: RowBlocks) -> None:
        check_real("oversampling", self.oversampling, 0.0, closed="neither")
        ridge = check_real("ridge", self.ridge, 0.0, closed="neither")
        self._root, self._names, self._seconds, self._n_rows = root_seed(self.random_state), rows.names, 0.0, 0
        self._rng = stream(self._root, "OnlineSampler", Purpose.SAMPLE, 0)
        self._inverse = np.eye(rows.n_columns) / ridge
        self._kept: list[FloatArray] = [np.empty((0, rows.n_columns))]
        self._places: list[NDArray[np.intp]] = [np.empty(0, dtype=np.intp)]
        self._probabilities: list[FloatArray] = [np.empty(0)]

    def _take(self, block: FloatArray) -> None:
        from mcstat.subsampling._streaming_kernels import online_probabilities

        coins, probabilities = self._rng.random(len(block)), np.empty(len(block))
        online_probabilities(
            frozen_view(block), frozen_view(coins), float(self.oversampling), self._inverse, probabilities
        )
        kept = np.flatnonzero(coins < probabilities)
        self._kept.append(block[kept])
        self._places.append(kept + self._n_rows)
        self._probabilities.append(probabilities[kept])
        self._n_rows += len(block)

    def _default_values(self, rows: FloatArray) -> FloatArray:
        return rows**2
