"""Corrections of exposure bias: in sampling, x carries another level of noise than the clock says.

Li, Qu, Yao, Sun, Moens (2024). Alleviating exposure bias in diffusion models through sampling with shifted time steps.
ICLR. arXiv:2305.15583. Ning, Li, Su, Salah, Ertugrul (2024). Elucidating the exposure bias in diffusion models. ICLR.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone

from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.rng import RandomState, root_seed
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._level import Level
from mcstat.torch.diffusion._schedules import NoiseSchedule, VPDiscrete
from mcstat.torch.diffusion._solvers import DDIM, Solver, State

__all__ = ["EpsilonScaling", "TimeShift"]

# Of fewer coordinates the variance is too rough an estimate: its relative error is sqrt(2 / d).
_FEWEST_COORDINATES = 16


class TimeShift(Solver):
    """Ask the network at the time whose variance the sample has.

    Parameters
    ----------
    base : Solver, optional
        Default :class:`DDIM`.
    window : int
        Width of the search in whole time steps, half to each side; 0 and 1 leave the base as it is.
    cutoff : int
        Whole time steps at or below this one are not shifted.
    mode : {"label", "target"}
        "label", the paper's: noise is predicted at the shifted time of the current x, the solver's numbers stay.
        "target", as in the published code: x is taken to the level of the shifted time of the next node, where the
        network is asked at the nominal time; for :class:`DDIM` only.
    match : {"noise", "total"}
        What the sample's variance over its coordinates is compared with: sigma^2, or sigma^2 + alpha^2 ``data_var``.
    data_var : float, optional
        Variance of the data's coordinates, for "total".

    Attributes
    ----------
    window_, cutoff_ : int
        After :meth:`fit`, in place of ``window`` and ``cutoff``.
    scores_ : ndarray, shape (W, C)
        The metric of each pair that was tried.
    base_score_ : float
        That of the base.

    Notes
    -----
    A whole time step is 1/N of the clock, N the steps of :class:`VPDiscrete` and 1000 for continuous schedules.
    ``DiffusionResult.diagnostics["shifted_times"]`` holds the whole time step of each question and sample, a row
    a question that was shifted, beside ``"nominal_times"``; ``"variances"`` holds the samples' variances there, whose
    drift from ``"nominal_variances"`` is the exposure bias.

    A network's label for one time a sample is made on the CPU, so each shifted question waits for the device.

    With an exact score there is next to no exposure bias to mend.
    """

    def __init__(
        self,
        base: Solver | None = None,
        window: int = 10,
        cutoff: int = 300,
        mode: str = "label",
        match: str = "noise",
        data_var: float | None = None,
    ) -> None:
        self.base = base
        self.window = window
        self.cutoff = cutoff
        self.mode = mode
        self.match = match
        self.data_var = data_var

    def fit(
        self,
        denoiser: BaseDenoiser,
        grid: Any,
        x_T: torch.Tensor,
        metric: Callable[[torch.Tensor], float],
        *,
        windows: Sequence[int] = (10, 40, 100),
        cutoffs: Sequence[int] = (100, 300, 550),
        random_state: RandomState = None,
    ) -> Self:
        """Choose window and cutoff by trying all pairs; where none beats the base, the window becomes 0.

        Parameters
        ----------
        denoiser : BaseDenoiser
        grid : Grid or array_like
        x_T : tensor, shape (n, ...)
            Noise to try on; judge the choice on other noise.
        metric : callable
            Of the samples (n, ...), a number, smaller where they are better: for instance
            ``lambda x: float(mmd2(x, data))``.
        windows, cutoffs : sequence of W and C int
        random_state : None, int, SeedSequence or Generator
            The same in all tries, for a base that draws noise.

        Returns
        -------
        self

        Notes
        -----
        W C + 1 runs of the base.
        """
        from mcstat.torch.diffusion._sample import sample

        root = root_seed(random_state)

        def score(solver: Solver) -> float:
            samples = sample(solver, denoiser, x_T, grid, random_state=root).samples
            return check_real("metric(samples)", float(metric(samples)))

        pairs = [(check_integer("windows", w), check_integer("cutoffs", c)) for w in windows for c in cutoffs]
        if not pairs:
            raise InvalidParameter("windows and cutoffs must hold at least one number each")
        self.base_score_ = score(self._solver)
        scores = [score(clone(self).set_params(window=window, cutoff=cutoff)) for window, cutoff in pairs]
        self.scores_ = np.reshape(scores, (len(windows), len(cutoffs)))
        best = int(np.argmin(scores))
        self.window_, self.cutoff_ = pairs[best] if scores[best] < self.base_score_ else (0, self.cutoff)
        return self

    @property
    def stochastic(self) -> bool:
        """Whether the base draws noise."""
        return self._solver.stochastic

    @property
    def _solver(self) -> Solver:
        return _checked_base(self.base)

    @property
    def _width(self) -> int:
        """Window in use."""
        return int(getattr(self, "window_", self.window))

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid."""
        self._check(x, denoiser.schedule)
        cutoff = int(getattr(self, "cutoff_", self.cutoff))
        clock = _Clock(denoiser.schedule, self._width // 2, cutoff, self.data_var, x)
        asked = _Shifted(denoiser, clock, grid.level(0)) if self.mode == "label" and self._width >= 2 else denoiser
        state = self._solver.init(x, grid, asked, generator)
        state.memory["clock"] = clock
        state.memory["diagnostics"] = clock.seen
        return state

    def step(self, state: State, i: int) -> State:
        """Go from node i to node i + 1."""
        clock: _Clock = state.memory["clock"]
        end = state.grid.level(i + 1)
        last = i + 1 == state.grid.n_steps
        if self.mode == "label" or self._width < 2 or i == 0 or last or not clock.shifts(end):
            return self._solver.step(state, i)
        start, target = state.grid.level(i), clock.matching(state.x, end)
        x0 = state.denoiser.output(state.x, start, "x0")
        eps = (state.x - start.alpha * x0) / start.sigma
        ratio = torch.as_tensor(start.alpha * target.sigma / (start.sigma * target.alpha)) ** 2
        # A target noisier than the start takes no fresh noise.
        fresh = self._solver.eta**2 * (1.0 - ratio).clamp(min=0.0)
        x = target.alpha * x0 + target.sigma * torch.sqrt(1.0 - fresh) * eps
        if self.stochastic:
            x = x + target.sigma * torch.sqrt(fresh) * state.noise(i)
        state.x = x
        return state

    def _check(self, x: torch.Tensor, schedule: NoiseSchedule) -> None:
        check_integer("window", self.window)
        check_integer("cutoff", self.cutoff)
        check_option("mode", self.mode, ("label", "target"))
        check_option("match", self.match, ("noise", "total"))
        if self.mode == "target" and not isinstance(self._solver, DDIM):
            raise InvalidParameter(f"base must be DDIM for mode='target', got {self.base!r}")
        if (self.match == "total") != (self.data_var is not None):
            raise InvalidParameter(f"data_var must be given for match='total' and only there, got {self.data_var!r}")
        if self.data_var is not None:
            check_real("data_var", self.data_var, 0.0)
        if self.match == "noise" and not schedule.preserves_variance:
            raise InvalidParameter(f"match must be 'total' for {type(schedule).__name__}, got 'noise'")
        if x[0].numel() < _FEWEST_COORDINATES:
            message = f"the variance of {x[0].numel()} coordinates says little about the noise in a sample"
            warnings.warn(message, ReliabilityWarning, stacklevel=4)


class EpsilonScaling(Solver):
    """Divide the predicted noise by a number a little above 1.

    Parameters
    ----------
    base : Solver, optional
        Default :class:`DDIM`.
    scale : float or callable
        Positive; 1 is the base. A callable takes the schedule's time and returns it: ``lambda t: 1.002 + 0.004 * t``.
    """

    def __init__(self, base: Solver | None = None, scale: float | Callable[[Any], Any] = 1.005) -> None:
        self.base = base
        self.scale = scale

    @property
    def stochastic(self) -> bool:
        """Whether the base draws noise."""
        return self._solver.stochastic

    @property
    def _solver(self) -> Solver:
        return _checked_base(self.base)

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid."""
        scale = self.scale if callable(self.scale) else check_real("scale", self.scale, 0.0, closed="neither")
        return self._solver.init(x, grid, denoiser if scale == 1.0 else _Scaled(denoiser, scale), generator)

    def step(self, state: State, i: int) -> State:
        """Go from node i to node i + 1."""
        return self._solver.step(state, i)


def _checked_base(base: Any) -> Solver:
    solver = DDIM() if base is None else base
    if not isinstance(solver, Solver):
        raise InvalidParameter(f"base must be a Solver, got {base!r}")
    return solver


class _Clock:
    """Whole time steps with their levels and variances, on the samples' device."""

    def __init__(
        self, schedule: NoiseSchedule, half: int, cutoff: int, data_var: float | None, x: torch.Tensor
    ) -> None:
        self.count = schedule.n_steps if isinstance(schedule, VPDiscrete) else 1000
        self.half, self.cutoff, self.t_max = half, cutoff, schedule.t_max
        times = schedule.t_max * np.arange(1, self.count + 1) / self.count
        alpha, sigma = schedule.alpha(times), schedule.sigma(times)
        columns = (times, alpha, sigma, sigma**2 + (0.0 if data_var is None else data_var) * alpha**2)
        self.t, self.alpha, self.sigma, self.variance = (
            torch.tensor(column, dtype=x.dtype, device=x.device) for column in columns
        )
        names = ("nominal_times", "shifted_times", "nominal_variances", "variances")
        self.seen: dict[str, Any] = {name: [] for name in names}

    def index(self, level: Level) -> int:
        """The whole time step of a level."""
        return round(float(level.t) / self.t_max * self.count) - 1

    def shifts(self, level: Level) -> bool:
        """Whether the level is above the cutoff."""
        return self.index(level) > self.cutoff

    def matching(self, x: torch.Tensor, level: Level) -> Level:
        """In the window around a level, the one whose variance each sample has; of equals the cleanest."""
        nominal = self.index(level)
        low, high = max(nominal - self.half, 0), min(nominal + self.half, self.count - 1)
        variance = x.flatten(1).var(dim=1)
        found = low + torch.argmin((variance[:, None] - self.variance[low : high + 1]).abs(), dim=1)
        self.seen["nominal_times"].append(nominal)
        self.seen["shifted_times"].append(found)
        self.seen["nominal_variances"].append(float(self.variance[nominal]))
        self.seen["variances"].append(variance)
        shape = (len(x),) + (1,) * (x.ndim - 1)
        return Level(self.t[found], self.alpha[found].reshape(shape), self.sigma[found].reshape(shape))


class _Shifted(BaseDenoiser):
    """Predicts noise at the matching time, and data from it at the nominal level."""

    def __init__(self, inner: BaseDenoiser, clock: _Clock, first: Level) -> None:
        super().__init__(inner.schedule)
        self.inner, self.clock, self.first = inner, clock, first

    def _x0(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        if not self._shifts(level):
            return self.inner.output(x, level, "x0")
        return (x - level.sigma * self._eps(x, level)) / level.alpha

    def _eps(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        asked = self.clock.matching(x, level) if self._shifts(level) else level
        return self.inner.output(x, asked, "eps")

    def _shifts(self, level: Level) -> bool:
        return bool(level.t != self.first.t) and self.clock.shifts(level)


class _Scaled(BaseDenoiser):
    """Noise over a number."""

    def __init__(self, inner: BaseDenoiser, scale: float | Callable[[Any], Any]) -> None:
        super().__init__(inner.schedule)
        self.inner, self.scale = inner, scale

    def _x0(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        return (x - level.sigma * self._eps(x, level)) / level.alpha

    def _eps(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        scale: Any = self.scale
        if callable(scale):
            scale = scale(level.t)
            if isinstance(scale, torch.Tensor):
                # One time a sample.
                scale = scale.reshape(-1, *(1,) * (x.ndim - 1)).to(x)
            else:
                scale = check_real("scale(t)", scale, 0.0, closed="neither")
        scaled: torch.Tensor = self.inner.output(x, level, "eps") / scale
        return scaled
