"""Iterations of stochastic approximation towards the maximum of the likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData
from mcstat.state_space._information import Information
from mcstat.state_space._parameters import Parameters, named
from mcstat.state_space._passes import Conditional, PathDensity
from mcstat.state_space._score import PathScore, ScorePass
from mcstat.state_space._sweep import Setup, Sweep, sweep

__all__ = ["Ascent", "ClimbMoves", "MaximiseMoves", "MaximiseStep", "ScoreMoves", "Steps"]

FloatArray = NDArray[np.float64]
MaximiseStep = Callable[[dict[str, float], dict[str, float]], Mapping[str, float]]
# No step is longer than this on the free scale: a factor e of a spread.
_LONGEST = 1.0
# The information is averaged over some 50 iterations.
_FORGETTING = 0.02


class Steps(NamedTuple):
    """Sizes of the steps: 1 for ``n_warmup`` iterations, then j^-decay in the j-th of all."""

    n_warmup: int
    decay: float

    def size(self, k: int) -> float:
        """Of iteration k = 0, 1, ..."""
        return 1.0 if k < self.n_warmup else float((k + 1) ** -self.decay)


class State(NamedTuple):
    """Of a chain: free parameters (k,), the path (T, d), what is averaged over iterations, and their number."""

    free: FloatArray
    path: FloatArray
    running: Any
    n_done: int


class Iterate(NamedTuple):
    """Free parameters (k,) after an iteration."""

    free: FloatArray


class Ascent:
    """Newton-like steps along the estimated score.

    During warm-up the step is the score over the complete information, which is always positive and to first order
    gives the step of the EM algorithm (Lange 1995, A gradient algorithm locally equivalent to the EM algorithm). After
    it, the score over the observed information, as far as that is known: then averaging the iterates loses nothing.
    """

    def __init__(self, parameters: Parameters, density: PathDensity, steps: Steps) -> None:
        self.parameters, self.density, self.steps = parameters, density, steps
        self.names = parameters.names

    def start(self, theta: FloatArray | None, rng: np.random.Generator) -> State:
        """At ``theta`` or the model's own, with a path from a plain pass."""
        where = "theta of the model" if theta is None else "initial_theta"
        values = self.parameters.checked(where, self.parameters.at_model if theta is None else theta)
        free = self.parameters.free(values)
        path = self.next_path(free, None, rng)
        return State(free, path, self.first_running(free, path), 0)

    def next_path(self, free: FloatArray, path: FloatArray | None, rng: np.random.Generator) -> FloatArray:
        """A path (T, d) given the one before, with the smoothing law at free parameters invariant; or a first one."""
        raise NotImplementedError

    def first_running(self, free: FloatArray, path: FloatArray) -> Any:
        """The information at the first path."""
        zero = np.zeros((len(free), len(free)))
        at = PathScore(self.parameters, self.density, free)
        return Information(zero, zero[0], zero).updated(at(path), 1.0)

    def step(self, state: State, rng: np.random.Generator, adapting: bool) -> tuple[State, Iterate]:
        """One iteration."""
        at = PathScore(self.parameters, self.density, state.free)
        score, path = self.score(state, at, rng)
        # The information of earlier iterations: that of this one depends on the errors of its score.
        information: Information = state.running
        root = information.inverse_root(observed=not adapting)
        step = root @ (root.T @ score)
        free = state.free + _bounded(self.steps.size(state.n_done) * step)
        if not self.parameters.inside(self.parameters.values(free)):
            # No further towards the end of an interval than floating point goes.
            free = state.free
        information = information.updated(at(path), max(1.0 / (state.n_done + 2), _FORGETTING))
        return State(free, path, information, state.n_done + 1), Iterate(free)

    def score(self, state: State, at: PathScore, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """An estimate of the score (k,) at the state's parameters, and the next path."""
        raise NotImplementedError


class ScoreMoves(Ascent):
    """The score from sweeps of Parisian particle Gibbs, or from plain passes of PaRIS."""

    def __init__(
        self, *parts: Any, score_pass: ScorePass, n_sweeps: int, burn_in: int, conditional_passes: bool
    ) -> None:
        super().__init__(*parts)
        self.score_pass, self.n_sweeps, self.burn_in = score_pass, n_sweeps, burn_in
        self.conditional_passes = conditional_passes

    def next_path(self, free: FloatArray, path: FloatArray | None, rng: np.random.Generator) -> FloatArray:
        """Along backward draws."""
        return self.score_pass(free, path, rng).path

    def score(self, state: State, at: PathScore, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Mean over the sweeps after burn-in."""
        path, total = state.path, np.zeros(len(state.free))
        for k in range(self.n_sweeps):
            scored = self.score_pass(state.free, path if self.conditional_passes else None, rng)
            path = scored.path
            if k >= self.burn_in:
                total += scored.score
        return total / (self.n_sweeps - self.burn_in), path


class ClimbMoves(Ascent):
    """Markov score climbing: the gradient at one path, drawn by a conditional particle filter."""

    def __init__(self, *parts: Any, conditional: Conditional) -> None:
        super().__init__(*parts)
        self.conditional = conditional

    def next_path(self, free: FloatArray, path: FloatArray | None, rng: np.random.Generator) -> FloatArray:
        """Along ancestors."""
        return self.conditional.sweep(self.parameters.packed(self.parameters.values(free)), path, rng).path

    def score(self, state: State, at: PathScore, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """At the next path."""
        path = self.next_path(state.free, state.path, rng)
        return at(path).gradient, path


class MaximiseMoves(Ascent):
    """SAEM: smoothed statistics, averaged over iterations, and a user's maximisation given them."""

    def __init__(self, *parts: Any, setup: Setup, m_step: MaximiseStep) -> None:
        super().__init__(*parts)
        self.setup, self.m_step = setup, m_step

    def next_path(self, free: FloatArray, path: FloatArray | None, rng: np.random.Generator) -> FloatArray:
        """Along backward draws."""
        return self._swept(free, path, rng).path

    def first_running(self, free: FloatArray, path: FloatArray) -> Any:
        """No statistics yet; the first step has size 1."""
        return np.zeros(len(self.setup.functional.names))

    def step(self, state: State, rng: np.random.Generator, adapting: bool) -> tuple[State, Iterate]:
        """Smooth, average, maximise."""
        values, swept = self.parameters.values(state.free), self._swept(state.free, state.path, rng)
        running = state.running + self.steps.size(state.n_done) * (swept.estimate - state.running)
        statistics = dict(zip(self.setup.functional.names, running.tolist(), strict=True))
        theta = named(self.parameters, values)
        new = self.m_step(statistics, dict(theta))
        if not isinstance(new, Mapping) or not set(new) <= set(theta):
            raise InvalidData(f"m_step must return a mapping with names of {self.names}, got {new!r}")
        values = np.array([float(new.get(name, theta[name])) for name in self.names])
        free = self.parameters.free(self.parameters.checked("what m_step returns", values))
        return State(free, swept.path, running, state.n_done + 1), Iterate(free)

    def _swept(self, free: FloatArray, path: FloatArray | None, rng: np.random.Generator) -> Sweep:
        model = self.parameters.model.with_theta(self.parameters.full(self.parameters.values(free)))
        plan = self.setup.plan
        if np.isfinite(plan.bound):
            plan = plan._replace(bound=model.log_bound())
        return sweep(self.setup._replace(model=model, plan=plan), path, rng)


def _bounded(step: FloatArray) -> FloatArray:
    return step * min(1.0, _LONGEST / max(float(np.linalg.norm(step)), 1e-300))
