"""DPM-Solver and DPM-Solver++: exponential integrators in lambda.

Lu, Zhou, Bao, Chen, Li, Zhu (2022). DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling.
NeurIPS. arXiv:2206.00927. The same (2022). DPM-Solver++. arXiv:2211.01095.
"""

from __future__ import annotations

from itertools import pairwise
from math import exp, expm1, isinf
from typing import NamedTuple

import numpy as np
import torch

from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._coefficients import check_final, check_order, orders, phi
from mcstat.torch.diffusion._denoiser import BaseDenoiser, Denoiser
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._level import Level
from mcstat.torch.diffusion._schedules import NoiseSchedule
from mcstat.torch.diffusion._solvers import Multistep, Row, Solver, State, Table, combine

__all__ = ["DPMSolver", "SinglestepDPMSolver", "refuse_transform", "stages"]

_FORMS = {"dpmsolver++": "x0", "sde-dpmsolver++": "x0", "dpmsolver": "eps"}
_TYPES = ("midpoint", "taylor")


class _Span(NamedTuple):
    """One step of length h in lambda: x_t = keep x + gain m + slope (h m') + curve (h^2 m'')."""

    keep: float
    gain: float
    slope: float
    curve: float


def _span(form: str, h: float, s: Level, t: Level, eta: float = 0.0, degree: int = 2) -> _Span:
    """The integrals of a polynomial m of some degree from level s to level t; ``eta`` is the share of reverse noise."""
    alpha_s, sigma_s, alpha_t, sigma_t = (float(number) for number in (s.alpha, s.sigma, t.alpha, t.sigma))
    if isinf(h):
        # Only a constant m has a limit: x_t = alpha_t x0.
        return _Span(0.0, alpha_t, 0.0, 0.0) if form == "x0" else _Span(1.0 / alpha_s, -sigma_s / alpha_s, 0.0, 0.0)
    if form == "eps":
        keep, z, scale = alpha_t / alpha_s, h, -sigma_t
    else:
        keep, z, scale = sigma_t / sigma_s * exp(-eta * h), -h * (1.0 + eta), -alpha_t
    bent = [scale * z * phi(k, z) if k <= degree + 1 else 0.0 for k in (2, 3)]
    return _Span(keep, scale * expm1(z), *bent)


class DPMSolver(Multistep):
    """Multistep DPM-Solver: one question a step.

    Parameters
    ----------
    order : {1, 2, 3}
        1 is DDIM, 2 is "2M", 3 is "3M".
    algorithm : {"dpmsolver++", "dpmsolver", "sde-dpmsolver++"}
        In predicted data; in predicted noise; in predicted data with fresh noise (order 1 or 2).
    solver_type : {"midpoint", "taylor"}
        How order 2 integrates a linear m; they differ by O(h^3). Order 3 integrates a quadratic exactly.
    lower_order_final : bool or "diffusers"
        True takes no step of higher order than steps are left; "diffusers" only in grids of fewer than 15 steps.
    variant : {"exact", "diffusers"}
        Order 3 as published code has it lacks a factor 2 in the second difference and is of second order only:
        "diffusers".
    eta : float
        Of "sde-dpmsolver++": 1 is the reverse diffusion, 0 its ODE.

    Notes
    -----
    A step is one multiplication and ``order`` fused additions of the samples' size. A last step to clean data is of
    order 1, whatever is asked.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import DPMSolver, GaussianMixtureDenoiser, make_grid, sample
    >>> denoiser = GaussianMixtureDenoiser([1, 1], [[-2.0], [2.0]], 0.01)
    >>> grid = make_grid(denoiser.schedule, 10)
    >>> sample(DPMSolver(order=2), denoiser, torch.tensor([[-1.0], [1.0]]), grid).samples.round().tolist()
    [[-2.0], [2.0]]
    """

    def __init__(
        self,
        order: int = 2,
        *,
        algorithm: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool | str = True,
        variant: str = "exact",
        eta: float = 1.0,
    ) -> None:
        self.order = order
        self.algorithm = algorithm
        self.solver_type = solver_type
        self.lower_order_final = lower_order_final
        self.variant = variant
        self.eta = eta

    @property
    def stochastic(self) -> bool:
        """Whether steps draw noise."""
        return self.algorithm == "sde-dpmsolver++" and self.eta > 0.0

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid."""
        refuse_transform(self.algorithm, denoiser)
        return super().init(x, grid, denoiser, generator)

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid."""
        order = check_order(self.order, 3, grid.n_steps)
        form = _FORMS[check_option("algorithm", self.algorithm, tuple(_FORMS))]
        check_option("solver_type", self.solver_type, _TYPES)
        check_option("variant", self.variant, ("exact", "diffusers"))
        eta = check_real("eta", self.eta, 0.0, 1.0) if self.algorithm == "sde-dpmsolver++" else 0.0
        if self.algorithm == "sde-dpmsolver++" and order == 3:
            raise InvalidParameter("order must be 1 or 2 for algorithm='sde-dpmsolver++', got 3")
        h = np.diff(grid.lam)
        predict = []
        for i, p in enumerate(orders(grid, order, check_final(self.lower_order_final))):
            degree = 0 if p <= 2 and self.solver_type == "midpoint" else p - 1
            span = _span(form, float(h[i]), grid.level(i), grid.level(i + 1), eta, degree)
            predict.append(self._row(span, p, [float(h[i - k] / h[i]) for k in range(1, p)]))
        fresh = -np.expm1(-2.0 * eta * h) if eta > 0.0 else np.zeros(grid.n_steps)
        noise = grid.sigma[1:] * np.sqrt(fresh)
        return Table(form=form, predict=predict, correct=[None] * grid.n_steps, noise=noise.tolist())

    def _row(self, span: _Span, p: int, r: list[float]) -> Row:
        """Factors of x and the p newest m; r are the lengths of the steps before over that of this one."""
        if p == 1:
            return (span.keep, span.gain)
        if p == 2:
            first = (0.5 * span.gain if self.solver_type == "midpoint" else span.slope) / r[0]
            return (span.keep, span.gain + first, -first)
        # h m' = D10 + r0 (D10 - D11) / (r0 + r1) and h^2 m'' = 2 (D10 - D11) / (r0 + r1) at the newest node.
        second = 2.0 if self.variant == "exact" else 1.0
        bend = (span.slope * r[0] + span.curve * second) / (r[0] + r[1])
        first, before = (span.slope + bend) / r[0], -bend / r[1]
        return (span.keep, span.gain + first, before - first, -before)


class SinglestepDPMSolver(Solver):
    """Single-step DPM-Solver: ``order`` questions a step, no history ("2S" and "3S").

    Parameters
    ----------
    order : {2, 3}
    algorithm : {"dpmsolver++", "dpmsolver"}
    solver_type : {"midpoint", "taylor"}
    budget : int, optional
        Questions of the whole run, which the last steps make up by a lower order: the grid must then have
        :attr:`n_steps` steps. Default: all steps are of the same order.

    Notes
    -----
    The questions within a step are at 1/2 of it in lambda for order 2, at 1/3 and 2/3 for order 3. A step to clean
    data is of order 1.

    Examples
    --------
    >>> from mcstat.torch.diffusion import SinglestepDPMSolver
    >>> solver = SinglestepDPMSolver(3, budget=20)  # six steps of three questions and one of two
    >>> solver.n_steps
    7
    """

    def __init__(
        self,
        order: int = 2,
        *,
        algorithm: str = "dpmsolver++",
        solver_type: str = "midpoint",
        budget: int | None = None,
    ) -> None:
        self.order = order
        self.algorithm = algorithm
        self.solver_type = solver_type
        self.budget = budget

    @property
    def n_steps(self) -> int | None:
        """Steps in which ``budget`` questions are asked; None without a budget."""
        return None if self.budget is None else len(_shared_out(check_integer("budget", self.budget, 1), self.order))

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid; the table holds each step's stages."""
        if check_order(self.order, 3, max(grid.n_steps, 3)) == 1:
            raise InvalidParameter("order must be 2 or 3, got 1: DPMSolver(order=1) is the solver of one question")
        check_option("algorithm", self.algorithm, ("dpmsolver++", "dpmsolver"))
        check_option("solver_type", self.solver_type, _TYPES)
        refuse_transform(self.algorithm, denoiser)
        form = _FORMS[self.algorithm]
        steps = [self.order] * grid.n_steps
        if self.budget is not None:
            steps = _shared_out(check_integer("budget", self.budget, 1), self.order)
        if len(steps) != grid.n_steps:
            raise InvalidParameter(f"grid must have {len(steps)} steps for budget={self.budget}, got {grid.n_steps}")
        plan: list[list[tuple[Level | None, Row]]] = []
        for i, (start, end) in enumerate(pairwise(grid.lam.tolist())):
            if isinf(end) or steps[i] == 1:
                whole = _span(form, end - start, grid.level(i), grid.level(i + 1))
                plan.append([(None, (whole.keep, whole.gain))])
            else:
                plan.append(stages(denoiser.schedule, form, steps[i], self.solver_type, start, end)[1])
        return State(x=x, grid=grid, denoiser=denoiser, generator=generator, table=plan)

    def step(self, state: State, i: int) -> State:
        """Go from node i to node i + 1 through the stages between."""
        form = _FORMS[self.algorithm]
        answers = [state.denoiser.output(state.x, state.grid.level(i), form)]
        for level, row in state.table[i]:
            x = combine(row, state.x, answers)
            if level is not None:
                answers.insert(0, state.denoiser.output(x, level, form))
        state.x = x
        return state


def stages(
    schedule: NoiseSchedule, form: str, order: int, solver_type: str, start: float, end: float
) -> tuple[Level, list[tuple[Level | None, Row]], Row]:
    """One single-step of order 2 or 3 in lambda, and the one of an order less that shares its answers.

    Returns
    -------
    level : Level
        Of the start.
    stages : list of (Level or None, Row)
        How to get from x at the start to where the next question is; None is the end.
    lower : Row
        Of the lower order: factors of x and of the oldest ``order`` - 1 answers.
    """
    h = end - start
    parts = [(k + 1) / order for k in range(order - 1)]
    nodes = Grid.from_lam(schedule, [start, *(start + r * h for r in parts), end])
    s = nodes.level(0)
    whole = _span(form, h, s, nodes.level(order))
    spans = [_span(form, r * h, s, nodes.level(k + 1)) for k, r in enumerate(parts)]
    first = (nodes.level(1), (spans[0].keep, spans[0].gain))
    taylor = solver_type == "taylor"
    slope = (whole.slope if taylor else 0.5 * whole.gain) / parts[0]
    second_order = (whole.keep, slope, whole.gain - slope)
    if order == 2:
        return s, [first, (None, second_order)], (whole.keep, whole.gain)
    slope = spans[1].slope * parts[1] / parts[0]
    second = (nodes.level(2), (spans[1].keep, slope, spans[1].gain - slope))
    return s, [first, second, (None, _last_of_three(whole, parts[0], parts[1], taylor))], second_order


def _last_of_three(whole: _Span, r1: float, r2: float, taylor: bool) -> Row:
    """Factors of x, m_2, m_1 and m_s."""
    if not taylor:
        return (whole.keep, whole.slope / r2, 0.0, whole.gain - whole.slope / r2)
    # D1 = (r2 A - r1 B) / (r2 - r1) and D2 = 2 (B - A) / (r2 - r1), A = (m_1 - m_s) / r1, B = (m_2 - m_s) / r2.
    a = (whole.slope * r2 - 2.0 * whole.curve) / (r2 - r1) / r1
    b = (2.0 * whole.curve - whole.slope * r1) / (r2 - r1) / r2
    return (whole.keep, b, a, whole.gain - a - b)


def _shared_out(budget: int, order: int) -> list[int]:
    """Questions of each step: as many steps of the order as there can be, and a lower one or two at the end."""
    whole, left = divmod(budget, order)
    if order == 3 and left == 0:
        # The last step of three becomes two and one, which is what the authors found best.
        return [3] * (whole - 1) + [2, 1]
    return [order] * whole + ([left] if left else [])


def refuse_transform(algorithm: str, denoiser: BaseDenoiser) -> None:
    if algorithm == "dpmsolver" and isinstance(denoiser, Denoiser) and denoiser.x0_transform is not None:
        raise InvalidParameter("x0_transform needs predicted data: algorithm='dpmsolver++', got 'dpmsolver'")
