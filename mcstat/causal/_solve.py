"""Linear scores psi = V (e - R theta): their solution, and covariances from each row's part in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData

__all__ = [
    "VCOVS",
    "Score",
    "Solution",
    "Sums",
    "aggregate",
    "cluster_sums",
    "covariance",
    "refuse_explained",
    "solve",
    "solve_all",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

VCOVS = ("cluster", "two_way", "hc1", "dkraay")
_NOTHING_LEFT = 1e-10


@dataclass(frozen=True)
class Score:
    """Residuals and what multiplies them.

    Attributes
    ----------
    e : ndarray, shape (m,)
        Outcome's residual.
    R : ndarray, shape (m, q)
        What theta multiplies: the treatments' residuals (partialling out), or the treatments.
    V : ndarray, shape (m, q)
        What is uncorrelated with e - R theta: the treatments' or instruments' residuals.
    w : ndarray, shape (m,)
    """

    e: FloatArray
    R: FloatArray
    V: FloatArray
    w: FloatArray


@dataclass(frozen=True)
class Solution:
    """Theta (q,), each row's part in its error (m, q), and the scores there (m, q)."""

    theta: FloatArray
    parts: FloatArray
    psi: FloatArray


@dataclass(frozen=True)
class Sums:
    """How rows are added up for a covariance.

    Attributes
    ----------
    cluster, period : ndarray of int, shape (m,)
    vcov : str
    small_sample : bool
        Whether sums of G clusters are scaled by G / (G - 1).
    """

    cluster: IntArray
    period: IntArray
    vcov: str
    small_sample: bool


def solve(score: Score, of_row: IntArray, dml: str) -> Solution:
    """Solve the score over all rows (``"dml2"``), or fold by fold and take the mean (``"dml1"``).

    Raises
    ------
    InvalidData
        If nothing of a treatment (or instrument) is left to learn from.
    """
    weighted = score.V * score.w[:, None]
    bread = weighted.T @ score.R
    _check_bread(bread, score)
    if dml == "dml2":
        theta = np.asarray(np.linalg.solve(bread, weighted.T @ score.e))
    else:
        thetas = []
        for k in np.unique(of_row):
            rows = of_row == k
            thetas.append(np.linalg.solve(weighted[rows].T @ score.R[rows], weighted[rows].T @ score.e[rows]))
        theta = np.asarray(np.mean(thetas, axis=0))
    rest = score.e
    # Column by column: BLAS is many times slower on matrices of one.
    for effect, column in zip(theta, score.R.T, strict=True):
        rest = rest - effect * column
    psi = weighted * rest[:, None]
    inverse = np.linalg.inv(bread)
    return Solution(theta, psi * inverse[0, 0] if len(theta) == 1 else psi @ inverse.T, psi)


def solve_all(scores: Sequence[Score], of_row: IntArray, dml: str) -> Solution:
    """Solve scores on the same rows that have no theta in common, side by side."""
    found = [solve(score, of_row, dml) for score in scores]
    if len(found) == 1:
        return found[0]
    return Solution(
        np.concatenate([one.theta for one in found]),
        np.hstack([one.parts for one in found]),
        np.hstack([one.psi for one in found]),
    )


def refuse_explained(
    residuals: FloatArray, columns: FloatArray, weights: FloatArray, names: Sequence[str], argument: str = "d"
) -> None:
    """Refuse columns (m, q) of which the covariates leave no residuals."""
    centred = columns - np.average(columns, axis=0, weights=weights)
    nothing = weights @ residuals**2 <= _NOTHING_LEFT * (weights @ centred**2)
    if nothing.any():
        explained = [name for name, bare in zip(names, nothing, strict=True) if bare]
        raise InvalidData(f"{argument} must vary given the covariates, which explain {explained} wholly")


def _check_bread(bread: FloatArray, score: Score) -> None:
    of_V = np.diag(bread) if score.R is score.V else score.w @ score.V**2
    size = np.sqrt(np.outer(of_V, of_V if score.R is score.V else score.w @ score.R**2))
    scaled = bread / np.where(size > 0, size, 1.0)
    if not np.isfinite(scaled).all() or np.linalg.svd(scaled, compute_uv=False)[-1] <= _NOTHING_LEFT:
        raise InvalidData(
            "d must vary given the covariates and the other treatments (and its instrument must move it): nothing is "
            "left to learn the effect from"
        )


def covariance(parts: FloatArray, sums: Sums) -> tuple[FloatArray, str]:
    """Covariance (q, q) of theta, and a warning where a two-way one had to be mended."""
    if sums.vcov == "hc1":
        m, q = parts.shape
        return parts.T @ parts * (m / (m - q) if sums.small_sample else 1.0), ""
    if sums.vcov == "dkraay":
        return _driscoll_kraay(parts, sums), ""
    by_cluster = _clustered(parts, sums.cluster, sums.small_sample)
    if sums.vcov == "cluster":
        return by_cluster, ""
    by_period = _clustered(parts, sums.period, sums.small_sample)
    total = by_cluster + by_period - _clustered(parts, np.arange(len(parts)), sums.small_sample)
    if np.linalg.eigvalsh(total)[0] > 0:
        return total, ""
    larger = by_cluster if np.trace(by_cluster) >= np.trace(by_period) else by_period
    return larger, "the two-way covariance was not positive; the larger of the one-way ones stands in its place"


def _clustered(parts: FloatArray, codes: IntArray, small_sample: bool) -> FloatArray:
    sums = cluster_sums(parts, codes)
    count = int(np.count_nonzero(np.bincount(codes)))
    return sums.T @ sums * (count / (count - 1) if small_sample and count > 1 else 1.0)


def cluster_sums(parts: FloatArray, codes: IntArray) -> FloatArray:
    """Sums (G, q) of rows (m, q) of the same code."""
    return np.column_stack([np.bincount(codes, column) for column in parts.T])


def _driscoll_kraay(parts: FloatArray, sums: Sums) -> FloatArray:
    """Bartlett's kernel over the period sums."""
    by_period = cluster_sums(parts, sums.period)
    count = len(by_period)
    lags = int(4 * (count / 100) ** (2 / 9))
    total = by_period.T @ by_period
    for lag in range(1, min(lags, count - 1) + 1):
        across = by_period[lag:].T @ by_period[:-lag]
        total = total + (1 - lag / (lags + 1)) * (across + across.T)
    return np.asarray(total * (count / (count - 1) if sums.small_sample else 1.0))


def aggregate(thetas: FloatArray, covs: FloatArray, how: str) -> tuple[FloatArray, FloatArray]:
    """One theta (q,) and covariance (q, q) from those of R random splittings, (R, q) and (R, q, q).

    ``"median"`` and ``"mean"`` add the spread of the thetas to each covariance first (Chernozhukov and others 2018);
    of several covariance matrices the median is the one of median Frobenius norm. ``"doubleml"`` takes the median of
    upper 95 % limits as that package does.
    """
    if len(thetas) == 1:
        return thetas[0], covs[0]
    theta = np.mean(thetas, axis=0) if how == "mean" else np.median(thetas, axis=0)
    gaps = thetas - theta
    widened = covs + gaps[:, :, None] * gaps[:, None, :]
    if how == "mean":
        return theta, widened.mean(axis=0)
    order = np.argsort(np.linalg.norm(widened, axis=(1, 2)), kind="stable")
    cov = widened[order[(len(order) - 1) // 2]]
    if how == "doubleml":
        errors = np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
        wanted = (np.median(thetas + 1.96 * errors, axis=0) - theta) / 1.96
    elif len(theta) == 1:
        wanted = np.sqrt(np.median(widened[:, 0, 0])).reshape(1)
    else:
        return theta, cov
    ratio = wanted / np.sqrt(np.diag(cov))
    return theta, cov * np.outer(ratio, ratio)
