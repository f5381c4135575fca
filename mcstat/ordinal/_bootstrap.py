"""Resamples that keep every class, and the answers of a penalised fit to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from mcstat.core.rng import Purpose, stream
from mcstat.ordinal._data import OrdinalData
from mcstat.ordinal._links import survival
from mcstat.ordinal._path import Penalty, fit_path, lambda_grid
from mcstat.ordinal._tuning import Tuning, choose, tune, usable_folds

__all__ = ["Resampler", "resample"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def resample(data: OrdinalData, rng: Generator) -> IntArray:
    """How often each entry is drawn, (m,): within classes, after the sizes of the classes are drawn themselves.

    Sizes held fixed would leave out the sampling error of the rare class's frequency, most of the uncertainty of a
    rare probability. So they are multinomial, given that no class gets lost.
    """
    sizes = data.class_counts()
    while True:
        drawn = rng.multinomial(sizes.sum(), sizes / sizes.sum())
        if drawn.all():
            break
    counts = np.zeros(len(data.codes), dtype=np.int64)
    for k, size in enumerate(drawn):
        members = np.flatnonzero(data.codes == k)
        counts[members] = rng.multinomial(size, data.counts[members] / sizes[k])
    return counts


@dataclass(frozen=True)
class Resampler:
    """Resample k to the reported quantities: mean rare probability over the data's rows, last intercept and slopes.

    Attributes
    ----------
    data : OrdinalData
    penalty : Penalty
    how : Tuning
    lam : float
        Penalty of every resample, unless it is tuned anew.
    grid : (int, float, int) or None
        Length and ratio of the grid and number of folds where each resample is tuned anew.
    root : SeedSequence
    """

    data: OrdinalData
    penalty: Penalty
    how: Tuning
    lam: float
    grid: tuple[int, float, int] | None
    root: SeedSequence

    def __call__(self, k: int) -> FloatArray:
        """(2 + p,)."""
        rng = stream(self.root, "PRESTOClassifier", Purpose.BOOTSTRAP, k)
        counts = resample(self.data, rng)
        likelihood = self.data.likelihood(self.how.link, self.how.standardize, counts)
        lambdas = np.array([self.lam])
        tol, max_iter = self.how.tol, self.how.max_iter
        if self.grid is not None:
            n_lambdas, ratio, n_folds = self.grid
            lambdas = lambda_grid(likelihood, self.penalty, n_lambdas, ratio, tol=tol, max_iter=max_iter)
            folds, _ = usable_folds(np.bincount(self.data.codes, counts).astype(np.int64), n_folds)
            losses = tune(self.data, counts, lambdas, self.penalty, folds, rng, self.how)
            lambdas = lambdas[: 1 + choose(losses, self.how.select)]
        fits = fit_path(likelihood, lambdas, self.penalty, tol=tol, max_iter=max_iter)
        alpha, beta = likelihood.to_raw(fits.boundaries[-1])
        return np.concatenate([[self.rare_probability(alpha, beta)], alpha[-1:], beta[-1]])

    def rare_probability(self, alpha: FloatArray, beta: FloatArray) -> float:
        """Mean over the rows of the data of 1 - F(last boundary)."""
        weights = self.data.weights * self.data.counts
        return float(weights @ survival(self.how.link, self.data.X @ beta[-1] + alpha[-1]) / weights.sum())
