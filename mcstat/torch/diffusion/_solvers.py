"""What a solver is, and the one loop of all linear multistep solvers.

A linear multistep solver takes x_{i+1} = a_i x_i + sum_k b_ik m_{i-k}, where the m are what the denoiser answered at
the nodes so far, either predicted data ("x0") or predicted noise ("eps"). A corrector does the step again with the
answer at the predicted x_{i+1}. Solvers differ in the numbers a and b only. These are computed once a grid, in
float64, and are Python floats in the loop: a step is one multiplication and one fused addition for each m, and never
waits for the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.base import BaseEstimator

from mcstat.core.checks import check_real
from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._brownian import BrownianPath
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._grids import Grid

__all__ = ["DDIM", "Euler", "Heun", "Multistep", "Row", "Solver", "State", "Table", "combine", "straight"]

# Factor of x, then those of the m, newest first.
Row: TypeAlias = tuple[float, ...]


@dataclass(kw_only=True)
class State:
    """Where a run is; it belongs to one run and is changed by its steps.

    Attributes
    ----------
    x : tensor, shape (n, ...)
    history : list of tensor
        What the solver remembers of the denoiser's answers, newest first.
    node : int
        Node at which the newest of them was asked; -1 before the first.
    table : Table or other
        The solver's coefficients on the run's grid.
    memory : dict
        What else a solver keeps; tensors in it have a row a sample.
    path : BrownianPath, optional
        Where noise comes from instead of the generator.
    """

    x: torch.Tensor
    grid: Grid
    denoiser: BaseDenoiser
    generator: torch.Generator | None
    table: Any
    history: list[torch.Tensor] = field(default_factory=list)
    node: int = -1
    memory: dict[str, Any] = field(default_factory=dict)
    path: BrownianPath | None = None

    def select(self, indices: torch.Tensor) -> None:
        """Keep the samples ``indices`` (n,), with their history: what resampling does."""
        self.x = self.x[indices]
        self.history = [answer[indices] for answer in self.history]
        kept = {name: value[indices] for name, value in self.memory.items() if isinstance(value, torch.Tensor)}
        self.memory |= kept

    def noise(self, i: int) -> torch.Tensor:
        """Standard normal numbers of the shape of x for step i, from the run's path or generator."""
        if self.path is not None:
            return self.path.increment(float(self.grid.lam[i]), float(self.grid.lam[i + 1]))
        return torch.randn(self.x.shape, dtype=self.x.dtype, device=self.x.device, generator=self.generator)


class Solver(BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn ships no types
    """A way to go down a grid; configured, not fitted.

    ``init`` prepares a run, ``step`` takes it from node i to node i + 1. ``stochastic`` says whether the steps draw
    noise.
    """

    @property
    def stochastic(self) -> bool:
        """Whether steps draw random numbers."""
        return False

    @abstractmethod
    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid; bad settings are refused here."""

    @abstractmethod
    def step(self, state: State, i: int) -> State:
        """Go from node i to node i + 1."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Coefficients of a linear multistep solver on a grid of N steps.

    Attributes
    ----------
    form : {"x0", "eps"}
        What the m are.
    predict : sequence of N Row
    correct : sequence of N (Row or None)
        The first m is the one at the predicted x_{i+1}.
    noise : sequence of N float
        Standard deviation of fresh noise.
    ask_again : bool
        Whether the answer after a correction is asked at the corrected x; else the one at the predicted x is kept.
    """

    form: str
    predict: Sequence[Row]
    correct: Sequence[Row | None]
    noise: Sequence[float]
    ask_again: bool = False

    @cached_property
    def depth(self) -> int:
        """How many m a step looks at."""
        corrections = [len(row) - 1 for row in self.correct if row is not None]
        return max([len(row) - 1 for row in self.predict] + corrections)


class Multistep(Solver):
    """The loop; a subclass says its coefficients."""

    @abstractmethod
    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid."""

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid."""
        return State(x=x, grid=grid, denoiser=denoiser, generator=generator, table=self.coefficients(grid))

    def step(self, state: State, i: int) -> State:
        """Go from node i to node i + 1."""
        table: Table = state.table
        if state.node != i:
            self._remember(state, self._ask(state, state.x, i), i)
        x = self._combine(state, table.predict[i], state.history, "predict")
        correction = table.correct[i]
        if correction is not None:
            answer = self._ask(state, x, i + 1)
            x = self._combine(state, correction, [answer, *state.history], "correct")
            if not table.ask_again:
                self._remember(state, answer, i + 1)
        if table.noise[i] > 0.0:
            x.add_(state.noise(i), alpha=table.noise[i])
        state.x = x
        return state

    def _combine(self, state: State, row: Row, answers: Sequence[torch.Tensor], stage: str) -> torch.Tensor:
        """The next x; ``stage`` is "predict" or "correct"."""
        return combine(row, state.x, answers)

    def _ask(self, state: State, x: torch.Tensor, node: int) -> torch.Tensor:
        return state.denoiser.output(x, state.grid.level(node), state.table.form)

    def _remember(self, state: State, answer: torch.Tensor, node: int) -> None:
        state.history = [answer, *state.history[: state.table.depth - 1]]
        state.node = node


def combine(row: Row, x: torch.Tensor, answers: Sequence[torch.Tensor]) -> torch.Tensor:
    """The linear combination of x and the newest answers; a new tensor."""
    out = x * row[0]
    for factor, answer in zip(row[1:], answers, strict=False):
        out.add_(answer, alpha=factor)
    return out


class DDIM(Multistep):
    """First order in the predicted data, with or without fresh noise.

    Parameters
    ----------
    eta : float
        0 follows the sampling ODE; 1 draws as much noise as the ancestral sampler.

    References
    ----------
    Song, Meng, Ermon (2021). Denoising diffusion implicit models. ICLR.
    """

    def __init__(self, eta: float = 0.0) -> None:
        self.eta = eta

    @property
    def stochastic(self) -> bool:
        """Whether eta > 0."""
        return self.eta > 0.0

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid."""
        check_real("eta", self.eta, 0.0, 1.0)
        ratio = grid.sigma[1:] / grid.sigma[:-1]
        h = np.diff(grid.lam)
        fresh = self.eta**2 * -np.expm1(-2.0 * h)
        # Of the new noise, the part kept from the old one.
        kept = np.sqrt(1.0 - fresh)
        return Table(
            form="x0",
            predict=_rows(ratio * kept, grid.alpha[1:] * (1.0 - kept * np.exp(-h))),
            correct=[None] * grid.n_steps,
            noise=(grid.sigma[1:] * np.sqrt(fresh)).tolist(),
        )


class Euler(Multistep):
    """Euler's method in x / alpha over sigma / alpha, where the sampling ODE is dx/ds = eps (Karras et al. 2022)."""

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid."""
        factor, delta = straight(grid)
        n = grid.n_steps
        return Table(form="eps", predict=_rows(factor, delta), correct=[None] * n, noise=[0.0] * n)


class Heun(Multistep):
    """Heun's method in x / alpha over sigma / alpha: second order, two questions a step (Karras et al. 2022).

    A step to clean data is Euler's.
    """

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid."""
        factor, delta = straight(grid)
        correct: list[Row | None] = list(_rows(factor, 0.5 * delta, 0.5 * delta))
        if grid.ends_clean:
            correct[-1] = None
        predict = _rows(factor, delta)
        return Table(form="eps", predict=predict, correct=correct, noise=[0.0] * grid.n_steps, ask_again=True)


def straight(grid: Grid) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Factors of x and of eps in Euler's step."""
    if not (grid.alpha > 0.0).all():
        raise InvalidParameter("grid must start where alpha > 0 for solvers in x / alpha: trim its start")
    return grid.alpha[1:] / grid.alpha[:-1], grid.alpha[1:] * np.diff(grid.ratio)


def _rows(*columns: np.ndarray[Any, Any]) -> list[Row]:
    return [tuple(row) for row in np.column_stack(columns).tolist()]
