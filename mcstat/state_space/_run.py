"""One pass of a particle filter over one series: in chunks of time, with the same bits for any chunks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidData
from mcstat.kernels._jit import pointer
from mcstat.kernels.resampling import SCHEMES
from mcstat.state_space import _filter_kernels as kernels
from mcstat.state_space._errors import ParticleDegeneracyError
from mcstat.state_space._model import FeynmanKac, Model, feynman_kac
from mcstat.state_space._signatures import RESAMPLE

__all__ = ["FilterRun", "FilterSettings", "scheme_of", "step_functions", "tools"]

FloatArray = NDArray[np.float64]
# Particle-steps between two looks at Ctrl-C: some 20 ms of compiled work.
_CHUNK = 1_000_000


class FilterSettings(NamedTuple):
    """What a pass needs besides the model."""

    n_particles: int
    method: str
    resampling: str
    ess_threshold: float
    quantiles: tuple[float, ...]
    store_history: bool


@cache
def scheme_of(name: str, compiled: bool) -> Any:
    """Resampling kernel of that scheme, as a function pointer for compiled loops."""
    kernel = SCHEMES[name][0]
    return pointer(getattr(kernel, "py_func", kernel), RESAMPLE) if compiled else kernel


def tools(model: Model, settings: FilterSettings) -> tuple[Any, FeynmanKac, Any]:
    """The loop over time, the model's functions and the resampling scheme, all compiled or all of Python."""
    loop: Any = kernels.run_filter if model.vectorized else kernels.compiled_filter()
    return loop, *step_functions(model, settings)


def step_functions(model: Model, settings: FilterSettings) -> tuple[FeynmanKac, Any]:
    """What a step of any loop calls: the model's functions and the resampling scheme."""
    return feynman_kac(model, settings.method), scheme_of(settings.resampling, not model.vectorized)


class FilterRun:
    """Particles on their way through a series, and what was seen of them.

    Parameters
    ----------
    model : Model
    settings : FilterSettings
    rng : Generator
    name : str
        Of the series, for errors.
    """

    def __init__(self, model: Model, settings: FilterSettings, rng: np.random.Generator, name: str = "y") -> None:
        self.model, self.settings, self.rng, self.name = model, settings, rng, name
        self.time = 0
        n, d = settings.n_particles, model.dims[0]
        self.cloud = kernels.Cloud(np.zeros((2, n, d)), np.zeros(n), np.ones(n), np.arange(n))
        self.chunks: list[dict[str, Any]] = []

    def advance(self, y: FloatArray, after_chunk: Callable[[], object] = lambda: None) -> FilterRun:
        """Filter the rows of y (T, p) that come next.

        Raises
        ------
        ParticleDegeneracyError
            With the time where all weights are zero.
        InvalidData
            Where a density is NaN or infinite.
        """
        length = self._chunk_length()
        for begin in range(0, len(y), length):
            self._advance_chunk(y[begin : begin + length])
            after_chunk()
        return self

    def n_chunks(self, y: FloatArray) -> int:
        """How often ``after_chunk`` is called for those rows."""
        return -(-len(y) // self._chunk_length())

    def _chunk_length(self) -> int:
        return max(1, _CHUNK // self.settings.n_particles)

    def _advance_chunk(self, y: FloatArray) -> None:
        model, settings = self.model, self.settings
        n, d = settings.n_particles, model.dims[0]
        keep = settings.store_history or bool(settings.quantiles)
        trace = empty_trace(len(y), n, d, keep)
        loop, fk, resample = tools(model, settings)
        status, self.time = loop(
            self.rng, *fk[:3], resample, model.packed(), y, self.time, nobody(d), self.cloud, trace,
            filter_tools(model, settings),
        )  # fmt: skip
        raise_failure(status, self.time, self.name, settings.method)
        self.chunks.append(self._seen(trace))

    def _seen(self, trace: kernels.Trace) -> dict[str, Any]:
        """What is kept of a chunk; the history only if it was asked for."""
        seen = {name: getattr(trace, name) for name in ("increments", "ess", "resampled", "mean", "var")}
        if self.settings.quantiles:
            seen["quantiles"] = weighted_quantiles(trace.x, trace.log_weights, self.settings.quantiles)
        if self.settings.store_history:
            seen |= {name: getattr(trace, name) for name in ("x", "log_weights", "ancestors")}
        return seen

    def trace(self, name: str) -> NDArray[Any]:
        """All times of one record, joined."""
        if len(self.chunks) > 1:
            self.chunks = [{key: np.concatenate([chunk[key] for chunk in self.chunks]) for key in self.chunks[0]}]
        return np.asarray(self.chunks[0][name])

    @property
    def particles(self) -> FloatArray:
        """Particles (N, d) of the last time."""
        return np.asarray(self.cloud.x[(self.time + 1) % 2])


def filter_tools(model: Model, settings: FilterSettings) -> kernels.FilterTools:
    """Buffers and settings of a filter step."""
    n, q = settings.n_particles, model.dims[1]
    return kernels.FilterTools(
        noise=np.zeros((n, q)),
        kind=kernels.KINDS[model.noise],
        uniforms=np.empty((1, SCHEMES[settings.resampling][1](n, n))),
        threshold=settings.ess_threshold,
        aux=np.zeros(n if settings.method == "auxiliary" else 0),
        potential=np.empty(n),
        anchor=np.zeros(1, np.int64),
    )


def nobody(d: int) -> FloatArray:
    """No frozen path."""
    return frozen_view(np.empty((0, d)))


def raise_failure(status: int, time: int, name: str, method: str) -> None:
    """The exception of a filter step that failed."""
    if status == kernels.ALL_DEAD:
        raise ParticleDegeneracyError(time, name)
    if status == kernels.NOT_A_NUMBER:
        raise InvalidData(
            f"a log density is NaN or +inf at time {time} of {name}; with method {method!r} that is "
            f"{_densities(method)}"
        )


def empty_trace(n_times: int, n: int, d: int, keep: bool) -> kernels.Trace:
    kept = n_times if keep else 0
    return kernels.Trace(
        increments=np.empty(n_times),
        ess=np.empty(n_times),
        resampled=np.zeros(n_times, np.int64),
        mean=np.empty((n_times, d)),
        var=np.empty((n_times, d)),
        x=np.empty((kept, n, d)),
        log_weights=np.empty((kept, n)),
        ancestors=np.empty((kept, n), np.int64),
    )


def _densities(method: str) -> str:
    if method == "bootstrap":
        return "observation_log_density"
    several = "observation_log_density, the transition's or the proposal's log density"
    return several + (", or auxiliary_log_weight" if method == "auxiliary" else "")


def weighted_quantiles(x: FloatArray, log_weights: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Quantiles (T, k, d) of particles (T, N, d): the smallest value whose distribution function reaches the level."""
    order = np.argsort(x, axis=1)
    values = np.take_along_axis(x, order, axis=1)
    weights = np.take_along_axis(np.exp(log_weights)[:, :, None], order, axis=1)
    cdf = np.cumsum(weights, axis=1)
    cdf /= cdf[:, -1:]
    out = np.empty((len(x), len(levels), x.shape[2]))
    for k, level in enumerate(levels):
        first = np.argmax(cdf >= level, axis=1)
        out[:, k] = np.take_along_axis(values, first[:, None], axis=1)[:, 0]
    return out
