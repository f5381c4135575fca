"""The particle filter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.progress import progress_bar
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.kernels.resampling import SCHEMES
from mcstat.state_space import _forecast, _summaries
from mcstat.state_space._model import METHODS, Model
from mcstat.state_space._run import FilterRun, FilterSettings, tools
from mcstat.state_space._series import named_series, next_rows

__all__ = ["History", "ParticleFilter"]

FloatArray = NDArray[np.float64]


class History(NamedTuple):
    """All particles of one pass: x (T, N, d), log_weights (T, N) with exponentials that sum to N, ancestors (T, N)."""

    x: FloatArray
    log_weights: FloatArray
    ancestors: NDArray[np.int64]


class ParticleFilter(Estimator):
    """Filter a state-space model with weighted particles; its likelihood estimate is unbiased.

    Parameters
    ----------
    model : StateSpaceModel or a built-in model
    n_particles : int
    method : {"bootstrap", "guided", "auxiliary"}
        Particles move by the model; by the model's proposal, which knows y_t; or are also resampled with first-stage
        weights that know y_t (with the proposal where the model has one).
    resampling : str
        "systematic", "stratified", "multinomial", "multinomial_iid", "residual", "ssp" or "killing".
    ess_threshold : float
        Resample where the effective sample size falls below this share of ``n_particles``; 1 is at every step.
    n_replicates : int
        Independent passes. The likelihood is their average, and their spread its standard error: one pass has none.
    quantiles : sequence of float
        Levels of the filtering quantiles to keep; they cost a sort a step.
    store_history : bool
        Keep all particles, O(T N d) memory.
    n_jobs : int, optional
        Series and replicates that run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    loglik_ : float
        Estimate of log p(y); summed over series.
    loglik_increments_ : ndarray, shape (T,)
        log p(y_t | y_0, ..., y_{t-1}), the one-step predictive log scores; 0 where y_t is missing.
    filter_mean_, filter_var_ : ndarray, shape (T, d)
        Of x_t given y_0, ..., y_t; over all replicates.
    ess_ : ndarray, shape (T,)
        Effective sample size, the mean over replicates.
    resampled_ : ndarray, shape (T,)
        Share of replicates that resampled before step t.
    quantiles_ : ndarray, shape (T, k, d)
        At the levels ``quantiles``; the mean over replicates.
    history_ : History
        Of the first replicate. ``store_history`` asks for it.
    names_ : tuple of str
        Of the series. With more than one, each attribute but ``loglik_`` is a list with one entry a series.
    n_times_ : int
        Observations filtered, of the first series.

    Warns
    -----
    ReliabilityWarning
        Where the effective sample size falls below 10.

    Notes
    -----
    O(T N) time; O(N) memory beside what is returned, so T = 10^6 is no obstacle. exp(loglik) is unbiased for any
    scheme, threshold and method; loglik itself has a bias of about -var(loglik) / 2.

    References
    ----------
    .. [1] Gordon, N. J., Salmond, D. J. and Smith, A. F. M. (1993). Novel approach to nonlinear/non-Gaussian Bayesian
       state estimation. IEE Proceedings F 140, 107-113. doi:10.1049/ip-f-2.1993.0015.
    .. [2] Pitt, M. K. and Shephard, N. (1999). Filtering via simulation: auxiliary particle filters. Journal of the
       American Statistical Association 94, 590-599. doi:10.1080/01621459.1999.10474153.
    .. [3] Chopin, N. and Papaspiliopoulos, O. (2020). An introduction to sequential Monte Carlo. Springer.
       doi:10.1007/978-3-030-47845-2.

    Examples
    --------
    >>> from mcstat.state_space import KalmanFilter, LinearGaussian, ParticleFilter
    >>> model = LinearGaussian()
    >>> x, y = model.simulate(50, random_state=0)
    >>> found = ParticleFilter(model, n_particles=1000, random_state=0).fit(y)
    >>> bool(abs(found.loglik_ - KalmanFilter(model).fit(y).loglik_) < 1)
    True
    """

    # Set by fit: the observations by series, and the passes that are finished, replicate by replicate.
    _series: dict[str, FloatArray]
    _runs: list[FilterRun]

    def __init__(
        self,
        model: Model,
        n_particles: int = 1000,
        *,
        method: str = "bootstrap",
        resampling: str = "systematic",
        ess_threshold: float = 0.5,
        n_replicates: int = 1,
        quantiles: Sequence[float] = (),
        store_history: bool = False,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.n_particles = n_particles
        self.method = method
        self.resampling = resampling
        self.ess_threshold = ess_threshold
        self.n_replicates = n_replicates
        self.quantiles = quantiles
        self.store_history = store_history
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # Spending -----------------------------------------------------------------------------------------------

    def fit(self, y: Any, group: str | None = None) -> Self:
        """Filter one series or several.

        Parameters
        ----------
        y : array_like of shape (T,) or (T, p), list or mapping of such arrays, or table
            NaN is a missing observation. Several series are independent given the parameters: log-likelihoods add.
        group : str, optional
            Column of the table ``y`` that tells the series apart; the other columns are the observations.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        ParticleDegeneracyError
            Where all particles have weight zero, naming the time.
        """
        runs = self._prepare(lambda model: named_series(model, y, group))
        finished: list[FilterRun] = []
        try:
            self._advance(runs, list(self._series.values()), finished)
        except KeyboardInterrupt:
            # Replicates that cover all series answer.
            self._runs = finished[: len(finished) - len(finished) % len(self._series)]
            raise
        self._runs = finished
        for doubt in _summaries.doubts(finished):
            warnings.warn(doubt, ReliabilityWarning, stacklevel=2)
        return self

    def partial_fit(self, y: ArrayLike) -> Self:
        """Go on with the observations that come next: one (a number, or (p,)), or several.

        The same bits as one ``fit`` of all of them. Without an earlier fit the first one is at t = 0.
        """
        if not self.__sklearn_is_fitted__():
            runs = self._prepare(lambda model: {"y": next_rows(model, y)})
        elif len(self._series) > 1:
            raise InvalidParameter(f"partial_fit() goes on with one series, got {len(self._series)} in fit")
        else:
            runs = self._runs
        rows = next_rows(self.model, y)
        # Passes that stopped at different times are of no use.
        self._runs = []
        finished: list[FilterRun] = []
        self._advance(runs, [rows], finished)
        self._runs = finished
        return self

    def _prepare(self, read: Callable[[Model], dict[str, FloatArray]]) -> list[FilterRun]:
        """Check everything, compile, and put the particles of each replicate and series at the start."""
        # A refit starts from nothing, also when it fails.
        self._runs = []
        model = self.model
        if not isinstance(model, Model):
            raise InvalidParameter(f"model must be a state-space model, got {type(model).__name__}")
        levels = tuple(check_real("quantiles", level, 0.0, 1.0, closed="neither") for level in self.quantiles)
        settings = FilterSettings(
            n_particles=check_integer("n_particles", self.n_particles, 1),
            method=check_option("method", self.method, METHODS),
            resampling=check_option("resampling", self.resampling, tuple(SCHEMES)),
            ess_threshold=check_real("ess_threshold", self.ess_threshold, 0.0, 1.0),
            quantiles=levels,
            store_history=bool(self.store_history),
        )
        self._planned = check_integer("n_replicates", self.n_replicates, 1)
        self._root = root_seed(self.random_state)
        self._series = read(model)
        self._seconds = 0.0
        # Compiled here, not in threads.
        tools(model, settings)
        passes = enumerate(product(range(self._planned), self._series))
        return [
            FilterRun(model, settings, stream(self._root, "ParticleFilter", Purpose.REPLICATES, k), name)
            for k, (_, name) in passes
        ]

    def _advance(self, runs: list[FilterRun], rows: list[FloatArray], finished: list[FilterRun]) -> None:
        """Advance every pass by the rows of its series; passes that are done are added to ``finished``, in order."""
        tasks = [(run, rows[k % len(rows)]) for k, run in enumerate(runs)]
        started = perf_counter()
        try:
            if len(tasks) == 1:
                finished.append(_advance_alone(*tasks[0], verbose=self.verbose))
            else:
                map_tasks(
                    _advance_one,
                    tasks,
                    n_jobs=self.n_jobs,
                    label="passes",
                    verbose=self.verbose,
                    on_result=finished.append,
                )
        finally:
            self._seconds += perf_counter() - started

    def __sklearn_is_fitted__(self) -> bool:
        """At least one pass over all series is finished."""
        return bool(getattr(self, "_runs", ()))

    # What was found ------------------------------------------------------------------------------------------

    def _passes(self) -> list[list[FilterRun]]:
        """Finished replicates of each series."""
        self._check_fitted()
        return [self._runs[k :: len(self._series)] for k in range(len(self._series))]

    def _each(self, summarise: Callable[[list[FilterRun]], Any]) -> Any:
        """Of one series itself, of several a list."""
        found = [summarise(passes) for passes in self._passes()]
        return found[0] if len(found) == 1 else found

    @property
    def names_(self) -> tuple[str, ...]:
        """Names of the series."""
        self._check_fitted()
        return tuple(self._series)

    @property
    def n_times_(self) -> int:
        """Observations of the first series so far."""
        return self._passes()[0][0].time

    @property
    def loglik_(self) -> float:
        """Estimate of log p(y)."""
        return float(sum(_summaries.loglik(passes)[0] for passes in self._passes()))

    @property
    def loglik_increments_(self) -> Any:
        """One-step predictive log scores (T,)."""
        return self._each(_summaries.increments)

    @property
    def filter_mean_(self) -> Any:
        """Filtering means (T, d)."""
        return self._each(lambda passes: _summaries.moments(passes)[0])

    @property
    def filter_var_(self) -> Any:
        """Filtering variances (T, d)."""
        return self._each(lambda passes: _summaries.moments(passes)[1])

    @property
    def ess_(self) -> Any:
        """Effective sample sizes (T,)."""
        return self._each(partial(_summaries.mean_of, name="ess"))

    @property
    def resampled_(self) -> Any:
        """Share of replicates that resampled before step t, (T,)."""
        return self._each(partial(_summaries.mean_of, name="resampled"))

    @property
    def quantiles_(self) -> Any:
        """Filtering quantiles (T, k, d) at the levels ``quantiles``."""
        self._need("quantiles", bool(self.quantiles), "levels such as (0.025, 0.5, 0.975)")
        return self._each(partial(_summaries.mean_of, name="quantiles"))

    @property
    def history_(self) -> Any:
        """All particles of the first replicate."""
        self._need("store_history", self.store_history, "True")
        return self._each(lambda passes: History(*(passes[0].trace(name) for name in History._fields)))

    def _need(self, name: str, given: bool, wanted: str) -> None:
        self._check_fitted()
        if not given:
            # AttributeError: hasattr() then tells whether it is there.
            raise AttributeError(f"this needs {name}={wanted} at fit")

    # Answering -----------------------------------------------------------------------------------------------

    def estimate(self, target: str = "loglik") -> Estimate:
        """The log-likelihood, or the filtering means.

        Parameters
        ----------
        target : {"loglik", "filter_mean"}
            The standard error is from the spread of the replicates; with one replicate it is NaN, and a warning says
            so.

        Returns
        -------
        Estimate
            Of kind ``"monte_carlo"``: its error is what more particles or replicates would remove.
        """
        self._check_fitted()
        of_loglik = check_option("target", target, ("loglik", "filter_mean")) == "loglik"
        passes = self._passes()
        fields = _summaries.loglik_fields(passes) if of_loglik else _summaries.mean_fields(passes, self.names_)
        n, notes = len(passes[0]), []
        if n < self._planned:
            notes.append(f"interrupted: {n} of {self._planned} replicates answer")
        if n == 1:
            notes.append("one pass does not know its error: n_replicates of 8 or more gives a standard error")
        return Estimate(
            **fields,
            kind="monte_carlo",
            df=n - 1 if n > 1 else None,
            method="ParticleFilter",
            diagnostics={"n_replicates": n, "smallest_ess": min(float(run.trace("ess").min()) for run in self._runs)},
            warnings=(*notes, *_summaries.doubts(self._runs)),
            info={
                "seconds": self._seconds,
                "entropy": entropy_of(self._root),
                "mcstat": __version__,
                "parameters": self._settings(),
            },
        )

    def score(self, y: Any) -> float:
        """Log-likelihood of other observations, with the same settings and seed."""
        return float(clone(self).fit(y).loglik_)

    def predict(self, h: int = 1, of: str = "state") -> Estimate:
        """Law of the next ``h`` states, or observations, given all so far.

        Parameters
        ----------
        h : int
            Steps ahead.
        of : {"state", "observation"}
            Observations need a model that can draw them.

        Returns
        -------
        Estimate
            Of kind ``"posterior"``, from weighted draws: one chain a replicate, one draw a particle.
        """
        self._check_fitted()
        return _forecast.predict(self._only("predict"), check_integer("h", h, 1), of, self._root)

    def pit(self) -> FloatArray:
        """Probability integral transforms P(Y_t <= y_t | y_0, ..., y_{t-1}), shape (T,).

        Independent and uniform under the model, for a scalar and continuous observation; NaN where y_t is missing.
        Needs ``store_history`` and a model that has the distribution function of its observations.
        """
        self._need("store_history", self.store_history, "True")
        return _forecast.pit(self._only("pit"), next(iter(self._series.values())), self._root)

    def _only(self, what: str) -> list[FilterRun]:
        passes = self._passes()
        if len(passes) > 1:
            raise InvalidParameter(f"{what}() wants one series, got {len(passes)} in fit")
        return passes[0]

    # Looking -------------------------------------------------------------------------------------------------

    def plot(self, ax: Any = None, level: float = 0.95, component: int = 0) -> Any:
        """Filtering mean of one component with a band, on a matplotlib Axes, which is returned (extra ``plot``).

        The band is of quantiles where ``quantiles`` holds both ends of ``level``, else normal.
        """
        from mcstat.state_space._views import Laws, plot_band

        self._only("plot")
        quantiles = self.quantiles_ if self.quantiles else None
        laws = Laws(self.filter_mean_, self.filter_var_, quantiles, tuple(self.quantiles), "filtering")
        return plot_band(laws, ax, level, component)

    def to_arviz(self, random_state: int = 0) -> Any:
        """Draws of each x_t from its filtering law, the observations and the records by time, as ArviZ data.

        Needs ``store_history`` and extra ``arviz``. Draws of different times are not joined into paths.
        """
        from mcstat.state_space._views import filter_to_arviz

        self._need("store_history", self.store_history, "True")
        return filter_to_arviz(self, next(iter(self._series.values())), random_state)


def _advance_one(task: tuple[FilterRun, FloatArray]) -> FilterRun:
    run, rows = task
    return run.advance(rows)


def _advance_alone(run: FilterRun, rows: FloatArray, verbose: bool) -> FilterRun:
    """With a progress bar over its chunks of time."""
    with single_threaded(), progress_bar(run.n_chunks(rows), "times", verbose) as step:
        return run.advance(rows, step)
