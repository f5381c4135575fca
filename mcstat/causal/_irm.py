"""Average effects of a binary treatment that may differ from one x to the next."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat.causal._approaches import Prepared
from mcstat.causal._cross_section import read_rows
from mcstat.causal._folds import Folds
from mcstat.causal._interactive import Interactive, check_binary
from mcstat.causal._nuisance import Learnt
from mcstat.causal._panel_data import Panel, read_columns
from mcstat.causal._sensitivity import Bounded, Loss, loss
from mcstat.causal._solve import Score, covariance, solve
from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidData
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import RandomState

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IRM"]

FloatArray = NDArray[np.float64]


class IRM(Bounded, Interactive):
    """Average effect of a binary treatment, allowed to differ from one x to the next.

    Parameters
    ----------
    learner_y : str or object with fit and predict
        Learner of the outcome in each arm; names as in :class:`PLR`.
    learner_d : str or object with fit and predict
        Learner of the propensity P(d = 1 | x); a classifier's probability is used. The built-in ones learn it as a
        mean.
    estimand : {"ate", "att"}
        Average effect on all, or on the treated.
    normalize : bool
        Scale inverse-propensity weights to mean one (Hajek).
    clip : float
        Propensities are kept inside [clip, 1 - clip]; their number is told.
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
    signal_ : ndarray, shape (n,)
        Each row's orthogonal signal; its mean is the average effect.
    propensity_ : ndarray, shape (n,)
    nuisance_r2_, nuisance_rmse_, stack_weights_ : dict
        Of ``g1``, ``g0`` and ``m``.
    theta_reps_, se_reps_ : ndarray, shape (n_rep, q)

    Notes
    -----
    On a panel give ``cluster=unit`` and unit means among the columns of X; unit effects must be captured by them.

    References
    ----------
    .. [1] Chernozhukov, V., Chetverikov, D., Demirer, M., Duflo, E., Hansen, C., Newey, W. and Robins, J. (2018).
       Double/debiased machine learning for treatment and structural parameters. Econometrics Journal 21, C1-C68.
       arXiv:1608.00060.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.causal import IRM
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 2))
    >>> d = (rng.random(1000) < 1 / (1 + np.exp(-X[:, 0] / 2))).astype(float)
    >>> y = d * (1 + X[:, 1]) + X[:, 0] + rng.normal(size=1000)
    >>> est = IRM("series", "series", random_state=0).fit(y, d, X).estimate()
    >>> bool(abs(float(est) - 1) < 0.3)
    True
    """

    def __init__(
        self,
        learner_y: Any = "auto",
        learner_d: Any = "auto",
        *,
        estimand: str = "ate",
        normalize: bool = False,
        clip: float = 0.01,
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
        self.estimand = estimand
        self.normalize = normalize
        self.clip = clip
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
        groups: Any = None,
        weights: Any = None,
        cluster: Any = None,
        folds: Any = None,
        predictions: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """Learn both arms and the propensity out of fold.

        Parameters
        ----------
        y : array_like, shape (n,)
        d : array_like, shape (n,)
            0 or 1.
        X : array_like or data frame, shape (n, p), optional
        groups : array_like, shape (n,), optional
            Effects of groups.
        weights, cluster : array_like, shape (n,), optional
        folds : array_like, shape (n,), or list of (train, test), optional
        predictions : mapping, optional
            Out-of-fold predictions of ``"g1"``, ``"g0"`` or ``"m"`` made elsewhere.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument; also where a training fold has no row of one arm.
        """
        started = perf_counter()
        self._forget()
        self._check()
        check_option("estimand", self.estimand, ("ate", "att"))
        self._loss_terms: list[Loss] = []
        self._signals: list[tuple[FloatArray, FloatArray]] = []
        with single_threaded():
            panel = read_rows(y, d, X, z=None, weights=weights, cluster=cluster, groups=groups, missing=self.missing)
            check_binary("d", panel.D)
            self._run(panel, folds, predictions, started, {"ate": "average effect", "att": "effect on the treated"}[
                self.estimand
            ])  # fmt: skip
        self._warn()
        return self

    def _score(
        self, panel: Panel, prepared: Prepared, folds: Folds, seed: SeedSequence, given: Mapping[str, FloatArray]
    ) -> tuple[Score, Learnt]:
        y, d, w = panel.y, panel.D[:, 0], panel.weights
        wanted = {"g": ("learner_y", self.learner_y, y)}
        means, m, learnt = self._learn_arms(d, wanted, prepared, folds, seed, given)
        g1, g0 = means["g1"], means["g0"]
        treated, control = self._inverse_weights(d, m, w)
        ones = np.ones((panel.n, 1))
        if self.estimand == "ate":
            signal, slope = g1 - g0 + treated * (y - g1) - control * (y - g0), ones
        else:
            share = np.average(d, weights=w)
            odds = m * control
            if self.normalize:
                odds = odds / np.average(odds, weights=w) * share
            signal, slope = (d - odds) * (y - g0) / share, d[:, None] / share
        self._signals.append((signal, m))
        self._loss_terms.append(self._riesz(panel, means, m))
        return Score(signal, slope, ones, w), learnt

    def _riesz(self, panel: Panel, means: Mapping[str, FloatArray], m: FloatArray) -> Loss:
        """Residual of the outcome in its arm; representer D/m - (1 - D)/(1 - m), times m/p on the treated."""
        y, d, w = panel.y, panel.D[:, 0], panel.weights
        residual = y - np.where(d == 1, means["g1"], means["g0"])
        if self.estimand == "ate":
            return loss(residual, d / m - (1 - d) / (1 - m), 1 / m + 1 / (1 - m), w)
        share = np.average(d, weights=w)
        odds = m / (1 - m)
        return loss(residual, (d - (1 - d) * odds) / share, d / share * (1 + odds) / share, w)

    def _losses(self) -> list[list[Loss]]:
        if self._panel.group is not None:
            raise InvalidData("sensitivity analysis wants a fit without groups")
        return [[one] for one in self._loss_terms]

    def _refit_without(self, panel: Panel) -> Self:
        from sklearn.base import clone

        other: Self = clone(self).set_params(random_state=self._root)
        other._signals, other._loss_terms = [], []
        with single_threaded():
            other._run(panel, *self._given_before, perf_counter(), self._sample.estimand)
        return other

    @property
    def signal_(self) -> FloatArray:
        """Each row's orthogonal signal, (n,), of the first splitting; its mean is the average effect."""
        self._check_fitted()
        return self._sample.spread(self._signals[0][0])

    @property
    def propensity_(self) -> FloatArray:
        """P(d = 1 | x) of each row, (n,), clipped, of the first splitting."""
        self._check_fitted()
        return self._sample.spread(self._signals[0][1])

    def plot_overlap(self, ax: Any = None) -> Any:
        """Propensities of the treated and of the others: effects are learnt where both are (extra ``plot``).

        Dotted lines are the clips.

        Returns
        -------
        matplotlib Axes
        """
        from mcstat.causal._views import plot_overlap

        self._check_fitted()
        return plot_overlap(self.propensity_[self._sample.rows], self._panel.D[:, 0], self.clip, ax)

    def project(self, basis: pd.DataFrame | ArrayLike) -> Estimate:
        """Regress the signal on a basis of x: how the effect depends on it (best linear predictor).

        Parameters
        ----------
        basis : data frame or array_like, shape (n, k)
            A column of ones for an intercept, dummies of groups, splines, ...

        Returns
        -------
        Estimate
            Coefficients with clustered covariance; ``estimate.transform(lambda b: grid @ b)`` evaluates the curve, with
            joint bands.
        """
        self._check_fitted()
        if self.estimand != "ate":
            raise InvalidData(f"project wants estimand='ate', got {self.estimand!r}")
        sample = self._sample
        B, names, _ = read_columns("basis", basis, sample.n_input, "x")
        B = B[sample.rows]
        if not np.isfinite(B).all():
            raise InvalidData("basis must be finite in every row used")
        score = Score(self.signal_[sample.rows], B, B, self._panel.weights)
        solution = solve(score, np.zeros(len(B), dtype=np.int64), "dml2")
        influence = np.zeros((sample.n_input, B.shape[1]))
        influence[sample.rows] = sample.n_input * solution.parts
        return Estimate(
            value=solution.theta,
            cov=covariance(solution.parts, self._sums)[0],
            names=names,
            influence=influence,
            sample_id=sample.sample_id,
            clusters=sample.all_clusters,
            estimand="projection of the effect",
            method="IRM",
        )
