"""Choosing lambda by cross-validation with folds that hold every class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.core.parallel import map_tasks
from mcstat.ordinal._crossing import class_probabilities
from mcstat.ordinal._data import OrdinalData
from mcstat.ordinal._path import Penalty, fit_path

__all__ = ["SCORING", "Tuning", "choose", "deal_folds", "score", "tune", "usable_folds"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SCORING = ("brier", "rare_brier", "log_loss", "misclassification", "deviance")
# Probabilities are held this far from 0 in a logarithm, so that one surprise does not outweigh all else.
_FLOOR = 1e-15


@dataclass(frozen=True)
class Tuning:
    """What a cross-validation needs beside data, penalty and grid."""

    link: str
    standardize: bool
    scoring: str
    select: str
    crossing: str
    tol: float
    max_iter: int
    n_jobs: int | None = None
    verbose: bool = False


def usable_folds(class_counts: IntArray, n_folds: int) -> tuple[int, str]:
    """``n_folds``, or with words that say so as many as the smallest class has rows; a single row stays in training."""
    usable = max(2, min(n_folds, int(class_counts[class_counts > 1].min(initial=n_folds))))
    smallest = int(class_counts.min())
    doubt = f"n_folds is {n_folds}, but the smallest class has {smallest} row(s); {usable} folds are used"
    return usable, doubt if smallest < n_folds else ""


def deal_folds(data: OrdinalData, counts: IntArray, n_folds: int, rng: Generator) -> IntArray:
    """Deal the observations of each class out to the folds like cards, along a random direction in the columns.

    Sorted so, folds depend on what the rows hold and not on their order, and a row of count 2 is dealt like two equal
    rows; neighbours go to different folds, which makes the folds alike.

    Returns
    -------
    ndarray of int, shape (m, n_folds)
        How many of each entry's observations a fold holds out.
    """
    parts = np.zeros((len(counts), n_folds), dtype=np.int64)
    folds = np.arange(n_folds)
    place = data.X @ rng.normal(size=data.X.shape[1])
    dealt = int(rng.integers(n_folds))
    for k in range(len(data.classes)):
        members = np.flatnonzero(data.codes == k)
        members = members[np.argsort(place[members], kind="stable")]
        if counts[members].sum() < 2:
            continue
        ends = dealt + np.cumsum(counts[members])
        # Cards number start, ..., end - 1 go to the folds in turn.
        starts = ends - counts[members]
        parts[members] = (ends[:, None] + folds) // n_folds - (starts[:, None] + folds) // n_folds
        dealt = int(ends[-1])
    return parts


def tune(
    data: OrdinalData,
    counts: IntArray,
    lambdas: FloatArray,
    penalty: Penalty,
    n_folds: int,
    rng: Generator,
    how: Tuning,
) -> FloatArray:
    """Mean loss of each fold at each lambda, (n_folds, L)."""
    parts = deal_folds(data, counts, n_folds, rng)
    task = partial(_fold_losses, data, counts, lambdas, penalty, how)
    columns = [parts[:, fold] for fold in range(n_folds)]
    return np.array(map_tasks(task, columns, n_jobs=how.n_jobs, label="folds", verbose=how.verbose))


def _fold_losses(
    data: OrdinalData, counts: IntArray, lambdas: FloatArray, penalty: Penalty, how: Tuning, held_out: IntArray
) -> FloatArray:
    """Fit the path without a fold and score it there, (L,)."""
    likelihood = data.likelihood(how.link, how.standardize, counts - held_out)
    fits = fit_path(likelihood, lambdas, penalty, tol=how.tol, max_iter=how.max_iter)
    alpha, beta = likelihood.to_raw(fits.boundaries)
    test = np.flatnonzero(held_out)
    x, codes, weights = data.X[test], data.codes[test], data.weights[test] * held_out[test]
    losses = np.empty(len(lambdas))
    # A policy that refuses has no place here: it would end the search at its first small lambda.
    crossing = "clip" if how.crossing == "clip" else "rearrange"
    for i in range(len(lambdas)):
        probabilities = class_probabilities(how.link, x @ beta[i].T + alpha[i], crossing)
        losses[i] = score(how.scoring, probabilities, codes, weights, likelihood.frequencies)
    return losses


def score(
    scoring: str, probabilities: FloatArray, codes: IntArray, weights: FloatArray, frequencies: FloatArray
) -> float:
    """Weighted mean loss of predicted probabilities (m, K), the rare class last; smaller is better for every rule.

    "deviance" is the share of the deviance that is left over that of the class frequencies alone.
    """
    own = probabilities[np.arange(len(codes)), codes]
    if scoring == "brier":
        losses = np.sum(probabilities**2, axis=1) - 2.0 * own + 1.0
    elif scoring == "rare_brier":
        losses = (probabilities[:, -1] - (codes == probabilities.shape[1] - 1)) ** 2
    elif scoring == "misclassification":
        losses = (np.argmax(probabilities, axis=1) != codes).astype(np.float64)
    else:
        losses = -np.log(np.maximum(own, _FLOOR))
    mean = float(weights @ losses / weights.sum())
    if scoring == "deviance":
        mean /= float(weights @ -np.log(frequencies[codes]) / weights.sum())
    return mean


def choose(losses: FloatArray, rule: str) -> int:
    """Position of the chosen lambda, given losses (n_folds, L) of a descending grid.

    "min": the largest lambda among the minimisers of the mean; "1se": the largest whose mean is within one standard
    error (over folds) of the smallest.
    """
    mean = losses.mean(axis=0)
    best = int(np.argmin(mean))
    allowed = mean[best] + 1e-12 * abs(mean[best])
    if rule == "1se":
        allowed += float(losses[:, best].std(ddof=1) / np.sqrt(len(losses)))
    return int(np.argmax(mean <= allowed))
