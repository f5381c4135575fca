"""PRESTO: rare events by shrinking towards proportional odds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Self
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.ordinal._bootstrap import Resampler
from mcstat.ordinal._classifier import OrdinalClassifier, boundary_name
from mcstat.ordinal._crossing import CROSSING, crosses
from mcstat.ordinal._data import OrdinalData
from mcstat.ordinal._information import Quantities, observed_covariance, rare_probability
from mcstat.ordinal._likelihood import CumulativeLikelihood
from mcstat.ordinal._links import SYMMETRIC
from mcstat.ordinal._path import CONVEX, Fits, Penalty, check_factors, fit_path, lambda_grid
from mcstat.ordinal._structure import Differences
from mcstat.ordinal._tuning import SCORING, Tuning, choose, tune, usable_folds

__all__ = ["PRESTOClassifier"]

FloatArray = NDArray[np.float64]


class PRESTOClassifier(OrdinalClassifier):
    """Cumulative logit whose neighbouring boundaries share slopes unless the data say otherwise.

    P(y <= k | x) = F(alpha_k + x' beta_k), with a lasso on beta_1 and on each beta_k - beta_(k-1). A rare class thus
    borrows strength from the common ones below it: between proportional odds, which ties all slopes together, and a
    logit of the rare class alone, which ties none.

    Parameters
    ----------
    lam : float or "cv"
        Penalty, on the scale of the mean log-likelihood; 0 is maximum likelihood with free slopes.
    l1_ratio : float
        1 is the lasso, 0 ridge, between is elastic net.
    n_lambdas : int
        Length of the grid for "cv".
    lambda_min_ratio : float
        Its smallest value as a share of its largest, the smallest penalty that leaves no slope.
    n_folds : int
        Folds of the cross-validation; every class is dealt out evenly over them.
    scoring : {"brier", "rare_brier", "log_loss", "misclassification", "deviance"}
        Loss that "cv" makes small: Brier's score over all classes or of the rare one alone, ...
    select : {"min", "1se"}
        The largest lambda with the smallest mean loss, or within one standard error of it.
    link : {"logit", "probit", "cloglog"}
    categories : sequence, optional
        Labels from the lowest to the highest; needed for strings whose alphabetic order is not theirs.
    reverse : bool
        The first class is the rare one: order the boundaries from the other end (symmetric links only).
    standardize : bool
        Penalise slopes of columns divided by their standard deviation.
    penalize_first : bool
        False leaves the slopes of the first boundary free: a large ``lam`` then is proportional odds.
    penalty_factors : array_like, shape (p,), optional
        Multiply the penalty of each column; 0 leaves it free.
    crossing : {"rearrange", "clip", "raw", "raise"}
        What ``predict_proba`` does where fitted boundaries cross: sort them, cut negative probabilities off and
        rescale, hand them out as they are, or refuse.
    n_draws : int
        Bootstrap resamples for ``estimate()``; 0 makes none.
    retune : bool
        Tune lambda anew in each resample (``lam="cv"`` only), so that the interval knows of the tuning.
    tol : float
        Bound on the KKT residual.
    max_iter : int
        Most Newton steps a lambda.
    n_jobs : int, optional
        Folds and resamples that run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
    alpha_ : ndarray, shape (K - 1,)
    beta_ : ndarray, shape (K - 1, p)
    psi_ : ndarray, shape (K - 1, p)
        What the penalty acts on, on the scale of X: the first slopes and the differences of neighbours, in the order
        of the fit (from the other end with ``reverse``).
    lambda_ : float
    lambdas_ : ndarray, shape (L,)
        Grid; ``lam`` alone where that was given.
    path_alpha_, path_beta_ : ndarray, shapes (L, K - 1) and (L, K - 1, p)
    cv_results_ : dict or None
        ``lambda``, ``mean_loss``, ``std_error`` and ``fold_losses`` (n_folds, L).
    loglik_ : float
    n_iter_ : int
        Newton steps of the final fit.
    kkt_ : float
        Largest violation of the optimality conditions along the path.
    crossing_fraction_ : float
        Share of the training rows where boundaries cross.

    Notes
    -----
    scikit-learn's probability scores (``neg_log_loss`` and others) sort the labels: in GridSearchCV give codes
    0, ..., K - 1 where the labels' alphabetic order is not theirs.

    Proximal Newton on the sorted design: O(n p^2) a step, two or three steps a lambda, memory one copy of X and 7
    numbers a row. The problem is convex; the answer is judged by its KKT residual.

    ``estimate()`` reports the mean probability of the rare class over the rows of X, and its boundary. The
    uncertainty is observed information for ``lam=0``, and otherwise the percentile bootstrap of ``n_draws``
    resamples that keep every class, at fixed lambda or with ``retune``. A penalty biases slopes towards each other
    and towards zero, and no bootstrap knows by how much: its intervals tell the spread, and cover less than their
    level where the bias matters; ``validation/ordinal/presto.py`` has figures.

    References
    ----------
    .. [1] Faletto, G. and Bien, J. (2023). Predicting rare events by shrinking towards proportional odds. ICML, PMLR
       202:9547-9602. arXiv:2305.18700.

    Examples
    --------
    >>> from mcstat.datasets import make_presto
    >>> from mcstat.ordinal import PRESTOClassifier
    >>> problem = make_presto(random_state=0)
    >>> model = PRESTOClassifier(random_state=0).fit(problem.X, problem.y)
    >>> model.beta_.shape
    (3, 10)
    >>> bool(abs(model.predict_rare_proba(problem.X).mean() - 0.012) < 0.01)
    True
    """

    def __init__(
        self,
        lam: float | str = "cv",
        *,
        l1_ratio: float = 1.0,
        n_lambdas: int = 20,
        lambda_min_ratio: float = 0.01,
        n_folds: int = 5,
        scoring: str = "brier",
        select: str = "min",
        link: str = "logit",
        categories: Sequence[Any] | None = None,
        reverse: bool = False,
        standardize: bool = True,
        penalize_first: bool = True,
        penalty_factors: ArrayLike | None = None,
        crossing: str = "rearrange",
        n_draws: int = 0,
        retune: bool = False,
        tol: float = 1e-7,
        max_iter: int = 100,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.lam = lam
        self.l1_ratio = l1_ratio
        self.n_lambdas = n_lambdas
        self.lambda_min_ratio = lambda_min_ratio
        self.n_folds = n_folds
        self.scoring = scoring
        self.select = select
        self.link = link
        self.categories = categories
        self.reverse = reverse
        self.standardize = standardize
        self.penalize_first = penalize_first
        self.penalty_factors = penalty_factors
        self.crossing = crossing
        self.n_draws = n_draws
        self.retune = retune
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose lambda where asked to, fit on all rows, and draw the bootstrap resamples.

        Parameters
        ----------
        X : array_like or data frame, shape (n, p)
        y : array_like, shape (n,), or counts of each class, shape (n, K)
        sample_weight : array_like, shape (n,), optional
            Frequencies: weight 2 is two equal rows. Folds and resamples deal whole weights out one by one; of weights
            that are not whole they keep a row's together.

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
        how, penalty, grid = self._checked()
        self._root = root_seed(self.random_state)
        self._draws: list[FloatArray] = []
        self._doubts: tuple[str, ...] = ()
        if len(data.classes) == 2:
            self._doubt("y has 2 classes: there are no neighbouring slopes to tie, this is a lasso logit")
        facing = replace(data, codes=len(data.classes) - 1 - data.codes) if self.reverse else data
        with single_threaded():
            likelihood = facing.likelihood(how.link, how.standardize)
            lambdas, self.cv_results_ = self._choose(facing, likelihood, penalty, grid, how)
            fits = fit_path(likelihood, lambdas, penalty, tol=how.tol, max_iter=how.max_iter)
            self._learn(data, likelihood, lambdas, fits, how)
            self._seconds = perf_counter() - started
            sampler = Resampler(facing, penalty, how, self.lambda_, grid if self.retune else None, self._root)
            map_tasks(
                sampler,
                range(self.n_draws),
                n_jobs=self.n_jobs,
                label="resamples",
                verbose=self.verbose,
                on_result=self._draws.append,
            )
        self._seconds = perf_counter() - started
        return self

    def _learn(
        self, data: OrdinalData, likelihood: CumulativeLikelihood, lambdas: FloatArray, fits: Fits, how: Tuning
    ) -> None:
        """Keep the path and what was chosen on it, turned to the order of the classes."""
        if not fits.converged.all():
            self._doubt(f"no convergence: KKT residual {fits.kkt.max():.2g}; raise max_iter, tol or lam")
        chosen = len(lambdas) - 1 if self.cv_results_ is None else int(self.cv_results_["chosen"])
        self.lambdas_, self.lambda_ = lambdas, float(lambdas[chosen])
        self.path_alpha_, self.path_beta_ = self._outward(*likelihood.to_raw(fits.boundaries))
        self.alpha_, self.beta_ = self.path_alpha_[chosen], self.path_beta_[chosen]
        self.psi_ = np.diff(self.beta_[::-1] if self.reverse else self.beta_, axis=0, prepend=0.0)
        self.loglik_ = -float(fits.losses[chosen]) * likelihood.total
        self.kkt_ = float(fits.kkt.max())
        self._link, self._crossing, self._rare = how.link, how.crossing, 0 if self.reverse else -1
        self.crossing_fraction_ = float(np.mean(crosses(data.X @ self.beta_.T + self.alpha_)))
        self.classes_, self._n = data.classes, int(data.counts.sum())
        self._report(likelihood, fits.boundaries[chosen])
        self.n_iter_ = int(fits.n_iter[chosen])

    def _checked(self) -> tuple[Tuning, Penalty, tuple[int, float, int]]:
        """Every setting, refused by name where it cannot be used."""
        if not (isinstance(self.lam, str) and self.lam == "cv"):
            if isinstance(self.lam, str):
                raise InvalidParameter(f"lam must be 'cv' or a number >= 0, got {self.lam!r}")
            check_real("lam", self.lam, 0.0)
            if self.retune:
                raise InvalidParameter(f"retune wants lam='cv', got lam={self.lam!r}: there is nothing to tune anew")
        check_integer("n_draws", self.n_draws, 0)
        root_seed(self.random_state)
        link = check_option("link", self.link, CONVEX)
        if self.reverse and link not in SYMMETRIC:
            raise InvalidParameter(f"reverse wants a symmetric link, one of {', '.join(SYMMETRIC)}, got {link!r}")
        how = Tuning(
            link=link,
            standardize=bool(self.standardize),
            scoring=check_option("scoring", self.scoring, SCORING),
            select=check_option("select", self.select, ("min", "1se")),
            crossing=check_option("crossing", self.crossing, CROSSING),
            tol=check_real("tol", self.tol, 0.0, closed="neither"),
            max_iter=check_integer("max_iter", self.max_iter, 1),
        )
        penalty = Penalty(
            "differences",
            check_real("l1_ratio", self.l1_ratio, 0.0, 1.0),
            check_factors(self.penalty_factors, self.n_features_in_),
            bool(self.penalize_first),
        )
        grid = (
            check_integer("n_lambdas", self.n_lambdas, 2),
            check_real("lambda_min_ratio", self.lambda_min_ratio, 0.0, 1.0, closed="neither"),
            check_integer("n_folds", self.n_folds, 2),
        )
        return how, penalty, grid

    def _choose(
        self,
        data: OrdinalData,
        likelihood: CumulativeLikelihood,
        penalty: Penalty,
        grid: tuple[int, float, int],
        how: Tuning,
    ) -> tuple[FloatArray, dict[str, Any] | None]:
        """The penalties to fit, and what cross-validation says about them."""
        if self.lam != "cv":
            return np.array([float(self.lam)]), None
        n_lambdas, ratio, wanted = grid
        lambdas = lambda_grid(likelihood, penalty, n_lambdas, ratio, tol=how.tol, max_iter=how.max_iter)
        n_folds, doubt = usable_folds(data.class_counts(), wanted)
        if doubt:
            self._doubt(doubt)
        rng = stream(self._root, "PRESTOClassifier", Purpose.FOLDS, 0)
        busy = replace(how, n_jobs=self.n_jobs, verbose=self.verbose)
        losses = tune(data, data.counts, lambdas, penalty, n_folds, rng, busy)
        return lambdas, {
            "lambda": lambdas,
            "mean_loss": losses.mean(axis=0),
            "std_error": losses.std(axis=0, ddof=1) / np.sqrt(n_folds),
            "fold_losses": losses,
            "chosen": choose(losses, how.select),
        }

    def _doubt(self, words: str) -> None:
        """Say it now, and again in the Estimate."""
        self._doubts += (words,)
        warn(words, ReliabilityWarning, stacklevel=4)

    def _outward(self, alpha: FloatArray, beta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Boundaries in the order of the classes, from those of the fit: P(y <= k) = 1 - P(y > k)."""
        return (-alpha[..., ::-1], -beta[..., ::-1, :]) if self.reverse else (alpha, beta)

    def _report(self, likelihood: CumulativeLikelihood, boundaries: FloatArray) -> None:
        """Mean rare probability, and the boundary of the rare class, with observed information where lambda is 0."""
        sign, last = (-1.0, 0) if self.reverse else (1.0, len(self.classes_) - 2)
        reported = Quantities.empty()
        reported.add("rare probability", *rare_probability(likelihood, self._link, boundaries))
        reported.add_cut(boundary_name(self.classes_, last), likelihood, boundaries, len(boundaries) - 1, sign)
        reported.add_slopes(self._names, likelihood, boundaries, len(boundaries) - 1, sign)
        self._reported, self._cov = reported, None
        if self.lambda_ == 0 and self.n_draws == 0:
            structure = Differences(*boundaries.shape)
            hessian = structure.hessian(likelihood(boundaries).hessian)
            fixed = np.tile(np.r_[False, likelihood.constant], len(boundaries))
            cov = observed_covariance(hessian, likelihood.total, fixed)
            self._cov = reported.covariance(cov, structure)

    def _make_estimate(self) -> Estimate:
        rare = self.classes_[self._rare]
        draws = None
        if len(self._draws) > 1:
            signs = np.full(2 + len(self._names), -1.0 if self.reverse else 1.0)
            signs[0] = 1.0
            draws = np.array(self._draws) * signs
        kind, source = "frequentist", "observed information"
        doubts = self._doubts
        if draws is not None:
            kind = "bootstrap"
            source = f"stratified bootstrap, lambda {'tuned anew in each resample' if self.retune else 'fixed'}"
        elif self._cov is None:
            source = "none"
            doubts += ("no uncertainty: a penalised fit has none without resamples; set n_draws=200 or more",)
        if len(self._draws) < self.n_draws:
            doubts += (f"interrupted: {len(self._draws)} of {self.n_draws} resamples answer",)
        return Estimate(
            value=np.array(self._reported.values),
            cov=self._cov,
            draws=None if draws is None else draws[None],
            names=tuple(self._reported.names),
            kind=kind,
            estimand=f"mean probability of {rare} and its boundary; uncertainty: {source}",
            method="PRESTOClassifier",
            diagnostics={
                "lambda": self.lambda_,
                "uncertainty": source,
                "log_likelihood": self.loglik_,
                "kkt": self.kkt_,
                "crossing_fraction": self.crossing_fraction_,
            },
            warnings=doubts,
            info={
                "parameters": self._settings(),
                "entropy": entropy_of(self._root),
                "n": self._n,
                "seconds": self._seconds,
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )

    def plot_path(self, ax: Any = None) -> Any:
        """Slopes of the rare class's boundary against lambda (extra ``plot``), on a matplotlib Axes."""
        from mcstat.ordinal._views import plot_path

        self._check_fitted()
        return plot_path(self.lambdas_, self.path_beta_[:, self._rare], self._names, ax, chosen=self.lambda_)

    def plot_cv(self, ax: Any = None) -> Any:
        """Cross-validated loss against lambda with its standard errors (extra ``plot``), on a matplotlib Axes."""
        from mcstat.ordinal._views import plot_cv

        self._check_fitted()
        if self.cv_results_ is None:
            raise InvalidParameter(f"plot_cv() wants a fit with lam='cv', got lam={self.lam!r}")
        return plot_cv(self.cv_results_, self.scoring, ax)
