"""What the classifiers of the room share: reading data, and predictions from boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin

from mcstat.core.base import Estimator
from mcstat.core.supervised import check_design, check_features
from mcstat.ordinal._crossing import class_probabilities
from mcstat.ordinal._data import OrdinalData, read_data
from mcstat.ordinal._formula import formula_columns, read_formula
from mcstat.ordinal._links import cumulative, survival

__all__ = ["OrdinalClassifier", "boundary_name"]

FloatArray = NDArray[np.float64]


class OrdinalClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Predictions from ``alpha_`` (K - 1,) and ``beta_`` (K - 1, p): P(y <= k) = F(alpha_k + x' beta_k)."""

    classes_: NDArray[Any]
    alpha_: FloatArray
    beta_: FloatArray
    _link: str = "logit"
    _crossing: str = "rearrange"
    _spec: Any = None
    # Position of the rare class: the last, or the first.
    _rare: int = -1

    def _read(self, X: Any, y: Any, categories: Sequence[Any] | None, sample_weight: Any) -> OrdinalData:
        """Start afresh: check design, response and weights, and set what scikit-learn wants to see."""
        self._forget()
        self._spec = None
        matrix = check_design(self, X)
        names = tuple(map(str, getattr(self, "feature_names_in_", ()))) or None
        data = read_data(matrix, names, y, categories, sample_weight)
        self._names = data.names
        return data

    def __sklearn_tags__(self) -> Any:
        """Ordered classes lie along a line: three blobs in a plane may be beyond it."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """The classes are known last; the number of columns alone is no fit."""
        return hasattr(self, "classes_") and hasattr(self, "n_iter_")

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit; see the classes."""
        raise NotImplementedError

    def _eta(self, X: Any) -> FloatArray:
        """Linear predictors alpha_k + x' beta_k, (m, K - 1)."""
        return np.asarray(self._design(X) @ self.beta_.T + self.alpha_)

    def _design(self, X: Any) -> FloatArray:
        """Rows to predict, (m, p): columns as in ``fit``, made by the formula where there was one."""
        self._check_fitted()
        if self._spec is not None:
            X = formula_columns(self._spec, X)
        return check_features(self, X)

    def fit_formula(self, formula: str, data: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit from a formula such as ``"rating ~ age * C(region)"`` (extra ``formula``).

        Parameters
        ----------
        formula : str
            A column of ``data`` left of the tilde, terms as formulaic reads them to its right. There is no intercept to
            add: the boundaries are intercepts.
        data : DataFrame
        sample_weight : array_like, shape (n,), optional

        Returns
        -------
        self
            Predictions then take data frames with the same columns.

        Raises
        ------
        InvalidParameter
            If the left side is no column.
        MissingExtraError
        """
        response, design, spec = read_formula(formula, data)
        self.fit(design, response, sample_weight)
        self._spec = spec
        return self

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of each class.

        Parameters
        ----------
        X : array_like, shape (m, p)

        Returns
        -------
        ndarray, shape (m, K)
            In the order of ``classes_``.
        """
        return class_probabilities(self._link, self._eta(X), self._crossing)

    def predict_cumulative(self, X: ArrayLike) -> FloatArray:
        """P(y <= k) for all classes but the last, (m, K - 1), as fitted: the columns may cross."""
        return cumulative(self._link, self._eta(X))

    def predict_rare_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of the rare class from its own boundary, (m,); not touched by what is done about crossing."""
        eta = self._eta(X)
        return survival(self._link, eta[:, -1]) if self._rare != 0 else cumulative(self._link, eta[:, 0])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class, (m,)."""
        best = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[best])


def boundary_name(classes: NDArray[Any], k: int) -> str:
    """Name of the boundary between class k and the next: "low|high"."""
    return f"{classes[k]}|{classes[k + 1]}"
