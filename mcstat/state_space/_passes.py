"""Single passes for learning, at any parameters: conditional sweeps, likelihood estimates, densities of paths."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidData
from mcstat.kernels.resampling import SCHEMES
from mcstat.state_space import _filter_kernels as filtering
from mcstat.state_space import _path_kernels as kernels
from mcstat.state_space._model import Model, pointer_of
from mcstat.state_space._paris_kernels import trace_back
from mcstat.state_space._paris_run import raise_backward_failure
from mcstat.state_space._run import (
    FilterSettings,
    empty_trace,
    filter_tools,
    nobody,
    raise_failure,
    step_functions,
    tools,
)

__all__ = ["CompiledPass", "Conditional", "Likelihood", "Normals", "PathDensity", "Swept"]

FloatArray = NDArray[np.float64]
Normals = tuple[FloatArray, FloatArray]


class Swept(NamedTuple):
    """A path (T, d) drawn by a conditional pass, and what was seen of the pass."""

    path: FloatArray
    loglik: float
    ess_min: float


class CompiledPass:
    """A loop over time and the functions that it takes: made at once, left out of pickles, made again where needed."""

    def _compile(self) -> tuple[Any, tuple[Any, ...]]:
        raise NotImplementedError

    @cached_property
    def compiled(self) -> tuple[Any, tuple[Any, ...]]:
        """The loop and the functions."""
        return self._compile()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "compiled"}


def fresh_cloud(n: int, d: int) -> filtering.Cloud:
    """Particles before the first step."""
    return filtering.Cloud(np.zeros((2, n, d)), np.zeros(n), np.ones(n), np.arange(n))


class Conditional(CompiledPass):
    """Conditional particle filter: draws a path given one, with the smoothing law invariant for N >= 2.

    Parameters
    ----------
    model : Model
    n_particles : int
    method : {"bootstrap", "guided"}
    ancestor_sampling : bool
        Draw the ancestor of the frozen state anew at each step, which needs the transition density.
    y : ndarray, shape (T, p)
    """

    def __init__(self, model: Model, n_particles: int, method: str, ancestor_sampling: bool, y: FloatArray) -> None:
        self.model, self.y, self.ancestor_sampling = model, y, ancestor_sampling
        self.settings = FilterSettings(n_particles, method, "multinomial_iid", 1.0, (), store_history=True)
        # Compiled here, not in threads.
        self.compiled  # noqa: B018

    def _compile(self) -> tuple[Any, tuple[Any, ...]]:
        model = self.model
        fk, resample = step_functions(model, self.settings)
        if self.ancestor_sampling:
            density = model.function("log_transition")
        else:
            density = None if model.vectorized else pointer_of("no_transition", "log_transition")
        loop = kernels.run_conditional if model.vectorized else kernels.compiled_conditional()
        return loop, (*fk[:3], resample, density)

    def sweep(self, theta: FloatArray, path: FloatArray | None, rng: np.random.Generator) -> Swept:
        """A new path at the packed parameters; without a path one from a plain pass."""
        n, d = self.settings.n_particles, self.model.dims[0]
        cloud, trace = fresh_cloud(n, d), empty_trace(len(self.y), n, d, keep=True)
        m = n if self.ancestor_sampling and path is not None else 0
        anchoring = kernels.Anchoring(np.arange(m), np.zeros(m, np.int64), np.zeros((1, d)), np.empty(m), np.empty(m))
        frozen = nobody(d) if path is None else frozen_view(path)
        loop, functions = self.compiled
        status, time = loop(
            rng, *functions, theta, self.y, frozen, cloud, trace, filter_tools(self.model, self.settings), anchoring
        )
        raise_failure(status, time, "y", self.settings.method)
        raise_backward_failure(status, time)
        drawn = np.empty((len(self.y), d))
        trace_back(rng, cloud.weights, trace.x, trace.ancestors, drawn)
        return Swept(drawn, float(trace.increments.sum()), float(trace.ess.min()))


class PathDensity(CompiledPass):
    """log p(x_0, ..., x_{T-1}, y_0, ..., y_{T-1}) at any parameters.

    Raises
    ------
    MissingDensityError
        Naming what the model lacks.
    """

    def __init__(self, model: Model, y: FloatArray) -> None:
        self.model, self.y = model, y
        self.compiled  # noqa: B018

    def _compile(self) -> tuple[Any, tuple[Any, ...]]:
        model = self.model
        functions = tuple(model.function(name) for name in ("log_initial", "log_transition", "log_weight"))
        return kernels.path_log_densities if model.vectorized else kernels.compiled_densities(), functions

    def __call__(self, thetas: FloatArray, path: FloatArray) -> FloatArray:
        """At each row of packed parameters (m, .), read-only, and a path (T, d); -inf where it is impossible."""
        loop, functions = self.compiled
        out = np.empty(len(thetas))
        loop(*functions, thetas, self.y, path, np.zeros(1, np.int64), out)
        if np.isnan(out).any() or (out == np.inf).any():
            raise InvalidData(f"the log density of a path and the observations must be below +inf, got {out.max()}")
        return out


class Likelihood(CompiledPass):
    """Unbiased estimates of the likelihood, on the log scale, at any parameters.

    Parameters
    ----------
    model : Model
    settings : FilterSettings
    y : ndarray, shape (T, p)
    """

    def __init__(self, model: Model, settings: FilterSettings, y: FloatArray) -> None:
        self.model, self.settings, self.y = model, settings, y
        self.compiled  # noqa: B018

    def _compile(self) -> tuple[Any, tuple[Any, ...]]:
        loop, fk, resample = tools(self.model, self.settings)
        return loop, (*fk[:3], resample)

    def estimate(self, theta: FloatArray, rng: np.random.Generator) -> float:
        """One independent pass; -inf where all particles died."""
        d = self.model.dims[0]
        cloud, trace, buffers = self._buffers()
        loop, functions = self.compiled
        status, time = loop(rng, *functions, theta, self.y, 0, nobody(d), cloud, trace, buffers)
        return self._total(status, time, trace)

    def estimate_from(self, normals: Normals, theta: FloatArray, rng: np.random.Generator) -> float:
        """The same as a function of standard normal numbers, of the shapes of :meth:`normals`."""
        noise, uniforms = normals
        cloud, trace, buffers = self._buffers()
        buffers = buffers._replace(kind=filtering.GIVEN)
        order = np.empty((self.settings.n_particles, self.model.dims[0] + 2))
        loop: Any = kernels.run_given if self.model.vectorized else kernels.compiled_given()
        _, functions = self.compiled
        status, time = loop(
            rng, *functions, theta, self.y, self._as_noise(noise), _uniform(uniforms), cloud, trace, buffers, order
        )
        return self._total(status, time, trace)

    def normals(self, rng: np.random.Generator) -> Normals:
        """Fresh numbers (T, N, q) for the moves and (T, u) for the resampling of one pass."""
        n, n_times = self.settings.n_particles, len(self.y)
        n_uniforms = SCHEMES[self.settings.resampling][1](n, n)
        return rng.standard_normal((n_times, n, self.model.dims[1])), rng.standard_normal((n_times, n_uniforms))

    def _as_noise(self, normals: FloatArray) -> FloatArray:
        return _uniform(normals) if self.model.noise == "uniform" else normals

    def _buffers(self) -> tuple[filtering.Cloud, filtering.Trace, filtering.FilterTools]:
        n, d = self.settings.n_particles, self.model.dims[0]
        return fresh_cloud(n, d), empty_trace(len(self.y), n, d, keep=False), filter_tools(self.model, self.settings)

    def _total(self, status: int, time: int, trace: filtering.Trace) -> float:
        if status == filtering.ALL_DEAD:
            return -np.inf
        raise_failure(status, time, "y", self.settings.method)
        return float(trace.increments.sum())


def _uniform(normals: FloatArray) -> FloatArray:
    """Standard normal numbers as uniform ones below 1."""
    from scipy.special import ndtr

    return np.minimum(ndtr(normals), np.nextafter(1.0, 0.0))
