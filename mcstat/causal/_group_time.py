"""Staggered difference in differences: average effects of each group in each period, and what they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.causal._aggregates import AGGREGATIONS, combine
from mcstat.causal._did_cells import Cell, Effect, Settings, cells_of, effect
from mcstat.causal._did_data import Staggered, read_staggered
from mcstat.causal._learners import make_learner
from mcstat.causal._panel_data import from_frame
from mcstat.core.base import Estimator
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import Purpose, RandomState, child_seed, entropy_of, root_seed, stream

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GroupTimeATT"]

FloatArray = NDArray[np.float64]


class GroupTimeATT(Estimator):
    """Average effects on groups that are treated from different periods on, ATT(g, t).

    Outcomes of a group are compared to those of controls, in differences to a base period before treatment, so unit
    effects and common shocks drop out; covariates, where they are given, may move trends, and are learnt.

    Parameters
    ----------
    control : {"never", "not_yet"}
        Units that are never treated, or all that are not treated yet.
    anticipation : int
        Periods before treatment in which it already may have an effect.
    base_period : {"varying", "universal"}
        Before treatment: the previous period, or the last one before treatment throughout.
    method : {"dr", "reg"}
        With covariates: doubly robust with learnt trends and propensities, or a linear regression of the controls'
        trends. Groups with fewer than 10 treated units get the latter.
    learner_y, learner_d : str or object with fit and predict
        Learners of the controls' trend and of the propensity; names as in :class:`PLR`.
    n_folds : int
    clip : float
        Propensities are kept inside [clip, 1 - clip].
    n_jobs : int, optional
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    cells_ : DataFrame
        A row a cell: group, time, base, treated, control, clipped, method, reason where there is no estimate.
    influence_ : DataFrame
        A row a unit, a column a cell.

    Notes
    -----
    O(cells) cross-fits with covariates, closed form without. Joint bands over all cells or event times are
    ``estimate.conf_int(joint=True)``.

    References
    ----------
    .. [1] Callaway, B. and Sant'Anna, P. H. C. (2021). Difference-in-differences with multiple time periods. Journal of
       Econometrics 225, 200-230. arXiv:1803.09015.

    Examples
    --------
    >>> from mcstat.causal import GroupTimeATT
    >>> from mcstat.datasets import make_did
    >>> data = make_did(random_state=0)
    >>> truth = data.pop("effect"), data.pop("X")
    >>> model = GroupTimeATT().fit(**data)
    >>> model.aggregate("dynamic").names[-1]
    'overall'
    """

    def __init__(
        self,
        control: str = "never",
        *,
        anticipation: int = 0,
        base_period: str = "varying",
        method: str = "dr",
        learner_y: Any = "auto",
        learner_d: Any = "auto",
        n_folds: int = 5,
        clip: float = 0.01,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.control = control
        self.anticipation = anticipation
        self.base_period = base_period
        self.method = method
        self.learner_y = learner_y
        self.learner_d = learner_d
        self.n_folds = n_folds
        self.clip = clip
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        y: ArrayLike | None = None,
        X: ArrayLike | None = None,
        *,
        unit: Any = None,
        time: Any = None,
        first_treated: Any = None,
        cluster: Any = None,
        data: Any = None,
        outcome: str | None = None,
        covariates: Sequence[str] | None = None,
    ) -> Self:
        """Estimate every cell.

        Parameters
        ----------
        y : array_like, shape (n,)
        X : array_like or data frame, shape (n, J), optional
            Taken in the base period.
        unit, time : array_like, shape (n,)
        first_treated : array_like, shape (n,)
            First treated period of the row's unit; 0, NaN or infinity for never.
        cluster : array_like, shape (n,), optional
            Above units.
        data : data frame, optional
            All other arguments are then names of its columns.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        """
        started = perf_counter()
        self._forget()
        settings = self._settings_of_cells()
        if data is not None:
            named = {"unit": unit, "time": time, "first_treated": first_treated, "cluster": cluster}
            found = from_frame(data, outcome, first_treated, covariates, **named)  # type: ignore[arg-type]
            y, X = found["y"], found["X"]
            unit, time, first_treated, cluster = (found[name] for name in named)
        with single_threaded():
            panel = read_staggered(y, X, unit=unit, time=time, first_treated=first_treated, cluster=cluster)
            root = root_seed(self.random_state)
            cells = cells_of(panel, settings)
            effects = [
                effect(
                    panel, cell, settings, stream(root, "GroupTimeATT", Purpose.FOLDS, j),
                    child_seed(root, "GroupTimeATT", Purpose.REPLICATES, j),
                )
                for j, cell in enumerate(cells)
            ]  # fmt: skip
        self._entropy = entropy_of(root)
        self._learn(panel, cells, effects, started)
        for note in self._notes:
            warn(note, ReliabilityWarning, stacklevel=2)
        return self

    def _settings_of_cells(self) -> Settings:
        make_learner("learner_y", self.learner_y)
        make_learner("learner_d", self.learner_d)
        return Settings(
            control=check_option("control", self.control, ("never", "not_yet")),
            anticipation=check_integer("anticipation", self.anticipation),
            universal=check_option("base_period", self.base_period, ("varying", "universal")) == "universal",
            method=check_option("method", self.method, ("dr", "reg")),
            learner_y=self.learner_y,
            learner_d=self.learner_d,
            n_folds=check_integer("n_folds", self.n_folds, 2),
            clip=check_real("clip", self.clip, 0.0, 0.5, closed="neither"),
            n_jobs=self.n_jobs,
        )

    def _learn(self, panel: Staggered, cells: list[Cell], effects: list[Effect], started: float) -> None:
        import pandas as pd

        table = pd.DataFrame(
            {
                "group": [cell.group for cell in cells],
                "time": [cell.time for cell in cells],
                "base": [cell.base for cell in cells],
                "treated": [int(cell.treated.sum()) for cell in cells],
                "control": [int(cell.control.sum()) for cell in cells],
                "clipped": [one.clipped for one in effects],
                "method": [one.method for one in effects],
                "reason": [one.reason for one in effects],
            }
        )
        there = [j for j, one in enumerate(effects) if not one.reason]
        if not there:
            raise InvalidData("first_treated must leave treated and control units in some period, got none")
        notes = list(panel.notes)
        if len(there) < len(cells):
            notes.append(f"{len(cells) - len(there)} cell(s) have no treated or no control units and no estimate")
        if clipped := int(table["clipped"].sum()):
            notes.append(f"{clipped} propensities were moved to [{self.clip:g}, {1 - self.clip:g}]: little overlap")
        few = int((table["method"] != self.method).sum())
        if few:
            notes.append(f"{few} cell(s) with few treated units were estimated by regression")
        self._theta = np.array([effects[j].theta for j in there])
        self._influence = np.column_stack([effects[j].influence for j in there])
        self._group = np.array([cells[j].group for j in there])
        self._time = np.array([cells[j].time for j in there])
        self._panel, self._notes = panel, tuple(notes)
        self._seconds = perf_counter() - started
        self.cells_ = table

    @property
    def influence_(self) -> pd.DataFrame:
        """Each unit's influence on each cell's effect."""
        import pandas as pd

        self._check_fitted()
        return pd.DataFrame(self._influence, columns=self._cell_names())

    def _cell_names(self) -> list[str]:
        return [f"ATT({g:g}, {t:g})" for g, t in zip(self._group, self._time, strict=True)]

    def _estimate_of(
        self, value: FloatArray, influence: FloatArray, names: Sequence[str], estimand: str, **coords: FloatArray
    ) -> Estimate:
        n = len(influence)
        sums = np.zeros((int(self._panel.cluster.max()) + 1, len(value)))
        np.add.at(sums, self._panel.cluster, influence)
        return Estimate(
            value=value,
            cov=sums.T @ sums / n**2,
            names=tuple(names),
            coords=coords,
            influence=influence,
            sample_id=self._panel.sample_id,
            clusters=self._panel.cluster,
            estimand=estimand,
            method="GroupTimeATT",
            diagnostics={"n_units": n, "n_clusters": len(np.unique(self._panel.cluster))},
            warnings=self._notes,
            info={
                "parameters": self._settings(),
                "entropy": self._entropy,
                "n": n,
                "seconds": self._seconds,
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )

    def _make_estimate(self) -> Estimate:
        coords = {"group": self._group, "time": self._time}
        return self._estimate_of(
            self._theta, self._influence, self._cell_names(), "effect on each group in each period", **coords
        )

    def aggregate(self, how: str = "dynamic", *, balance_e: int | None = None) -> Estimate:
        """Add the cells up.

        Parameters
        ----------
        how : {"simple", "dynamic", "group", "calendar"}
            The mean over all treated cells; by time since treatment (event study), by group, or by period; the latter
            three with their ``overall`` mean after treatment.
        balance_e : int, optional
            With ``"dynamic"``: only groups that are observed so many periods after treatment.

        Returns
        -------
        Estimate
            Weights are the groups' sizes, whose sampling error is part of the error.
        """
        self._check_fitted()
        check_option("how", how, AGGREGATIONS)
        if balance_e is not None:
            check_integer("balance_e", balance_e)
        value, influence, names, labels = combine(
            how, self._theta, self._influence, self._group, self._time, self._panel.first, balance_e
        )
        key = {"simple": "term", "dynamic": "event_time", "group": "group", "calendar": "time"}[how]
        return self._estimate_of(value, influence, names, f"average effect on the treated, {how}", **{key: labels})

    def pretrend_test(self) -> pd.Series:
        """Wald test that no cell before treatment (and its anticipation) has an effect; degrees of freedom by rank.

        Returns
        -------
        Series
            ``statistic``, ``df`` and ``p_value``.
        """
        import pandas as pd
        from scipy.special import chdtrc

        self._check_fitted()
        before = self._time < self._group - self.anticipation
        before &= np.abs(self._influence).max(axis=0) > 0
        if not before.any():
            raise InvalidData("time must hold cells before treatment, got none")
        est = self._make_estimate()
        assert est.cov is not None  # noqa: S101
        cov, theta = est.cov[np.ix_(before, before)], self._theta[before]
        statistic = float(theta @ np.linalg.pinv(cov, hermitian=True) @ theta)
        df = int(np.linalg.matrix_rank(cov, hermitian=True))
        return pd.Series({"statistic": statistic, "df": float(df), "p_value": float(chdtrc(df, statistic))})

    def plot_event_study(self, ax: Any = None, *, level: float = 0.95, joint: bool = True) -> Any:
        """Effects by time since treatment with their intervals, by default a joint band (extra ``plot``).

        Returns
        -------
        matplotlib Axes
        """
        from mcstat.core.plots import axes

        est = self.aggregate("dynamic")
        est = est[list(est.names[:-1])]
        event = est.coords["event_time"]
        band = est.conf_int(level, joint=joint and len(est) > 1)
        ax = axes(ax, figsize=(6.0, 3.6))
        for part, colour, label in ((event < 0, "0.5", "before"), (event >= 0, "C0", "after")):
            ax.vlines(event[part], band["lower"][part], band["upper"][part], color=colour)
            ax.plot(event[part], est.value[part], "o", color=colour, label=label)
        ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        ax.set_xlabel("periods since treatment")
        ax.set_ylabel(band.columns.name)
        ax.legend()
        return ax
