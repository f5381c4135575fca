"""One group in one period against its controls: a doubly robust difference in differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from mcstat.causal._did_data import Staggered
from mcstat.causal._folds import Folds, make_folds
from mcstat.causal._learners import Design
from mcstat.causal._nuisance import Nuisance, learn

__all__ = ["Cell", "Settings", "base_of", "cells_of", "effect"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_FEW_TREATED = 10


@dataclass(frozen=True)
class Cell:
    """Group first treated in ``group``, compared in period ``time`` to its base period.

    ``treated`` and ``control`` say which of the N units take part.
    """

    group: float
    time: float
    base: float
    treated: BoolArray
    control: BoolArray


@dataclass(frozen=True)
class Settings:
    """What the estimator was told about controls, base periods and learners."""

    control: str
    anticipation: float
    universal: bool
    method: str
    learner_y: object
    learner_d: object
    n_folds: int
    clip: float
    n_jobs: int | None


@dataclass(frozen=True)
class Effect:
    """Theta, each unit's influence (N,), and what happened: clipped propensities, method used, reason for NaN."""

    theta: float
    influence: FloatArray
    clipped: int
    method: str
    reason: str = ""


def base_of(times: FloatArray, group: float, time: float, settings: Settings) -> float | None:
    """Base period: the last one before treatment (less anticipation), or before ``time`` for varying pre-periods."""
    latest = group - 1 - settings.anticipation
    if time < group - settings.anticipation and not settings.universal:
        latest = time - 1 - settings.anticipation
    before = times[times <= latest]
    return float(before[-1]) if len(before) else None


def cells_of(data: Staggered, settings: Settings) -> list[Cell]:
    """All cells with a base period, by group and time."""
    found = []
    for group in np.unique(data.first[np.isfinite(data.first)]):
        for time in data.times:
            base = base_of(data.times, group, time, settings)
            if base is None:
                continue
            t, b = np.searchsorted(data.times, [time, base])
            seen = np.isfinite(data.Y[:, t]) & np.isfinite(data.Y[:, b])
            if settings.control == "never":
                control = ~np.isfinite(data.first)
            else:
                control = (data.first > max(time, base) + settings.anticipation) & (data.first != group)
            found.append(Cell(float(group), float(time), base, seen & (data.first == group), seen & control))
    return found


def effect(data: Staggered, cell: Cell, settings: Settings, rng: Generator, seed: SeedSequence) -> Effect:
    """ATT of one cell.

    Notes
    -----
    theta = mean((wT - wC)(dY - mu0)) with wT = D / mean(D) and wC = h / mean(h), h = p (1 - D) / (1 - p). Without
    covariates mu0 = 0 and p is constant: a difference of two means of differences.
    """
    nothing = np.full(len(data.Y), np.nan)
    if cell.treated.sum() < 1 or cell.control.sum() < 1:
        return Effect(np.nan, nothing, 0, settings.method, "no treated or no control units observed")
    rows = np.flatnonzero(cell.treated | cell.control)
    t, b = np.searchsorted(data.times, [cell.time, cell.base])
    D = cell.treated[rows].astype(np.float64)
    gain = data.Y[rows, t] - data.Y[rows, b]
    X, method, clipped = data.X[rows, b], settings.method, 0
    mean, odds, correction = np.zeros(len(rows)), 1.0 - D, np.zeros(len(rows))
    if X.shape[1]:
        if method == "dr" and D.sum() < _FEW_TREATED:
            method = "reg"
        if method == "reg":
            mean, correction = _regression(X, gain, D)
        else:
            mean, p, clipped = _learnt(data, rows, X, gain, D, settings, rng, seed)
            odds = p * (1.0 - D) / (1.0 - p)
    gap = gain - mean
    treated = D / D.mean()
    theta_treated = float(np.mean(treated * gap))
    psi, theta = treated * (gap - theta_treated), theta_treated
    if method == "reg" and X.shape[1]:
        psi = psi - correction
    else:
        weight = odds / odds.mean()
        theta_control = float(np.mean(weight * gap))
        psi, theta = psi - weight * (gap - theta_control), theta_treated - theta_control
    influence = np.zeros(len(data.Y))
    influence[rows] = psi * len(data.Y) / len(rows)
    return Effect(theta, influence, clipped, method)


def _regression(X: FloatArray, gain: FloatArray, D: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least squares of the controls' gains, and what its error does to the mean over the treated."""
    design = np.column_stack([np.ones(len(X)), X])
    control = 1.0 - D
    inverse = np.linalg.pinv((design * control[:, None]).T @ design)
    coefficients = inverse @ (design.T @ (control * gain))
    mean = design @ coefficients
    at = (D / D.mean()) @ design / len(D)
    return mean, len(D) * control * (gain - mean) * (design @ (inverse @ at))


def _learnt(
    data: Staggered, rows: NDArray[np.int64], X: FloatArray, gain: FloatArray, D: FloatArray, settings: Settings,
    rng: Generator, seed: SeedSequence,
) -> tuple[FloatArray, FloatArray, int]:  # fmt: skip
    """Cross-fitted mean gain of controls, propensity, and how many of them were clipped."""
    n = len(rows)
    cluster = np.unique(data.cluster[rows], return_inverse=True)[1].astype(np.int64)
    folds = _folds(cluster, D, settings.n_folds, rng)
    flags = np.zeros(X.shape[1], dtype=bool)
    design = Design(np.ascontiguousarray(X), data.covariates, flags, flags, cluster, False, data.named)
    ones = np.ones(n)
    wanted = [
        Nuisance("mean", "learner_y", settings.learner_y, design, gain[:, None], 1.0 - D, ("mean",)),
        Nuisance("p", "learner_d", settings.learner_d, design, D[:, None], ones, ("p",), True),
    ]
    found = learn(wanted, folds, seed, settings.n_jobs, False, {}).predictions
    p = found["p"][:, 0]
    outside = int(np.count_nonzero((p < settings.clip) | (p > 1.0 - settings.clip)))
    return found["mean"][:, 0], np.clip(p, settings.clip, 1.0 - settings.clip), outside


def _folds(cluster: NDArray[np.int64], D: FloatArray, n_folds: int, rng: Generator) -> Folds:
    """Folds of whole clusters; where each unit is its own, treated and controls are dealt out apart."""
    zeros = np.zeros(len(D), dtype=np.int64)
    if len(np.unique(cluster)) < len(D):
        return make_folds("unit", n_folds, cluster, zeros, rng)
    labels = np.empty(len(D), dtype=np.int64)
    for arm in (0.0, 1.0):
        members = rng.permutation(np.flatnonzero(arm == D))
        labels[members] = np.arange(len(members)) % n_folds
    tested = np.eye(n_folds, dtype=bool)
    return Folds(labels, tested, ~tested)
