"""Group-time average treatment effects: differences in differences with staggered treatment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.causal._base import MULTIPLIERS
from mcstat.causal._group_time_bands import SCALES, bootstrap_draws, spread_of
from mcstat.causal._group_time_cells import Cell, list_cells
from mcstat.causal._group_time_doubts import SMALL_COHORT, doubts
from mcstat.causal._group_time_effect import cell_effect
from mcstat.causal._group_time_learn import CrossFits
from mcstat.causal._group_time_sums import KINDS, Effects, Exposed, average
from mcstat.causal._learners import make_learner
from mcstat.causal._panel_data import from_frame
from mcstat.causal._sections import read_sections
from mcstat.causal._sensitivity import Sensitive
from mcstat.causal._staggered import Staggered, read_rows, read_staggered
from mcstat.causal._two_way import two_way_effect
from mcstat.core._algebra import WaldTest, joint_covariance
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GroupTimeATT"]

FloatArray = NDArray[np.float64]

METHODS = ("dr", "dr_efficient", "reg", "ipw", "experimental")
_BY = {"simple": "over all cells", "dynamic": "by time since treatment", "group": "by cohort", "calendar": "by period"}
_WITH_PROPENSITY = ("dr", "dr_efficient")
# Kept of each cell beside the row of ``cells_``: treated units in the period with fewer, and for the bounds.
_HIDDEN = ("fewest", "influence", "scale", "scale_influence")


class GroupTimeATT(Sensitive):
    """Effect of a treatment that begins at different times: for each cohort in each period, and averaged.

    ATT(g, t) is the mean effect in period t on the units first treated in g. It is the change of their outcome since a
    period before treatment, beyond the change of comparable units not treated then: parallel trends given covariates.

    Parameters
    ----------
    control : {"never", "not_yet"}
        Compare with units that are never treated, or with all that are not treated yet in either period.
    panel : bool
        False for repeated cross sections: every row is somebody observed once, and cohorts are compared between the
        rows of two periods.
    anticipation : float
        How long before treatment its announcement may move the outcome, in the units of time.
    base_period : {"varying", "universal"}
        Before treatment, compare with the period before (each pre-treatment cell is a one-period placebo), or with the
        last period before treatment throughout (for event-study plots; that cell is exactly 0).
    method : {"dr", "dr_efficient", "reg", "ipw", "experimental"}
        With covariates: doubly robust with cross-fitted learners; the same for repeated cross sections with the
        treated's outcomes learnt as well, for smaller errors; linear regression of the controls' changes (of cross
        sections: of their outcomes in each period); weights of a logistic propensity (in each period); cross-fitted
        regressions of both arms under random assignment. Without covariates all are differences of means.
    learner_outcome, learner_propensity : str or object
        ``"auto"``, ``"series"``, ``"splines"``, ``"lasso"``, ``"ols"``, ``"hgb"``, ``"forest"``, or anything with
        ``fit`` and ``predict`` (``predict_proba``), for "dr", "dr_efficient" and "experimental".
    n_folds, n_rep : int
        Folds of units, and random splittings that are averaged.
    normalize : bool
        Whether the controls' weights are scaled to mean 1.
    clip : float
        Propensities are kept in [clip, 1 - clip]; how many were not is reported.
    n_jobs : int, optional
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    cells_ : DataFrame
        One row each: group, time, base, effect, standard error, treated and controls (of cross sections: rows
        of both periods), clipped propensities, the method used, and why there is no effect where there is none.
    influence_ : DataFrame, shape (n, cells)
        Influence values of units; index: units, or numbers of rows.
    n_units_ : int

    Warns
    -----
    ReliabilityWarning
        Units dropped because they are treated from the start; cohorts below 10 units, where "dr" uses linear
        regression, and below 5, whose errors are too small; cells that cannot be estimated; many clipped propensities.

    Notes
    -----
    Values of covariates are those of the base period. Panels need not be balanced: a cell uses the units observed in
    both of its periods. Nuisance functions are shared between cells that have controls and covariates in common: with
    never-treated controls there is one propensity a cohort and one regression a pair of periods. O(n cells) beside
    them.

    Without covariates, with never-treated controls and the universal base, effects by time since treatment are those of
    Sun and Abraham (2021). ``conf_int(joint=True)`` of every Estimate is the band for all its quantities at once. Units
    are the sampling units, or clusters of them.

    With repeated cross sections an effect is the difference of two comparisons of outcomes, in the period and in its
    base; "dr" and "dr_efficient" are the two doubly robust estimators of Sant'Anna and Zhao (2020) for them, with the
    propensity learnt from the rows of both periods. One more assumption is needed: who is of a cohort, and with which
    covariates, does not change between the periods. Shares of cohorts are those among all rows. The same rows as a
    panel give smaller errors where a unit's outcomes are alike.

    ``sensitivity`` and ``robustness_value`` bound every cell and the "simple" average, ``"overall"``, for which the
    worst happens in all cells at once. What is left unexplained of the treated is taken around the controls' regression
    and one effect: where effects differ between units, that is more than it need be, and the bounds are wider.

    References
    ----------
    .. [1] Callaway, B. and Sant'Anna, P. H. C. (2021). Difference-in-differences with multiple time periods. Journal of
       Econometrics 225, 200-230. doi:10.1016/j.jeconom.2020.12.001.
    .. [2] Sant'Anna, P. H. C. and Zhao, J. (2020). Doubly robust difference-in-differences estimators. Journal of
       Econometrics 219, 101-122. doi:10.1016/j.jeconom.2020.06.003.
    .. [3] Chang, N.-C. (2020). Double/debiased machine learning for difference-in-differences models. Econometrics
       Journal 23, 177-191. doi:10.1093/ectj/utaa001.

    Examples
    --------
    >>> from mcstat.causal import GroupTimeATT
    >>> from mcstat.datasets import make_did
    >>> panel = make_did(n_units=300, random_state=0)
    >>> start = {name: panel[name] for name in ("unit", "time", "first_treated")}
    >>> did = GroupTimeATT(method="reg").fit(panel["y"], panel["X"], **start)
    >>> did.aggregate("dynamic").names[:3]
    ('overall', 'e=-3', 'e=-2')
    """

    def __init__(
        self,
        control: str = "never",
        *,
        panel: bool = True,
        anticipation: float = 0.0,
        base_period: str = "varying",
        method: str = "dr",
        learner_outcome: Any = "auto",
        learner_propensity: Any = "auto",
        n_folds: int = 5,
        n_rep: int = 1,
        normalize: bool = True,
        clip: float = 0.01,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.control = control
        self.panel = panel
        self.anticipation = anticipation
        self.base_period = base_period
        self.method = method
        self.learner_outcome = learner_outcome
        self.learner_propensity = learner_propensity
        self.n_folds = n_folds
        self.n_rep = n_rep
        self.normalize = normalize
        self.clip = clip
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        y: Any = None,
        X: Any = None,
        *,
        unit: Any = None,
        time: Any = None,
        first_treated: Any = None,
        weights: Any = None,
        cluster: Any = None,
        data: Any = None,
        outcome: str | None = None,
        covariates: Sequence[str] | None = None,
    ) -> Self:
        """Estimate every cell.

        Parameters
        ----------
        y : array_like, shape (n,)
        X : array_like or data frame, shape (n, p), optional
            Covariates. Only their values in base periods are used, so none is later than the treatment.
        unit, time : array_like, shape (n,)
            Time: numbers, dates, or labels that sort. With ``panel=False`` unit may be left out; where it is given,
            rows of one unit share a fold and, unless ``cluster`` is given, a cluster.
        first_treated : array_like, shape (n,)
            When the unit of the row was first treated, in every row of the unit; NaN, infinity, NaT or (where all times
            are positive) 0 for never.
        weights, cluster : array_like, shape (n,), optional
            Constant within units of a panel.
        data : data frame, optional
            All other arguments are then names of its columns, ``outcome`` and ``covariates`` in place of y and X.

        Returns
        -------
        GroupTimeATT

        Raises
        ------
        InvalidData, InvalidParameter
            Naming the argument.
        """
        started = perf_counter()
        self._forget()
        self._check()
        if data is not None:
            named = {"unit": unit, "time": time, "first_treated": first_treated, "weights": weights, "cluster": cluster}
            found = from_frame(data, outcome, outcome, covariates, **named)  # type: ignore[arg-type]
            y, X = found["y"], found["X"]
            unit, time, first_treated, weights, cluster = (found[name] for name in named)
        rows = read_rows(y, X, time=time, first_treated=first_treated, weights=weights, cluster=cluster)
        panel = read_staggered(rows, unit) if self.panel else read_sections(rows, unit)
        root = root_seed(self.random_state)
        self._entropy, self._root = entropy_of(root), root
        cells = list_cells(panel, self.control, float(self.anticipation), self.base_period == "universal")
        with single_threaded():
            fits = CrossFits(
                panel, cells, self._learners(panel, cells), self.n_folds, self.n_rep, self.n_jobs, root, "GroupTimeATT"
            )
            table = [self._cell(panel, cell, fits) for cell in cells]
        self._keep(panel, table)
        self._seconds = perf_counter() - started
        for note in self._notes:
            warn(note, ReliabilityWarning, stacklevel=2)
        return self

    def _check(self) -> None:
        check_option("control", self.control, ("never", "not_yet"))
        if not isinstance(self.panel, bool):
            raise InvalidParameter(f"panel must be True or False, got {self.panel!r}")
        check_real("anticipation", self.anticipation, 0.0)
        check_option("base_period", self.base_period, ("varying", "universal"))
        check_option("method", self.method, METHODS)
        if self.method == "dr_efficient" and self.panel:
            raise InvalidParameter("method='dr_efficient' is for panel=False; of a panel 'dr' is the efficient one")
        check_integer("n_folds", self.n_folds, 2)
        check_integer("n_rep", self.n_rep, 1)
        check_real("clip", self.clip, 0.0, 0.5, closed="neither")
        make_learner("learner_outcome", self.learner_outcome)
        make_learner("learner_propensity", self.learner_propensity)

    def _learners(self, panel: Staggered, cells: Sequence[Cell]) -> dict[str, Any]:
        """Nuisance functions that the method wants, with their learners."""
        if not panel.covariates or self.method in ("reg", "ipw"):
            return {}
        if self.method == "dr":
            return {"outcome": self.learner_outcome, "propensity": self.learner_propensity}
        found = {"outcome": self.learner_outcome, "outcome_treated": self.learner_outcome}
        return found if self.method == "experimental" else found | {"propensity": self.learner_propensity}

    def _cell(self, panel: Staggered, cell: Cell, fits: CrossFits) -> dict[str, Any]:
        """One row of ``cells_``, and what is not shown there: see ``_HIDDEN``."""
        parts, n = panel.parts(cell.period, cell.base), len(panel.first)
        fewest = min(int((cell.treated & part.seen).sum()) for part in parts)
        row: dict[str, Any] = {
            "group": cell.group, "period": cell.period, "base": cell.base, "effect": np.nan,
            "n_treated": int(cell.treated.sum()), "n_control": int(cell.control.sum()), "clipped": 0,
            "method": self.method if panel.covariates else "means", "note": "", "fewest": fewest,
            "influence": np.zeros(n), "scale": np.nan, "scale_influence": np.zeros(n),
        }  # fmt: skip
        if cell.base == cell.period:
            return row | {"effect": 0.0, "scale": 0.0, "note": "base period"}
        if lacks := cell.lacks(parts):
            return row | {"note": lacks}
        if self.method in _WITH_PROPENSITY and panel.covariates and fewest < SMALL_COHORT:
            row["method"] = "reg"
        try:
            found = cell_effect(panel, cell, row["method"], fits, self.n_rep, self.clip, self.normalize)
        except InvalidData as error:
            return row | {"note": str(error)}
        return row | {
            "effect": found.value, "clipped": found.clipped, "influence": found.influence, "scale": found.scale,
            "scale_influence": found.scale_influence,
        }  # fmt: skip

    def _keep(self, panel: Staggered, rows: list[dict[str, Any]]) -> None:
        import pandas as pd

        known = np.array([np.isfinite(row["effect"]) for row in rows], dtype=bool)
        if not known.any():
            raise InvalidData(f"no cell can be estimated, the first because of: {rows[0]['note']}")
        self._panel, self.n_units_ = panel, len(panel.first)
        self._clusters = panel.cluster if len(np.unique(panel.cluster)) < len(panel.cluster) else None
        kept = [row for row, is_known in zip(rows, known, strict=True) if is_known]
        influence = np.column_stack([row["influence"] for row in kept])
        self._effects = Effects(
            np.array([row["effect"] for row in kept]), influence, np.array([row["group"] for row in kept]),
            panel.clock[[row["period"] for row in kept]], panel.first, panel.weights,
        )  # fmt: skip
        self._times = np.array([panel.periods[row["period"]] for row in kept])
        self._names = [f"ATT({panel.label(row['group'])}, {panel.periods[row['period']]})" for row in kept]
        # What a confounder of strength 1 would do to each cell; the bounds are made when they are asked for.
        scales = np.array([row["scale"] for row in kept])
        self._shifts = replace(
            self._effects, a=scales, influence=np.column_stack([row["scale_influence"] for row in kept])
        )
        self._exposed: Exposed | None = None
        self.influence_ = pd.DataFrame(influence, index=list(panel.units), columns=self._names)
        errors = np.full(len(rows), np.nan)
        errors[known] = self._estimate(self._effects.a, influence, self._names).std_error
        table = pd.DataFrame([{key: row[key] for key in row if key not in _HIDDEN} for row in rows])
        table.insert(0, "time", [panel.periods[period] for period in table.pop("period")])
        table["group"] = [panel.label(group) for group in table["group"]]
        table["base"] = [panel.periods[base] for base in table["base"]]
        table.insert(4, "std_error", errors)
        self.cells_ = table[["group", *[column for column in table.columns if column != "group"]]]
        self._notes = tuple(doubts(panel, rows, self.method in _WITH_PROPENSITY))

    def _estimate(
        self,
        values: FloatArray,
        influence: FloatArray,
        names: Sequence[str],
        coords: dict[str, Any] | None = None,
        estimand: str = "average effects on the treated by cohort and period",
    ) -> Estimate:
        panel = self._panel
        return Estimate(
            value=values, influence=influence, names=tuple(names), coords=coords or {}, sample_id=panel.sample_id,
            clusters=self._clusters,
            kind="frequentist", estimand=estimand, method=f"GroupTimeATT ({self.method})",
            diagnostics={"units": len(panel.first), "cohorts": len(panel.cohorts), "periods": len(panel.clock)},
            warnings=getattr(self, "_notes", ()),
            info={
                "parameters": self._settings(), "entropy": self._entropy, "n": len(panel.first),
                "seconds": getattr(self, "_seconds", 0.0),
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )  # fmt: skip

    def _make_estimate(self) -> Estimate:
        labels = np.array([self._panel.label(group) for group in self._effects.group])
        coords = {"group": labels, "time": self._times}
        return self._estimate(self._effects.a, self._effects.influence, self._names, coords)

    def aggregate(self, kind: str = "simple", *, balance_e: float | None = None) -> Estimate:
        """Average the cells.

        Parameters
        ----------
        kind : {"simple", "dynamic", "group", "calendar"}
            All cells after treatment by the shares of their cohorts; by time since treatment; by cohort; by period.
            The first quantity is always the overall one: for "dynamic" the mean over times from 0 on, for "calendar"
            over periods, for "group" over cohorts by their shares.
        balance_e : float, optional
            For "dynamic": only cohorts observed for so long after treatment, and no later times, so that all times
            average over the same cohorts.

        Returns
        -------
        Estimate
            Of units' influence values, those of the cohorts' shares included.
        """
        self._check_fitted()
        check_option("kind", kind, KINDS)
        if balance_e is not None:
            check_real("balance_e", balance_e, 0.0)
        effects, panel = self._effects, self._panel
        post = self._is_post()
        if not post.any():
            raise InvalidData("there is no cell after treatment to average")
        found = average(effects, kind, post, balance_e, float(panel.clock[-1]))
        if kind == "dynamic":
            labels = [f"e={e:g}" for e in found.labels]
        else:
            labels = [panel.label(label) for label in found.labels]
        return self._estimate(
            found.values, found.influence, ["overall", *labels], estimand=f"average effect on the treated {_BY[kind]}"
        )

    def bootstrap(
        self, kind: str | None = None, *, multiplier: str = "normal", n_draws: int = 999, scale: str = "sd"
    ) -> Estimate:
        """Draw the errors by multiplying each unit's (or cluster's) influence with a random number.

        Parameters
        ----------
        kind : {"simple", "dynamic", "group", "calendar"}, optional
            Which averages, as for ``aggregate``; by default all cells.
        multiplier : {"normal", "wild", "rademacher", "webb", "bayes"}
        n_draws : int
        scale : {"sd", "iqr"}
            Standard errors by the draws' standard deviation, or by their interquartile range over that of a normal law,
            which does not mind a few wild draws (and is what the R package did has).

        Returns
        -------
        Estimate
            Of kind ``"bootstrap"``; ``conf_int(joint=True)`` is the band for all quantities at once. O(n_draws n q):
            nothing is learnt again, and the draws are the same at each call.
        """
        self._check_fitted()
        check_option("multiplier", multiplier, MULTIPLIERS)
        check_option("scale", scale, SCALES)
        n_draws = check_integer("n_draws", n_draws, 2)
        est = self.estimate() if kind is None else self.aggregate(kind)
        draws = bootstrap_draws(est, multiplier, n_draws, stream(self._root, "GroupTimeATT", Purpose.BOOTSTRAP, 0))
        return Estimate(
            value=est.value, draws=draws[None], names=est.names, coords=est.coords, kind="bootstrap",
            std_error=spread_of(draws, scale), estimand=est.estimand,
            method=f"{est.method}, {multiplier} multipliers", warnings=est.warnings,
        )  # fmt: skip

    def _is_post(self) -> NDArray[np.bool_]:
        return np.asarray(self._effects.time >= self._effects.group)

    def _expose(self) -> Exposed:
        """Cells that a confounder would move, and the mean of those after treatment, as if all were moved alike."""
        if self._exposed is not None:
            return self._exposed
        moved = self._shifts.a > 0
        if not moved.any():
            raise InvalidParameter(
                f"method must model the outcome for a sensitivity analysis, got {self.method!r} with covariates"
            )
        both = (self._effects, self._shifts)
        found = {self._names[j]: [(one.a[j], one.influence[:, j]) for one in both] for j in np.flatnonzero(moved)}
        if (moved & self._is_post()).any():
            found["overall"] = [one.mean(self._is_post()) for one in both]
        values = np.array([[value for value, _ in pair] for pair in found.values()])
        cov = [
            joint_covariance(self._estimate(value, np.column_stack([part for _, part in pair]), ["theta", "S"]))
            for value, pair in zip(values, found.values(), strict=True)
        ]
        self._exposed = Exposed(tuple(found), values[:, 0], values[:, 1], np.array(cov))
        return self._exposed

    def _quantities(self) -> tuple[Sequence[str], FloatArray]:
        exposed = self._expose()
        return exposed.names, exposed.theta

    def _scale(self, j: int) -> float:
        return float(self._expose().scale[j])

    def _bound(self, j: int, signed: float) -> tuple[float, float]:
        exposed, direction = self._expose(), np.array([1.0, signed])
        return exposed.theta[j] + signed * exposed.scale[j], float(np.sqrt(direction @ exposed.cov[j] @ direction))

    def pretrend_test(self) -> WaldTest:
        """Wald test that all effects before treatment (and anticipation) are 0.

        Its degrees of freedom are the rank of their covariance. Passing it does not prove parallel trends: it may lack
        the power to see what would matter.
        """
        self._check_fitted()
        from scipy.special import chdtrc

        pre = (self._effects.time < self._effects.group - self.anticipation) & (self._effects.influence != 0).any(
            axis=0
        )
        if not pre.any():
            raise InvalidData("there is no cell before treatment to test")
        names = [name for name, is_pre in zip(self._names, pre, strict=True) if is_pre]
        est = self._estimate(self._effects.a[pre], self._effects.influence[:, pre], names)
        cov = joint_covariance(est)
        rank = int(np.linalg.matrix_rank(cov, hermitian=True))
        statistic = float(est.value @ np.linalg.pinv(cov, hermitian=True) @ est.value)
        return WaldTest(statistic, float(chdtrc(rank, statistic)), f"chi2({rank})")

    def compare(self, level: float = 0.95) -> pd.DataFrame:
        """The overall effects side by side, with that of the two-way fixed-effects regression without covariates.

        Returns
        -------
        DataFrame
            One row a way: estimate, std_error, conf_low, conf_high. Where effects grow with time the two-way regression
            takes treated units for controls, and may even have the wrong sign.
        """
        import pandas as pd

        self._check_fitted()
        value, influence = two_way_effect(self._panel)
        two_way = self._estimate(np.array([value]), influence[:, None], ["two-way fixed effects"])
        found = {f"group-time, {kind}": self.aggregate(kind)["overall"] for kind in KINDS}
        rows = {name: est.to_frame(level).iloc[0] for name, est in (found | {two_way.names[0]: two_way}).items()}
        return pd.DataFrame(rows).T[["estimate", "std_error", "conf_low", "conf_high"]].astype(float)

    def plot_event_study(self, ax: Any = None, level: float = 0.95, *, joint: bool = True) -> Any:
        """Effects by time since treatment with intervals, a joint band by default (extra ``plot``).

        Returns
        -------
        matplotlib Axes
        """
        from mcstat.causal._views import plot_event_study

        est = self.aggregate("dynamic")
        return plot_event_study(est[list(est.names[1:])], ax, level, joint)
