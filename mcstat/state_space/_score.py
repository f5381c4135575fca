"""Scores by Fisher's identity: smoothed by particles, or at a path."""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidData
from mcstat.state_space import _score_kernels as kernels
from mcstat.state_space._filter_kernels import Cloud
from mcstat.state_space._model import Model
from mcstat.state_space._parameters import Parameters
from mcstat.state_space._paris_kernels import Plan, trace_back
from mcstat.state_space._paris_run import Backward, draw_buffers, empty_past, plan_of, raise_backward_failure
from mcstat.state_space._passes import CompiledPass, PathDensity
from mcstat.state_space._run import FilterSettings, empty_trace, filter_tools, nobody, raise_failure, step_functions

__all__ = ["PathDerivatives", "PathScore", "ScorePass", "Scored"]

FloatArray = NDArray[np.float64]
# Steps of central differences on the free scale: of first derivatives, of second ones.
_STEP, _SECOND_STEP = 1e-5, 1e-4
_CORNERS = ((1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0))
_SIGNS = np.array([1.0, 1.0, -1.0, -1.0])


class Scored(NamedTuple):
    """Score (k,) on the free scale, and a path (T, d) from the smoothing law."""

    score: FloatArray
    path: FloatArray


class ScorePass(CompiledPass):
    """The score by PaRIS, around a path (Parisian particle Gibbs) or without one.

    Parameters
    ----------
    parameters : Parameters
    n_particles, n_backward : int
    y : ndarray, shape (T, p)
    """

    def __init__(self, parameters: Parameters, n_particles: int, n_backward: int, y: FloatArray) -> None:
        self.parameters, self.y, self.n_backward = parameters, y, n_backward
        self.settings = FilterSettings(n_particles, "bootstrap", "multinomial_iid", 1.0, (), store_history=True)
        self.compiled  # noqa: B018

    def _compile(self) -> tuple[Any, tuple[Any, ...]]:
        model = self.parameters.model
        fk, resample = step_functions(model, self.settings)
        densities = [model.function(name) for name in ("log_initial", "log_transition", "log_weight")]
        loop = (kernels.score_loop if model.vectorized else kernels.compiled_score)(self._plan(model).mode)
        return loop, (*fk[:3], resample, *densities)

    def __call__(self, free: FloatArray, path: FloatArray | None, rng: np.random.Generator) -> Scored:
        """At free parameters (k,); ``path`` is the frozen one."""
        parameters, n_times = self.parameters, len(self.y)
        model = parameters.model.with_theta(parameters.full(parameters.values(free)))
        n, d = self.settings.n_particles, model.dims[0]
        # At t = 0 there is no state before.
        cloud = Cloud(np.full((2, n, d), np.nan), np.zeros(n), np.ones(n), np.arange(n))
        trace = empty_trace(n_times, n, d, keep=True)
        frozen = nobody(d) if path is None else frozen_view(path)
        scorer = self._scorer(model, free)
        loop, functions = self.compiled
        status, time = loop(
            rng, *functions, model.packed(), self.y, frozen, cloud, trace, filter_tools(model, self.settings),
            scorer,
        )  # fmt: skip
        raise_failure(status, time, "y", self.settings.method)
        raise_backward_failure(status, time)
        if not np.isfinite(scorer.score).all():
            raise InvalidData(
                f"the derivatives of the log densities must be finite, got {scorer.score} at {parameters.values(free)}"
            )
        drawn = np.empty((n_times, d))
        trace_back(rng, cloud.weights, trace.x, scorer.parents, drawn)
        return Scored(scorer.score, drawn)

    def _plan(self, model: Model) -> Plan:
        return plan_of(Backward("auto", self.n_backward, None), model, self.settings.n_particles)

    def _scorer(self, model: Model, free: FloatArray) -> kernels.Scorer:
        n, k = self.settings.n_particles, len(free)
        plan = self._plan(model)
        moved = [free + sign * _STEP * unit for unit in np.eye(k) for sign in (1.0, -1.0)]
        total = n * plan.n_draws
        return kernels.Scorer(
            around=frozen_view(np.array([self.parameters.packed(self.parameters.values(at)) for at in moved])),
            steps=frozen_view(np.full(k, 2.0 * _STEP)),
            beta=np.zeros((2, n, k)),
            h=np.empty((total, k)),
            up=np.empty(total),
            down=np.empty(total),
            plan=plan,
            past=empty_past(n),
            draws=draw_buffers(n, plan.n_draws, n),
            score=np.empty(k),
            parents=np.zeros((len(self.y), n), np.int64),
        )


class PathDerivatives(NamedTuple):
    """Of the log density of a path and the observations, by free parameters."""

    gradient: FloatArray  # (k,)
    information: FloatArray  # (k, k): negative second derivatives


class PathScore:
    """Derivatives of the log density of paths at fixed free parameters, by central differences."""

    def __init__(self, parameters: Parameters, density: PathDensity, free: FloatArray) -> None:
        self.density, self.k = density, len(free)
        self.pairs = list(combinations(range(self.k), 2))
        units = np.eye(self.k)
        first = [sign * _STEP * unit for unit in units for sign in (1.0, -1.0)]
        second = [sign * _SECOND_STEP * unit for unit in units for sign in (1.0, -1.0)]
        mixed = [_SECOND_STEP * (a * units[i] + b * units[j]) for i, j in self.pairs for a, b in _CORNERS]
        moves = [np.zeros(self.k), *first, *second, *mixed]
        self.thetas = frozen_view(np.array([parameters.packed(parameters.values(free + move)) for move in moves]))

    def __call__(self, path: FloatArray) -> PathDerivatives:
        """At a path (T, d)."""
        k = self.k
        values = self.density(self.thetas, path)
        first, second = values[1 : 1 + 2 * k].reshape(k, 2), values[1 + 2 * k : 1 + 4 * k].reshape(k, 2)
        information = np.diag((2.0 * values[0] - second.sum(axis=1)) / _SECOND_STEP**2)
        for (i, j), corners in zip(self.pairs, values[1 + 4 * k :].reshape(-1, 4), strict=True):
            information[i, j] = information[j, i] = -(corners @ _SIGNS) / (4.0 * _SECOND_STEP**2)
        return PathDerivatives((first[:, 0] - first[:, 1]) / (2.0 * _STEP), information)
