"""Double machine learning on panels: eight ways to deal with unobserved unit effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.causal._approaches import APPROACHES, TIME_EFFECTS, Prepared, prepare
from mcstat.causal._folds import SPLITTERS, Folds, given_folds, make_folds, restrict
from mcstat.causal._formula import read_panel_formula
from mcstat.causal._learners import make_learner
from mcstat.causal._nuisance import Learnt
from mcstat.causal._panel_data import Panel, from_frame, read_panel
from mcstat.causal._partially_linear import PartiallyLinear
from mcstat.causal._solve import VCOVS
from mcstat.causal._weak import Instrumented
from mcstat.core.checks import check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import RandomState

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PanelDML"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SCORES = ("partialling_out", "iv")
_TREE_ROWS_PER_FEATURE = 500
_OVERLAP = 0.01


class PanelDML(Instrumented, PartiallyLinear):
    """Effect of a treatment on an outcome in a panel with unobserved unit effects.

    The model is y_it = theta d_it + g(x_it) + alpha_i + u_it and d_it = m(x_it) + gamma_i + v_it; g and m are learnt,
    the unit effects may depend on the covariates and on each other. Covariates and treatment must be strictly
    exogenous: no feedback from past outcomes.

    Parameters
    ----------
    approach : {"cre", "cre_normal", "cre_mundlak", "fd", "within", "late", "dummies", "pooled"}
        What is done about the unit effects. ``"cre"``: unit means of the covariates are features, and the treatment's
        residual is demeaned by unit. ``"cre_normal"`` and ``"cre_mundlak"`` give the unit mean of the treatment to the
        treatment's model (to both models), which leaves a bias of order 1/T where m is not linear. ``"fd"``: first
        differences. ``"within"``: everything is demeaned before learning, right only if g and m are linear.
        ``"late"``: residuals are demeaned, right only if unit effects do not move the covariates. ``"dummies"``: an
        intercept a unit. ``"pooled"``: unit effects are ignored.
    learner_y, learner_d, learner_g : str or object with fit and predict
        Learners of the outcome given the covariates, of the treatments (and instruments), and, for ``score="iv"``, of
        the outcome less the treatment's part (default: that of y). By name: ``"series"`` (ridge on splines and
        products), ``"splines"``, ``"lasso"``, ``"ols"``, ``"hgb"`` (boosted trees), ``"forest"``, or ``"auto"``, a
        stack of series, lasso and hgb. A classifier's probability stands for the mean of a binary treatment.
    score : {"partialling_out", "iv"}
    n_folds : int
    n_rep : int
        Random splittings; with 5 or more the answer hardly depends on the seed.
    splitter : {"unit", "row", "period", "time_block", "nlo", "two_way"}
        What is kept together in a fold. The theory of clustered errors asks for ``"unit"``.
    time_effects : {"none", "dummies", "means"}
        Effects of periods: as dummies, or through the period means of covariates and treatment.
    time_step : float, optional
        Distance of consecutive periods for ``"fd"``; default the smallest one between any two periods.
    dml : {"dml2", "dml1"}
        One score over all folds, or the mean of the folds' estimates.
    aggregate : {"median", "mean", "doubleml"}
        Of the random splittings.
    vcov : {"cluster", "two_way", "hc1", "dkraay"}
        Errors clustered by unit (or ``cluster``), by unit and period, heteroskedastic, or Driscoll-Kraay.
    small_sample : bool
        Scale the variance of G clusters by G / (G - 1).
    dist : {"normal", "t"}
        Law of intervals; ``"t"`` has one degree of freedom less than clusters.
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
        In the order of the input, NaN for rows left out; of the first splitting, as all row-level attributes.
    residuals_d_, predictions_d_, scores_ : ndarray, shape (n, q)
    cluster_scores_ : ndarray, shape (G, q)
    folds_ : ndarray of int, shape (n_rep, n)
        -1 for rows left out.
    nuisance_r2_, nuisance_rmse_, stack_weights_ : dict
        By nuisance.
    theta_reps_, se_reps_ : ndarray, shape (n_rep, q)
    n_units_, n_obs_ : int
    t_bar_ : float
        Rows a unit.
    dropped_ : DataFrame
        Rows left out, by reason.
    models_ : dict

    Notes
    -----
    O(n p) memory. The built-in linear learners cost O(n p^2) once for all folds, penalties and targets: a fold's
    training Gram matrix is the total less the fold's own. Intervals are for ``"cre"`` and ``"fd"`` with unit folds.
    Fuhr and Papies advise to report linear fixed effects beside; :meth:`compare` does.

    References
    ----------
    .. [1] Fuhr, J. and Papies, D. (2024). Double machine learning meets panel data: promises, pitfalls, and potential
       solutions. arXiv:2409.01266.
    .. [2] Clarke, P. and Polselli, A. (2026). Double machine learning for static panel models with fixed effects.
       Econometrics Journal 29(1). arXiv:2312.08174.

    Examples
    --------
    >>> from mcstat.causal import PanelDML
    >>> from mcstat.datasets import make_panel_fp
    >>> data = make_panel_fp(n_units=200, random_state=0)
    >>> theta = data.pop("theta")
    >>> est = PanelDML(learner_y="series", learner_d="series", random_state=0).fit(**data).estimate()
    >>> bool(abs(float(est) - theta) < 0.1)
    True
    """

    def __init__(
        self,
        approach: str = "cre",
        learner_y: Any = "auto",
        learner_d: Any = "auto",
        learner_g: Any = None,
        *,
        score: str = "partialling_out",
        n_folds: int = 5,
        n_rep: int = 1,
        splitter: str = "unit",
        time_effects: str = "none",
        time_step: float | None = None,
        dml: str = "dml2",
        aggregate: str = "median",
        vcov: str = "cluster",
        small_sample: bool = True,
        dist: str = "normal",
        treatments: str = "joint",
        missing: str = "raise",
        store_models: bool = False,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.approach = approach
        self.learner_y = learner_y
        self.learner_d = learner_d
        self.learner_g = learner_g
        self.score = score
        self.n_folds = n_folds
        self.n_rep = n_rep
        self.splitter = splitter
        self.time_effects = time_effects
        self.time_step = time_step
        self.dml = dml
        self.aggregate = aggregate
        self.vcov = vcov
        self.small_sample = small_sample
        self.dist = dist
        self.treatments = treatments
        self.missing = missing
        self.store_models = store_models
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        y: ArrayLike | None = None,
        d: ArrayLike | None = None,
        X: ArrayLike | None = None,
        *,
        unit: Any = None,
        time: Any = None,
        z: ArrayLike | None = None,
        groups: Any = None,
        weights: Any = None,
        cluster: Any = None,
        folds: Any = None,
        predictions: Mapping[str, ArrayLike] | None = None,
        data: Any = None,
        outcome: str | None = None,
        treatment: str | Sequence[str] | None = None,
        covariates: Sequence[str] | None = None,
    ) -> Self:
        """Learn the nuisance functions out of fold and solve for the effect.

        Parameters
        ----------
        y : array_like, shape (n,)
        d : array_like or data frame, shape (n,) or (n, q)
        X : array_like or data frame, shape (n, J), optional
        unit, time : array_like, shape (n,)
            Left out where y or X has a (unit, time) index. Time: numbers or dates (labels will do, but not for
            ``"fd"``).
        z : array_like, shape (n,) or (n, q), optional
            Instruments, one a treatment.
        groups : array_like, shape (n,), optional
            The effect is estimated in each group.
        weights : array_like, shape (n,), optional
        cluster : array_like, shape (n,), optional
            Default: units. Clusters of whole units stay together in unit folds.
        folds : array_like, shape (n,), or list of (train, test), optional
            In place of random splittings.
        predictions : mapping, optional
            Out-of-fold predictions of ``"y"``, ``"d"`` or ``"z"`` made elsewhere, in the order of the input (for
            ``"fd"`` and ``"within"``: of the transformed columns).
        data : data frame, optional
            All other arguments are then names of its columns, with ``outcome``, ``treatment`` and ``covariates`` in
            place of y, d and X.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got: NaN, repeated (unit, time) pairs, a treatment that does
            not vary within units, more folds than units, ...
        """
        started = perf_counter()
        self._forget()
        self._check()
        if data is not None:
            named = {"unit": unit, "time": time, "z": z, "groups": groups, "weights": weights, "cluster": cluster}
            found = from_frame(data, outcome, treatment, covariates, **named)  # type: ignore[arg-type]
            y, d, X = found["y"], found["d"], found["X"]
            unit, time, z, groups, weights, cluster = (found[name] for name in named)
        with single_threaded():
            panel = read_panel(
                y, d, X, unit=unit, time=time, z=z, weights=weights, cluster=cluster, groups=groups,
                missing=self.missing,
            )  # fmt: skip
            self._panel, self._given = panel, (folds, predictions)
            self._run(panel, started)
        self._warn()
        return self

    def compare(self, approaches: Sequence[str] = ("cre", "fd", "within", "pooled")) -> pd.DataFrame:
        """Fit other approaches to the same rows, and linear fixed effects, and set them side by side.

        Parameters
        ----------
        approaches : sequence of str

        Returns
        -------
        DataFrame
            One row an approach (of several effects: an approach and effect): estimate, std_error, conf_low, conf_high.
            ``"linear FE"`` is least squares with unit effects and the covariates as they are; where it differs, forms
            that are not linear matter.
        """
        import pandas as pd

        self._check_fitted()
        found = {}
        for approach in approaches:
            splitter = "row" if approach == "dummies" and self.splitter in ("unit", "two_way") else self.splitter
            found[approach] = self._refit(self._panel, approach=approach, splitter=splitter).estimate()
        rows = np.arange(self._panel.n_input)
        linear = self._refit(
            self._panel, other_folds=[(rows, rows)], approach="within", learner_y="ols", learner_d="ols", n_rep=1
        )
        found["linear FE"] = linear.estimate()
        tables = {name: est.to_frame().set_index("term") for name, est in found.items()}
        table = pd.concat(tables, names=["approach"])[["estimate", "std_error", "conf_low", "conf_high"]]
        return table.droplevel("term") if len(found["linear FE"]) == 1 else table

    def fit_formula(self, formula: str, data: pd.DataFrame, **others: Any) -> Self:
        """Fit ``"y ~ d | x1 + poly(x2, 2) + C(z) | unit + time"`` (extra ``formula``).

        Parameters
        ----------
        formula : str
            Outcome, treatments | covariates, any terms of formulaic | names of the unit and time columns.
        data : data frame
        **others
            Other arguments of :meth:`fit`; strings name columns of ``data``.

        Returns
        -------
        self
        """
        y, d, X, unit, time = read_panel_formula(formula, data)
        columns: dict[str, Any] = {
            key: data[value] if isinstance(value, str) else value for key, value in others.items()
        }
        return self.fit(y, d, X, unit=unit, time=time, **columns)

    def _check(self) -> None:
        self._check_common()
        check_option("approach", self.approach, APPROACHES)
        check_option("score", self.score, SCORES)
        check_option("splitter", self.splitter, SPLITTERS)
        check_option("time_effects", self.time_effects, TIME_EFFECTS)
        check_option("vcov", self.vcov, VCOVS)
        check_option("dist", self.dist, ("normal", "t"))
        check_option("treatments", self.treatments, ("joint", "separate"))
        check_option("missing", self.missing, ("raise", "drop"))
        make_learner("learner_y", self.learner_y)
        make_learner("learner_d", self.learner_d)
        if self.learner_g is not None:
            make_learner("learner_g", self.learner_g)
        if self.time_step is not None:
            check_real("time_step", self.time_step, 0.0, closed="neither")
        if self.approach == "dummies" and self.splitter in ("unit", "two_way"):
            raise InvalidParameter(
                f"splitter must be 'row' (or by time) with approach='dummies', got {self.splitter!r}: units that no "
                "model has seen have no intercept"
            )

    def _prepare(self, panel: Panel) -> Prepared:
        prepared = prepare(panel, self.approach, self.time_effects, self.time_step)
        self._n_units = int(np.count_nonzero(np.bincount(prepared.unit)))
        return prepared

    def _split(self, part: Panel, rng: np.random.Generator) -> Folds:
        folds = self._given[0]
        if folds is not None:
            given = given_folds(folds, part.n_input)
            if self.approach == "dummies":
                _refuse_unseen_units(given, part)
            return restrict(given, part.rows, part.unit, rng)
        kept_together = part.unit
        if self.splitter == "unit" and _nests(part.cluster, part.unit):
            kept_together = np.unique(part.cluster, return_inverse=True)[1].astype(np.int64)
        period = np.unique(part.period, return_inverse=True)[1].astype(np.int64)
        return make_folds(self.splitter, self.n_folds, kept_together, period, rng)

    def _doubts(self, part: Panel, prepared: Prepared, learnt: Learnt) -> list[str]:
        notes = super()._doubts(part, prepared, learnt)
        if self.splitter == "unit" and not _nests(part.cluster, part.unit):
            notes.append("cluster splits units that unit folds keep together")
        return notes

    @property
    def n_units_(self) -> int:
        """Units that enter the estimate."""
        self._check_fitted()
        return self._n_units

    @property
    def t_bar_(self) -> float:
        """Rows a unit."""
        return self.n_obs_ / self.n_units_

    def _diagnostics(self) -> dict[str, Any]:
        return {"n_units": self.n_units_, "t_bar": self.t_bar_} | super()._diagnostics()


def _nests(cluster: IntArray, unit: IntArray) -> bool:
    """Whether every unit lies in one cluster."""
    if cluster is unit:
        return True
    order = np.argsort(unit, kind="stable")
    same_unit = np.diff(unit[order]) == 0
    return not np.any(same_unit & (np.diff(cluster[order]) != 0))


def _refuse_unseen_units(folds: Folds, part: Panel) -> None:
    of_row = folds.of_row[part.rows]
    for k in range(folds.n_folds):
        train = folds.training_rows(k)[part.rows]
        unseen = np.setdiff1d(part.unit[of_row == k], part.unit[train])
        if len(unseen):
            raise InvalidParameter(
                f"folds must leave rows of every unit to learn from with approach='dummies', fold {k}"
            )
