"""The particle smoother: off-line, over a stored pass of the filter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.progress import progress_bar
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.state_space import _views
from mcstat.state_space._kalman import state_names
from mcstat.state_space._model import Model
from mcstat.state_space._paris_kernels import Plan
from mcstat.state_space._paris_run import Backward, filter_settings, plan_of
from mcstat.state_space._smoother_run import Recipe, Smoothed, compile_recipe, n_chunks, smooth
from mcstat.state_space._summaries import few_effective, many_exact

__all__ = ["ParticleSmoother"]

FloatArray = NDArray[np.float64]
_METHODS = ("ffbsi", "ffbsm", "fixed_lag")
_BACKWARD = ("auto", "hybrid", "exact", "mcmc")
_FILTERS = ("bootstrap", "guided", "auxiliary")


class ParticleSmoother(Estimator):
    """The law of each state, and of whole paths of states, given all observations.

    A filter runs forward and keeps its particles; going backward, they are chosen or weighted anew with what came
    after them.

    Parameters
    ----------
    model : StateSpaceModel or a built-in model
        With a transition density, but for ``"fixed_lag"``.
    method : {"ffbsi", "ffbsm", "fixed_lag"}
        Backward simulation draws whole paths. Backward weights give each x_t its law without drawing, O(T N^2). A fixed
        lag gives particles the weights of their descendants ``lag`` steps later: no density is needed, but what comes
        later still is forgotten, a bias that more particles do not remove.
    n_particles : int
    n_paths : int, optional
        Of each replicate, for ``"ffbsi"``; default ``n_particles``.
    lag : int
        For ``"fixed_lag"``. Too short is biased, too long degenerates as ancestral lines do.
    backward : {"auto", "hybrid", "exact", "mcmc"}
        How ``"ffbsi"`` draws, as of :class:`ParisSmoother`; ``"mcmc"`` makes one Metropolis step from the ancestor.
    max_trials : int, optional
        As of :class:`ParisSmoother`.
    filter_method, ess_threshold
        ``method`` and ``ess_threshold`` of :class:`ParticleFilter`.
    resampling : str
        As of :class:`ParisSmoother`.
    n_replicates : int
        Independent passes. Estimates are their means, and their spread the standard error: one pass has none.
    quantiles : sequence of float
        Levels of the smoothing quantiles to keep.
    n_jobs : int, optional
        Replicates that run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    smoothed_mean_, smoothed_var_ : ndarray, shape (T, d)
        Of x_t given all observations; over all replicates.
    quantiles_ : ndarray, shape (T, k, d)
        At the levels ``quantiles``; the mean over replicates.
    paths_ : ndarray, shape (n_replicates n_paths, T, d)
        Draws from the joint law of all states, replicate after replicate. Only ``"ffbsi"`` has them.
    loglik_ : float
        Mean of the replicates' log-likelihoods.
    ess_ : ndarray, shape (T,)
        Effective sample size of the filter, the mean over replicates.
    n_trials_ : float
        Tries of rejection a backward draw; NaN for other methods.
    exact_fraction_ : float
        Share of backward draws that rejection gave up and made exactly; NaN for other methods.

    Warns
    -----
    ReliabilityWarning
        Where the effective sample size falls below 10, or rejection gave up more than a fifth of the draws.

    Notes
    -----
    O(T (N + P)) time for ``"ffbsi"`` with P paths, O(T N^2) for ``"ffbsm"``, O(T N lag) for ``"fixed_lag"``; O(T (N +
    P) d) memory for each replicate that runs. The smoother that only sums over time is :class:`ParisSmoother`: its
    memory is flat in T. The estimates have a bias of order 1 / N, which the standard error does not show.

    References
    ----------
    .. [1] Godsill, S. J., Doucet, A. and West, M. (2004). Monte Carlo smoothing for nonlinear time series. Journal of
       the American Statistical Association 99, 156-168. doi:10.1198/016214504000000151.
    .. [2] Doucet, A., Godsill, S. and Andrieu, C. (2000). On sequential Monte Carlo sampling methods for Bayesian
       filtering. Statistics and Computing 10, 197-208. doi:10.1023/A:1008935410038.
    .. [3] Kitagawa, G. (1996). Monte Carlo filter and smoother for non-Gaussian nonlinear state space models. Journal
       of Computational and Graphical Statistics 5, 1-25. doi:10.1080/10618600.1996.10474692.
    .. [4] Dau, H.-D. and Chopin, N. (2023). On backward smoothing algorithms. Annals of Statistics 51, 2145-2169.
       arXiv:2207.00976.

    Examples
    --------
    >>> from mcstat.state_space import KalmanFilter, LinearGaussian, ParticleSmoother
    >>> model = LinearGaussian()
    >>> x, y = model.simulate(50, random_state=0)
    >>> found = ParticleSmoother(model, random_state=0).fit(y)
    >>> found.paths_.shape
    (1000, 50, 1)
    >>> bool(abs(found.smoothed_mean_ - KalmanFilter(model).fit(y).smoothed_mean_).max() < 0.2)
    True
    """

    # Set by fit: the passes that are finished, and the observations.
    _runs: list[Smoothed]
    _y: FloatArray

    def __init__(
        self,
        model: Model,
        method: str = "ffbsi",
        n_particles: int = 1000,
        n_paths: int | None = None,
        *,
        lag: int = 20,
        backward: str = "auto",
        max_trials: int | None = None,
        filter_method: str = "bootstrap",
        resampling: str = "auto",
        ess_threshold: float = 0.5,
        n_replicates: int = 1,
        quantiles: Sequence[float] = (),
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.method = method
        self.n_particles = n_particles
        self.n_paths = n_paths
        self.lag = lag
        self.backward = backward
        self.max_trials = max_trials
        self.filter_method = filter_method
        self.resampling = resampling
        self.ess_threshold = ess_threshold
        self.n_replicates = n_replicates
        self.quantiles = quantiles
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # Spending -----------------------------------------------------------------------------------------------

    def fit(self, y: ArrayLike) -> Self:
        """Smooth one series.

        Parameters
        ----------
        y : array_like, shape (T,) or (T, p)
            NaN is a missing observation.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        MissingDensityError
            Naming what the model lacks for this method.
        BoundViolationError
            Where a transition density exceeds its bound.
        ParticleDegeneracyError
            Where all particles have weight zero, naming the time.
        """
        # A refit starts from nothing, also when it fails.
        self._runs = []
        self._recipe = self._prepare()
        self._planned = check_integer("n_replicates", self.n_replicates, 1)
        self._root, self._seconds = root_seed(self.random_state), 0.0
        self._y = self.model.clean(y)
        compile_recipe(self._recipe)
        self._run()
        for doubt in self._doubts():
            warnings.warn(doubt, ReliabilityWarning, stacklevel=2)
        return self

    def _prepare(self) -> Recipe:
        """Check everything."""
        model = self.model
        if not isinstance(model, Model):
            raise InvalidParameter(f"model must be a state-space model, got {type(model).__name__}")
        method = check_option("method", self.method, _METHODS)
        n = check_integer("n_particles", self.n_particles, 1)
        n_paths = n if self.n_paths is None else check_integer("n_paths", self.n_paths, 1)
        plan = self._plan(n) if method == "ffbsi" else None
        scheme = self.resampling
        if isinstance(scheme, str) and scheme == "auto":
            # Metropolis steps start at the ancestor, which must be an independent draw.
            scheme = "multinomial_iid" if plan is not None and plan.is_mcmc else "systematic"
        filter_method = check_option("filter_method", self.filter_method, _FILTERS)
        settings = filter_settings(n, filter_method, scheme, self.ess_threshold, store_history=True)
        levels = tuple(check_real("quantiles", level, 0.0, 1.0, closed="neither") for level in self.quantiles)
        return Recipe(model, settings, method, plan, n_paths, check_integer("lag", self.lag, 0), levels)

    def _plan(self, n: int) -> Plan:
        """How paths are drawn: one backward draw each, which of Metropolis steps is the one after the ancestor."""
        backward = check_option("backward", self.backward, _BACKWARD)
        # Without a density "auto" would follow ancestors, which degenerate: ask for it.
        self.model.function("log_transition")
        plan = plan_of(Backward(backward, 2, self.max_trials), self.model, n)
        return plan if plan.is_mcmc else plan._replace(n_draws=1)

    def _run(self) -> None:
        """All passes; after Ctrl-C the finished ones answer."""
        recipe, y, finished = self._recipe, self._y, list[Smoothed]()
        streams = [stream(self._root, "ParticleSmoother", Purpose.REPLICATES, k) for k in range(self._planned)]
        started = perf_counter()
        try:
            if len(streams) == 1:
                with single_threaded(), progress_bar(n_chunks(recipe, len(y)), "steps", self.verbose) as step:
                    finished.append(smooth(recipe, y, streams[0], step))
            else:
                map_tasks(
                    _smooth_one,
                    [(recipe, y, rng) for rng in streams],
                    n_jobs=self.n_jobs,
                    label="passes",
                    verbose=self.verbose,
                    on_result=finished.append,
                )
        finally:
            self._runs = finished
            self._seconds += perf_counter() - started

    def _doubts(self) -> list[str]:
        """Reasons to doubt the answer."""
        ess, n = np.stack([run.ess for run in self._runs]), self._recipe.settings.n_particles
        return few_effective(ess, n) + many_exact(self.exact_fraction_, self._recipe.plan, n)

    def __sklearn_is_fitted__(self) -> bool:
        """At least one pass is finished."""
        return bool(getattr(self, "_runs", ()))

    # What was found ------------------------------------------------------------------------------------------

    def _mean_of(self, value: Callable[[Smoothed], Any]) -> FloatArray:
        self._check_fitted()
        return np.asarray(np.mean([value(run) for run in self._runs], axis=0))

    @property
    def smoothed_mean_(self) -> FloatArray:
        """Smoothing means (T, d)."""
        return self._mean_of(lambda run: run.mean)

    @property
    def smoothed_var_(self) -> FloatArray:
        """Smoothing variances (T, d): within replicates, and between their means."""
        within = self._mean_of(lambda run: run.var)
        return np.asarray(within + np.var([run.mean for run in self._runs], axis=0))

    @property
    def quantiles_(self) -> FloatArray:
        """Smoothing quantiles (T, k, d) at the levels ``quantiles``."""
        self._need(bool(self.quantiles), "quantiles=levels such as (0.025, 0.5, 0.975)")
        return self._mean_of(lambda run: run.quantiles)

    @property
    def paths_(self) -> FloatArray:
        """Paths of all replicates (n_replicates n_paths, T, d)."""
        self._need(self.method == "ffbsi", "method='ffbsi'")
        return np.concatenate([run.paths for run in self._runs])

    @property
    def loglik_(self) -> float:
        """Mean log-likelihood of the replicates."""
        return float(self._mean_of(lambda run: run.loglik))

    @property
    def ess_(self) -> FloatArray:
        """Effective sample sizes of the filter (T,)."""
        return self._mean_of(lambda run: run.ess)

    @property
    def n_trials_(self) -> float:
        """Tries of rejection a backward draw."""
        return self._a_draw(lambda run: run.tries)

    @property
    def exact_fraction_(self) -> float:
        """Share of backward draws made exactly."""
        return self._a_draw(lambda run: run.exact)

    def _a_draw(self, count: Callable[[Smoothed], int]) -> float:
        plan, n_steps = self._recipe.plan, len(self._y) - 1
        if plan is None or not plan.is_rejection or n_steps == 0:
            return np.nan
        return float(self._mean_of(count) / (self._recipe.n_paths * n_steps))

    def _need(self, given: bool, wanted: str) -> None:
        self._check_fitted()
        if not given:
            # AttributeError: hasattr() then tells whether it is there.
            raise AttributeError(f"this needs {wanted} at fit")

    # Answering -----------------------------------------------------------------------------------------------

    def _make_estimate(self) -> Estimate:
        """The smoothing means by time; their error is from the spread of the replicates."""
        means = np.stack([run.mean for run in self._runs])
        n, n_times, d = means.shape
        notes = []
        if n < self._planned:
            notes.append(f"interrupted: {n} of {self._planned} replicates answer")
        if n == 1:
            notes.append("one pass does not know its error: n_replicates of 8 or more gives a standard error")
        spread = means.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full((n_times, d), np.nan)
        return Estimate(
            value=means.mean(axis=0).ravel(),
            std_error=spread.ravel(),
            names=state_names(n_times, d),
            coords={"time": np.repeat(np.arange(n_times), d), "component": np.tile(np.arange(d), n_times)},
            kind="monte_carlo",
            df=n - 1 if n > 1 else None,
            estimand="smoothing means E[x_t | all of y]",
            method="ParticleSmoother",
            diagnostics={
                "n_replicates": n,
                "loglik": self.loglik_,
                "smallest_ess": float(min(run.ess.min() for run in self._runs)),
                "tries_a_draw": self.n_trials_,
                "exact_fraction": self.exact_fraction_,
            },
            warnings=(*notes, *self._doubts()),
            info={
                "seconds": self._seconds,
                "entropy": entropy_of(self._root),
                "mcstat": __version__,
                "parameters": self._settings(),
            },
        )

    # Looking -------------------------------------------------------------------------------------------------

    def plot(self, ax: Any = None, level: float = 0.95, component: int = 0) -> Any:
        """Smoothing mean of one component with a band, on a matplotlib Axes, which is returned (extra ``plot``).

        The band is of quantiles where ``quantiles`` holds both ends of ``level``, else normal.
        """
        self._check_fitted()
        quantiles = self.quantiles_ if self.quantiles else None
        laws = _views.Laws(self.smoothed_mean_, self.smoothed_var_, quantiles, tuple(self.quantiles), "smoothing")
        return _views.plot_band(laws, ax, level, component)

    def to_arviz(self) -> Any:
        """Paths, one chain a replicate, with the observations and the records by time, as ArviZ data (extra ``arviz``).

        Only ``"ffbsi"`` has paths. Those of one replicate are drawn from the same particles.
        """
        self._need(self.method == "ffbsi", "method='ffbsi'")
        paths = np.stack([run.paths for run in self._runs])
        attributes = {"method": "ParticleSmoother", "n_particles": self.n_particles}
        return _views.states_to_arviz(paths, self._y, {"ess": self.ess_}, attributes)


def _smooth_one(task: tuple[Recipe, FloatArray, np.random.Generator]) -> Smoothed:
    return smooth(*task)
