"""The unified sampling framework: one solver whose every step may be another method.

Liu, Ning, Yang, Wang (2024). A unified sampling framework for solver searching of diffusion probabilistic models.
ICLR. arXiv:2312.07243.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1, factorial, isinf

import numpy as np
import torch
from numpy.typing import NDArray

from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._coefficients import phi
from mcstat.torch.diffusion._denoiser import BaseDenoiser, Denoiser
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._level import Level
from mcstat.torch.diffusion._schedules import NoiseSchedule
from mcstat.torch.diffusion._solvers import Row, Solver, State, combine
from mcstat.torch.diffusion._usf_schedule import SolverSchedule, StepConfig

__all__ = ["USFSolver"]

FloatArray = NDArray[np.float64]
_FORMS = {"data": "x0", "noise": "eps"}
_DEEPEST = 3


class USFSolver(Solver):
    """Follow a :class:`SolverSchedule`.

    Parameters
    ----------
    schedule : SolverSchedule
        Its grid is the one to sample on.

    Notes
    -----
    ``schedule.nfe`` questions; coefficients are computed once a run, in float64. Where steps in predicted data and in
    predicted noise meet, data are asked and noise follows, one fused operation a question more. A result's diagnostics
    hold the ``orders`` of the steps, and which were ``lowered``.

    References
    ----------
    Liu, Ning, Yang, Wang (2024). A unified sampling framework for solver searching of diffusion probabilistic
    models. ICLR. arXiv:2312.07243.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import GaussianMixtureDenoiser, SolverSchedule, USFSolver, make_grid, sample
    >>> denoiser = GaussianMixtureDenoiser([1, 1], [[-2.0], [2.0]], 0.01)
    >>> schedule = SolverSchedule.unipc(make_grid(denoiser.schedule, 10), order=3)
    >>> sample(USFSolver(schedule), denoiser, torch.tensor([[-1.0], [1.0]]), schedule.grid).samples.round().tolist()
    [[-2.0], [2.0]]
    """

    def __init__(self, schedule: SolverSchedule) -> None:
        self.schedule = schedule

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid."""
        schedule = self.schedule
        if not isinstance(schedule, SolverSchedule):
            raise InvalidParameter(f"schedule must be a SolverSchedule, got {type(schedule).__name__}")
        wanted = schedule.grid.lam
        if grid.lam.shape != wanted.shape or not np.allclose(grid.lam, wanted, rtol=1e-9, atol=1e-9):
            raise InvalidParameter("grid must be the schedule's own: sample(USFSolver(schedule), ..., schedule.grid)")
        plan = _Plan.of(schedule, grid, denoiser.schedule)
        if "eps" in plan.forms and isinstance(denoiser, Denoiser) and denoiser.x0_transform is not None:
            raise InvalidParameter("x0_transform needs predicted data in all steps of the schedule")
        memory = {"diagnostics": {"orders": schedule.orders, "lowered": schedule.lowered}}
        return State(x=x, grid=grid, denoiser=denoiser, generator=generator, table=plan, memory=memory)

    def step(self, state: State, i: int) -> State:
        """Go from node i to node i + 1, through the places between."""
        plan: _Plan = state.table
        one = plan.steps[i]
        if state.node != i:
            _remember(state, _ask(state, state.x, state.grid.level(i)), i)
        base, *past = state.history[one.column :: len(plan.forms)]
        inner: list[torch.Tensor] = []
        for level, row in one.stages:
            x = combine(row, state.x, [base, *inner, *past])
            inner.append(_ask(state, x, level)[one.column])
        x = combine(one.predict, state.x, [base, *inner, *past])
        if one.correct is not None:
            answers = _ask(state, x, state.grid.level(i + 1))
            x = combine(one.correct, state.x, [answers[one.column], base, *inner, *past])
            _remember(state, answers, i + 1)
        state.x = x
        return state


def _ask(state: State, x: torch.Tensor, level: Level) -> list[torch.Tensor]:
    """The answer at a level, in all forms that the plan wants."""
    forms = state.table.forms
    answer = state.denoiser.output(x, level, forms[0])
    if len(forms) == 1:
        return [answer]
    return [answer, torch.add(x, answer, alpha=-level.alpha).div_(level.sigma)]  # type: ignore[arg-type]  # floats


def _remember(state: State, answers: list[torch.Tensor], node: int) -> None:
    state.history = [*answers, *state.history[: (_DEEPEST - 1) * len(answers)]]
    state.node = node


@dataclass(frozen=True)
class _Step:
    """Coefficients of one step. The m in a row are at the node, within the step, and at the nodes before it.

    In ``correct`` the one at the step's end comes first.
    """

    column: int
    stages: list[tuple[Level, Row]]
    predict: Row
    correct: Row | None


@dataclass(frozen=True)
class _Plan:
    """All steps, and in which forms answers are kept."""

    forms: tuple[str, ...]
    steps: list[_Step]

    @classmethod
    def of(cls, schedule: SolverSchedule, grid: Grid, noise: NoiseSchedule) -> _Plan:
        wanted = {_FORMS[step.prediction] for step in schedule.steps}
        forms = tuple(form for form in ("x0", "eps") if form in wanted)
        levels = iter(_inner_levels(schedule, grid, noise))
        steps = []
        for i, (step, order, inner) in enumerate(zip(schedule.steps, schedule.orders, schedule.inner, strict=True)):
            between = [next(levels) for _ in inner]
            steps.append(_coefficients(grid, i, step, order, inner, between, forms.index(_FORMS[step.prediction])))
        return cls(forms, steps)


def _inner_levels(schedule: SolverSchedule, grid: Grid, noise: NoiseSchedule) -> list[Level]:
    h = np.diff(grid.lam)
    lam = [grid.lam[i] + share * h[i] for i, shares in enumerate(schedule.inner) for share in shares]
    if not lam:
        return []
    between = Grid.from_lam(noise, lam)
    return [between.level(j) for j in range(len(lam))]


def _coefficients(
    grid: Grid, i: int, step: StepConfig, order: int, inner: Sequence[float], between: Sequence[Level], column: int
) -> _Step:
    """Rows of step i of some order with questions at the shares ``inner`` of it, where the levels are ``between``."""
    form = _FORMS[step.prediction]
    start, end = grid.level(i), grid.level(i + 1)
    h = float(grid.lam[i + 1] - grid.lam[i])
    if isinf(h):
        return _Step(column, [], _to_clean_data(form, start, end), None)
    past = [float((grid.lam[i - k] - grid.lam[i]) / h) for k in range(1, order - len(inner))]
    stages = []
    for k, (share, level) in enumerate(zip(inner, between, strict=True)):
        places = np.array([0.0, *inner[:k], *past]) / share
        stages.append((level, _row(form, start, level, share * h, places, "full", "taylor")))
    places = np.array([0.0, *inner, *past])
    predict = _row(form, start, end, h, places, step.support, step.scale)
    correct = None
    if step.correct:
        correct = _row(form, start, end, h, np.array([1.0, *places]), "full", step.scale)
    return _Step(column, stages, predict, correct)


def _to_clean_data(form: str, start: Level, end: Level) -> Row:
    """The limit of the first order: x = alpha_t x0."""
    if form == "x0":
        return (0.0, float(end.alpha))
    return (float(end.alpha / start.alpha), -float(end.alpha * start.sigma / start.alpha))


def _row(form: str, s: Level, t: Level, h: float, places: FloatArray, support: str, scale: str) -> Row:
    """Factors of x and of the m at ``places``, in steps of length h in lambda from level s, in the step to level t.

    x_t = keep x + sum_k c_k h^k m^(k), where c_k = gain z phi_(k+1)(z).
    """
    if form == "x0":
        keep, gain, z = t.sigma / s.sigma, -float(t.alpha), -h
    else:
        keep, gain, z = t.alpha / s.alpha, -float(t.sigma), h
    n = len(places)
    terms = [gain * z * phi(k + 1, z) for k in range(n)]
    if n == 2 and scale != "taylor":
        terms[1] = 0.5 * gain * (z if scale == "bh1" else expm1(z))
    weights = np.zeros(n)
    for k, term in enumerate(terms):
        used = n if support == "full" else k + 1
        # h^k m^(k) at 0 of the polynomial through the m at the first places.
        weights[:used] += term * factorial(k) * np.linalg.inv(np.vander(places[:used], increasing=True))[k]
    return (float(keep), *weights.tolist())
