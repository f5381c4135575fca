"""What guesses a schedule's error before it is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["PREDICTORS", "Predict", "Train", "rank_correlation"]

FloatArray = NDArray[np.float64]
Predict: TypeAlias = Callable[[FloatArray], FloatArray]
Train: TypeAlias = Callable[[FloatArray, FloatArray, Generator], Predict]

_LENGTHS = (3.0, 6.0, 12.0, 24.0, 48.0)
_NOISES = (0.01, 0.03, 0.1, 0.3)
_WIDTH, _UPDATES, _MARGIN = 64, 200, 1.0


def gaussian_process(x: FloatArray, y: FloatArray, rng: Generator) -> Predict:
    """Length and noise of largest marginal likelihood on a small table: no search that may fail."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    fits = [
        GaussianProcessRegressor(RBF(length), alpha=noise, optimizer=None, normalize_y=True).fit(x, y)
        for length in _LENGTHS
        for noise in _NOISES
    ]
    best = max(fits, key=lambda fit: fit.log_marginal_likelihood_value_)
    return lambda new: np.asarray(best.predict(new), dtype=np.float64)


def ranking_network(x: FloatArray, y: FloatArray, rng: Generator) -> Predict:
    """A layer of 64 trained on pairs: the better of two should score lower by a margin (the paper's loss)."""
    source = torch.Generator().manual_seed(int(rng.integers(2**63)))
    centre, spread = x.mean(axis=0), x.std(axis=0) + 1.0
    inputs = torch.from_numpy((x - centre) / spread)
    shapes = [(x.shape[1], _WIDTH), (_WIDTH,), (_WIDTH, 1)]
    weights = [torch.randn(shape, generator=source, dtype=torch.float64) / shape[0] ** 0.5 for shape in shapes]
    optimiser = torch.optim.AdamW([w.requires_grad_() for w in weights], lr=0.01, weight_decay=0.1)
    worse = torch.from_numpy(y[:, None] > y[None, :])
    with torch.enable_grad():
        for _ in range(_UPDATES):
            score = _scores(weights, inputs)
            loss = torch.relu(_MARGIN - (score[:, None] - score[None, :]))[worse].mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            optimiser.step()

    def predict(new: FloatArray) -> FloatArray:
        with torch.no_grad():
            return np.asarray(_scores(weights, torch.from_numpy((new - centre) / spread)).numpy())

    return predict


def _scores(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    first, offset, second = weights
    return (torch.nn.functional.silu(x @ first + offset) @ second).squeeze(1)


PREDICTORS: dict[str, Train] = {"gp": gaussian_process, "mlp": ranking_network}


def rank_correlation(train: Train, x: FloatArray, y: FloatArray, rng: Generator, n_folds: int = 5) -> float:
    """Kendall's tau between what a predictor says of schedules that it was not trained on, fold by fold, and truth."""
    from scipy.stats import kendalltau

    said = np.empty(len(y))
    for fold in np.array_split(rng.permutation(len(y)), n_folds):
        rest = np.setdiff1d(np.arange(len(y)), fold)
        said[fold] = train(x[rest], y[rest], rng)(x[fold])
    return float(kendalltau(said, y).statistic)
