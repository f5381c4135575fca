"""Learners of conditional means, cross-fitted: built-in ones by name, and anything with ``fit`` and ``predict``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat.causal._absorbed import cross_fit_absorbed, encode_units
from mcstat.causal._folds import Folds
from mcstat.causal._grams import Columns, as_they_are
from mcstat.causal._linear import cross_fit, lasso, least_squares, ridge
from mcstat.causal._plug_in import plug_in_lasso
from mcstat.causal._series import cross_fit_series, main_columns
from mcstat.causal._stacking import stacked
from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.parallel import map_tasks
from mcstat.core.rng import Purpose, stream

__all__ = ["BUILT_IN", "Design", "Fitted", "Lasso", "Learner", "Stack", "Task", "identity", "make_learner"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BUILT_IN = ("auto", "series", "splines", "lasso", "ols", "hgb", "forest")
_SEARCH_FOLDS = 5
# What "auto" stacks: none of them is safe alone.
_MEMBERS = ("series", "lasso", "hgb")

_HGB = {"learning_rate": 0.1, "max_leaf_nodes": 31, "min_samples_leaf": 5, "l2_regularization": 1.0}
_HGB_ROUNDS, _HGB_STEP, _HELD_OUT = 300, 20, 0.15
_FOREST = {"n_estimators": 500, "min_samples_leaf": 5, "n_jobs": 1}


@dataclass(frozen=True)
class Design:
    """Features of one nuisance.

    Attributes
    ----------
    Z : ndarray, shape (n, p)
    names : tuple of str
    linear : ndarray of bool, shape (p,)
        Dummies, which enter a basis as they are.
    between : ndarray of bool, shape (p,)
        Columns without variation within units.
    unit : ndarray of int, shape (n,)
    absorb : bool
        Whether each unit has an intercept of its own.
    named : bool
        Whether names came with the data and scikit-learn learners see them.
    """

    Z: FloatArray
    names: tuple[str, ...]
    linear: NDArray[np.bool_]
    between: NDArray[np.bool_]
    unit: IntArray
    absorb: bool = False
    named: bool = False

    def rows(self, rows: Any, Z: FloatArray | None = None) -> Any:
        """Some rows, as scikit-learn learners get them."""
        values = (self.Z if Z is None else Z)[rows]
        if not self.named:
            return values
        import pandas as pd

        extra = [f"unit_mean_{j}" for j in range(values.shape[1] - len(self.names))]
        return pd.DataFrame(values, columns=[*self.names, *extra])


@dataclass(frozen=True)
class Task:
    """Targets (n, m) to predict from one design, each row from models that did not see it.

    Rows of weight zero are learnt from by no model and predicted all the same.
    """

    design: Design
    targets: FloatArray
    weights: FloatArray
    folds: Folds
    seed: SeedSequence
    n_jobs: int | None = None
    probabilities: bool = False
    store: bool = False


@dataclass(frozen=True)
class Fitted:
    """Out-of-fold predictions (n, m); weights of a stack's members by target; models by (fold, target)."""

    predictions: FloatArray
    stack: tuple[Mapping[str, float], ...] = ()
    models: Mapping[tuple[int, int], Any] | None = None


class Learner(ABC):
    """Anything that predicts rows from models of other rows."""

    name: str

    @abstractmethod
    def cross_fit(self, task: Task) -> Fitted:
        """Predictions of each row in the fold that tests it."""

    def check(self, name: str) -> None:  # noqa: B027  (most have no settings)
        """Refuse bad settings of the learner that a constructor argument of this name holds."""


def make_learner(name: str, learner: Any) -> Learner:
    """The learner behind a constructor argument.

    Raises
    ------
    InvalidParameter, TypeError
        Naming the argument.
    """
    if isinstance(learner, str):
        if learner not in BUILT_IN:
            allowed = ", ".join(map(repr, BUILT_IN))
            raise InvalidParameter(
                f"{name} must be a learner with fit and predict or one of {allowed}, got {learner!r}"
            )
        return _built_in(learner)
    if isinstance(learner, Learner):
        learner.check(name)
        return learner
    if isinstance(learner, type) or not (hasattr(learner, "fit") and hasattr(learner, "predict")):
        raise TypeError(f"{name} must be a learner with fit and predict, or its name, got {learner!r}")
    return _Foreign(learner)


def _built_in(name: str) -> Learner:
    if name == "auto":
        return Stack()
    if name in ("hgb", "forest"):
        return _Trees(name)
    return _Gram(name)


@dataclass(frozen=True)
class _Gram(Learner):
    """Linear models of a basis, from Gram matrices of blocks of rows."""

    name: str

    def cross_fit(self, task: Task) -> Fitted:
        design, weights = task.design, task.weights
        solver = {"ols": least_squares, "lasso": lasso}.get(self.name, ridge)
        rng = stream(task.seed, self.name, Purpose.SAMPLE, 0)
        if self.name == "series" and not design.absorb:
            predictions = cross_fit_series(
                design.Z, design.linear, design.between, task.targets, weights, task.folds, rng
            )
            return Fitted(predictions)
        columns: Columns = as_they_are
        if self.name in ("series", "splines"):
            budget = max(1, min(300, len(design.Z) // 10))
            columns = main_columns(design.Z, design.linear, design.between, weights, budget)
        run = partial(cross_fit_absorbed, unit=design.unit) if design.absorb else cross_fit
        return Fitted(run(columns, design.Z, task.targets, weights, task.folds, solver))


@dataclass(frozen=True)
class Lasso(Learner):
    """The lasso with a penalty chosen by leaving out parts of each training set, or by theory.

    Parameters
    ----------
    penalty : {"cv", "bch"}
        ``"cv"`` is what the name ``"lasso"`` stands for. ``"bch"`` is the plug-in of Belloni, Chernozhukov, Hansen and
        Kozbur (2016) with loadings clustered by unit: 1.1 Phi^-1(1 - gamma / 2p) phi_j / sqrt(n), gamma = 0.1 / log n.
        It keeps noise out with a probability near 1 and shrinks more; nothing is tuned.

    References
    ----------
    .. [1] Belloni, A., Chernozhukov, V., Hansen, C. and Kozbur, D. (2016). Inference in high-dimensional panel models
       with an application to gun control. Journal of Business and Economic Statistics 34, 590-605.
       arXiv:1411.6507.
    """

    penalty: str = "cv"

    @property
    def name(self) -> str:  # type: ignore[override]
        return "lasso" if self.penalty == "cv" else f"lasso ({self.penalty})"

    def check(self, name: str) -> None:
        check_option(f"penalty of {name}", self.penalty, ("cv", "bch"))

    def cross_fit(self, task: Task) -> Fitted:
        if self.penalty == "cv":
            return _Gram("lasso").cross_fit(task)
        design = task.design
        if design.absorb:
            raise InvalidParameter("learner must not be Lasso('bch') with approach='dummies'")
        solver = plug_in_lasso(design.Z, task.targets, task.weights, design.unit)
        return Fitted(cross_fit(as_they_are, design.Z, task.targets, task.weights, task.folds, solver))


class _ByFold(Learner):
    """A model of its own for each fold and target."""

    def cross_fit(self, task: Task) -> Fitted:
        m = task.targets.shape[1]
        jobs = [(k, target) for k in range(task.folds.n_folds) for target in range(m)]
        results = map_tasks(partial(self._one, task), jobs, n_jobs=task.n_jobs, label=self.name, verbose=False)
        out = np.empty(task.targets.shape)
        of_row = task.folds.of_row
        for (k, target), (predicted, _) in zip(jobs, results, strict=True):
            out[of_row == k, target] = predicted
        models = {job: model for job, (_, model) in zip(jobs, results, strict=True)} if task.store else None
        return Fitted(out, models=models)

    def _one(self, task: Task, job: tuple[int, int]) -> tuple[FloatArray, Any]:
        k, target = job
        train = np.flatnonzero(task.folds.training_rows(k) & (task.weights > 0))
        test = np.flatnonzero(task.folds.of_row == k)
        seed = int(stream(task.seed, self.name, Purpose.SAMPLE, k * task.targets.shape[1] + target).integers(2**31))
        y, w = task.targets[train, target], task.weights[train]
        Z = None
        if task.design.absorb:
            Z = encode_units(task.design.Z, task.design.unit, task.targets[:, target], train, seed)
        model = self._fit(task.design.rows(train, Z), y, w, task.design.unit[train], seed)
        return _predicted(model, task.design.rows(test, Z), task.probabilities), model if task.store else None

    @abstractmethod
    def _fit(self, Z: Any, y: FloatArray, w: FloatArray, unit: IntArray, seed: int) -> Any:
        """A fitted model."""


def _predicted(model: Any, Z: Any, probabilities: bool) -> FloatArray:
    if probabilities and hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(Z)[:, 1], dtype=np.float64)
    predicted = np.asarray(model.predict(Z), dtype=np.float64).reshape(len(Z))
    if not np.isfinite(predicted).all():
        raise InvalidData(f"{type(model).__name__} must predict finite numbers, got NaN or infinity")
    return predicted


@dataclass(frozen=True)
class _Trees(_ByFold):
    name: str

    def _fit(self, Z: Any, y: FloatArray, w: FloatArray, unit: IntArray, seed: int) -> Any:
        if self.name == "forest":
            from sklearn.ensemble import RandomForestRegressor

            return RandomForestRegressor(**_FOREST, random_state=seed).fit(Z, y, **_weights(w))
        return _boosted(np.asarray(Z), y, w, unit, seed)


def _boosted(Z: FloatArray, y: FloatArray, w: FloatArray, unit: IntArray, seed: int) -> Any:
    """Boosted trees until the error on held-out units stops falling (scikit-learn's own rule holds out rows)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    units = np.unique(unit)
    rng = np.random.default_rng(seed)
    held = np.isin(unit, rng.choice(units, max(1, int(_HELD_OUT * len(units))), replace=False))
    if held.all():
        raise InvalidData("boosting wants at least 2 units in every training set, got 1")
    model = HistGradientBoostingRegressor(
        **_HGB, max_iter=_HGB_STEP, early_stopping=False, warm_start=True, random_state=seed
    )
    best = np.inf
    for rounds in range(_HGB_STEP, _HGB_ROUNDS + 1, _HGB_STEP):
        model.set_params(max_iter=rounds).fit(Z[~held], y[~held], **_weights(w[~held]))
        error = float(w[held] @ (y[held] - model.predict(Z[held])) ** 2)
        if error >= best:
            break
        best = error
    return model


@dataclass(frozen=True)
class _Foreign(_ByFold):
    """A learner of scikit-learn's kind, cloned for each fold."""

    estimator: Any

    @property
    def name(self) -> str:  # type: ignore[override]
        return type(self.estimator).__name__

    def _fit(self, Z: Any, y: FloatArray, w: FloatArray, unit: IntArray, seed: int) -> Any:
        from sklearn.base import clone

        model = clone(self.estimator, safe=False)
        if hasattr(model, "get_params"):
            unset = [key for key, value in model.get_params().items() if key.endswith("random_state") and value is None]
            model.set_params(**dict.fromkeys(unset, seed))
        if hasattr(model, "param_grid") or hasattr(model, "param_distributions"):
            return _search(model, Z, y, w, unit)
        return model.fit(Z, y, **_weights(w))


def _search(model: Any, Z: Any, y: FloatArray, w: FloatArray, unit: IntArray) -> Any:
    """A search of scikit-learn's kind: where units have several rows, folds that are a mere number become whole units.

    Rows of one unit tell of each other: split between training and validation they make what memorises look good.
    """
    from sklearn.base import is_classifier
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    count = len(np.unique(unit))
    if count < len(unit) and (model.cv is None or isinstance(model.cv, int)):
        make = StratifiedGroupKFold if is_classifier(model) else GroupKFold
        model.set_params(cv=make(min(model.cv or _SEARCH_FOLDS, count)))
    # Splitters that want no groups warn of them.
    groups = {"groups": unit} if "Group" in type(model.cv).__name__ else {}
    return model.fit(Z, y, **groups, **_weights(w))


def _weights(w: FloatArray) -> dict[str, FloatArray]:
    """Nothing where all are one: many learners take no weights, and boosting bins weighted columns slowly."""
    return {} if np.all(w == 1.0) else {"sample_weight": w}


@dataclass(frozen=True)
class Stack(Learner):
    """Short stacking: the members' out-of-fold predictions, each with the weight that fits the target best.

    Parameters
    ----------
    members : sequence of str or object
        Learners by name, or anything with ``fit`` and ``predict``. The default is what ``"auto"`` stacks.
    weights : {"nnls", "simplex"}
        Weights are at least 0; on the simplex they also sum to 1, which keeps predictions between the members'. Without
        that a member that shrinks too much can be stretched.

    Examples
    --------
    >>> from mcstat.causal import PLR, Lasso, Stack
    >>> from mcstat.datasets import make_plr
    >>> data = make_plr(random_state=0)
    >>> learner = Stack(["ols", Lasso("bch"), "forest"], weights="simplex")
    >>> model = PLR(learner, learner, random_state=0)
    """

    members: Sequence[Any] = _MEMBERS
    weights: str = "nnls"

    @property
    def name(self) -> str:  # type: ignore[override]
        return "stack"

    def check(self, name: str) -> None:
        check_option(f"weights of {name}", self.weights, ("nnls", "simplex"))
        if isinstance(self.members, str) or not isinstance(self.members, Sequence) or not len(self.members):
            raise InvalidParameter(f"members of {name} must be a sequence of learners, got {self.members!r}")
        for member in self.members:
            make_learner(f"members of {name}", member)

    def cross_fit(self, task: Task) -> Fitted:
        members = [make_learner("members", member) for member in self.members]
        parts = [member.cross_fit(replace(task, store=False)).predictions for member in members]
        labels = [f"{member.name} {i}" if count > 1 else member.name for member, i, count in _numbered(members)]
        out, stack = np.empty(task.targets.shape), []
        for target in range(task.targets.shape[1]):
            columns = np.column_stack([part[:, target] for part in parts])
            out[:, target], weights = stacked(columns, task.targets[:, target], task.weights, self.weights)
            stack.append(dict(zip(labels, weights.tolist(), strict=True)))
        return Fitted(out, tuple(stack))


def identity(learner: Any) -> Any:
    """Equal for learners that do the same; None for those of other makers, of which nobody knows."""
    if isinstance(learner, Stack):
        members = [identity(member) for member in learner.members]
        return None if None in members else ("stack", learner.weights, *members)
    return learner if isinstance(learner, (str, Lasso)) else None


def _numbered(members: Sequence[Learner]) -> list[tuple[Learner, int, int]]:
    """Each with its place among, and the number of, those of its name."""
    names = [member.name for member in members]
    return [(member, names[: i + 1].count(member.name), names.count(member.name)) for i, member in enumerate(members)]
