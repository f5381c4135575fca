"""Partially linear models: theta multiplies the treatments, everything else is learnt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat.causal._approaches import Prepared
from mcstat.causal._base import Repetition, Sample
from mcstat.causal._folds import Folds
from mcstat.causal._nuisance import Learnt, Nuisance, learn
from mcstat.causal._panel_data import Panel
from mcstat.causal._sensitivity import Bounded, Loss, loss
from mcstat.causal._solve import Score, refuse_explained, solve
from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import Purpose, child_seed, stream

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PartiallyLinear", "by_group"]

FloatArray = NDArray[np.float64]

_TREE_ROWS_PER_FEATURE = 500
_OVERLAP = 0.01


class PartiallyLinear(Bounded):
    """What panels and cross sections share: nuisances, residuals, scores. Subclasses prepare and split the rows."""

    learner_y: Any
    learner_d: Any
    learner_g: Any = None
    score: str = "partialling_out"
    treatments: str = "joint"
    store_models: bool = False
    n_jobs: int | None

    _panel: Panel
    _given: tuple[Any, Mapping[str, ArrayLike] | None]

    def _prepare(self, panel: Panel) -> Prepared:
        raise TypeError(f"{type(self).__name__} must define _prepare")

    def _check(self) -> None:
        raise TypeError(f"{type(self).__name__} must define _check")

    def _split(self, part: Panel, rng: Generator) -> Folds:
        raise TypeError(f"{type(self).__name__} must define _split")

    def _run(self, panel: Panel, started: float) -> None:
        if panel.Z is not None and panel.Z.shape[1] != panel.D.shape[1]:
            raise InvalidData(f"z must have one instrument a treatment, {panel.D.shape[1]}, got {panel.Z.shape[1]}")
        panels = [panel] if self.treatments == "joint" else list(_one_at_a_time(panel))
        prepared = [self._prepare(one) for one in panels]
        first = prepared[0]
        part = panel.take(first.rows)
        root = self._start()
        repetitions = []
        for r in range(self.n_rep):
            folds = self._split(part, stream(root, type(self).__name__, Purpose.FOLDS, r))
            seed = child_seed(root, type(self).__name__, Purpose.REPLICATES, r)
            blocks = [
                self._block(one.take(ready.rows), ready, folds, child_seed(seed, "treatment", Purpose.METHODS, j))
                for j, (one, ready) in enumerate(zip(panels, prepared, strict=True))
            ]
            learnt = blocks[0][1]
            for _, more in blocks[1:]:
                learnt = learnt.merged(more)
            repetitions.append(Repetition(tuple(score for score, _ in blocks), folds.of_row, learnt))
        notes = [*first.notes, *self._doubts(part, first, repetitions[0].learnt)]
        names = part.treatments
        if part.group is not None:
            names = tuple(f"{name}[{label}]" for name in names for label in part.group_labels)
        sample = Sample(
            rows=part.rows, n_input=part.n_input, cluster=part.cluster, period=part.period,
            all_clusters=part.all_clusters, names=names, sample_id=part.sample_id,
            estimand=f"effect of {', '.join(part.treatments)} on the outcome",
        )  # fmt: skip
        self._lost = {"NaN or infinity": panel.n_input - panel.n} | first.dropped
        self._conclude(sample, repetitions, getattr(self, "vcov", "cluster"), notes, started)
        if self.store_models:
            self.models_ = repetitions[0].learnt.models

    def _block(self, part: Panel, prepared: Prepared, folds: Folds, seed: SeedSequence) -> tuple[Score, Learnt]:
        """Learn, take residuals, adjust them as the approach says: the score of treatments that go together."""
        given = self._external(part)
        learnt = learn(self._nuisances(part, prepared), folds, seed, self.n_jobs, self.store_models, given)
        adjust = prepared.demean or (lambda values: values)
        e = adjust(prepared.y - learnt.predictions["y"][:, 0])
        v = adjust(prepared.D - learnt.predictions["d"])
        refuse_explained(v, prepared.D, prepared.weights, part.treatments)
        R, V = v, v
        if prepared.Z is not None:
            V = adjust(prepared.Z - learnt.predictions["z"])
        elif self.score == "iv":
            theta = solve(Score(e, v, v, prepared.weights), folds.of_row, "dml2").theta
            rest = prepared.y - prepared.D @ theta
            learner = self.learner_y if self.learner_g is None else self.learner_g
            wanted = Nuisance("g", "learner_g", learner, prepared.for_y, rest[:, None], prepared.weights, ("g",))
            more = learn([wanted], folds, seed, self.n_jobs, self.store_models, {})
            learnt = learnt.merged(more)
            e, R = adjust(prepared.y - more.predictions["g"][:, 0]), adjust(prepared.D)
        if part.group is not None:
            R, V = (by_group(R, part),) * 2 if R is V else (by_group(R, part), by_group(V, part))
        return Score(e, R, V, prepared.weights), learnt

    def _nuisances(self, part: Panel, prepared: Prepared) -> list[Nuisance]:
        w = prepared.weights
        wanted = [Nuisance("y", "learner_y", self.learner_y, prepared.for_y, prepared.y[:, None], w, ("y",))]
        classifier = prepared.raw and hasattr(self.learner_d, "predict_proba")
        wanted.append(
            Nuisance("d", "learner_d", self.learner_d, prepared.for_d, prepared.D, w, part.treatments, classifier)
        )
        if prepared.Z is not None:
            labels = tuple(f"instrument of {name}" for name in part.treatments)
            wanted.append(Nuisance("z", "learner_d", self.learner_d, prepared.for_d, prepared.Z, w, labels, classifier))
        return wanted

    def _external(self, part: Panel) -> dict[str, FloatArray]:
        given = {}
        for name, values in (self._given[1] or {}).items():
            check_option("predictions", name, ("y", "d", "z"))
            array = np.asarray(values, dtype=np.float64)
            array = array[:, None] if array.ndim == 1 else array
            wanted = {"y": 1, "d": part.D.shape[1], "z": part.D.shape[1]}[name]
            if array.shape != (part.n_input, wanted):
                raise InvalidData(
                    f"predictions[{name!r}] must have shape ({part.n_input}, {wanted}), got {array.shape}"
                )
            given[name] = array[part.rows]
            if not np.isfinite(given[name]).all():
                raise InvalidData(f"predictions[{name!r}] must be finite in every row that is used")
        return given

    def _doubts(self, part: Panel, prepared: Prepared, learnt: Learnt) -> list[str]:
        notes = []
        n, p = prepared.for_d.Z.shape
        if p > n / 10:
            notes.append(f"{p} features for {n} rows: more than a tenth")
        trees = [w for w in (self.learner_y, self.learner_d) if w in ("hgb", "forest") or "Forest" in type(w).__name__]
        if trees and n / max(p, 1) < _TREE_ROWS_PER_FEATURE:
            notes.append(f"trees with {n / p:.0f} rows a feature: they are known to leave confounding below 500")
        if prepared.raw and hasattr(self.learner_d, "predict_proba"):
            m = learnt.predictions["d"]
            outside = int(np.count_nonzero((m < _OVERLAP) | (m > 1.0 - _OVERLAP)))
            if outside:
                notes.append(f"{outside} propensities outside [{_OVERLAP}, {1 - _OVERLAP}]: hardly anything to compare")
        return notes

    def _losses(self) -> list[list[Loss]]:
        """The residual of e on V, and alpha_j: what of V_j the other columns leave, over its mean square."""
        found = []
        for scores in self._scores:
            losses = []
            for score in scores:
                if score.R is not score.V:
                    raise InvalidParameter("sensitivity analysis wants score='partialling_out' and no instrument")
                inverse = np.linalg.inv((score.V * score.w[:, None]).T @ score.V)
                riesz = score.w.sum() * score.V @ inverse
                residual = score.e - score.V @ (inverse @ (score.V.T @ (score.w * score.e)))
                losses += [loss(residual, column, None, score.w) for column in riesz.T]
            found.append(losses)
        return found

    def _refit(self, panel: Panel, *, other_folds: Any = None, **settings: Any) -> Self:
        """A clone with other settings, fitted on this panel with the same seed, folds and predictions."""
        from sklearn.base import clone

        other: Self = clone(self).set_params(random_state=self._root, **settings)
        other._check()
        other._panel, other._given = panel, self._given if other_folds is None else (other_folds, None)
        with single_threaded():
            other._run(panel, perf_counter())
        return other

    def _refit_without(self, panel: Panel) -> Self:
        return self._refit(panel)

    @property
    def dropped_(self) -> pd.DataFrame:
        """Rows left out, by reason."""
        import pandas as pd

        self._check_fitted()
        lost = {reason: count for reason, count in self._lost.items() if count}
        return pd.DataFrame({"reason": list(lost), "rows": list(lost.values())})


def _one_at_a_time(panel: Panel) -> Iterator[Panel]:
    """Each treatment with the others among the covariates."""
    for j, name in enumerate(panel.treatments):
        others = [i for i in range(len(panel.treatments)) if i != j]
        yield replace(
            panel,
            D=panel.D[:, [j]],
            Z=None if panel.Z is None else panel.Z[:, [j]],
            X=np.hstack([panel.X, panel.D[:, others]]),
            treatments=(name,),
            covariates=(*panel.covariates, *(panel.treatments[i] for i in others)),
        )


def by_group(values: FloatArray, part: Panel) -> FloatArray:
    """(m, q) to (m, q times groups): each column in its group, zero elsewhere."""
    inside = part.group[:, None] == np.arange(len(part.group_labels))  # type: ignore[index]
    return np.asarray((values[:, :, None] * inside[:, None, :]).reshape(len(values), -1))
