"""One pass of online smoothing over one series: in chunks of time, with the same bits for any chunks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_option, check_real, frozen_view
from mcstat.core.errors import InvalidData, ReliabilityWarning
from mcstat.kernels.resampling import SCHEMES
from mcstat.state_space import _filter_kernels as filtering
from mcstat.state_space import _paris_kernels as kernels
from mcstat.state_space._additive import Additive
from mcstat.state_space._errors import BoundViolationError, MissingDensityError
from mcstat.state_space._model import METHODS, Model
from mcstat.state_space._run import FilterSettings, empty_trace, filter_tools, nobody, raise_failure, step_functions

__all__ = ["BACKWARD", "Backward", "ParisRun", "draw_buffers", "plan_of", "raise_backward_failure"]

FloatArray = NDArray[np.float64]
BACKWARD = ("auto", "hybrid", "exact", "mcmc", "forward", "marginal")
# Particle-steps between two looks at Ctrl-C: some 100 ms of compiled work.
_CHUNK = 300_000
# A batch of tries costs an array model some ten microseconds however few they are, an exact draw not much more.
_TRIALS_OF_ARRAYS = 30


class Backward(NamedTuple):
    """How to draw backward, as a user says it; ``max_trials`` None is our choice."""

    method: str
    n_draws: int
    max_trials: int | None


def plan_of(backward: Backward, model: Model, n_particles: int) -> kernels.Plan:
    """Check, choose, and see to it that the model has what is needed.

    Raises
    ------
    MissingDensityError
        Naming what the model lacks.
    """
    method = check_option("backward", backward.method, BACKWARD)
    n_draws = check_integer("n_backward", backward.n_draws, 1)
    max_trials = min(max(1, n_particles // 4), _TRIALS_OF_ARRAYS if model.vectorized else n_particles)
    if backward.max_trials is not None:
        max_trials = check_integer("max_trials", backward.max_trials, 0)
    if method == "auto":
        method = _best(model)
    if method != "forward":
        model.function("log_transition")
    if method == "hybrid":
        return kernels.Plan(kernels.REJECTION, n_draws, model.log_bound(), max_trials)
    if method == "exact":
        return kernels.Plan(kernels.REJECTION, n_draws, np.inf, 0)
    if method == "mcmc":
        return kernels.Plan(kernels.MCMC, n_draws, np.inf, 0)
    return kernels.Plan(kernels.FORWARD if method == "forward" else kernels.MARGINAL, 1, np.inf, 0)


def _best(model: Model) -> str:
    if not model.has("log_transition"):
        warnings.warn(
            "the model has no transition density, so smoothing follows the particles' ancestors, which degenerate over "
            "a long series: give the model its transition_log_density",
            ReliabilityWarning,
            stacklevel=5,
        )
        return "forward"
    try:
        model.log_bound()
    except MissingDensityError:
        return "mcmc"
    return "hybrid"


def draw_buffers(n_targets: int, n_draws: int, n: int) -> kernels.Draws:
    """Room for ``n_draws`` draws of each target among n particles."""
    total = n_targets * n_draws
    return kernels.Draws(
        sources=np.zeros(total, np.int64),
        targets=np.repeat(np.arange(n_targets), n_draws),
        pending=np.zeros(total, np.int64),
        trial_sources=np.zeros(total, np.int64),
        trial_targets=np.zeros(max(total, n), np.int64),
        log_density=np.empty(max(total, n)),
        current=np.empty(total),
        everyone=np.arange(max(n_targets, n)),
        cdf=np.empty(n),
    )


def empty_past(n: int) -> kernels.Past:
    """Room for the weights of n particles."""
    return kernels.Past(np.empty(n), np.empty(n), np.empty(n, np.int64))


def paris_tools(model: Model, settings: FilterSettings, functional: Additive, plan: kernels.Plan) -> tuple[Any, ...]:
    """The loop over time and the functions that it takes, all compiled or all of Python."""
    fk, resample = step_functions(model, settings)
    # A function of the right type that is never called.
    density = None if plan.mode == kernels.FORWARD else model.function("log_transition")
    if density is None and not model.vectorized:
        from mcstat.state_space._model import pointer_of

        density = pointer_of("no_transition", "log_transition")
    loop = (kernels.paris_loop if model.vectorized else kernels.compiled_paris)(plan.mode)
    return loop, (*fk[:3], resample, density, functional.function(model))


def filter_settings(
    n_particles: Any, method: Any, resampling: Any, ess_threshold: Any, *, store_history: bool = False
) -> FilterSettings:
    """Checked settings of the filter under a smoother."""
    return FilterSettings(
        n_particles=check_integer("n_particles", n_particles, 1),
        method=check_option("method", method, METHODS),
        resampling=check_option("resampling", resampling, tuple(SCHEMES)),
        ess_threshold=check_real("ess_threshold", ess_threshold, 0.0, 1.0),
        quantiles=(),
        store_history=store_history,
    )


class ParisRun:
    """Particles with their statistics on the way through a series.

    Parameters
    ----------
    model : Model
    settings : FilterSettings
        With ``store_history`` particles and one backward draw of each are kept, for :meth:`draw_path`.
    functional : Additive
    plan : Plan
    rng : Generator
    """

    def __init__(
        self,
        model: Model,
        settings: FilterSettings,
        functional: Additive,
        plan: kernels.Plan,
        rng: np.random.Generator,
    ) -> None:
        self.model, self.settings, self.functional, self.plan, self.rng = model, settings, functional, plan, rng
        self.time = 0
        n, d = settings.n_particles, model.dims[0]
        # At t = 0 there is no state before: a functional that reads it should see so.
        self.cloud = filtering.Cloud(np.full((2, n, d), np.nan), np.zeros(n), np.ones(n), np.arange(n))
        self.beta = np.zeros((2, n, functional.n_columns))
        self.chunks: list[dict[str, Any]] = []

    def advance(
        self, y: FloatArray, frozen: FloatArray | None = None, after_chunk: Callable[[], object] = lambda: None
    ) -> ParisRun:
        """Go on with the rows of y (T, p) that come next; particle 0 follows ``frozen`` (T, d) if it is given.

        Raises
        ------
        ParticleDegeneracyError
            With the time where all weights are zero.
        BoundViolationError
            Where a transition density exceeds its bound.
        InvalidData
            Where a density or the functional is not a finite number.
        """
        path = nobody(self.model.dims[0]) if frozen is None else frozen
        length = self._chunk_length()
        for begin in range(0, len(y), length):
            rows = slice(begin, begin + length)
            self._advance_chunk(y[rows], frozen_view(path[rows]))
            after_chunk()
        return self

    def n_chunks(self, y: FloatArray) -> int:
        """How often ``after_chunk`` is called for those rows."""
        return -(-len(y) // self._chunk_length())

    def _chunk_length(self) -> int:
        n = self.settings.n_particles
        cost = n * n if self.plan.max_trials == 0 and self.plan.mode != kernels.FORWARD else n
        return max(1, _CHUNK // (cost if self.plan.mode != kernels.MCMC else n))

    def _advance_chunk(self, y: FloatArray, frozen: FloatArray) -> None:
        n, n_times, keep = self.settings.n_particles, len(y), self.settings.store_history
        trace = empty_trace(n_times, n, self.model.dims[0], keep)
        record = kernels.Record(
            estimate=np.empty((n_times, self.functional.n_columns)),
            trials=np.zeros(n_times, np.int64),
            exact=np.zeros(n_times, np.int64),
            parents=np.zeros((n_times if keep else 0, n), np.int64),
        )
        plan = self.plan
        smoother = kernels.Smoother(
            beta=self.beta,
            h=np.empty((n * max(plan.n_draws, 1), self.functional.n_columns)),
            plan=plan,
            past=empty_past(n),
            draws=draw_buffers(n, plan.n_draws, n),
            record=record,
        )
        loop, functions = paris_tools(self.model, self.settings, self.functional, plan)
        status, self.time = loop(
            self.rng, *functions, self.model.packed(), y, self.time, frozen, self.cloud, trace,
            filter_tools(self.model, self.settings), smoother,
        )  # fmt: skip
        raise_failure(status, self.time, "y", self.settings.method)
        raise_backward_failure(status, self.time)
        self._check_finite(record.estimate)
        self.chunks.append(self._seen(trace, record))

    def _check_finite(self, estimates: FloatArray) -> None:
        bad = ~np.isfinite(estimates[:, self.functional.columns])
        if bad.any():
            k, column = (int(value) for value in np.argwhere(bad)[0])
            raise InvalidData(
                f"{self.functional.names[column]} must be finite, got NaN or infinity at time "
                f"{self.time - len(estimates) + k} (at time 0 there is no x_prev: it is NaN)"
            )

    def _seen(self, trace: filtering.Trace, record: kernels.Record) -> dict[str, Any]:
        seen = {name: getattr(trace, name) for name in ("increments", "ess", "mean", "var")}
        seen |= {"estimate": record.estimate[:, self.functional.columns], "trials": record.trials}
        seen |= {"exact": record.exact}
        if self.settings.store_history:
            seen |= {"x": trace.x, "parents": record.parents}
        return seen

    def trace(self, name: str) -> NDArray[Any]:
        """All times of one record, joined."""
        if len(self.chunks) > 1:
            self.chunks = [{key: np.concatenate([chunk[key] for chunk in self.chunks]) for key in self.chunks[0]}]
        return np.asarray(self.chunks[0][name])

    @property
    def value(self) -> FloatArray:
        """Estimate (k,) of the functional given all observations so far."""
        return np.asarray(self.chunks[-1]["estimate"][-1])

    @property
    def n_drawn(self) -> int:
        """Backward draws so far."""
        return self.settings.n_particles * self.plan.n_draws * (self.time - 1)

    def draw_path(self) -> FloatArray:
        """One path (T, d) from the smoothing law, along recorded backward draws."""
        path = np.empty((self.time, self.model.dims[0]))
        kernels.trace_back(self.rng, self.cloud.weights, self.trace("x"), self.trace("parents"), path)
        return path


def raise_backward_failure(status: int, time: int) -> None:
    """The exception of backward draws that failed."""
    if status == kernels.BOUND_VIOLATED:
        raise BoundViolationError(
            f"the transition's log density exceeds its bound at time {time}: transition_log_bound must be at least "
            "its maximum over all states and times"
        )
    if status == kernels.BAD_TRANSITION:
        raise InvalidData(f"the transition's log density must not be NaN or +inf, got one at time {time}")
