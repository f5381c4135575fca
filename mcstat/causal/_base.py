"""What the estimators of the room share: from scores of several splittings to one Estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.causal._nuisance import Learnt
from mcstat.causal._solve import Score, Solution, Sums, aggregate, cluster_sums, covariance, solve_all
from mcstat.core.base import Estimator
from mcstat.core.checks import check_integer, check_option
from mcstat.core.errors import ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, entropy_of, root_seed, stream

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AGGREGATES", "DML", "MULTIPLIERS", "DoubleML", "Repetition", "Sample", "multipliers"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DML = ("dml1", "dml2")
AGGREGATES = ("median", "mean", "doubleml")
MULTIPLIERS = ("normal", "wild", "rademacher", "webb", "bayes")
ADJUSTMENTS = ("romano_wolf", "holm", "bh")
_FEW_CLUSTERS = 30
_BOOTSTRAP_BLOCK = 256


@dataclass(frozen=True)
class Sample:
    """The rows that an estimate stands on.

    Attributes
    ----------
    rows : ndarray of int, shape (m,)
        Places in the input of the rows used.
    n_input : int
    cluster, period : ndarray of int, shape (m,)
    all_clusters : ndarray, shape (n_input,)
    names : tuple of str
        Of the reported quantities.
    estimand : str
    sample_id : str
    """

    rows: IntArray
    n_input: int
    cluster: IntArray
    period: IntArray
    all_clusters: IntArray
    names: tuple[str, ...]
    estimand: str
    sample_id: str

    def spread(self, values: NDArray[Any], missing: float = np.nan) -> NDArray[Any]:
        """Values of the rows used, (m, ...), in the order of the input, ``missing`` elsewhere."""
        if len(self.rows) == self.n_input:
            return values.copy()
        out = np.full((self.n_input, *values.shape[1:]), missing, dtype=values.dtype)
        out[self.rows] = values
        return out


@dataclass(frozen=True)
class Repetition:
    """One random splitting: its scores (of treatments that go together), the fold of each row, the nuisances."""

    scores: tuple[Score, ...]
    of_row: IntArray
    learnt: Learnt


class DoubleML(Estimator):
    """From scores to an Estimate. Subclasses make the repetitions."""

    n_folds: int
    n_rep: int
    dml: str
    aggregate: str
    small_sample: bool
    random_state: Any

    def _check_common(self) -> None:
        check_integer("n_folds", self.n_folds, 2)
        check_integer("n_rep", self.n_rep, 1)
        check_option("dml", self.dml, DML)
        check_option("aggregate", self.aggregate, AGGREGATES)

    def _conclude(
        self, sample: Sample, repetitions: Sequence[Repetition], vcov: str, notes: list[str], started: float
    ) -> None:
        """Solve each repetition's score and keep what estimates, tests and bounds need."""
        sums = Sums(sample.cluster, sample.period, vcov, bool(self.small_sample))
        solutions = [solve_all(one.scores, one.of_row, self.dml) for one in repetitions]
        found = [covariance(solution.parts, sums) for solution in solutions]
        notes += list(dict.fromkeys(note for _, note in found if note))
        thetas, covs = np.array([s.theta for s in solutions]), np.array([c for c, _ in found])
        self._theta, self._cov = aggregate(thetas, covs, self.aggregate)
        self.theta_reps_ = thetas
        self.se_reps_ = np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
        self._keep_rows(sample, repetitions, solutions)
        first = repetitions[0].learnt
        self.nuisance_r2_, self.nuisance_rmse_ = first.r2, first.rmse
        self.stack_weights_ = dict(first.stack)
        self.n_obs_ = len(sample.rows)
        self._sample, self._sums = sample, sums
        self._n_clusters = int(np.count_nonzero(np.bincount(sample.cluster)))
        if vcov in ("cluster", "two_way") and self._n_clusters < _FEW_CLUSTERS:
            notes.append(f"only {self._n_clusters} clusters: the covariance is that of many; dist='t' is wider")
        self._notes, self._seconds = tuple(notes), perf_counter() - started

    def _keep_rows(self, sample: Sample, repetitions: Sequence[Repetition], solutions: Sequence[Solution]) -> None:
        first, solution = repetitions[0], solutions[0]
        self.residuals_y_ = sample.spread(first.scores[0].e)
        V = [score.V for score in first.scores]
        self.residuals_d_ = sample.spread(V[0] if len(V) == 1 else np.hstack(V))
        predictions = first.learnt.predictions
        if "y" in predictions:
            self.predictions_y_ = sample.spread(predictions["y"][:, 0])
        if "d" in predictions:
            self.predictions_d_ = sample.spread(predictions["d"])
        self.scores_ = sample.spread(solution.psi)
        self.cluster_scores_ = cluster_sums(solution.psi, sample.cluster)
        self.folds_ = np.stack([sample.spread(one.of_row, -1) for one in repetitions])
        # Rows left out have no part in the error. Several splittings: the mean of their parts.
        self._parts = solution.parts if len(solutions) == 1 else np.mean([s.parts for s in solutions], axis=0)
        self._influence = sample.n_input * sample.spread(self._parts, 0.0)
        self._scores = tuple(one.scores for one in repetitions)
        self._solutions = tuple(solutions)

    def _warn(self) -> None:
        for note in self._notes:
            warn(note, ReliabilityWarning, stacklevel=3)

    def _diagnostics(self) -> dict[str, Any]:
        return {
            "n_obs": self.n_obs_,
            "n_clusters": self._n_clusters,
            "nuisance_r2": self.nuisance_r2_,
            **({"stack_weights": {k: dict(v) for k, v in self.stack_weights_.items()}} if self.stack_weights_ else {}),
        }

    def _make_estimate(self) -> Estimate:
        return Estimate(
            value=self._theta,
            cov=self._cov,
            names=self._sample.names,
            influence=self._influence,
            sample_id=self._sample.sample_id,
            clusters=self._sample.all_clusters,
            kind="frequentist",
            df=self._n_clusters - 1.0 if getattr(self, "dist", "normal") == "t" else None,
            estimand=self._sample.estimand,
            method=type(self).__name__,
            diagnostics=self._diagnostics(),
            warnings=self._notes,
            info={
                "parameters": self._settings(),
                "entropy": self._entropy,
                "n": self._sample.n_input,
                "seconds": self._seconds,
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )

    def _start(self) -> Any:
        """Root of all random streams of this fit."""
        root = root_seed(self.random_state)
        self._entropy = entropy_of(root)
        self._root = root
        return root

    def bootstrap(self, multiplier: str = "normal", n_draws: int = 999) -> Estimate:
        """Draw the estimate's error by multiplying each cluster's score with a random number.

        Parameters
        ----------
        multiplier : {"normal", "wild", "rademacher", "webb", "bayes"}
            Law of the multipliers; all have mean 0 and variance 1.
        n_draws : int

        Returns
        -------
        Estimate
            Of kind ``"bootstrap"``; ``conf_int(joint=True)`` is the band that covers all quantities at once.

        Notes
        -----
        O(n_draws G q): no nuisance function is learnt again. The draws are the same at each call.
        """
        self._check_fitted()
        check_option("multiplier", multiplier, MULTIPLIERS)
        n_draws = check_integer("n_draws", n_draws, 2)
        sums = cluster_sums(self._parts, self._sample.cluster)
        scale = np.sqrt(self._n_clusters / (self._n_clusters - 1)) if self.small_sample else 1.0
        rng = stream(self._root, type(self).__name__, Purpose.BOOTSTRAP, 0)
        draws = np.empty((n_draws, len(self._theta)))
        for start in range(0, n_draws, _BOOTSTRAP_BLOCK):
            block = draws[start : start + _BOOTSTRAP_BLOCK]
            block[:] = self._theta + scale * (multipliers(multiplier, (len(block), len(sums)), rng) @ sums)
        return Estimate(
            value=self._theta,
            draws=draws[None],
            names=self._sample.names,
            kind="bootstrap",
            estimand=self._sample.estimand,
            method=f"{type(self).__name__}, {multiplier} multipliers",
            warnings=self._notes,
        )

    def p_adjust(self, how: str = "romano_wolf", *, null: float = 0.0, n_draws: int = 9999) -> pd.DataFrame:
        """P-values of several effects, adjusted for their number.

        Parameters
        ----------
        how : {"romano_wolf", "holm", "bh"}
            Step-down by the bootstrap, which knows how effects hang together; Holm's, which does not; or Benjamini and
            Hochberg's, which bounds the expected share of false findings instead of the chance of any.
        null : float
        n_draws : int
            Bootstrap draws of the first.

        Returns
        -------
        DataFrame
            ``p_value`` and ``p_adjusted`` of each quantity.
        """
        import pandas as pd
        from scipy.special import ndtr

        check_option("how", how, ADJUSTMENTS)
        self._check_fitted()
        t = np.abs(self._theta - null) / np.sqrt(np.diag(self._cov))
        plain = 2.0 * ndtr(-t)
        if how == "romano_wolf":
            drawn = self.bootstrap(n_draws=n_draws).draws
            assert drawn is not None  # noqa: S101
            adjusted = _step_down(t, np.abs(drawn[0] - self._theta) / np.sqrt(np.diag(self._cov)))
        else:
            adjusted = _ranked(plain, how)
        return pd.DataFrame({"p_value": plain, "p_adjusted": adjusted}, index=list(self._sample.names))

    def nuisance_table(self) -> pd.DataFrame:
        """Out-of-fold R^2, root mean squared error and stack weights of each nuisance function (first splitting)."""
        import pandas as pd

        self._check_fitted()
        table = pd.DataFrame({"r2": self.nuisance_r2_, "rmse": self.nuisance_rmse_})
        return table.join(pd.DataFrame({k: dict(v) for k, v in self.stack_weights_.items()}).T)


def _step_down(t: FloatArray, drawn: FloatArray) -> FloatArray:
    """Romano and Wolf: each statistic against the largest drawn one among those not larger than it."""
    order = np.argsort(-t, kind="stable")
    adjusted, worst = np.empty(len(t)), 0.0
    for k, j in enumerate(order):
        largest = drawn[:, order[k:]].max(axis=1)
        worst = max(worst, (1.0 + np.count_nonzero(largest >= t[j])) / (1.0 + len(drawn)))
        adjusted[j] = worst
    return adjusted


def _ranked(p: FloatArray, how: str) -> FloatArray:
    order, q = np.argsort(p, kind="stable"), len(p)
    adjusted = np.empty(q)
    if how == "holm":
        adjusted[order] = np.maximum.accumulate(p[order] * (q - np.arange(q)))
    else:
        raised = p[order] * q / np.arange(1, q + 1)
        adjusted[order] = np.minimum.accumulate(raised[::-1])[::-1]
    return np.minimum(adjusted, 1.0)


def multipliers(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Independent draws of mean 0 and variance 1, of one of the laws in ``MULTIPLIERS``."""
    if kind == "normal":
        return rng.standard_normal(shape)
    if kind == "wild":
        return np.asarray(rng.standard_normal(shape) / np.sqrt(2.0) + (rng.standard_normal(shape) ** 2 - 1.0) / 2.0)
    if kind == "bayes":
        return rng.standard_exponential(shape) - 1.0
    signs = rng.integers(0, 2, size=shape) * 2.0 - 1.0
    return np.asarray(signs * rng.choice(np.sqrt([0.5, 1.0, 1.5]), size=shape) if kind == "webb" else signs)
