"""Cross-fitted nuisance functions of group-time effects, shared between the cells that have them in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat.causal._folds import Folds, given_folds
from mcstat.causal._group_time_cells import Cell
from mcstat.causal._learners import Design
from mcstat.causal._nuisance import Nuisance, learn
from mcstat.causal._staggered import Part, Staggered
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.rng import Purpose, child_seed, stream

__all__ = ["CrossFits"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

# Fewer treated units in a training set say nothing about who is treated.
_FEWEST_TREATED = 2


class CrossFits:
    """Predictions for all units by splitting and nuisance function, learnt when first asked for, all targets at once.

    Parameters
    ----------
    panel : Staggered
    cells : sequence of Cell
    learners : mapping
        Of ``"outcome"``, ``"outcome_treated"`` and ``"propensity"`` those that are wanted.
    n_folds, n_rep : int
    n_jobs : int or None
    root : SeedSequence
    name : str
        Of the estimator, for its random streams.

    Notes
    -----
    One dealing of units into folds, by cohort, serves all cells. Cells with the same controls and base-period
    covariates share one call of a learner: regressions of all their changes, or propensities of all their cohorts.
    """

    def __init__(
        self,
        panel: Staggered,
        cells: Sequence[Cell],
        learners: Mapping[str, Any],
        n_folds: int,
        n_rep: int,
        n_jobs: int | None,
        root: SeedSequence,
        name: str,
    ) -> None:
        self.panel, self.learners, self.n_jobs, self.root, self.name = panel, learners, n_jobs, root, name
        self._shared: dict[bytes, Any] = {}
        if not learners:
            return
        self.folds = [
            given_folds(
                _deal(panel.first, panel.together, n_folds, stream(root, name, Purpose.FOLDS, k)), len(panel.first)
            )
            for k in range(n_rep)
        ]
        self._wanted = {kind: self._targets(kind, cells) for kind in learners}
        self._found: dict[tuple[str, int], dict[Any, FloatArray]] = {}

    def outcome(self, cell: Cell, part: Part, k: int) -> FloatArray:
        """Predicted values of controls, (n,), by splitting k."""
        return self._get("outcome", cell, part, k)

    def outcome_treated(self, cell: Cell, part: Part, k: int) -> FloatArray:
        """Predicted values of the treated, (n,)."""
        return self._get("outcome_treated", cell, part, k)

    def propensity(self, cell: Cell, k: int) -> FloatArray:
        """Probability of being of the cohort among those compared, (n,)."""
        folds = self.folds[k]
        fewest = min(int((cell.treated & folds.training_rows(j)).sum()) for j in range(folds.n_folds))
        if fewest < _FEWEST_TREATED:
            raise InvalidData(f"fewer than {_FEWEST_TREATED} treated units in a training fold")
        return self._get("propensity", cell, None, k)

    def _get(self, kind: str, cell: Cell, part: Part | None, k: int) -> FloatArray:
        if (kind, k) not in self._found:
            self._found[kind, k] = self._learn(kind, self.folds[k], k)
        return self._found[kind, k][_key(cell, part, _learnt_from(kind, cell, part))]

    def _targets(self, kind: str, cells: Sequence[Cell]) -> dict[Any, tuple[FloatArray, FloatArray, FloatArray]]:
        """Covariates (n, p), weights (n,) that are 0 where there is nothing to learn from, and target (n,), by key."""
        panel, wanted = self.panel, {}
        for cell in cells:
            parts = panel.parts(cell.period, cell.base)
            if cell.base == cell.period or cell.lacks(parts):
                continue
            for part in (None,) if kind == "propensity" else parts:
                mask = _learnt_from(kind, cell, part)
                key = _key(cell, part, mask)
                if key in wanted:
                    continue
                target = cell.treated.astype(np.float64) if part is None else np.where(mask, part.values, 0.0)
                X = panel.covariates_at(cell.base)
                wanted[key] = self._share(X), self._share(np.where(mask, panel.weights, 0.0)), target
        return wanted

    def _share(self, array: FloatArray) -> Any:
        """The same object for arrays of the same numbers."""
        return self._shared.setdefault(array.tobytes() + bytes(array.ndim), array)

    def _learn(self, kind: str, folds: Folds, k: int) -> dict[Any, FloatArray]:
        argument = "learner_propensity" if kind == "propensity" else "learner_outcome"
        designs: dict[int, Design] = {}
        groups: dict[tuple[int, int], list[Any]] = {}
        for key, (X, weights, _) in self._wanted[kind].items():
            groups.setdefault((id(X), id(weights)), []).append(key)
            if id(X) not in designs:
                plain = np.zeros(X.shape[1], dtype=bool)
                designs[id(X)] = Design(X, self.panel.covariates, plain, plain, np.arange(len(X)))
        found: dict[Any, FloatArray] = {}
        for j, ((design, _), keys) in enumerate(groups.items()):
            targets = np.column_stack([self._wanted[kind][key][2] for key in keys])
            nuisance = Nuisance(
                name=kind, argument=argument, learner=self.learners[kind], design=designs[design], targets=targets,
                weights=self._wanted[kind][keys[0]][1], labels=tuple(f"{kind}{i}" for i in range(len(keys))),
                probabilities=kind == "propensity",
            )  # fmt: skip
            seed = child_seed(child_seed(self.root, self.name, Purpose.REPLICATES, k), kind, Purpose.METHODS, j)
            predictions = learn([nuisance], folds, seed, self.n_jobs, False, {}).predictions[kind]
            found.update(zip(keys, predictions.T, strict=True))
        return found


def _learnt_from(kind: str, cell: Cell, part: Part | None) -> BoolArray:
    """Units that a nuisance function is learnt from, (n,)."""
    if part is None:
        return cell.compared
    return part.seen & (cell.control if kind == "outcome" else cell.treated)


def _key(cell: Cell, part: Part | None, mask: BoolArray) -> Any:
    """What a nuisance function of a cell depends on; equal for cells that share it."""
    return mask.tobytes(), (cell.base, cell.group) if part is None else part.key


def _deal(first: FloatArray, together: IntArray, n_folds: int, rng: np.random.Generator) -> IntArray:
    """A fold for each unit, (n,), one for those that belong together: every cohort is spread over all folds."""
    labels, dealt = np.empty(len(first), dtype=np.int64), 0
    for cohort in np.unique(first):
        members = np.flatnonzero(first == cohort)
        codes, which = np.unique(together[members], return_inverse=True)
        place = np.empty(len(codes), dtype=np.int64)
        place[rng.permutation(len(codes))] = np.arange(len(codes))
        labels[members] = (dealt + place[which]) % n_folds
        dealt += len(codes)
    if n_folds > dealt:
        raise InvalidParameter(f"n_folds must be at most the number of units, {dealt}, got {n_folds}")
    return labels
