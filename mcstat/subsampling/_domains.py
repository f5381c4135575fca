"""Rows drawn domain by domain: a domain by its probability, then its next row in a random order."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.subsampling._rounds import narrow_integer
from mcstat.subsampling._rounds_kernels import draw_domains, draw_rows

__all__ = ["DomainStream"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class DomainStream:
    """Draws of rows whose domain has given probabilities, which may change from call to call.

    Each domain is walked through without replacement, in a new random order every pass, so that its rows are used
    equally often up to one. A change of the probabilities leaves these walks where they are.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Domain of each row, 0, ..., K - 1; each present.
    rng : Generator
    stratified : bool
        Give each domain its expected number of rows in a batch, rounded at random up or down (systematic sampling),
        instead of independent draws.

    Notes
    -----
    O(K) a draw, and no shuffle in advance: Fisher and Yates' shuffle takes its next step when a row is
    wanted. Memory O(n).
    """

    def __init__(self, codes: IntArray, rng: Generator, stratified: bool = False) -> None:
        self.sizes = np.bincount(codes)
        self.stratified = stratified
        self._rng = rng
        self._order = np.argsort(codes, kind="stable").astype(narrow_integer(len(codes)))
        self._first = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)
        self._cursor = np.zeros(len(self.sizes), dtype=np.int64)

    def draw(self, probabilities: FloatArray, n_draws: int) -> tuple[IntArray, IntArray]:
        """Rows and their domains, (n_draws,) each."""
        cumulative = np.cumsum(probabilities)
        # A sum of 1 - 1e-16 must not let a draw fall behind the last domain that has any probability.
        cumulative[np.flatnonzero(probabilities)[-1] :] = 1.0
        if self.stratified:
            ends = np.floor(cumulative * n_draws + self._rng.random())
            ends[cumulative == 1.0] = n_draws
            counts = np.diff(ends, prepend=0).astype(np.int64)
            domains = np.repeat(np.arange(len(counts)), counts)
        else:
            domains = np.empty(n_draws, dtype=np.int64)
            draw_domains(self._rng.random(n_draws), cumulative, domains)
        rows = np.empty(n_draws, dtype=np.int64)
        draw_rows(self._rng.random(n_draws), domains, self._first, self._order, self._cursor, rows)
        return rows, domains
