"""Partially linear regression on a cross section, with and without an instrument."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, Self

from numpy.random import Generator
from numpy.typing import ArrayLike

from mcstat.causal._approaches import Prepared, prepare
from mcstat.causal._cross_section import read_rows, split_rows
from mcstat.causal._folds import Folds
from mcstat.causal._learners import make_learner
from mcstat.causal._panel_data import Panel
from mcstat.causal._partially_linear import PartiallyLinear
from mcstat.causal._weak import Instrumented
from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidData
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import RandomState

__all__ = ["PLIV", "PLR"]


class _CrossSection(PartiallyLinear):
    def _prepare(self, panel: Panel) -> Prepared:
        return prepare(panel, "pooled", "none", None)

    def _split(self, part: Panel, rng: Generator) -> Folds:
        return split_rows(part, self._given[0], self.n_folds, rng)

    def _check(self) -> None:
        self._check_common()
        make_learner("learner_y", self.learner_y)
        make_learner("learner_d", self.learner_d)
        check_option("dist", self.dist, ("normal", "t"))
        check_option("missing", self.missing, ("raise", "drop"))

    def _fit(self, y: Any, d: Any, X: Any, z: Any, groups: Any, weights: Any, cluster: Any, given: Any) -> None:
        started = perf_counter()
        self._forget()
        self._check()
        with single_threaded():
            panel = read_rows(y, d, X, z=z, weights=weights, cluster=cluster, groups=groups, missing=self.missing)
            self._panel, self._given = panel, given
            self._run(panel, started)


class PLR(_CrossSection):
    """Effect of treatments in y = d theta + g(x) + u, d = m(x) + v, with g and m learnt.

    Parameters
    ----------
    learner_y, learner_d, learner_g : str or object with fit and predict
        Learners of the outcome, of the treatments, and, for ``score="iv"``, of the outcome less the treatment's part
        (default: that of y). By name: ``"auto"`` (a stack), ``"series"``, ``"splines"``, ``"lasso"``, ``"ols"``,
        ``"hgb"``, ``"forest"``. A classifier's probability stands for the mean of a binary treatment.
    score : {"partialling_out", "iv"}
    n_folds : int
        Folds of rows, or of whole clusters where they are given.
    n_rep : int
        Random splittings.
    dml : {"dml2", "dml1"}
        One score over all folds, or the mean of the folds' estimates.
    aggregate : {"median", "mean", "doubleml"}
        Of the random splittings.
    small_sample : bool
        Scale the variance of G clusters (or rows) by G / (G - 1).
    dist : {"normal", "t"}
    treatments : {"joint", "separate"}
        Several treatments: all effects from one score, or one at a time with the others as covariates.
    missing : {"raise", "drop"}
        Rows with NaN.
    store_models : bool
        Keep the fitted learners of the first splitting in ``models_``.
    n_jobs : int, optional
        Threads over folds and nuisances.
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    residuals_y_, predictions_y_ : ndarray, shape (n,)
        In the order of the input, of the first splitting, NaN for rows left out.
    residuals_d_, predictions_d_, scores_ : ndarray, shape (n, q)
    folds_ : ndarray of int, shape (n_rep, n)
    nuisance_r2_, nuisance_rmse_, stack_weights_ : dict
    theta_reps_, se_reps_ : ndarray, shape (n_rep, q)
    n_obs_ : int

    Notes
    -----
    O(n p) memory; the built-in linear learners cost O(n p^2) once for all folds, penalties and targets.

    References
    ----------
    .. [1] Chernozhukov, V., Chetverikov, D., Demirer, M., Duflo, E., Hansen, C., Newey, W. and Robins, J. (2018).
       Double/debiased machine learning for treatment and structural parameters. Econometrics Journal 21, C1-C68.
       arXiv:1608.00060.

    Examples
    --------
    >>> from mcstat.causal import PLR
    >>> from mcstat.datasets import make_plr
    >>> data = make_plr(random_state=0)
    >>> est = PLR("lasso", "lasso", random_state=0).fit(data["y"], data["d"], data["X"]).estimate()
    >>> bool(abs(float(est) - data["theta"]) < 0.2)
    True
    """

    def __init__(
        self,
        learner_y: Any = "auto",
        learner_d: Any = "auto",
        learner_g: Any = None,
        *,
        score: str = "partialling_out",
        n_folds: int = 5,
        n_rep: int = 1,
        dml: str = "dml2",
        aggregate: str = "median",
        small_sample: bool = True,
        dist: str = "normal",
        treatments: str = "joint",
        missing: str = "raise",
        store_models: bool = False,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.learner_y = learner_y
        self.learner_d = learner_d
        self.learner_g = learner_g
        self.score = score
        self.n_folds = n_folds
        self.n_rep = n_rep
        self.dml = dml
        self.aggregate = aggregate
        self.small_sample = small_sample
        self.dist = dist
        self.treatments = treatments
        self.missing = missing
        self.store_models = store_models
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        y: ArrayLike,
        d: ArrayLike,
        X: ArrayLike | None = None,
        *,
        groups: Any = None,
        weights: Any = None,
        cluster: Any = None,
        folds: Any = None,
        predictions: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """Learn the nuisance functions out of fold and solve for the effect.

        Parameters
        ----------
        y : array_like, shape (n,)
        d : array_like or data frame, shape (n,) or (n, q)
        X : array_like or data frame, shape (n, p), optional
        groups : array_like, shape (n,), optional
            The effect is estimated in each group.
        weights, cluster : array_like, shape (n,), optional
        folds : array_like, shape (n,), or list of (train, test), optional
            In place of random splittings.
        predictions : mapping, optional
            Out-of-fold predictions of ``"y"`` or ``"d"`` made elsewhere, in the order of the input.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        """
        self._fit(y, d, X, None, groups, weights, cluster, (folds, predictions))
        self._warn()
        return self

    def _check(self) -> None:
        super()._check()
        check_option("score", self.score, ("partialling_out", "iv"))
        check_option("treatments", self.treatments, ("joint", "separate"))
        if self.learner_g is not None:
            make_learner("learner_g", self.learner_g)


class PLIV(Instrumented, _CrossSection):
    """Effect of a treatment in y = d theta + g(x) + u, where an instrument z moves d and has no other way to y.

    Parameters
    ----------
    learner_y, learner_d : str or object with fit and predict
        Learners of the outcome, and of treatments and instruments; names as in :class:`PLR`.
    n_folds, n_rep : int
    dml : {"dml2", "dml1"}
    aggregate : {"median", "mean", "doubleml"}
    small_sample : bool
    dist : {"normal", "t"}
    missing : {"raise", "drop"}
    n_jobs : int, optional
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    first_stage_f_ : float
        Squared t-statistic of the instrument in the regression of the residuals of d on those of z, clustered; below
        10 an instrument counts as weak. Of one treatment.
    residuals_y_, residuals_d_, predictions_y_, predictions_d_, scores_, folds_ : ndarray
        As in :class:`PLR`; ``residuals_d_`` are those of the instrument.
    theta_reps_, se_reps_ : ndarray, shape (n_rep, q)

    References
    ----------
    .. [1] Chernozhukov, V., Chetverikov, D., Demirer, M., Duflo, E., Hansen, C., Newey, W. and Robins, J. (2018).
       Double/debiased machine learning for treatment and structural parameters. Econometrics Journal 21, C1-C68.
       arXiv:1608.00060.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.causal import PLIV
    >>> rng = np.random.default_rng(0)
    >>> X, z, u = rng.normal(size=(500, 2)), rng.normal(size=500), rng.normal(size=500)
    >>> d = z + X[:, 0] + u + rng.normal(size=500)
    >>> y = 0.5 * d + X[:, 0] + u
    >>> est = PLIV("ols", "ols", random_state=0).fit(y, d, X, z=z).estimate()
    >>> bool(abs(float(est) - 0.5) < 0.2)
    True
    """

    def __init__(
        self,
        learner_y: Any = "auto",
        learner_d: Any = "auto",
        *,
        n_folds: int = 5,
        n_rep: int = 1,
        dml: str = "dml2",
        aggregate: str = "median",
        small_sample: bool = True,
        dist: str = "normal",
        missing: str = "raise",
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.learner_y = learner_y
        self.learner_d = learner_d
        self.n_folds = n_folds
        self.n_rep = n_rep
        self.dml = dml
        self.aggregate = aggregate
        self.small_sample = small_sample
        self.dist = dist
        self.missing = missing
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        y: ArrayLike,
        d: ArrayLike,
        X: ArrayLike | None = None,
        *,
        z: ArrayLike,
        weights: Any = None,
        cluster: Any = None,
        folds: Any = None,
        predictions: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """Learn the nuisance functions out of fold and solve for the effect.

        Parameters
        ----------
        y : array_like, shape (n,)
        d : array_like or data frame, shape (n,) or (n, q)
        X : array_like or data frame, shape (n, p), optional
        z : array_like or data frame, shape (n,) or (n, q)
            One instrument a treatment.
        weights, cluster : array_like, shape (n,), optional
        folds : array_like, shape (n,), or list of (train, test), optional
        predictions : mapping, optional
            Out-of-fold predictions of ``"y"``, ``"d"`` or ``"z"`` made elsewhere.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        """
        if z is None:
            raise InvalidData("z must be given; without an instrument use PLR")
        self._fit(y, d, X, z, None, weights, cluster, (folds, predictions))
        self._warn()
        return self
