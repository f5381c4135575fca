"""Sampling designs: inclusion probabilities from scores, and draws with those probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData, InvalidParameter

__all__ = ["Draw", "draw", "inclusion_probabilities"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Coins tossed at once.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Draw:
    """Distinct rows drawn, ascending; how often, and how often was to be expected."""

    indices: IntArray
    counts: FloatArray
    expected: FloatArray


def inclusion_probabilities(scores: FloatArray, size: float) -> FloatArray:
    """Scale scores to probabilities q = min(1, c scores) that sum to ``size``.

    Rows whose share exceeds one are taken with certainty and the rest is scaled anew: O(n), exact. Where fewer
    than ``size`` rows have a positive score, all of those get probability one.
    """
    if not (np.isfinite(scores).all() and (scores >= 0).all()):
        raise InvalidData("scores must be finite and not negative")
    positive = int((scores > 0).sum())
    if positive == 0:
        raise InvalidData("scores must not all be zero")
    if size >= positive:
        return (scores > 0).astype(np.float64)
    # With the k largest taken for sure the next one's probability is (size - k) s / (what remains); the first k for
    # which this is at most one is the answer. Only the largest ``size`` scores can be certain.
    most = int(np.ceil(size))
    split = np.partition(scores, len(scores) - most)
    descending = np.sort(split[len(scores) - most :])[::-1]
    rest = np.cumsum(descending[::-1])[::-1] + split[: len(scores) - most].sum()
    # Arrays of n numbers are what a matrix on disk leaves in memory: no more of them than need be.
    del split
    certain = np.arange(most)
    k = int(np.argmax((size - certain) * descending <= rest))
    probabilities = scores * ((size - k) / rest[k])
    return np.asarray(np.minimum(probabilities, 1.0, out=probabilities))


def draw(probabilities: FloatArray, design: str, rng: Generator) -> Draw:
    """Draw rows.

    Parameters
    ----------
    probabilities : ndarray, shape (n,)
        Inclusion probabilities, or expected numbers of times drawn for "with_replacement".
    design : {"poisson", "fixed", "with_replacement"}
        Independent coins; exactly round(sum) rows, systematic after a random shuffle; or multinomial.
    rng : Generator
    """
    if design == "poisson":
        starts = range(0, len(probabilities), _BLOCK)
        blocks = [probabilities[start : start + _BLOCK] for start in starts]
        hits = [start + np.flatnonzero(rng.random(len(q)) < q) for start, q in zip(starts, blocks, strict=True)]
        indices = np.concatenate(hits)
        return Draw(indices, np.ones(len(indices)), probabilities[indices])
    if design == "fixed":
        order = rng.permutation(len(probabilities))
        steps = np.cumsum(probabilities[order])
        size = round(steps[-1])
        # Rounding must not lose the last row: the steps end at an integer.
        steps *= size / steps[-1]
        picks = np.searchsorted(steps, rng.random() + np.arange(size), side="right")
        indices = np.sort(order[np.minimum(picks, len(order) - 1)])
        return Draw(indices, np.ones(len(indices)), probabilities[indices])
    if design == "with_replacement":
        size = round(probabilities.sum())
        shares = probabilities / probabilities.sum()
        counts = rng.multinomial(size, shares)
        indices = np.flatnonzero(counts)
        return Draw(indices, counts[indices].astype(np.float64), size * shares[indices])
    raise InvalidParameter(f"design must be 'poisson', 'fixed' or 'with_replacement', got {design!r}")
