"""What models with two arms share: outcome in each arm, probability of the arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat.causal._approaches import Prepared, prepare
from mcstat.causal._base import DoubleML, Repetition, Sample
from mcstat.causal._cross_section import split_rows
from mcstat.causal._folds import Folds
from mcstat.causal._learners import make_learner
from mcstat.causal._nuisance import Learnt, Nuisance, learn
from mcstat.causal._panel_data import Panel
from mcstat.causal._partially_linear import by_group
from mcstat.causal._solve import Score
from mcstat.core.checks import check_option, check_real
from mcstat.core.errors import InvalidData
from mcstat.core.rng import Purpose, child_seed, stream

__all__ = ["Interactive", "check_binary"]

FloatArray = NDArray[np.float64]


class Interactive(DoubleML):
    """Both models: outcome in two arms, and the probability of the arm."""

    learner_y: Any
    learner_d: Any
    normalize: bool
    clip: float
    dist: str
    missing: str
    n_jobs: int | None

    def _check(self) -> None:
        self._check_common()
        make_learner("learner_y", self.learner_y)
        make_learner("learner_d", self.learner_d)
        check_real("clip", self.clip, 0.0, 0.5, closed="neither")
        check_option("dist", self.dist, ("normal", "t"))
        check_option("missing", self.missing, ("raise", "drop"))

    def _run(self, panel: Panel, folds: Any, predictions: Any, started: float, estimand: str) -> None:
        prepared = prepare(panel, "pooled", "none", None)
        self._panel, self._given_before = panel, (folds, predictions)
        root = self._start()
        notes: list[str] = []
        repetitions = []
        for r in range(self.n_rep):
            split = split_rows(panel, folds, self.n_folds, stream(root, type(self).__name__, Purpose.FOLDS, r))
            seed = child_seed(root, type(self).__name__, Purpose.REPLICATES, r)
            given = _given(predictions, panel)
            score, learnt = self._score(panel, prepared, split, seed, given)
            if panel.group is not None:
                score = Score(score.e, by_group(score.R, panel), by_group(score.V, panel), score.w)
            repetitions.append(Repetition((score,), split.of_row, learnt))
        clipped = self._n_clipped
        if clipped:
            notes.append(f"{clipped} propensities were moved to [{self.clip:g}, {1 - self.clip:g}]: little overlap")
        name = panel.treatments[0]
        names = (name,) if panel.group is None else tuple(f"{name}[{label}]" for label in panel.group_labels)
        sample = Sample(
            rows=panel.rows, n_input=panel.n_input, cluster=panel.cluster, period=panel.period,
            all_clusters=panel.all_clusters, names=names, estimand=estimand, sample_id=panel.sample_id,
        )  # fmt: skip
        self._conclude(sample, repetitions, "cluster", notes, started)

    def _score(
        self, panel: Panel, prepared: Prepared, folds: Folds, seed: SeedSequence, given: Mapping[str, FloatArray]
    ) -> tuple[Score, Learnt]:
        raise TypeError(f"{type(self).__name__} must define _score")

    def _learn_arms(
        self, arms: FloatArray, wanted: Mapping[str, tuple[str, Any, FloatArray]], prepared: Prepared, folds: Folds,
        seed: SeedSequence, given: Mapping[str, FloatArray],
    ) -> tuple[dict[str, FloatArray], FloatArray, Learnt]:  # fmt: skip
        """Means of the wanted columns in each arm (names end in 1 and 0), and the clipped probability of arm 1."""
        _check_folds(arms, folds)
        nuisances = [
            Nuisance("m", "learner_d", self.learner_d, prepared.for_d, arms[:, None], prepared.weights, ("m",), True)
        ]
        for arm in (1, 0):
            weights = prepared.weights * (arms == arm)
            for name, (argument, learner, column) in wanted.items():
                label = f"{name}{arm}"
                target = column[:, None]
                nuisances.append(Nuisance(label, argument, learner, prepared.for_y, target, weights, (label,), True))
        learnt = learn(nuisances, folds, seed, self.n_jobs, False, given)
        means = {name: values[:, 0] for name, values in learnt.predictions.items() if name != "m"}
        m = learnt.predictions["m"][:, 0]
        self._n_clipped = int(np.count_nonzero((m < self.clip) | (m > 1.0 - self.clip)))
        return means, np.clip(m, self.clip, 1.0 - self.clip), learnt

    def _inverse_weights(self, arms: FloatArray, m: FloatArray, w: FloatArray) -> tuple[FloatArray, FloatArray]:
        """D/m and (1 - D)/(1 - m), of mean one each where ``normalize``."""
        treated, control = arms / m, (1.0 - arms) / (1.0 - m)
        if self.normalize:
            treated, control = treated / np.average(treated, weights=w), control / np.average(control, weights=w)
        return treated, control


def check_binary(name: str, column: FloatArray | None) -> None:
    if column is None or column.shape[1] != 1 or not np.array_equal(np.unique(column), [0.0, 1.0]):
        raise InvalidData(f"{name} must be one column of zeros and ones, both of them there")


def _check_folds(arms: FloatArray, folds: Folds) -> None:
    for k in range(folds.n_folds):
        if len(np.unique(arms[folds.training_rows(k)])) < 2:
            raise InvalidData(
                f"d (or z) must take both values in every training fold, fold {k} has one; use fewer folds"
            )


def _given(predictions: Mapping[str, ArrayLike] | None, panel: Panel) -> dict[str, FloatArray]:
    found = {}
    for name, values in (predictions or {}).items():
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (panel.n_input,) or not np.isfinite(array[panel.rows]).all():
            raise InvalidData(f"predictions[{name!r}] must be {panel.n_input} finite numbers, got shape {array.shape}")
        found[name] = array[panel.rows][:, None]
    return found
