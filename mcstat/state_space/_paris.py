"""The PaRIS algorithm: online smoothing of additive functionals."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_integer
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.progress import progress_bar
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.state_space._additive import Functional, additive
from mcstat.state_space._model import Model
from mcstat.state_space._paris_run import Backward, ParisRun, filter_settings, paris_tools, plan_of
from mcstat.state_space._series import next_rows
from mcstat.state_space._summaries import few_effective, many_exact

__all__ = ["ParisSmoother"]

FloatArray = NDArray[np.float64]


class ParisSmoother(Estimator):
    """Expected sums over time of terms h_t(x_{t-1}, x_t) given all observations, online, in memory that is flat in T.

    Each particle carries an estimate of its past sum; at each step this is averaged over a few indices drawn from the
    backward kernel, so that it does not degenerate as ancestral lines do.

    Parameters
    ----------
    model : StateSpaceModel or a built-in model
        With a transition density, and for ``backward="hybrid"`` its bound.
    functional : str, callable, or list of these
        ``"sum_x"``, ``"sum_xx"`` (squares), ``"sum_cross"`` (x_{t-1} x_t over t >= 1), each of every component of the
        state; or a term ``h(t, x_prev, x, y, theta)``, a number (arrays for an array model). At t = 0 its ``x_prev`` is
        NaN, and a missing y is NaN.
    n_particles : int
    n_backward : int
        Backward draws a particle and step. One is too few: the variance then grows faster with T.
    backward : {"auto", "hybrid", "exact", "mcmc", "forward", "marginal"}
        Backward draws by rejection with an exact draw after ``max_trials`` tries; exactly, O(N^2) a step; by Metropolis
        steps that start at the ancestor, O(N) and without a bound; or no draws: ancestral lines (degenerates), means
        over all particles (O(N^2), the limit of many draws). ``"auto"`` is the first of hybrid, mcmc and forward for
        which the model has what it needs.
    max_trials : int, optional
        Default N / 4 (at most 30 for array models). It changes the time, not the law.
    method, ess_threshold
        As of :class:`ParticleFilter`.
    resampling : str
        As of :class:`ParticleFilter`; ``"auto"`` is ``"systematic"``, or ``"multinomial_iid"`` for Metropolis steps,
        whose start must be an independent draw.
    n_replicates : int
        Independent passes. The estimate is their mean, and their spread its standard error: one pass has none.
    n_jobs : int, optional
        Replicates that run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    running_estimate_ : ndarray, shape (T, k)
        E[S_t | y_0, ..., y_t] at each t, the mean over replicates.
    loglik_ : float
        Mean of the replicates' log-likelihoods.
    ess_ : ndarray, shape (T,)
        Effective sample size of the filter, the mean over replicates.
    n_trials_ : float
        Tries of rejection a backward draw; NaN for other methods.
    exact_fraction_ : float
        Share of backward draws that rejection gave up and made exactly; NaN for other methods.
    n_times_ : int
        Observations so far.

    Warns
    -----
    ReliabilityWarning
        Where the effective sample size falls below 10, or rejection gave up more than a fifth of the draws.

    Notes
    -----
    O(T N M) time, but for ``"exact"`` and ``"marginal"``; O(N) memory beside the running estimates. The estimate has a
    bias of order T / N, which its standard error does not show: :class:`ParisianParticleGibbs` removes it.

    References
    ----------
    .. [1] Olsson, J. and Westerborn, J. (2017). Efficient particle-based online smoothing in general hidden Markov
       models: the PaRIS algorithm. Bernoulli 23, 1951-1996. arXiv:1412.7550.
    .. [2] Dau, H.-D. and Chopin, N. (2023). On backward smoothing algorithms. Annals of Statistics 51, 2145-2169.
       arXiv:2207.00976.

    Examples
    --------
    >>> from mcstat.state_space import KalmanFilter, LinearGaussian, ParisSmoother
    >>> model = LinearGaussian()
    >>> x, y = model.simulate(50, random_state=0)
    >>> found = ParisSmoother(model, "sum_x", random_state=0).fit(y)
    >>> bool(abs(found.running_estimate_[-1, 0] - KalmanFilter(model).fit(y).sum_x_[0]) < 1)
    True
    """

    # Set by fit: the passes that are finished.
    _runs: list[ParisRun]

    def __init__(
        self,
        model: Model,
        functional: Functional = "sum_x",
        n_particles: int = 1000,
        n_backward: int = 2,
        *,
        backward: str = "auto",
        max_trials: int | None = None,
        method: str = "bootstrap",
        resampling: str = "auto",
        ess_threshold: float = 0.5,
        n_replicates: int = 1,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.functional = functional
        self.n_particles = n_particles
        self.n_backward = n_backward
        self.backward = backward
        self.max_trials = max_trials
        self.method = method
        self.resampling = resampling
        self.ess_threshold = ess_threshold
        self.n_replicates = n_replicates
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

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
            Naming what the model lacks for this ``backward``.
        BoundViolationError
            Where a transition density exceeds its bound.
        ParticleDegeneracyError
            Where all particles have weight zero, naming the time.
        """
        runs = self._prepare()
        self._advance(runs, self.model.clean(y), keep_finished=True)
        for doubt in self._doubts():
            warnings.warn(doubt, ReliabilityWarning, stacklevel=2)
        return self

    def partial_fit(self, y: ArrayLike) -> Self:
        """Go on with the observations that come next: one (a number, or (p,)), or several.

        The same bits as one ``fit`` of all of them. Without an earlier fit the first one is at t = 0.
        """
        runs = self._runs if self.__sklearn_is_fitted__() else self._prepare()
        rows = next_rows(self.model, y)
        # Passes that stopped at different times are of no use.
        self._runs = []
        self._advance(runs, rows, keep_finished=False)
        return self

    def _prepare(self) -> list[ParisRun]:
        """Check everything, compile, and put the particles of each replicate at the start."""
        self._runs = []
        model = self.model
        if not isinstance(model, Model):
            raise InvalidParameter(f"model must be a state-space model, got {type(model).__name__}")
        n = check_integer("n_particles", self.n_particles, 1)
        plan = plan_of(Backward(self.backward, self.n_backward, self.max_trials), model, n)
        scheme = self.resampling
        if isinstance(scheme, str) and scheme == "auto":
            scheme = "multinomial_iid" if plan.is_mcmc else "systematic"
        settings = filter_settings(n, self.method, scheme, self.ess_threshold)
        functional = additive(self.functional, model)
        self._planned = check_integer("n_replicates", self.n_replicates, 1)
        self._root, self._seconds = root_seed(self.random_state), 0.0
        # Compiled here, not in threads.
        paris_tools(model, settings, functional, plan)
        streams = (stream(self._root, "ParisSmoother", Purpose.REPLICATES, k) for k in range(self._planned))
        return [ParisRun(model, settings, functional, plan, rng) for rng in streams]

    def _advance(self, runs: list[ParisRun], rows: FloatArray, *, keep_finished: bool) -> None:
        """Advance every pass by the rows; after Ctrl-C the finished ones may answer."""
        finished: list[ParisRun] = []
        started = perf_counter()
        try:
            if len(runs) == 1:
                with single_threaded(), progress_bar(runs[0].n_chunks(rows), "times", self.verbose) as step:
                    finished.append(runs[0].advance(rows, after_chunk=step))
            else:
                tasks = [(run, rows) for run in runs]
                map_tasks(
                    _advance_one,
                    tasks,
                    n_jobs=self.n_jobs,
                    label="passes",
                    verbose=self.verbose,
                    on_result=finished.append,
                )
        except KeyboardInterrupt:
            self._runs = finished if keep_finished else []
            raise
        finally:
            self._seconds += perf_counter() - started
        self._runs = finished

    def _doubts(self) -> list[str]:
        """Reasons to doubt the answer."""
        n, plan = self._runs[0].settings.n_particles, self._runs[0].plan
        return few_effective(self._stack("ess"), n) + many_exact(self.exact_fraction_, plan, n)

    def __sklearn_is_fitted__(self) -> bool:
        """At least one pass is finished."""
        return bool(getattr(self, "_runs", ()))

    def _stack(self, name: str) -> FloatArray:
        """One record of all replicates, (R, T, ...)."""
        self._check_fitted()
        return np.stack([run.trace(name) for run in self._runs])

    @property
    def running_estimate_(self) -> FloatArray:
        """Estimates (T, k) given the observations up to each time."""
        return np.asarray(self._stack("estimate").mean(axis=0))

    @property
    def loglik_(self) -> float:
        """Mean log-likelihood of the replicates."""
        return float(self._stack("increments").sum(axis=1).mean())

    @property
    def ess_(self) -> FloatArray:
        """Effective sample sizes (T,)."""
        return np.asarray(self._stack("ess").mean(axis=0))

    @property
    def n_trials_(self) -> float:
        """Tries of rejection a backward draw."""
        return self._a_draw("trials")

    @property
    def exact_fraction_(self) -> float:
        """Share of backward draws made exactly."""
        return self._a_draw("exact")

    def _a_draw(self, name: str) -> float:
        counts, run = self._stack(name), self._runs[0]
        drawn = run.n_drawn * len(self._runs)
        return float(counts.sum() / drawn) if run.plan.is_rejection and drawn > 0 else np.nan

    @property
    def n_times_(self) -> int:
        """Observations so far."""
        self._check_fitted()
        return self._runs[0].time

    def _make_estimate(self) -> Estimate:
        """The functional given all observations; its error is from the spread of the replicates."""
        values = np.stack([run.value for run in self._runs])
        n, notes = len(values), []
        if n < self._planned:
            notes.append(f"interrupted: {n} of {self._planned} replicates answer")
        if n == 1:
            notes.append("one pass does not know its error: n_replicates of 8 or more gives a standard error")
        spread: dict[str, Any] = {"std_error": np.full(values.shape[1], np.nan)}
        if n > 1:
            spread = {"cov": np.atleast_2d(np.cov(values, rowvar=False)) / n, "draws": values[:, None]}
        return Estimate(
            value=values.mean(axis=0),
            **spread,
            names=self._runs[0].functional.names,
            kind="monte_carlo",
            df=n - 1 if n > 1 else None,
            estimand="expected additive functionals of the states given all observations",
            method="ParisSmoother",
            diagnostics={
                "n_replicates": n,
                "smallest_ess": float(self._stack("ess").min()),
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


def _advance_one(task: tuple[ParisRun, FloatArray]) -> ParisRun:
    run, rows = task
    return run.advance(rows)
