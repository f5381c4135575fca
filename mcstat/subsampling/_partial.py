"""What the two meta-estimators over ``partial_fit`` share: the model's calls, the rows held out, the predictions."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MetaEstimatorMixin, clone, is_classifier
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.laws import Binomial
from mcstat.core.rng import Purpose, child_seed, stream
from mcstat.core.supervised import check_features

__all__ = ["Learner", "PartialFitEstimator", "held_out_estimate", "hold_out", "losses", "takes_weights"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Learner:
    """A clone of the user's estimator that is trained a batch at a time at a given rate.

    Parameters
    ----------
    estimator : object
        With ``partial_fit``. A rate is set where it has ``eta0`` (SGDClassifier, SGDRegressor) or
        ``learning_rate_init`` (MLPClassifier, MLPRegressor); others, such as naive Bayes, have none.
    classes : ndarray or None
        Labels of a classifier, passed on the first call: a batch need not hold all of them.
    eta0 : float or None
        First rate; None is the estimator's own.
    root : SeedSequence
        Seeds the ``random_state`` that the estimator leaves at None.
    """

    def __init__(self, estimator: Any, classes: Any, eta0: Any, root: SeedSequence, name: str) -> None:
        self.model = clone(estimator)
        settings = self.model.get_params()
        self._rate_name = next((rate for rate in ("eta0", "learning_rate_init") if rate in settings), None)
        self.eta0 = self._first_rate(settings, eta0)
        seed = int(child_seed(root, name, Purpose.METHODS, 0).generate_state(1)[0] >> 1)
        random = [key for key in settings if key.rpartition("__")[2] == "random_state" and settings[key] is None]
        self.model.set_params(**dict.fromkeys(random, seed))
        if self._rate_name and "learning_rate" in settings:
            self.model.set_params(learning_rate="constant")
        self._first = {} if classes is None else {"classes": classes}

    def _first_rate(self, settings: dict[str, Any], eta0: Any) -> float:
        if self._rate_name is None:
            if eta0 is not None:
                raise InvalidParameter(f"eta0 must be None: {type(self.model).__name__} has no rate, got {eta0!r}")
            return np.inf
        return check_real("eta0", settings[self._rate_name] if eta0 is None else eta0, 0.0, closed="neither")

    def update(self, X: FloatArray, y: NDArray[Any], weight: FloatArray | None, rate: float) -> None:
        """One call of ``partial_fit``."""
        if self._rate_name is not None:
            setattr(self.model, self._rate_name, rate)
            # Multi-layer perceptrons copy the rate into their optimiser on the first call, and read it there.
            optimiser = getattr(self.model, "_optimizer", None)
            if optimiser is not None:
                optimiser.learning_rate_init = optimiser.learning_rate = rate
        weights = {} if weight is None else {"sample_weight": weight}
        self.model.partial_fit(X, y, **self._first, **weights)
        self._first = {}


def takes_weights(estimator: Any) -> bool:
    """Whether ``partial_fit`` has a ``sample_weight``."""
    return "sample_weight" in signature(estimator.partial_fit).parameters


def hold_out(n: int, fraction: Any, root: SeedSequence, name: str) -> tuple[IntArray, IntArray]:
    """Rows to train on and rows held out, both ascending; at least one of each, unless the fraction is 0."""
    fraction = check_real("validation_fraction", fraction, 0.0, 1.0, closed="left")
    if fraction == 0:
        return np.arange(n), np.arange(0)
    size = min(max(1, round(fraction * n)), n - 1)
    order = stream(root, name, Purpose.FOLDS, 0).permutation(n)
    return np.sort(order[size:]), np.sort(order[:size])


def losses(model: Any, X: FloatArray, y: NDArray[Any]) -> FloatArray:
    """Per row: 1 for a right label and 0 for a wrong one, or the squared error of a regressor."""
    predicted = model.predict(X)
    if is_classifier(model):
        right = np.asarray(predicted == y)
        return np.asarray(right.all(axis=1) if right.ndim == 2 else right, dtype=np.float64)
    error = np.asarray((predicted - y) ** 2, dtype=np.float64)
    return np.asarray(error.mean(axis=1) if error.ndim == 2 else error)


def held_out_estimate(values: list[FloatArray], names: list[str], classifier: bool, **fields: Any) -> Estimate:
    """Accuracies with the exact binomial law, or mean squared errors with their standard errors, one a sample."""
    if any(len(value) == 0 for value in values):
        missing = [name for name, value in zip(names, values, strict=True) if len(value) == 0]
        raise InvalidData(f"estimate wants held-out rows for {', '.join(missing)}; raise validation_fraction")
    means = np.array([value.mean() for value in values])
    sizes = np.array([len(value) for value in values])
    if classifier:
        law: Binomial | None = Binomial(np.array([value.sum() for value in values]), sizes)
        variances = means * (1 - means) / sizes
    else:
        law = None
        variances = np.array([value.var(ddof=1) / len(value) if len(value) > 1 else np.nan for value in values])
    return Estimate(value=means, names=tuple(names), cov=np.diag(variances), law=law, kind="frequentist", **fields)


def _model_has(name: str) -> Any:
    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


class PartialFitEstimator(MetaEstimatorMixin, Estimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Checks of the data, and predictions by the trained ``estimator_``."""

    estimator: Any
    estimator_: Any

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[FloatArray, NDArray[Any], FloatArray | None, NDArray[np.bool_]]:
        """X (n, d), y (n,) or (n, k), weights (n,) or None; and which of the rows given these are.

        X is finite float64, CSR where it is sparse and the estimator takes that.

        Rows of weight zero are left out: they must not fill rounds, nor be held out. Sets ``classes_``.
        """
        if not hasattr(self.estimator, "partial_fit") or isinstance(self.estimator, type):
            raise TypeError(f"estimator must be an object with partial_fit, got {self.estimator!r}")
        if getattr(getattr(X, "dtype", None), "kind", "f") in "USMm":
            raise TypeError(f"X must hold real numbers, got dtype {X.dtype}")
        shape: tuple[int, ...] = np.asarray(y).shape
        several = len(shape) == 2 and shape[1] > 1
        classifier = is_classifier(self.estimator)
        try:
            X, y = validate_data(
                self, X, y, dtype=np.float64, order="C", multi_output=several, y_numeric=not classifier,
                ensure_min_samples=2, accept_sparse=self._takes_sparse() and "csr",
            )  # fmt: skip
        except ValueError as error:
            words = str(error)
            raise InvalidData(words + " Data must be finite." * ("NaN" in words or "infinity" in words)) from error
        weight = self._check_weight(sample_weight, len(y))
        kept = np.ones(len(y), dtype=bool) if weight is None else weight > 0
        if weight is not None and not kept.all():
            X, y, weight = X[kept], y[kept], weight[kept]
        if classifier:
            check_classification_targets(y)
            self.classes_ = np.arange(y.shape[1]) if several else np.unique(y)
            if len(self.classes_) < 2:
                raise InvalidData(f"y must hold at least two classes, got 1 class: {self.classes_[0]!r}")
        return X, y, weight, kept

    def _check_weight(self, sample_weight: ArrayLike | None, n: int) -> FloatArray | None:
        if sample_weight is None:
            return None
        if not takes_weights(self.estimator):
            name = type(self.estimator).__name__
            raise TypeError(f"sample_weight wants an estimator that takes it in partial_fit, {name} does not")
        weight = check_array("sample_weight", sample_weight, 1)
        if len(weight) != n or (weight < 0).any() or np.count_nonzero(weight) < 2:
            positive = f"{np.count_nonzero(weight > 0)} are positive, the others zero or less"
            wanted = f"{n} weights >= 0, two of them positive"
            raise InvalidData(f"sample_weight must hold {wanted}, got {len(weight)}: {positive}")
        return weight

    def _takes_sparse(self) -> bool:
        return bool(get_tags(self.estimator).input_tags.sparse)

    def _check_features(self, X: Any) -> Any:
        return check_features(self, X, accept_sparse=self._takes_sparse() and "csr")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels or values (m,) of the trained estimator for X (m, d)."""
        self._check_fitted()
        return np.asarray(self.estimator_.predict(self._check_features(X)))

    @available_if(_model_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> FloatArray:
        """Probabilities (m, C) of ``classes_``."""
        self._check_fitted()
        return np.asarray(self.estimator_.predict_proba(self._check_features(X)))

    @available_if(_model_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> FloatArray:
        """Decision values (m,) or (m, C)."""
        self._check_fitted()
        return np.asarray(self.estimator_.decision_function(self._check_features(X)))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The trained estimator's own score: accuracy of a classifier, R squared of a regressor."""
        self._check_fitted()
        return float(self.estimator_.score(self._check_features(X), y, sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if not hasattr(self.estimator, "partial_fit") or isinstance(self.estimator, type):
            return tags
        inner = get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags, tags.regressor_tags = inner.classifier_tags, inner.regressor_tags
        tags.target_tags = inner.target_tags
        tags.input_tags.sparse = inner.input_tags.sparse
        return tags
