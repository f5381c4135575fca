"""DPM-Solver++ with steps as long as a tolerance allows.

Lu, Zhou, Bao, Chen, Li, Zhu (2022). DPM-Solver. NeurIPS. arXiv:2206.00927, appendix C.
"""

from __future__ import annotations

import numpy as np
import torch

from mcstat.core.checks import check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._dpm import refuse_transform, stages
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._solvers import Solver, State, combine

__all__ = ["AdaptiveDPMSolver"]

_SAFETY = 0.9


class AdaptiveDPMSolver(Solver):
    """A pair of single-step solvers whose difference sets the step; from node to node of the grid.

    Give it a grid of two nodes, unless x is wanted between.

    Parameters
    ----------
    order : {2, 3}
        Of the better solver; the other is of one order less and shares its questions.
    algorithm : {"dpmsolver++", "dpmsolver"}
    atol, rtol : float
        A step is taken when the root mean square over the coordinates of difference / max(atol, rtol abs(x)) is at
        most 1 in every sample.
    first_step : float
        In lambda.

    Notes
    -----
    ``order`` questions a try. The host waits for the device at every try. Samples meet: the hardest one sets the step
    for all, so the halves of a batch are not the whole. ``DiffusionResult.diagnostics`` holds the accepted steps'
    lengths and the number of tries that were refused.
    """

    def __init__(
        self,
        order: int = 3,
        *,
        algorithm: str = "dpmsolver++",
        atol: float = 0.0078,
        rtol: float = 0.05,
        first_step: float = 0.05,
    ) -> None:
        self.order = order
        self.algorithm = algorithm
        self.atol = atol
        self.rtol = rtol
        self.first_step = first_step

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid."""
        if self.order not in (2, 3):
            raise InvalidParameter(f"order must be 2 or 3, got {self.order!r}")
        check_option("algorithm", self.algorithm, ("dpmsolver++", "dpmsolver"))
        refuse_transform(self.algorithm, denoiser)
        for name in ("atol", "rtol", "first_step"):
            check_real(name, getattr(self, name), 0.0, closed="neither")
        state = State(x=x, grid=grid, denoiser=denoiser, generator=generator, table=None)
        state.memory = {"step": self.first_step, "before": x, "diagnostics": {"steps": [], "refused": 0}}
        return state

    def step(self, state: State, i: int) -> State:
        """Go from node i to node i + 1 in as many steps as it takes."""
        form = "x0" if self.algorithm == "dpmsolver++" else "eps"
        place, end = float(state.grid.lam[i]), float(state.grid.lam[i + 1])
        if np.isinf(end):
            place_level = Grid.from_lam(state.denoiser.schedule, [place]).level(0)
            state.x = state.denoiser.output(state.x, place_level, "x0") * float(state.grid.alpha[i + 1])
            return state
        seen = state.memory["diagnostics"]
        answer = None
        while end - place > 1e-10:
            h = min(state.memory["step"], end - place)
            better, worse, answer = self._try(state, place, place + h, form, answer)
            error = self._error(better, worse, state.memory["before"])
            if error <= 1.0:
                state.memory["before"] = worse
                state.x, place, answer = better, place + h, None
                seen["steps"].append(h)
            else:
                seen["refused"] += 1
            if not np.isfinite(error):
                raise FloatingPointError(f"x must be finite, got NaN or infinity at lambda {place + h:.4g}")
            state.memory["step"] = _SAFETY * h * max(error, 1e-10) ** (-1.0 / self.order)
        return state

    def _try(
        self, state: State, start: float, end: float, form: str, answer: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """X at ``end`` by the better and the worse solver, and the answer at ``start``."""
        denoiser = state.denoiser
        level, plan, worse_row = stages(denoiser.schedule, form, self.order, "midpoint", start, end)
        first = denoiser.output(state.x, level, form) if answer is None else answer
        answers = [first]
        worse = state.x
        for k, (at, row) in enumerate(plan):
            if k == self.order - 1:
                worse = combine(worse_row, state.x, answers[-(self.order - 1) :])
            x = combine(row, state.x, answers)
            if at is not None:
                answers.insert(0, denoiser.output(x, at, form))
        return x, worse, first

    def _error(self, better: torch.Tensor, worse: torch.Tensor, before: torch.Tensor) -> float:
        """Largest scaled difference of any sample."""
        scale = (self.rtol * torch.maximum(worse.abs(), before.abs())).clamp(min=self.atol)
        return float(((better - worse) / scale).flatten(1).square().mean(1).sqrt().max())
