"""Solver schedules: what each step of a run does, and the levels it goes through, as plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from mcstat.core.checks import check_integer, check_option
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion._coefficients import check_order, orders
from mcstat.torch.diffusion._grids import Grid

__all__ = ["OPTIONS", "SolverSchedule", "StepConfig"]

_COLUMNS = ("t", "lam", "alpha", "sigma")
# What a step may choose, field by field; the search draws from it.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "order": (1, 2, 3),
    "prediction": ("data", "noise"),
    "derivative": ("multistep", "singlestep", "mixed"),
    "support": ("full", "low"),
    "scale": ("taylor", "bh1", "bh2"),
    "correct": (False, True),
}


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """What one step does.

    The step integrates a Taylor polynomial of the predicted data or noise m in lambda; its derivatives come from a
    polynomial through m at some points.

    Attributes
    ----------
    order : {1, 2, 3}
        Terms of the polynomial.
    prediction : {"data", "noise"}
        What m is.
    derivative : {"multistep", "singlestep", "mixed"}
        Where the order - 1 further points come from: the nodes before; places within the step, each one more question
        (1/2, or 1/3 and 2/3 of it in lambda); one within, at 1/2, and the rest before.
    support : {"full", "low"}
        Each derivative from the polynomial through all points, or the k-th from the first k + 1 of them only, which is
        of second order at most and steadier.
    scale : {"taylor", "bh1", "bh2"}
        Weight of h m' where there are two points: the exact integral, or half that of a constant m with (bh1) or
        without (bh2, known as midpoint) its exponential replaced by its limit for short steps.
    correct : bool
        Take the step again through the answer at its end too (UniC); that answer serves the next step.
    """

    order: int = 1
    prediction: str = "data"
    derivative: str = "multistep"
    support: str = "full"
    scale: str = "taylor"
    correct: bool = False

    def __post_init__(self) -> None:
        check_integer("order", self.order, 1)
        for name in ("prediction", "derivative", "support", "scale"):
            check_option(name, getattr(self, name), OPTIONS[name])
        for name in ("order", "correct"):
            value = getattr(self, name)
            if value not in OPTIONS[name] or isinstance(value, bool) is not (name == "correct"):
                raise InvalidParameter(f"{name} must be one of {OPTIONS[name]}, got {value!r}")


@dataclass(frozen=True, eq=False)
class SolverSchedule:
    """A solver for a number of questions: one :class:`StepConfig` a step, and the levels.

    Attributes
    ----------
    steps : tuple of N StepConfig
        The last one has no corrector: no step would use its answer.
    grid : Grid
        N + 1 levels, from noise to data; the last may be clean.

    Raises
    ------
    InvalidParameter, InvalidData
        When the numbers of steps and levels do not match, or lambda does not rise strictly.

    Notes
    -----
    A step whose order is higher than there are points for takes the highest that there is, and one to clean data is of
    order 1: ``orders`` is what is done, ``lowered`` says where it is not what was asked.

    Examples
    --------
    >>> from mcstat.torch.diffusion import SolverSchedule, StepConfig, VPLinear, make_grid
    >>> steps = [StepConfig(order=2, derivative="singlestep"), StepConfig(order=3), StepConfig(order=2)]
    >>> schedule = SolverSchedule(steps, make_grid(VPLinear(), 3))
    >>> schedule.nfe, schedule.orders, schedule.lowered
    (4, (2, 2, 2), (1,))
    """

    steps: Sequence[StepConfig]
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps or not all(isinstance(step, StepConfig) for step in self.steps):
            raise InvalidParameter(f"steps must hold StepConfigs, got {self.steps!r}")
        if not isinstance(self.grid, Grid):
            raise InvalidParameter(f"grid must be a Grid, got {type(self.grid).__name__}")
        if self.grid.n_steps != len(self.steps):
            raise InvalidParameter(f"steps must hold one for each of the {self.grid.n_steps} steps of the grid")
        lam = self.grid.lam
        if not np.isfinite(lam[:-1]).all() or np.isnan(lam[-1]) or not (np.diff(lam) > 0.0).all():
            raise InvalidData("grid must rise strictly in lambda, from a level with data in it")
        if self.steps[-1].correct:
            raise InvalidParameter("steps must end in one without corrector: no step would use its answer")

    @property
    def orders(self) -> tuple[int, ...]:
        """Order of each step as it is done."""
        before = {"multistep": 1, "mixed": 2, "singlestep": 3}
        taken = [min(step.order, i + before[step.derivative]) for i, step in enumerate(self.steps)]
        if self.grid.ends_clean:
            taken[-1] = 1
        return tuple(taken)

    @property
    def lowered(self) -> tuple[int, ...]:
        """Steps whose order is not the one asked."""
        pairs = zip(self.steps, self.orders, strict=True)
        return tuple(i for i, (step, order) in enumerate(pairs) if order < step.order)

    @property
    def inner(self) -> tuple[tuple[float, ...], ...]:
        """Places within each step where a question is asked, as shares of it in lambda."""
        return tuple(_inner(step.derivative, order) for step, order in zip(self.steps, self.orders, strict=True))

    @property
    def nfe(self) -> int:
        """Questions to the denoiser: one a node but the last, and those within the steps."""
        return len(self.steps) + sum(map(len, self.inner))

    def check_budget(self, nfe: int) -> Self:
        """Refuse a schedule that asks more than ``nfe`` questions."""
        if check_integer("nfe", nfe, 1) < self.nfe:
            raise InvalidParameter(f"nfe must be at least {self.nfe}, for {len(self.steps)} steps, got {nfe}")
        return self

    @classmethod
    def ddim(cls, grid: Grid) -> Self:
        """:class:`DDIM`."""
        return cls._of_orders(grid, 1)

    @classmethod
    def dpmpp_2m(cls, grid: Grid, scale: str = "bh2") -> Self:
        """``DPMSolver(2)``; scale "taylor" is its solver_type "taylor"."""
        return cls._of_orders(grid, 2, scale=scale)

    @classmethod
    def dpmpp_3m(cls, grid: Grid) -> Self:
        """``DPMSolver(3)``, with the second difference that makes it of third order."""
        return cls._of_orders(grid, 3, scale="bh2")

    @classmethod
    def unipc(cls, grid: Grid, order: int = 2, scale: str = "bh2") -> Self:
        """``UniPC(order, scale)``."""
        return cls._of_orders(grid, order, scale=scale, correct=True)

    @classmethod
    def deis(cls, grid: Grid, order: int = 3) -> Self:
        """DEIS in lambda: ``DPMSolver(order, algorithm="dpmsolver", solver_type="taylor")``."""
        return cls._of_orders(grid, order, prediction="noise")

    @classmethod
    def _of_orders(cls, grid: Grid, order: int, *, correct: bool = False, **fields: Any) -> Self:
        """The same for all steps; no step is of higher order than steps are left."""
        taken = orders(grid, check_order(order, 3, grid.n_steps), True)
        last = grid.n_steps - 1
        return cls([StepConfig(order=p, correct=correct and i < last, **fields) for i, p in enumerate(taken)], grid)

    def to_json(self) -> str:
        """As text; all numbers come back to the bit."""
        grid = {name: getattr(self.grid, name).tolist() for name in _COLUMNS}
        if self.grid.ends_clean:
            grid["lam"][-1] = None
        return json.dumps({"steps": [asdict(step) for step in self.steps], "grid": grid}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        InvalidData
            If it is something else.
        """
        try:
            record = json.loads(text)
            steps = [StepConfig(**step) for step in record["steps"]]
            columns = {name: np.array(record["grid"][name], dtype=np.float64) for name in _COLUMNS}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"text must be what to_json wrote: {error}") from error
        if len({column.shape for column in columns.values()}) != 1:
            raise InvalidData("text must hold t, lam, alpha and sigma of equal lengths")
        if columns["sigma"][-1] == 0.0:
            columns["lam"][-1] = np.inf
        t, lam, alpha, sigma = (columns[name] for name in _COLUMNS)
        return cls(steps, Grid(t, lam, alpha, sigma))

    def __repr__(self) -> str:
        return f"SolverSchedule({len(self.steps)} steps of orders {self.orders}, {self.nfe} questions)"


def _inner(derivative: str, order: int) -> tuple[float, ...]:
    if order == 1 or derivative == "multistep":
        return ()
    return (0.5,) if derivative == "mixed" else tuple(k / order for k in range(1, order))
