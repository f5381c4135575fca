"""Proportional odds and its siblings: one slope a column for all boundaries, by maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.proximal import Minimum, minimise
from mcstat.ordinal._classifier import OrdinalClassifier, boundary_name
from mcstat.ordinal._information import Quantities, Separation, doubts, observed_covariance, rare_probability
from mcstat.ordinal._likelihood import CumulativeLikelihood
from mcstat.ordinal._links import NAMES
from mcstat.ordinal._score_test import parallel_lines_table
from mcstat.ordinal._structure import Common, Pulled, Structured

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ProportionalOdds"]

FloatArray = NDArray[np.float64]


class ProportionalOdds(OrdinalClassifier):
    """Cumulative link model with common slopes: P(y <= k | x) = F(alpha_k + x' b).

    Parameters
    ----------
    link : {"logit", "probit", "cloglog", "cauchit"}
        F: logistic (proportional odds), normal, complementary log-log (proportional hazards) or Cauchy.
    categories : sequence, optional
        Labels from the lowest to the highest; needed for strings whose alphabetic order is not theirs.
    tol : float
        Bound on the gradient of the mean log-likelihood, columns standardised.
    max_iter : int
        Most Newton steps.

    Attributes
    ----------
    coef_ : ndarray, shape (p,)
        Slopes b: a positive one makes *lower* classes likelier. (Packages that write alpha_k - x' b report -b.)
    alpha_ : ndarray, shape (K - 1,)
    beta_ : ndarray, shape (K - 1, p)
        The slopes once for each boundary, as other models of this room have them.
    classes_ : ndarray, shape (K,)
    loglik_, loglik_null_ : float
        Log-likelihood, and that of the intercepts alone.
    n_iter_ : int
    kkt_ : float
        Largest element of the final gradient.

    Notes
    -----
    Newton's method on the observed information, O(n p^2) a step, usually 4 to 6 steps. Memory is one copy of X and 7
    numbers a row. Sample weights count as frequencies: weight 2 is two equal rows.

    Where a combination of columns separates the classes, the maximum does not exist; a warning then says so.
    PRESTOClassifier with a positive ``lam`` has an answer there.

    References
    ----------
    .. [1] McCullagh, P. (1980). Regression models for ordinal data. Journal of the Royal Statistical Society B 42(2),
       109-142. doi:10.1111/j.2517-6161.1980.tb01109.x.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.ordinal import ProportionalOdds
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=500), [0, 2])
    >>> model = ProportionalOdds().fit(X, y)
    >>> bool(abs(model.coef_[0] + 1) < 0.3)
    True
    >>> model.estimate().names
    ('rare probability', '0|1', '1|2', 'x1', 'x2')
    """

    def __init__(
        self, *, link: str = "logit", categories: Sequence[Any] | None = None, tol: float = 1e-7, max_iter: int = 100
    ) -> None:
        self.link = link
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
        link = check_option("link", self.link, NAMES)
        tol, max_iter = check_real("tol", self.tol, 0.0, closed="neither"), check_integer("max_iter", self.max_iter, 1)
        with single_threaded():
            likelihood = data.likelihood(link, standardize=True)
            structure = Common(len(data.classes) - 1, len(data.names) + 1)
            start = structure.parameters(likelihood.null_boundaries())
            nothing = np.zeros(len(start))
            smooth = Structured(likelihood, structure)
            separation = Separation(smooth, start)
            found = minimise(smooth, start, nothing, nothing, tol=tol, max_iter=max_iter, hopeless=separation)
            self._link, self.classes_ = link, data.classes
            self._learn(likelihood, structure, found, separation.found)
        self._n, self._seconds = int(data.counts.sum()), perf_counter() - started
        for doubt in self._doubts:
            warn(doubt, ReliabilityWarning, stacklevel=2)
        return self

    def _learn(
        self, likelihood: CumulativeLikelihood, structure: Common, found: Minimum[Pulled], separated: bool
    ) -> None:
        """Keep what predictions, estimates and tests need; no data."""
        boundaries = structure.boundaries(found.theta)
        self.alpha_, self.beta_ = likelihood.to_raw(boundaries)
        self.coef_ = self.beta_[0].copy()
        frequencies, total = likelihood.frequencies, likelihood.total
        self.loglik_ = -found.objective * total
        self.loglik_null_ = float(total * frequencies @ np.log(frequencies))
        self.n_iter_, self.kkt_ = found.n_iter, found.kkt
        at = found.expansion.at
        cov = observed_covariance(
            found.expansion.hessian(), total, np.r_[np.zeros(structure.n_cuts, dtype=bool), likelihood.constant]
        )
        self._doubts = doubts(found, separated, cov)
        reported = Quantities.empty()
        reported.add("rare probability", *rare_probability(likelihood, self._link, boundaries))
        for k in range(structure.n_cuts):
            reported.add_cut(boundary_name(self.classes_, k), likelihood, boundaries, k, 1.0)
        reported.add_slopes(self._names, likelihood, boundaries, 0, 1.0)
        self._reported, self._cov = reported, reported.covariance(cov, structure)
        # Enough for the score test of parallel lines, should anybody ask for it.
        self._lines = (at.gradient, at.hessian, total, likelihood.constant, self._names)

    def likelihood_ratio_test(self, smaller: ProportionalOdds | None = None) -> pd.Series:
        """Test this model against a smaller one that it contains.

        Parameters
        ----------
        smaller : ProportionalOdds, optional
            Fitted on the same rows with some of the columns; default the intercepts alone.

        Returns
        -------
        Series
            ``statistic`` (chi-squared under the smaller model), ``df`` and ``p_value``.

        Raises
        ------
        InvalidParameter
            If ``smaller`` is not smaller, or was fitted on other classes or another number of rows.
        """
        import pandas as pd
        from scipy.special import chdtrc

        self._check_fitted()
        loglik, df = self.loglik_null_, len(self.coef_)
        if smaller is not None:
            smaller._check_fitted()
            nested = len(smaller.coef_) < df and np.array_equal(smaller.classes_, self.classes_)
            if not nested or smaller._n != self._n or smaller._link != self._link:
                raise InvalidParameter(
                    "smaller must be a model with fewer columns, fitted on the same rows with the same link, "
                    f"got {len(smaller.coef_)} columns against {df}, {smaller._n} rows against {self._n}"
                )
            loglik, df = smaller.loglik_, df - len(smaller.coef_)
        statistic = max(2.0 * (self.loglik_ - loglik), 0.0)
        return pd.Series({"statistic": statistic, "df": float(df), "p_value": float(chdtrc(df, statistic))})

    def parallel_lines_test(self) -> pd.DataFrame:
        """Score test of common slopes against slopes of their own at each boundary.

        Returns
        -------
        DataFrame
            A row ``all`` and one for each column of X, with ``statistic``, ``df`` and ``p_value``.

        Raises
        ------
        InvalidParameter
            With two classes: there is one boundary only.

        Notes
        -----
        The larger model need not be fitted, and so need not have a fit. The law is chi-squared for large n; with a
        rare class of few rows p-values of the whole test are rough.
        """
        import pandas as pd

        self._check_fitted()
        if len(self.classes_) == 2:
            raise InvalidParameter(
                "parallel_lines_test() wants at least 3 classes, got 2: one boundary has no parallel"
            )
        return pd.DataFrame(parallel_lines_table(*self._lines)).set_index("column")

    def _make_estimate(self) -> Estimate:
        return Estimate(
            value=np.array(self._reported.values),
            cov=self._cov,
            names=tuple(self._reported.names),
            kind="frequentist",
            estimand=f"boundaries and common slopes of P(y <= k), and the mean probability of {self.classes_[-1]}",
            method="ProportionalOdds",
            diagnostics={
                "log_likelihood": self.loglik_,
                "kkt": self.kkt_,
                "n_iter": self.n_iter_,
                "uncertainty": "observed information",
            },
            warnings=self._doubts,
            info={
                "parameters": self._settings(),
                "n": self._n,
                "seconds": self._seconds,
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )
