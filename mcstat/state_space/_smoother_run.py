"""One pass of off-line smoothing: a particle filter that keeps all particles, then back over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcstat.state_space import _filter_kernels as filtering
from mcstat.state_space import _smoother_kernels as kernels
from mcstat.state_space._model import Model
from mcstat.state_space._paris_kernels import Plan
from mcstat.state_space._paris_run import draw_buffers, empty_past, raise_backward_failure
from mcstat.state_space._run import FilterRun, FilterSettings, scheme_of, tools, weighted_quantiles

__all__ = ["Recipe", "Smoothed", "compile_recipe", "n_chunks", "smooth"]

FloatArray = NDArray[np.float64]
# Pairs of particles between two looks at Ctrl-C: some 20 ms of compiled work.
_CHUNK = 300_000


class Recipe(NamedTuple):
    """What a pass needs; ``plan`` is of paths, and None where there are none."""

    model: Model
    settings: FilterSettings
    method: str
    plan: Plan | None
    n_paths: int
    lag: int
    levels: tuple[float, ...]


class Smoothed(NamedTuple):
    """What a pass found; ``paths`` (P, T, d) is empty but for ``"ffbsi"``, ``tries`` and ``exact`` count its draws."""

    mean: FloatArray  # (T, d)
    var: FloatArray  # (T, d)
    quantiles: FloatArray  # (T, k, d)
    paths: FloatArray
    ess: FloatArray  # (T,) of the filter
    loglik: float
    tries: int
    exact: int


def compile_recipe(recipe: Recipe) -> None:
    """Compile all that a pass calls, and see to it that the model has it."""
    tools(recipe.model, recipe.settings)
    _loop(recipe)


def _loop(recipe: Recipe) -> tuple[Any, Any]:
    """The loop backward in time, and the density that it takes."""
    model = recipe.model
    if recipe.method == "fixed_lag":
        return kernels.follow, None
    density = model.function("log_transition")
    if recipe.method == "ffbsi":
        assert recipe.plan is not None  # noqa: S101  (paths have one)
        return (kernels.paths_loop if model.vectorized else kernels.compiled_paths)(recipe.plan.mode), density
    return (kernels.run_weights if model.vectorized else kernels.compiled_weights()), density


def n_chunks(recipe: Recipe, n_times: int) -> int:
    """How often ``after_chunk`` is called: on the way back, which takes most of the time."""
    return sum(1 for _ in _spans(recipe, n_times))


def _spans(recipe: Recipe, n_times: int) -> Iterator[tuple[int, int]]:
    """Times from which and to which a chunk goes back; none where there is one time."""
    n = recipe.settings.n_particles
    exact = recipe.plan is not None and recipe.plan.max_trials == 0 and recipe.plan.is_rejection
    costs = {"ffbsm": n * n, "ffbsi": recipe.n_paths * n if exact else recipe.n_paths + n, "fixed_lag": n * recipe.lag}
    length = max(1, _CHUNK // max(costs[recipe.method], 1))
    for last in range(n_times - 1, 0, -length):
        yield last, max(0, last - length)


def smooth(
    recipe: Recipe, y: FloatArray, rng: np.random.Generator, after_chunk: Callable[[], object] = lambda: None
) -> Smoothed:
    """Forward over y (T, p), and back.

    Raises
    ------
    ParticleDegeneracyError, BoundViolationError, InvalidData
        As of a filter and of backward draws.
    """
    run = FilterRun(recipe.model, recipe.settings, rng).advance(y)
    log_weights = run.trace("log_weights")
    stored = kernels.Stored(run.trace("x"), log_weights, np.exp(log_weights), run.trace("ancestors"))
    back = {"ffbsi": _paths, "ffbsm": _backward_weights, "fixed_lag": _lagged_weights}[recipe.method]
    x, weights, tries, exact = back(recipe, stored, rng, after_chunk)
    n_times, _, d = x.shape
    mean, var = np.empty((n_times, d)), np.empty((n_times, d))
    for t in range(n_times):
        filtering.moments(x[t], weights[t], mean[t], var[t])
    with np.errstate(divide="ignore"):
        quantiles = (
            weighted_quantiles(x, np.log(weights), recipe.levels) if recipe.levels else np.empty((n_times, 0, d))
        )
    paths = np.ascontiguousarray(x.swapaxes(0, 1)) if recipe.method == "ffbsi" else np.empty((0, n_times, d))
    return Smoothed(mean, var, quantiles, paths, run.trace("ess"), float(run.trace("increments").sum()), tries, exact)


Points = tuple[FloatArray, FloatArray, int, int]


def _paths(
    recipe: Recipe, stored: kernels.Stored, rng: np.random.Generator, after_chunk: Callable[[], object]
) -> Points:
    """Paths (T, P, d) of equal weight: an index by the last weights, then from backward draw to backward draw."""
    n_times, n, d = stored.x.shape
    plan, n_paths = recipe.plan, recipe.n_paths
    assert plan is not None  # noqa: S101  (paths have one)
    chosen = np.empty(n_paths, np.int64)
    scheme_of("systematic", False)(stored.weights[-1], rng.random(1), chosen)
    # Systematic draws are in ascending order, and paths shall be exchangeable.
    chosen = rng.permutation(chosen)
    record = kernels.PathRecord(
        np.empty((n_times, n_paths, d)), np.zeros(n_times, np.int64), np.zeros(n_times, np.int64)
    )
    record.paths[-1] = stored.x[-1, chosen]
    past, draws = empty_past(n), draw_buffers(n_paths, plan.n_draws, n)
    loop, density = _loop(recipe)
    theta, own = recipe.model.packed(), np.empty(n_paths, np.int64)
    for last, first in _spans(recipe, n_times):
        status, time = loop(rng, density, theta, stored, last, first, chosen, own, plan, past, draws, record)
        raise_backward_failure(status, time)
        after_chunk()
    return record.paths, np.ones((n_times, n_paths)), int(record.trials.sum()), int(record.exact.sum())


def _backward_weights(
    recipe: Recipe, stored: kernels.Stored, rng: np.random.Generator, after_chunk: Callable[[], object]
) -> Points:
    """The particles with weights given all observations."""
    n_times, n, _ = stored.x.shape
    smoothed = np.zeros((n_times, n))
    smoothed[-1] = stored.weights[-1] / stored.weights[-1].sum()
    past, draws = empty_past(n), draw_buffers(n, 1, n)
    loop, density = _loop(recipe)
    theta = recipe.model.packed()
    for last, first in _spans(recipe, n_times):
        status, time = loop(density, theta, stored, last, first, past, draws, smoothed)
        raise_backward_failure(status, time)
        after_chunk()
    return stored.x, smoothed, 0, 0


def _lagged_weights(
    recipe: Recipe, stored: kernels.Stored, rng: np.random.Generator, after_chunk: Callable[[], object]
) -> Points:
    """The particles with the weights that their descendants have ``lag`` steps later."""
    n_times, n, _ = stored.x.shape
    smoothed, line = np.empty((n_times, n)), np.empty(n, np.int64)
    smoothed[-1] = stored.weights[-1]
    for last, first in _spans(recipe, n_times):
        for t in range(last - 1, first - 1, -1):
            end = min(t + recipe.lag, n_times - 1)
            kernels.follow(stored.ancestors[t + 1 : end + 1], stored.weights[end], line, smoothed[t])
        after_chunk()
    return stored.x, smoothed, 0, 0
