"""Logistic regression of one rare class against all others: the baseline that borrows no strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Self
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.checks import check_integer, check_real
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.proximal import minimise
from mcstat.ordinal._classifier import OrdinalClassifier
from mcstat.ordinal._data import OrdinalData
from mcstat.ordinal._information import Quantities, Separation, doubts, observed_covariance, rare_probability
from mcstat.ordinal._structure import Common, Structured

__all__ = ["RareLogit"]

FloatArray = NDArray[np.float64]


class RareLogit(OrdinalClassifier):
    """Maximum-likelihood logit of 1{y = rare}: P(y = rare | x) = F(intercept + x' b).

    Parameters
    ----------
    rare : label, optional
        The rare class; default the highest.
    categories : sequence, optional
        Labels from the lowest to the highest.
    tol : float
        Bound on the gradient of the mean log-likelihood, columns standardised.
    max_iter : int
        Most Newton steps.

    Attributes
    ----------
    coef_ : ndarray, shape (p,)
        A positive slope makes the *rare* class likelier.
    intercept_ : float
    classes_ : ndarray, shape (K,)
    shares_ : ndarray, shape (K,)
        Frequency of each class; with K > 2 the common classes share what the rare one leaves in this proportion.
    loglik_ : float
    n_iter_ : int
    kkt_ : float

    Notes
    -----
    Its variance grows like one over the number of rare rows, since the common classes are all the same to it. For a
    lasso logit with a tuned penalty fit :class:`PRESTOClassifier` to a response with two classes.

    References
    ----------
    .. [1] Faletto, G. and Bien, J. (2023). Predicting rare events by shrinking towards proportional odds. ICML, PMLR
       202:9547-9602. arXiv:2305.18700.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.ordinal import RareLogit
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=500), [0, 2])
    >>> RareLogit().fit(X, y).predict_rare_proba(X).shape
    (500,)
    """

    def __init__(
        self, *, rare: Any = None, categories: Sequence[Any] | None = None, tol: float = 1e-7, max_iter: int = 100
    ) -> None:
        self.rare = rare
        self.categories = categories
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Maximise the likelihood.

        Parameters
        ----------
        X : array_like or data frame, shape (n, p)
        y : array_like, shape (n,), or counts of each class, shape (n, K)
        sample_weight : array_like, shape (n,), optional

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        """
        started = perf_counter()
        data = self._read(X, y, self.categories, sample_weight)
        tol, max_iter = check_real("tol", self.tol, 0.0, closed="neither"), check_integer("max_iter", self.max_iter, 1)
        self._rare = self._position(data)
        with single_threaded():
            likelihood = two_classes(data, self._rare).likelihood("logit", standardize=True)
            structure = Common(1, len(data.names) + 1)
            start = structure.parameters(likelihood.null_boundaries())
            nothing = np.zeros(len(start))
            smooth = Structured(likelihood, structure)
            separation = Separation(smooth, start)
            found = minimise(smooth, start, nothing, nothing, tol=tol, max_iter=max_iter, hopeless=separation)
            boundaries = structure.boundaries(found.theta)
            fixed = np.r_[False, likelihood.constant]
            cov = observed_covariance(found.expansion.hessian(), likelihood.total, fixed)
            self._doubts = doubts(found, separation.found, cov)
            reported = Quantities.empty()
            reported.add("rare probability", *rare_probability(likelihood, "logit", boundaries))
            reported.add_cut("intercept", likelihood, boundaries, 0, -1.0)
            reported.add_slopes(data.names, likelihood, boundaries, 0, -1.0)
            self._reported, self._cov = reported, reported.covariance(cov, structure)
        alpha, beta = likelihood.to_raw(boundaries)
        self.intercept_, self.coef_, self.classes_ = -float(alpha[0]), -beta[0], data.classes
        counts = np.bincount(data.codes, data.weights * data.counts, minlength=len(data.classes))
        self.shares_ = counts / counts.sum()
        self.loglik_ = -found.objective * likelihood.total
        self.n_iter_, self.kkt_ = found.n_iter, found.kkt
        self._n, self._seconds = int(data.counts.sum()), perf_counter() - started
        for doubt in self._doubts:
            warn(doubt, ReliabilityWarning, stacklevel=2)
        return self

    def _position(self, data: OrdinalData) -> int:
        """Where the rare class stands among the classes."""
        if self.rare is None:
            return len(data.classes) - 1
        places = np.flatnonzero(data.classes == self.rare)
        if len(places) != 1:
            raise InvalidParameter(f"rare must be one of the classes {data.classes.tolist()}, got {self.rare!r}")
        return int(places[0])

    def _eta(self, X: Any) -> FloatArray:
        """Log-odds of the rare class, (m, 1)."""
        return np.asarray(self._design(X) @ self.coef_[:, None] + self.intercept_)

    def predict_rare_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of the rare class, (m,)."""
        from scipy.special import expit

        return np.asarray(expit(self._eta(X)[:, 0]))

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of each class, (m, K); the common ones in fixed proportion to each other."""
        rare = self.predict_rare_proba(X)
        common = self.shares_.copy()
        common[self._rare] = 0.0
        out = np.outer(1.0 - rare, common / common.sum())
        out[:, self._rare] = rare
        return out

    def predict_cumulative(self, X: ArrayLike) -> FloatArray:
        """P(y <= k) for all classes but the last, (m, K - 1)."""
        return np.asarray(np.cumsum(self.predict_proba(X), axis=1)[:, :-1])

    def _make_estimate(self) -> Estimate:
        return Estimate(
            value=np.array(self._reported.values),
            cov=self._cov,
            names=tuple(self._reported.names),
            kind="frequentist",
            estimand=f"mean probability of {self.classes_[self._rare]}, and its log-odds",
            method="RareLogit",
            diagnostics={"log_likelihood": self.loglik_, "kkt": self.kkt_, "uncertainty": "observed information"},
            warnings=self._doubts,
            info={
                "parameters": self._settings(),
                "n": self._n,
                "seconds": self._seconds,
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )


def two_classes(data: OrdinalData, rare: int) -> OrdinalData:
    """The same rows with classes 0 (all others) and 1 (rare)."""
    return replace(data, codes=(data.codes == rare).astype(np.int64), classes=np.arange(2))
