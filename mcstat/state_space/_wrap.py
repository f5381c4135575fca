"""Batches of particles from a user's functions of one particle (compiled) or of all (arrays)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mcstat.kernels._jit import part, pointer
from mcstat.state_space import _signatures as signatures

Function = Callable[..., Any]


class Shape(NamedTuple):
    """Dimensions of state, noise and observation, and whether functions draw from a generator instead of noise."""

    state: int
    noise: int
    observation: int
    generator: bool


class Parts(NamedTuple):
    """A user's functions; None where there is none."""

    initial: Function
    transition: Function
    observation_log_density: Function
    initial_log_density: Function | None
    transition_log_density: Function | None
    initial_proposal: Function | None
    proposal: Function | None
    initial_proposal_log_density: Function | None
    proposal_log_density: Function | None
    auxiliary_log_weight: Function | None


# What each batch function is made of.
NEEDS = {
    "move": ("initial", "transition"),
    "log_weight": ("observation_log_density",),
    "guided_move": ("initial", "transition", "initial_proposal", "proposal"),
    "guided_log_weight": (
        "initial_log_density",
        "transition_log_density",
        "observation_log_density",
        "initial_proposal_log_density",
        "proposal_log_density",
    ),
    "log_auxiliary": ("auxiliary_log_weight",),
    "log_transition": ("transition_log_density",),
    "log_initial": ("initial_log_density",),
}


@cache
def compiled(name: str, parts: Parts, shape: Shape) -> Any:
    """Function pointer of that batch function. Compiled once a process, whatever the parameters' values."""
    functions = {part_name: _compiled_part(part_name, getattr(parts, part_name), shape) for part_name in NEEDS[name]}
    return pointer(_BATCHES[name](functions, shape), signatures.BY_NAME[name], cached=False)


@cache
def _compiled_part(name: str, function: Function, shape: Shape) -> Any:
    """One of the user's functions, compiled for one particle; TypeError with the way out where Numba cannot."""
    try:
        return part(getattr(function, "py_func", function), _part_signature(name, shape))
    except Exception as error:
        raise TypeError(
            f"{name} ({getattr(function, '__name__', 'function')}) cannot be compiled: {reason_of(error)}. Write it "
            "with numbers, loops and functions that Numba knows, or for arrays of all particles at once with "
            "vectorized=True"
        ) from error


def reason_of(error: Exception) -> str:
    """Why Numba could not compile: its first line only says that it failed, the reason stands below it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "nopython" not in line]
    return lines[0] if lines else type(error).__name__


def _part_signature(name: str, shape: Shape) -> Any:
    import numba.types as t

    x = t.float64 if shape.state == 1 else signatures.array(1)
    y = t.float64 if shape.observation == 1 else signatures.read_only(1)
    e = t.float64 if shape.noise == 1 else signatures.array(1)
    theta = signatures.read_only(1)
    heads = {
        "initial": (),
        "transition": (t.int64, x),
        "initial_proposal": (y,),
        "proposal": (t.int64, x, y),
        "observation_log_density": (t.int64, x, y),
        "initial_log_density": (x,),
        "transition_log_density": (t.int64, x, x),
        "initial_proposal_log_density": (x, y),
        "proposal_log_density": (t.int64, x, x, y),
        "auxiliary_log_weight": (t.int64, x, y),
    }
    if name not in ("initial", "transition", "initial_proposal", "proposal"):
        return t.float64(*heads[name], theta)
    arguments = (t.npy_rng, *heads[name], theta) if shape.generator else (*heads[name], e, theta)
    return t.float64(*arguments) if shape.state == 1 else t.void(*arguments, x)


@cache
def flat(dim: int) -> Any:
    """(n, dim) such that row i is a number where dim is 1."""
    return part(lambda a: a.reshape(a.size)) if dim == 1 else part(lambda a: a)


@cache
def seen_as(dim: int) -> Any:
    """Observation (dim,) as a number where dim is 1."""
    return part(lambda y: y[0]) if dim == 1 else part(lambda y: y)


def _draw(function: Any, shape: Shape) -> Any:
    """One way to call the four forms of a function that draws; ``head`` are its arguments but noise and theta."""
    if shape.generator and shape.state == 1:

        def draw(rng, head, e, theta, x, i):  # type: ignore[no-untyped-def]
            x[i] = function(rng, *head, theta)

    elif shape.generator:

        def draw(rng, head, e, theta, x, i):  # type: ignore[no-untyped-def]
            function(rng, *head, theta, x[i])

    elif shape.state == 1:

        def draw(rng, head, e, theta, x, i):  # type: ignore[no-untyped-def]
            x[i] = function(*head, e, theta)

    else:

        def draw(rng, head, e, theta, x, i):  # type: ignore[no-untyped-def]
            function(*head, e, theta, x[i])

    return part(draw)


def _move(f: dict[str, Any], shape: Shape) -> Function:
    states, noises = flat(shape.state), flat(shape.noise)
    draw_initial, draw_transition = _draw(f["initial"], shape), _draw(f["transition"], shape)

    def move(rng, t, x_prev, ancestors, noise, y, theta, x):  # type: ignore[no-untyped-def]
        xs, before, e = states(x), states(x_prev), noises(noise)
        if t == 0:
            for i in range(len(xs)):
                draw_initial(rng, (), e[i], theta, xs, i)
        else:
            for i in range(len(xs)):
                draw_transition(rng, (t, before[ancestors[i]]), e[i], theta, xs, i)

    return move


def _guided_move(f: dict[str, Any], shape: Shape) -> Function:
    from mcstat.state_space._model_kernels import missing

    states, noises, observed = flat(shape.state), flat(shape.noise), seen_as(shape.observation)
    unguided = part(_move(f, shape))
    draw_initial, draw_next = _draw(f["initial_proposal"], shape), _draw(f["proposal"], shape)

    def guided_move(rng, t, x_prev, ancestors, noise, y, theta, x):  # type: ignore[no-untyped-def]
        if missing(y):
            unguided(rng, t, x_prev, ancestors, noise, y, theta, x)
            return
        xs, before, e, seen = states(x), states(x_prev), noises(noise), observed(y)
        if t == 0:
            for i in range(len(xs)):
                draw_initial(rng, (seen,), e[i], theta, xs, i)
        else:
            for i in range(len(xs)):
                draw_next(rng, (t, before[ancestors[i]], seen), e[i], theta, xs, i)

    return guided_move


def _log_weight(f: dict[str, Any], shape: Shape) -> Function:
    from mcstat.state_space._model_kernels import missing

    states, observed, density = flat(shape.state), seen_as(shape.observation), f["observation_log_density"]

    def log_weight(t, x_prev, ancestors, x, y, theta, out):  # type: ignore[no-untyped-def]
        xs, seen, unknown = states(x), observed(y), missing(y)
        for i in range(len(out)):
            out[i] = 0.0 if unknown else density(t, xs[i], seen, theta)

    return log_weight


def _guided_log_weight(f: dict[str, Any], shape: Shape) -> Function:
    from mcstat.state_space._model_kernels import missing

    states, observed, density = flat(shape.state), seen_as(shape.observation), f["observation_log_density"]
    log_initial, log_transition = f["initial_log_density"], f["transition_log_density"]
    log_first, log_next = f["initial_proposal_log_density"], f["proposal_log_density"]

    def guided_log_weight(t, x_prev, ancestors, x, y, theta, out):  # type: ignore[no-untyped-def]
        xs, before, seen, unknown = states(x), states(x_prev), observed(y), missing(y)
        for i in range(len(out)):
            if unknown:
                out[i] = 0.0
            elif t == 0:
                out[i] = log_initial(xs[i], theta) - log_first(xs[i], seen, theta) + density(t, xs[i], seen, theta)
            else:
                parent = before[ancestors[i]]
                out[i] = log_transition(t, parent, xs[i], theta) - log_next(t, parent, xs[i], seen, theta)
                out[i] += density(t, xs[i], seen, theta)

    return guided_log_weight


def _log_auxiliary(f: dict[str, Any], shape: Shape) -> Function:
    from mcstat.state_space._model_kernels import missing

    states, observed, weight = flat(shape.state), seen_as(shape.observation), f["auxiliary_log_weight"]

    def log_auxiliary(t, x_prev, y, theta, out):  # type: ignore[no-untyped-def]
        before, seen, unknown = states(x_prev), observed(y), missing(y)
        for i in range(len(out)):
            out[i] = 0.0 if unknown else weight(t, before[i], seen, theta)

    return log_auxiliary


def _log_transition(f: dict[str, Any], shape: Shape) -> Function:
    states, density = flat(shape.state), f["transition_log_density"]

    def log_transition(t, x_prev, sources, x, targets, theta, out):  # type: ignore[no-untyped-def]
        before, xs = states(x_prev), states(x)
        for k in range(len(out)):
            out[k] = density(t, before[sources[k]], xs[targets[k]], theta)

    return log_transition


def _log_initial(f: dict[str, Any], shape: Shape) -> Function:
    states, density = flat(shape.state), f["initial_log_density"]

    def log_initial(x, theta, out):  # type: ignore[no-untyped-def]
        xs = states(x)
        for i in range(len(out)):
            out[i] = density(xs[i], theta)

    return log_initial


_BATCHES: dict[str, Callable[[dict[str, Any], Shape], Function]] = {
    "move": _move,
    "guided_move": _guided_move,
    "log_weight": _log_weight,
    "guided_log_weight": _guided_log_weight,
    "log_auxiliary": _log_auxiliary,
    "log_transition": _log_transition,
    "log_initial": _log_initial,
}


class Arrays:
    """The same batch functions for a model written for arrays: (N,) where a dimension is 1, else (N, dim)."""

    def __init__(self, parts: Parts, shape: Shape) -> None:
        self.parts, self.shape = parts, shape

    def _states(self, x: Any) -> Any:
        return x[:, 0] if self.shape.state == 1 else x

    def _put(self, x: Any, values: Any) -> None:
        self._states(x)[...] = values

    def _noise(self, rng: Any, noise: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Arguments before and after the others of a function that draws."""
        if self.shape.generator:
            return (rng,), ()
        return (), (noise[:, 0] if self.shape.noise == 1 else noise,)

    def _observed(self, y: Any) -> Any:
        return float(y[0]) if self.shape.observation == 1 else y

    def move(self, rng: Any, t: int, x_prev: Any, ancestors: Any, noise: Any, y: Any, theta: Any, x: Any) -> None:
        first, last = self._noise(rng, noise)
        if t > 0:
            self._put(x, self.parts.transition(*first, t, self._states(x_prev)[ancestors], *last, theta))
        elif self.shape.generator:
            # Without an array of noise only this tells how many are wanted.
            self._put(x, self.parts.initial(*first, len(x), theta))
        else:
            self._put(x, self.parts.initial(*last, theta))

    def guided_move(
        self, rng: Any, t: int, x_prev: Any, ancestors: Any, noise: Any, y: Any, theta: Any, x: Any
    ) -> None:
        if np.isnan(y).all():
            self.move(rng, t, x_prev, ancestors, noise, y, theta, x)
            return
        first, last = self._noise(rng, noise)
        seen = self._observed(y)
        if t > 0:
            parents = self._states(x_prev)[ancestors]
            self._put(x, self.parts.proposal(*first, t, parents, seen, *last, theta))  # type: ignore[misc]
        elif self.shape.generator:
            self._put(x, self.parts.initial_proposal(*first, len(x), seen, theta))  # type: ignore[misc]
        else:
            self._put(x, self.parts.initial_proposal(seen, *last, theta))  # type: ignore[misc]

    def log_weight(self, t: int, x_prev: Any, ancestors: Any, x: Any, y: Any, theta: Any, out: Any) -> None:
        unknown = np.isnan(y).all()
        out[:] = (
            0.0 if unknown else self._density("observation_log_density", t, self._states(x), self._observed(y), theta)
        )

    def guided_log_weight(self, t: int, x_prev: Any, ancestors: Any, x: Any, y: Any, theta: Any, out: Any) -> None:
        self.log_weight(t, x_prev, ancestors, x, y, theta, out)
        if np.isnan(y).all():
            return
        xs, seen = self._states(x), self._observed(y)
        if t == 0:
            out += self._density("initial_log_density", xs, theta)
            out -= self._density("initial_proposal_log_density", xs, seen, theta)
        else:
            parents = self._states(x_prev)[ancestors]
            out += self._density("transition_log_density", t, parents, xs, theta)
            out -= self._density("proposal_log_density", t, parents, xs, seen, theta)

    def log_auxiliary(self, t: int, x_prev: Any, y: Any, theta: Any, out: Any) -> None:
        unknown = np.isnan(y).all()
        out[:] = (
            0.0 if unknown else self._density("auxiliary_log_weight", t, self._states(x_prev), self._observed(y), theta)
        )

    def log_transition(self, t: int, x_prev: Any, sources: Any, x: Any, targets: Any, theta: Any, out: Any) -> None:
        before, after = self._states(x_prev)[sources], self._states(x)[targets]
        out[:] = self._density("transition_log_density", t, before, after, theta)

    def log_initial(self, x: Any, theta: Any, out: Any) -> None:
        out[:] = self._density("initial_log_density", self._states(x), theta)

    def _density(self, name: str, *arguments: Any) -> Any:
        return getattr(self.parts, name)(*arguments)
