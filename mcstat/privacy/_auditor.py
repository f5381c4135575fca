"""The audit: from an attack's scores or counts to what they say about epsilon."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, check_integer, check_level, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.privacy._groups import GroupCounts, corrected_counts, one_a_group
from mcstat.privacy._methods import CONFIDENCE, LAWS, ONE_RUN, centre, p_value
from mcstat.privacy._notes import BESIDE, CHOSEN_ON_COUNTED, GAUSSIAN, READING, TIED, count_doubts, group_doubts
from mcstat.privacy._one_run import check_guesses, count_guesses
from mcstat.privacy._posterior import EpsilonPosterior, check_counts, check_prior
from mcstat.privacy._rectangles import ClopperPearsonRectangle
from mcstat.privacy._scores import Challenges, count, tuned_threshold
from mcstat.privacy._thresholds import CHOSEN, tables_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PrivacyAuditor"]

FloatArray = NDArray[np.float64]


class PrivacyAuditor(Estimator):
    """Audit of a training algorithm's differential privacy by a membership-inference attack.

    The attack's error rates on members and non-members bound the epsilon of every (epsilon, delta)-private algorithm
    from below. ``method="joint-beta"`` gives the posterior of that epsilon; others give confidence intervals.

    Parameters
    ----------
    delta : float
        In [0, 1).
    method : str
        Of one attack on many models (or on the challenges of one, taken for independent): ``"joint-beta"``, the
        posterior under independent Beta priors [1]_; ``"gdp"``, the same under the assumption of a Gaussian trade-off
        curve; ``"clopper-pearson"`` and ``"jeffreys"``, rectangles of exact and of Jeffreys' intervals;
        ``"joint-exact"``, all rates that one exact test of both does not reject. Of guesses which of many canaries,
        each in or out by a fair coin, took part in one training run: ``"one-run"`` [2]_ and ``"one-run-fdp"`` [3]_,
        which assumes a Gaussian trade-off curve.
    prior : (float, float)
        For the posteriors: prior weight of a wrong and of a right answer; default is Jeffreys'.
    level : float
        Of the bound that chooses the threshold, and of the bounds in ``summary()``.
    interval : {"equal-tailed", "hpd", "lower"}
        What ``conf_int()`` shows by default; ``"hpd"`` (the shortest) is for posteriors only.
    threshold : {"split", "multisplit", "bonferroni", "dkw"} or float
        A score of at least the threshold says "member". ``"split"`` chooses it on a random part of the challenges, and
        counts on the others. The other three give a lower bound only, for confidence methods: the median over 100
        splits, the largest bound over all thresholds with a correction for their number, and the same from bands that
        hold at all thresholds (whatever the method).
    split : float
        Share of the challenges (with ``groups``, of the models) that choose the threshold, strictly between 0 and 1.
    n_guesses : int, optional
        For one-run methods: canaries for which the attack guesses, set before the scores are seen. The highest scores
        are called in, as many of the lowest out, and the others are left out. Default: all.
    n_jobs : int, optional
        Tables that are worked on at once.
    random_state : None, int, SeedSequence or Generator
        For the split.
    verbose : bool
        Progress bar for thousands of tables.

    Attributes
    ----------
    counts_ : dict of ndarray, shape (q,)
        ``fn``, ``fp``, ``tn`` and ``tp`` as they were counted; for one-run methods ``n_canaries``, ``n_guesses`` and
        ``n_correct``.
    threshold_ : float or None
        None where no threshold is used.
    posterior_ : EpsilonPosterior or None
        For ``"joint-beta"`` and ``"gdp"``.
    dispersion_ : dict of Dispersion
        With ``groups``: how much the models' error rates ``fn`` and ``fp`` differ beyond chance.

    Notes
    -----
    Credible and confidence bounds answer different questions. 95 % lower bounds of the posterior held the truth in 95 %
    of repeated audits where the rates are unlike, but in 90 % at rates of 0.3 and 0.3 (500 challenges a side), and in
    78 % at 0.49 and 0.5; Clopper-Pearson bounds hold at least 95 % always, and the credible intervals are 28 to 50 %
    narrower. Choosing the threshold with the highest bound on the challenges that are counted makes every bound
    invalid.

    Where only a lower bound is known (one-run methods, thresholds chosen on the counted challenges) the Estimate's
    value is the bound at level 1/2.

    A table costs about a millisecond, half of it for the interval. ``"gdp"`` and ``"joint-exact"`` cost ten.

    References
    ----------
    .. [1] Zanella-Béguelin, S. and others (2023). Bayesian estimation of differential privacy. ICML, PMLR 202.
       arXiv:2206.05199.
    .. [2] Steinke, T., Nasr, M. and Jagielski, M. (2023). Privacy auditing with one (1) training run. NeurIPS.
       arXiv:2305.08846.
    .. [3] Mahloujifar, S., Melis, L. and Chaudhuri, K. (2024). Auditing f-differential privacy in one run.
       arXiv:2410.22235.

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
        n_guesses: int | None = None,
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
        self.n_guesses = n_guesses
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, scores: ArrayLike, membership: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Count the attack's answers.

        Parameters
        ----------
        scores : array_like, shape (n,)
            The attack's score of each challenge; higher means "member".
        membership : array_like, shape (n,)
            1 for members, 0 for non-members.
        groups : array_like, shape (n,), optional
            Name of the model of which each challenge was asked, where several were asked of one. Outcomes of one model
            share its luck; counts are divided by the design effect that the spread between models shows.

        Returns
        -------
        self

        Raises
        ------
        InvalidData, InvalidParameter, TypeError
            Naming the argument, what it wants and what it got.
        """
        self._start()
        challenges = Challenges.checked(scores, membership, groups)
        if challenges.model is not None and (self.method in ONE_RUN or self.threshold in CHOSEN):
            raise InvalidParameter(
                "groups want one table of counts: threshold 'split' or a number, and a method that is not of one run; "
                f"got threshold {self.threshold!r} and method {self.method!r}"
            )
        doubts = [TIED] if np.all(challenges.scores == challenges.scores[0]) else []
        rng = stream(self._root, "PrivacyAuditor", Purpose.FOLDS, 0)
        if self.method in ONE_RUN:
            n_guesses, n_correct = count_guesses(challenges, self.n_guesses or len(challenges), rng)
            self._audit(_guesses(len(challenges), n_guesses, n_correct), None, doubts)
        elif self.threshold in CHOSEN:
            self._audit_chosen(challenges, doubts, rng)
        else:
            self._audit_one(challenges, doubts, rng)
        return self._told()

    def fit_counts(self, *, fn: ArrayLike, fp: ArrayLike, tn: ArrayLike, tp: ArrayLike) -> Self:
        """Audit counts: one table, or q tables at once.

        Parameters
        ----------
        fn, fp, tn, tp : array_like, scalars or shape (q,)
            Members called non-members, non-members called members, and those called right; need not be whole. The
            threshold must not have been chosen on the challenges that were counted.

        Returns
        -------
        self
        """
        self._start()
        if self.method in ONE_RUN:
            raise InvalidParameter(f"method must not be of one run to fit counts, got {self.method!r}; use fit_guesses")
        arrays = [np.atleast_1d(array) for array in check_counts(fn=fn, fp=fp, tn=tn, tp=tp)]
        self._audit(dict(zip(("fn", "fp", "tn", "tp"), arrays, strict=True)), None, [])
        return self._told()

    def fit_guesses(self, *, n_canaries: int, n_guesses: int, n_correct: int) -> Self:
        """Audit guesses about one training run, for one-run methods.

        Parameters
        ----------
        n_canaries, n_guesses, n_correct : int
            ``0 <= n_correct <= n_guesses <= n_canaries``.

        Returns
        -------
        self
        """
        self._start()
        if self.method not in ONE_RUN:
            raise InvalidParameter(f"method must be one of {', '.join(ONE_RUN)} to fit guesses, got {self.method!r}")
        self._audit(_guesses(*check_guesses(n_canaries, n_guesses, n_correct)), None, [])
        return self._told()

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
        return p_value(self._law, value)

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
        import pandas as pd

        self._check_fitted()
        if len(self._law) != 1:
            raise InvalidData(f"tradeoff_curve is of one table, this audit holds {len(self._law)}")
        at = check_array("deltas", np.atleast_1d(np.asarray(deltas)), 1)
        laws = [self._make_law(self.method, check_real("deltas", delta, 0.0, 1.0, closed="left")) for delta in at]
        return pd.DataFrame({"delta": at, **_columns(laws, self.level)})

    def compare(self) -> pd.DataFrame:
        """All methods for the same evidence, side by side (one table).

        Returns
        -------
        DataFrame
            One row a method: ``epsilon``, ``lower`` and ``upper`` of the interval at ``level``, and ``bound``, the
            one-sided lower bound at ``level``.
        """
        import pandas as pd

        self._check_fitted()
        if len(self._law) != 1:
            raise InvalidData(f"compare is of one table, this audit holds {len(self._law)}")
        rivals = self._rivals()
        laws = [self._make_law(method, self.delta) for method in rivals]
        bounds = [float(law.interval(self.level, "lower")[0][0]) for law in laws]
        return pd.DataFrame({**_columns(laws, self.level), "bound": bounds}, index=pd.Index(rivals, name="method"))

    # Steps of a fit -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Forget the last fit and check the settings."""
        self._forget()
        check_real("delta", self.delta, 0.0, 1.0, closed="left")
        check_option("method", self.method, tuple(LAWS))
        check_prior(self.prior)
        check_level(self.level)
        check_option("interval", self.interval, ("equal-tailed", "hpd", "lower"))
        if self.interval not in LAWS[self.method]:
            raise InvalidParameter(f"interval must be 'equal-tailed' or 'lower' for method {self.method!r}, got 'hpd'")
        check_threshold(self.threshold)
        if self.threshold in CHOSEN and self.method not in CONFIDENCE:
            raise InvalidParameter(
                f"method must be one of {', '.join(CONFIDENCE)} for threshold {self.threshold!r}, got {self.method!r}"
            )
        self._share = check_real("split", self.split, 0.0, 1.0, closed="neither")
        if self.n_guesses is not None:
            check_integer("n_guesses", self.n_guesses, 1)
        self._root = root_seed(self.random_state)

    def _audit_one(self, challenges: Challenges, doubts: list[str], rng: np.random.Generator) -> None:
        """Count at one threshold: that which a random part of the challenges chooses, or the user's."""
        if self.threshold == "split":
            tuning, challenges = challenges.halves(self._share, rng)
            threshold, _ = tuned_threshold(tuning, self.delta, self.level)
        else:
            threshold = float(self.threshold)
            best, bound = tuned_threshold(challenges, self.delta, self.level)
            if threshold == best and bound > 0:
                doubts.append(CHOSEN_ON_COUNTED)
        if challenges.model is None:
            self._audit(count(challenges, threshold), threshold, doubts)
        else:
            self._audit_groups(challenges, challenges.model, threshold, doubts)

    def _audit_chosen(self, challenges: Challenges, doubts: list[str], rng: np.random.Generator) -> None:
        """Bound over thresholds that these challenges choose."""
        tables = tables_of(challenges, str(self.threshold), self.delta, self.level, rng, self._share)
        law = self._make_law(self.method, self.delta, tables)
        threshold = law.reported(self.level)
        self._audit(count(challenges, threshold), threshold, doubts, tables)

    def _audit_groups(
        self, challenges: Challenges, model: NDArray[np.intp], threshold: float, doubts: list[str]
    ) -> None:
        """Counts of all models over their design effects."""
        by_model = GroupCounts.of(challenges, threshold, model)
        corrected, negatives, positives = corrected_counts(by_model)
        tables = {name: np.array([value]) for name, value in corrected.items()}
        dispersion = {"fn": negatives, "fp": positives}
        law, rng = (
            self._make_law(self.method, self.delta, tables),
            stream(self._root, "PrivacyAuditor", Purpose.RESAMPLE, 0),
        )
        doubts = doubts + group_doubts(challenges[one_a_group(model, rng)], threshold, dispersion, law)
        self._audit(count(challenges, threshold), threshold, doubts, tables)
        self.dispersion_ = dispersion

    def _audit(
        self,
        counts: dict[str, FloatArray],
        threshold: float | None,
        doubts: list[str],
        tables: dict[str, FloatArray] | None = None,
    ) -> None:
        """Make the law of ``tables`` (default: of the counts), and what ``estimate`` reads from it."""
        started = perf_counter()
        self._tables = counts if tables is None else tables
        law = self._make_law(self.method, self.delta)
        self._value = centre(law, self.n_jobs, self.verbose)
        self._spread = np.full(len(law), np.nan)
        if isinstance(law, EpsilonPosterior):
            self._spread = law.moments(self.n_jobs, self.verbose)[1]
        self._law, self._doubts = law, doubts + count_doubts(law, counts)
        self._seconds = perf_counter() - started
        self.counts_, self.threshold_ = counts, threshold
        self.posterior_ = law if isinstance(law, EpsilonPosterior) else None

    def _told(self) -> Self:
        """Warn of the doubts, at the line that called ``fit``."""
        for doubt in self._doubts:
            warnings.warn(doubt, ReliabilityWarning, stacklevel=3)
        return self

    def _make_law(self, method: str, delta: float, tables: dict[str, FloatArray] | None = None) -> Any:
        """The law that ``method`` makes of the evidence."""
        tables = self._tables if tables is None else tables
        deltas = np.full(len(next(iter(tables.values()))), float(delta))
        if "threshold" in tables:
            code = np.full(len(deltas), float(CONFIDENCE.index(method)))
            return CHOSEN[str(self.threshold)](**tables, delta=deltas, method=code)
        settings = {"prior": self.prior} if method in ("joint-beta", "gdp") else {}
        return LAWS[method][self.interval](**tables, delta=deltas, **settings)

    def _rivals(self) -> list[str]:
        """Methods that the same evidence serves."""
        if self.method in ONE_RUN:
            rivals = [*ONE_RUN]
        elif "threshold" in self._tables:
            rivals = [*CONFIDENCE] if self.threshold != "dkw" else [self.method]
        else:
            rivals = [method for method in LAWS if method not in ONE_RUN and self.interval in LAWS[method]]
        # A Gaussian curve has no epsilon at delta = 0.
        return [method for method in rivals if self.delta > 0 or method not in ("gdp", "one-run-fdp")]

    def _make_estimate(self) -> Estimate:
        q, kind = len(self._law), "posterior" if self.posterior_ is not None else "frequentist"
        beside = {}
        if set(self._tables) == {"fn", "fp", "tn", "tp"}:
            exact = ClopperPearsonRectangle(**self._tables, delta=np.full(q, float(self.delta)))
            beside["clopper_pearson_lower"] = exact.interval(self.level, "lower")[0]
        return Estimate(
            value=self._value,
            std_error=self._spread,
            names=("epsilon",) if q == 1 else tuple(f"epsilon[{i}]" for i in range(q)),
            coords={**self.counts_, **beside},
            law=self._law,
            kind=kind,
            estimand=f"epsilon of this attack at delta = {self.delta:g}",
            method=f"PrivacyAuditor ({self.method})",
            diagnostics=self._diagnostics(**beside),
            warnings=tuple(self._doubts),
            info={
                **({} if self.threshold_ is None else {"threshold": self.threshold_}),
                "seconds": self._seconds,
                "entropy": entropy_of(self._root),
                "mcstat": __version__,
                "parameters": self._settings(),
            },
        )

    def _diagnostics(self, clopper_pearson_lower: FloatArray | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if len(self._law) == 1:
            found = {name: float(array[0]) for name, array in self.counts_.items()}
            own = float(self._law.interval(self.level, "lower")[0][0])
            word = "credible" if self.posterior_ is not None else self.method
            found["lower_bounds"] = f"{word} {own:.4g}"
            if clopper_pearson_lower is not None and self.method != "clopper-pearson":
                found["lower_bounds"] += f", Clopper-Pearson {clopper_pearson_lower[0]:.4g}"
            found["lower_bounds"] += f" ({100 * self.level:g} %)"
            if self.posterior_ is not None:
                found["prob_zero"] = float(self.posterior_.prob_zero[0])
        for name, one in getattr(self, "dispersion_", {}).items():
            found[f"design_effect_{name}"] = one.deff
        if self.posterior_ is not None:
            found["bounds"] = BESIDE
        if self.method in ("gdp", "one-run-fdp"):
            found["assumes"] = GAUSSIAN
        return found | {"reading": READING}


def check_threshold(threshold: Any) -> None:
    """A finite number, or one of the strings."""
    if isinstance(threshold, str):
        check_option("threshold", threshold, ("split", *CHOSEN))
    else:
        check_real("threshold", threshold)


def _guesses(n_canaries: int, n_guesses: int, n_correct: int) -> dict[str, FloatArray]:
    given = {"n_canaries": n_canaries, "n_guesses": n_guesses, "n_correct": n_correct}
    return {name: np.array([float(value)]) for name, value in given.items()}


def _columns(laws: list[Any], level: float) -> dict[str, FloatArray]:
    """Epsilon and its interval by laws of one table each."""
    ends = np.array([np.ravel(law.interval(level)) for law in laws])
    return {"epsilon": np.array([centre(law)[0] for law in laws]), "lower": ends[:, 0], "upper": ends[:, 1]}
