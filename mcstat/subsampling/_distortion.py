"""How far a sketch S A of a matrix A is from keeping ``|A x|_p^p`` for all x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_array, check_real
from mcstat.core.errors import InvalidData
from mcstat.core.gram import whiten
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.core.rows import RowBlocks

__all__ = ["Distortion", "embedding_distortion"]

FloatArray = NDArray[np.float64]

_STARTS, _STEPS = 24, 60


@dataclass(frozen=True)
class Distortion:
    """max over x of the relative error of ``|S A x|_p^p``, and the x that attains it.

    Attributes
    ----------
    value : float
        Relative error of the p-th power of the norm; the norm's own is about value / p.
    kind : str
        "exact" or "lower bound".
    direction : ndarray, shape (d,)
    """

    value: float
    kind: str
    direction: FloatArray


def embedding_distortion(X: Any, SX: Any, p: float, *, random_state: RandomState = 0) -> Distortion:
    """Largest ``| |S A x|_p^p / |A x|_p^p - 1 |`` over all x.

    Parameters
    ----------
    X : array_like, data frame, CSR matrix, memory map or Dask array, shape (n, d)
    SX : array_like, shape (m, d)
        The sketch: sampled rows, already rescaled.
    p : float
        Order, >= 1.
    random_state : None, int, SeedSequence or Generator
        For the starts of the search.

    Returns
    -------
    Distortion
        Exact for p = 2 (eigenvalues of a pencil), for d = 1, and for p = 1 with d = 2 (the extremes lie where a row
        of A or S A is orthogonal to x). Otherwise a lower bound: the best of an ascent and a descent of the log ratio
        from many starts, among them the singular directions and the rows of the sketch that weigh most.

    Raises
    ------
    InvalidData
        Another number of columns, or X without full column rank.

    Notes
    -----
    O(n d^2) for p = 2; a search costs about 100 passes over the rows. Matrices beyond memory: p = 2 only.
    """
    p = check_real("p", p, 1.0)
    sketch = check_array("SX", SX, 2)
    rows = RowBlocks(X)
    if sketch.shape[1] != rows.n_columns:
        raise InvalidData(f"SX must have {rows.n_columns} columns like X, got {sketch.shape[1]}")
    # A sketch without full rank is zero along some x: the log of a ratio of 0, and a distortion of 1.
    with single_threaded(), np.errstate(divide="ignore", invalid="ignore"):
        basis = whiten(rows)
        if basis.rank < rows.n_columns:
            raise InvalidData(f"X must have full column rank, got rank {basis.rank} of {rows.n_columns}")
        small = sketch @ basis.transform
        values, vectors = np.linalg.eigh(small.T @ small)
        if p == 2:
            worst = int(np.argmax(np.abs(values - 1)))
            return Distortion(float(abs(values[worst] - 1)), "exact", basis.transform @ vectors[:, worst])
        whole = np.concatenate(list(rows.map(lambda block: np.asarray(block @ basis.transform))))
        if basis.rank == 1 or (p == 1 and basis.rank == 2):
            starts, kind = _corners(whole, small), "exact"
        else:
            starts = _starts(small, vectors, p, stream(root_seed(random_state), "distortion", Purpose.EXPLORE, 0))
            starts = np.concatenate([_climb(whole, small, starts, p, sign) for sign in (1.0, -1.0)])
            kind = "lower bound"
        errors = np.abs(np.exp(_log_ratio(whole, small, starts, p)) - 1)
    worst = int(np.argmax(errors))
    return Distortion(float(errors[worst]), kind, basis.transform @ starts[worst])


def _corners(whole: FloatArray, small: FloatArray) -> FloatArray:
    """All x at which a row of A or S A is orthogonal to x (rank 2); the one direction there is (rank 1)."""
    if whole.shape[1] == 1:
        return np.ones((1, 1))
    # Sampled rows are multiples of rows of A where S samples; a general sketch has rows of its own.
    rows = np.concatenate([whole, small])
    rows = rows[np.any(rows != 0, axis=1)]
    return np.stack([-rows[:, 1], rows[:, 0]], axis=1)


def _starts(small: FloatArray, vectors: FloatArray, p: float, rng: np.random.Generator) -> FloatArray:
    """Singular directions of the sketch, its longest rows, and random directions."""
    longest = small[np.argsort(-np.einsum("ij,ij->i", small, small))[: _STARTS // 3]]
    random = rng.normal(size=(_STARTS // 3, small.shape[1]))
    return np.concatenate([vectors.T, longest, random])


def _log_ratio(whole: FloatArray, small: FloatArray, x: FloatArray, p: float) -> FloatArray:
    """Find log ``|S A x|_p^p - log |A x|_p^p`` of each row of x (k, r), in chunks that fit a cache."""
    return np.array([np.log(_power(small, row, p)) - np.log(_power(whole, row, p)) for row in x])


def _power(matrix: FloatArray, x: FloatArray, p: float) -> float:
    return float((np.abs(matrix @ x) ** p).sum())


def _climb(whole: FloatArray, small: FloatArray, x: FloatArray, p: float, sign: float) -> FloatArray:
    """Gradient ascent (descent for sign -1) of the log ratio with step halving, all starts side by side."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    step = np.full(len(x), 0.5)
    value, slope = _value_and_slope(whole, small, x, p)
    for _ in range(_STEPS):
        direction = sign * (slope - np.einsum("kr,kr->k", slope, x)[:, None] * x)
        trial = x + step[:, None] * direction
        trial /= np.linalg.norm(trial, axis=1, keepdims=True)
        new_value, new_slope = _value_and_slope(whole, small, trial, p)
        better = sign * (new_value - value) > 0
        x, slope = np.where(better[:, None], trial, x), np.where(better[:, None], new_slope, slope)
        value = np.where(better, new_value, value)
        step = np.where(better, 1.3 * step, 0.4 * step)
        if step.max() < 1e-6:
            break
    return x


def _value_and_slope(whole: FloatArray, small: FloatArray, x: FloatArray, p: float) -> tuple[FloatArray, FloatArray]:
    """Find the log ratio (k,) and its gradient (k, r) at each row of x (k, r)."""
    value, slope = np.zeros(len(x)), np.zeros_like(x)
    for matrix, sign in ((small, 1.0), (whole, -1.0)):
        power, gradient = np.zeros(len(x)), np.zeros_like(x)
        for start in range(0, len(matrix), 4096):
            part = matrix[start : start + 4096]
            along = part @ x.T
            size = np.abs(along)
            power += (size**p).sum(axis=0)
            gradient += (np.sign(along) * size ** (p - 1)).T @ part
        value += sign * np.log(power)
        slope += sign * p * gradient / power[:, None]
    return value, slope
