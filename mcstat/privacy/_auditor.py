"""The audit: from an attack's scores or counts to what they say about epsilon."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_level, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.laws import Law
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.privacy import _shown
from mcstat.privacy._joint import JointExact
from mcstat.privacy._posterior import EpsilonPosterior, check_counts, check_prior
from mcstat.privacy._rates import epsilon_from_rates
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle
from mcstat.privacy._scores import Challenges, count, tuned_threshold

__all__ = ["PrivacyAuditor"]

FloatArray = NDArray[np.float64]

# For each method its law, by the interval that is shown.
_LAWS: dict[str, dict[str, Callable[..., Law]]] = {
    "joint-beta": {
        "equal-tailed": EpsilonPosterior,
        "hpd": _shown.ShortestPosterior,
        "lower": _shown.LowerPosterior,
    },
    "clopper-pearson": {"equal-tailed": ClopperPearsonRectangle, "lower": _shown.LowerClopperPearson},
    "jeffreys": {"equal-tailed": JeffreysRectangle, "lower": _shown.LowerJeffreys},
    "joint-exact": {"equal-tailed": JointExact, "lower": _shown.LowerJointExact},
}
_MUCH_AT_ZERO = 0.05
_READING = (
    "epsilon is that of this attack at this threshold: a lower bound on the algorithm's, which another attack may "
    "exceed; its upper end is no privacy guarantee"
)
_BESIDE = (
    "the credible bound is the higher one; where the two error rates are alike or epsilon is near 0 it covers less "
    "often than its level (78 to 91 % for 95 %), and formal claims want the Clopper-Pearson one"
)


class PrivacyAuditor(Estimator):
    """Audit of a training algorithm's differential privacy by a membership-inference attack.

    The attack's error rates on members and non-members bound the epsilon of every (epsilon, delta)-private algorithm
    from below. ``method="joint-beta"`` gives the posterior of that epsilon; the others give confidence intervals.

    Parameters
    ----------
    delta : float
        In [0, 1).
    method : {"joint-beta", "clopper-pearson", "jeffreys", "joint-exact"}
        Posterior under independent Beta priors [1]_; a rectangle of exact or of Jeffreys' intervals; or all rates that
        one exact test of both does not reject.
    prior : (float, float)
        For ``"joint-beta"``: prior weight of a wrong and of a right answer; default is Jeffreys'.
    level : float
        Of the bound that chooses the threshold, and of the bounds in ``summary()``.
    interval : {"equal-tailed", "hpd", "lower"}
        What ``conf_int()`` shows by default; ``"hpd"`` (the shortest) is for the posterior only.
    threshold : "split" or float
        A score of at least the threshold says "member". ``"split"`` chooses it on a random part of the challenges, and
        counts on the others.
    split : float
        Share of the challenges that choose the threshold, strictly between 0 and 1.
    n_jobs : int, optional
        Tables that are worked on at once.
    random_state : None, int, SeedSequence or Generator
        For the split.
    verbose : bool
        Progress bar for thousands of tables.

    Attributes
    ----------
    counts_ : dict of ndarray, shape (q,)
        ``fn``, ``fp``, ``tn`` and ``tp``.
    threshold_ : float or None
        None after ``fit_counts``.
    posterior_ : EpsilonPosterior or None
        For ``"joint-beta"``.

    Notes
    -----
    Credible and confidence bounds answer different questions. 95 % lower bounds of the posterior held the truth in 95 %
    of repeated audits where the rates are unlike, but in 90 % at rates of 0.3 and 0.3 (500 challenges a side), and in
    78 % at 0.49 and 0.5; Clopper-Pearson bounds hold at least 95 % always, and the credible intervals are 28 to 50 %
    narrower. Choosing the threshold with the highest bound on the challenges that are counted makes every bound
    invalid.

    A table costs about a millisecond for the interval and two for the standard deviation.

    References
    ----------
    .. [1] Zanella-Béguelin, S. and others (2023). Bayesian estimation of differential privacy. ICML, PMLR 202.
       arXiv:2206.05199.

    Examples
    --------
    >>> from mcstat.privacy import PrivacyAuditor
    >>> audit = PrivacyAuditor(delta=1e-5).fit_counts(fn=100, fp=5, tn=495, tp=400)
    >>> print(audit.estimate().conf_int(level=0.9).round(4).to_string(header=False))
    epsilon  3.7085  5.1616
    """

    def __init__(
        self,
        delta: float = 1e-5,
        *,
        method: str = "joint-beta",
        prior: tuple[float, float] = (0.5, 0.5),
        level: float = 0.95,
        interval: str = "equal-tailed",
        threshold: str | float = "split",
        split: float = 0.5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.delta = delta
        self.method = method
        self.prior = prior
        self.level = level
        self.interval = interval
        self.threshold = threshold
        self.split = split
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, scores: ArrayLike, membership: ArrayLike) -> Self:
        """Count the attack's answers.

        Parameters
        ----------
        scores : array_like, shape (n,)
            The attack's score of each challenge; higher means "member".
        membership : array_like, shape (n,)
            1 for members, 0 for non-members.

        Returns
        -------
        self

        Raises
        ------
        InvalidData, InvalidParameter, TypeError
            Naming the argument, what it wants and what it got.
        """
        self._start()
        challenges = Challenges.checked(scores, membership)
        doubts = []
        if np.all(challenges.scores == challenges.scores[0]):
            doubts.append("all scores are tied: the attack says the same of every challenge")
        if self.threshold == "split":
            rng = stream(self._root, "PrivacyAuditor", Purpose.FOLDS, 0)
            tuning, challenges = challenges.halves(self._share, rng)
            threshold, _ = tuned_threshold(tuning, self.delta, self.level)
        else:
            threshold = float(self.threshold)
            best, bound = tuned_threshold(challenges, self.delta, self.level)
            if threshold == best and bound > 0:
                doubts.append(
                    "the threshold is the one with the highest bound on these very challenges: chosen and counted on "
                    "the same data the bound is too high; use threshold='split' or choose it on other challenges"
                )
        return self._audit(count(challenges, threshold), threshold, doubts)

    def fit_counts(self, *, fn: ArrayLike, fp: ArrayLike, tn: ArrayLike, tp: ArrayLike) -> Self:
        """Audit counts: one table, or q tables at once.

        Parameters
        ----------
        fn, fp, tn, tp : array_like, scalars or shape (q,)
            Members called non-members, non-members called members, and those called right; need not be whole.

        Returns
        -------
        self
        """
        self._start()
        arrays = [np.atleast_1d(array) for array in check_counts(fn=fn, fp=fp, tn=tn, tp=tp)]
        return self._audit(dict(zip(("fn", "fp", "tn", "tp"), arrays, strict=True)), None, [])

    def test(self, epsilon: float) -> FloatArray:
        """How the counts speak for more than ``epsilon``, (q,).

        Parameters
        ----------
        epsilon : float
            At least 0.

        Returns
        -------
        ndarray
            For the posterior: the probability that epsilon is larger. Otherwise the p-value of the hypothesis that the
            algorithm is (epsilon, delta)-private: the smallest 1 - level whose lower bound exceeds ``epsilon``.
        """
        self._check_fitted()
        value = check_real("epsilon", epsilon, 0.0)
        if self.posterior_ is not None:
            return self.posterior_.sf(np.full(len(self.posterior_), value))
        return _p_value(self._law, value)

    def tradeoff_curve(self, deltas: ArrayLike) -> pd.DataFrame:
        """Epsilon and its interval at other deltas, from the same counts (one table).

        Parameters
        ----------
        deltas : array_like, shape (k,)
            In [0, 1).

        Returns
        -------
        DataFrame
            Columns ``delta``, ``epsilon``, ``lower`` and ``upper``. Each interval holds by itself, not all of them at
            once. Privacy parameters on the curve bound the trade-off between error rates from below together.
        """
        self._check_fitted()
        if len(self._law) != 1:
            raise InvalidData(f"tradeoff_curve is of one table, this audit holds {len(self._law)}")
        at = np.atleast_1d(np.asarray(deltas, dtype=np.float64))
        law = self._make_law({name: np.repeat(array, len(at)) for name, array in self.counts_.items()}, at)
        lower, upper = law.interval(self.level)
        return pd.DataFrame({"delta": at, "epsilon": self._centre(law), "lower": lower, "upper": upper})

    # Steps of a fit -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Forget the last fit and check the settings."""
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)
        check_real("delta", self.delta, 0.0, 1.0, closed="left")
        check_option("method", self.method, tuple(_LAWS))
        check_prior(self.prior)
        check_level(self.level)
        check_option("interval", self.interval, ("equal-tailed", "hpd", "lower"))
        if self.interval not in _LAWS[self.method]:
            raise InvalidParameter(f"interval must be 'equal-tailed' or 'lower' for method {self.method!r}, got 'hpd'")
        if self.threshold != "split":
            check_threshold(self.threshold)
        self._share = check_real("split", self.split, 0.0, 1.0, closed="neither")
        self._root = root_seed(self.random_state)

    def _audit(self, counts: dict[str, FloatArray], threshold: float | None, doubts: list[str]) -> Self:
        """Make the law of the counts, and what ``estimate`` reads from it."""
        started = perf_counter()
        law = self._make_law(counts, np.full(len(counts["fn"]), float(self.delta)))
        self._value = self._centre(law)
        self._spread = np.full(len(law), np.nan)
        if isinstance(law, EpsilonPosterior):
            self._spread = law.moments(self.n_jobs)[1]
        self._law, self._doubts = law, doubts + _doubts_of(law, counts)
        self._seconds = perf_counter() - started
        self.counts_, self.threshold_ = counts, threshold
        self.posterior_ = law if isinstance(law, EpsilonPosterior) else None
        for doubt in self._doubts:
            warnings.warn(doubt, ReliabilityWarning, stacklevel=3)
        return self

    def _make_law(self, counts: dict[str, FloatArray], delta: FloatArray) -> Law:
        settings = {"prior": self.prior} if self.method == "joint-beta" else {}
        return _LAWS[self.method][self.interval](**counts, delta=delta, **settings)

    def _centre(self, law: Any) -> FloatArray:
        """Posterior median, or epsilon at the observed rates."""
        if isinstance(law, EpsilonPosterior):
            return law.median(self.n_jobs)
        return epsilon_from_rates(law.fn / (law.fn + law.tp), law.fp / (law.fp + law.tn), law.delta)

    def _make_estimate(self) -> Estimate:
        q, kind = len(self._law), "posterior" if self.posterior_ is not None else "frequentist"
        exact = ClopperPearsonRectangle(**self.counts_, delta=np.full(q, float(self.delta)))
        exact_lower = exact.interval(self.level, "lower")[0]
        return Estimate(
            value=self._value,
            std_error=self._spread,
            names=("epsilon",) if q == 1 else tuple(f"epsilon[{i}]" for i in range(q)),
            coords={**self.counts_, "clopper_pearson_lower": exact_lower},
            law=self._law,
            kind=kind,
            estimand=f"epsilon of this attack at delta = {self.delta:g}",
            method=f"PrivacyAuditor ({self.method})",
            diagnostics=self._diagnostics(exact_lower),
            warnings=tuple(self._doubts),
            info={
                **({} if self.threshold_ is None else {"threshold": self.threshold_}),
                "seconds": self._seconds,
                "entropy": entropy_of(self._root),
                "mcstat": __version__,
                "parameters": self._settings(),
            },
        )

    def _diagnostics(self, exact_lower: FloatArray) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if len(self._law) == 1:
            found = {name: float(array[0]) for name, array in self.counts_.items()}
            own = float(self._law.interval(self.level, "lower")[0][0])
            word = "credible" if self.posterior_ is not None else self.method
            found["lower_bounds"] = f"{word} {own:.4g}, Clopper-Pearson {exact_lower[0]:.4g} ({100 * self.level:g} %)"
        if self.posterior_ is not None:
            found["prob_zero"] = float(self.posterior_.prob_zero[0]) if len(self._law) == 1 else None
            found["bounds"] = _BESIDE
        return {name: value for name, value in found.items() if value is not None} | {"reading": _READING}


def check_threshold(threshold: Any) -> float:
    """A finite number; the strings are named in the message."""
    if isinstance(threshold, str):
        raise InvalidParameter(f"threshold must be 'split' or a number, got {threshold!r}")
    return check_real("threshold", threshold)


def _doubts_of(law: Law, counts: dict[str, FloatArray]) -> list[str]:
    """Reasons to doubt the numbers that the counts themselves give."""
    doubts = []
    if np.any(np.maximum(counts["fn"], counts["fp"]) == 0):
        doubts.append(
            "no errors of either kind: the upper end is the prior's or infinite, only the lower end is informed by "
            "the data; ask more challenges"
        )
    if isinstance(law, EpsilonPosterior) and float(np.max(law.delta)) > 0:
        most = float(np.max(law.prob_zero))
        if most > _MUCH_AT_ZERO:
            doubts.append(
                f"epsilon is 0 with posterior probability up to {most:.2g}: the attack is no better than delta allows, "
                "and a density alone does not show it"
            )
    return doubts


def _p_value(law: Law, epsilon: float) -> FloatArray:
    """Smallest 1 - level at which the lower bound exceeds ``epsilon``, by bisection on its log; 1 if none does."""
    low, high = np.full(len(law), np.log(1e-12)), np.zeros(len(law))
    for _ in range(40):
        middle = 0.5 * (low + high)
        exceeds = np.array([law[i].interval(-np.expm1(m), "lower")[0][0] > epsilon for i, m in enumerate(middle)])
        low, high = np.where(exceeds, low, middle), np.where(exceeds, middle, high)
    return np.exp(high)
