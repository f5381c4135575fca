"""Nuisance functions of one random splitting: learnt together where they share learner and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat.causal._folds import Folds
from mcstat.causal._learners import Design, Task, identity, make_learner
from mcstat.core.rng import Purpose, child_seed

__all__ = ["Learnt", "Nuisance", "learn"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Nuisance:
    """One conditional mean to learn.

    Attributes
    ----------
    name : str
        ``"y"``, ``"d"``, ...
    argument : str
        The constructor argument that holds the learner, for errors.
    learner : str or object
    design : Design
    targets : ndarray, shape (m, k)
    weights : ndarray, shape (m,)
        Zero for rows that must not be learnt from.
    labels : tuple of str
        A name for each target.
    probabilities : bool
        Whether a classifier's probability stands for the mean.
    """

    name: str
    argument: str
    learner: Any
    design: Design
    targets: FloatArray
    weights: FloatArray
    labels: tuple[str, ...]
    probabilities: bool = False

    def key(self) -> tuple[Any, ...]:
        """Equal for those that one learner learns in one go: they share work, and do in a clone of the estimator."""
        return identity(self.learner) or self.name, id(self.design), id(self.weights), self.probabilities


@dataclass(frozen=True)
class Learnt:
    """Out-of-fold predictions by nuisance, each (m, k), and what else is known about them by label."""

    predictions: dict[str, FloatArray]
    r2: dict[str, float] = field(default_factory=dict)
    rmse: dict[str, float] = field(default_factory=dict)
    stack: dict[str, Mapping[str, float]] = field(default_factory=dict)
    models: dict[str, list[Any]] = field(default_factory=dict)

    def merged(self, other: Learnt) -> Learnt:
        """Both."""
        return Learnt(
            self.predictions | other.predictions,
            self.r2 | other.r2,
            self.rmse | other.rmse,
            self.stack | other.stack,
            self.models | other.models,
        )


def learn(
    wanted: Sequence[Nuisance],
    folds: Folds,
    seed: SeedSequence,
    n_jobs: int | None,
    store: bool,
    given: Mapping[str, FloatArray],
) -> Learnt:
    """Cross-fit all nuisances but those whose predictions are ``given``."""
    found = Learnt({})
    groups: dict[tuple[Any, ...], list[Nuisance]] = {}
    for one in wanted:
        if one.name in given:
            found = found.merged(_judged(one, given[one.name]))
        else:
            groups.setdefault(one.key(), []).append(one)
    for group in groups.values():
        first = group[0]
        targets = first.targets if len(group) == 1 else np.hstack([one.targets for one in group])
        own = seed if identity(first.learner) else child_seed(seed, first.name, Purpose.METHODS, 0)
        task = Task(first.design, targets, first.weights, folds, own, n_jobs, first.probabilities, store)
        fitted = make_learner(first.argument, first.learner).cross_fit(task)
        stop = 0
        for one in group:
            start, stop = stop, stop + one.targets.shape[1]
            found = found.merged(_judged(one, fitted.predictions[:, start:stop]))
            if fitted.stack:
                found.stack.update(zip(one.labels, fitted.stack[start:stop], strict=True))
            if fitted.models:
                for j, label in enumerate(one.labels):
                    found.models[label] = [fitted.models[k, start + j] for k in range(folds.n_folds)]
    return found


def _judged(one: Nuisance, predictions: FloatArray) -> Learnt:
    """Out-of-fold R^2 and root mean squared error, over the rows that could be learnt from."""
    w, total = one.weights, one.weights.sum()
    mse = w @ (one.targets - predictions) ** 2 / total
    variance = w @ (one.targets - w @ one.targets / total) ** 2 / total
    r2 = 1.0 - mse / np.where(variance > 0, variance, np.nan)
    return Learnt(
        {one.name: predictions},
        dict(zip(one.labels, r2.tolist(), strict=True)),
        dict(zip(one.labels, np.sqrt(mse).tolist(), strict=True)),
    )
