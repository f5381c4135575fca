"""The driver: a solver, a denoiser, noise and a grid give samples."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from mcstat.core.checks import check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, RandomState, root_seed
from mcstat.torch._bridge import check_sample, generator, to_estimate
from mcstat.torch.diffusion._brownian import BrownianPath
from mcstat.torch.diffusion._denoiser import BaseDenoiser, check_denoiser
from mcstat.torch.diffusion._dpm import DPMSolver
from mcstat.torch.diffusion._grids import Grid, as_grid
from mcstat.torch.diffusion._schedules import NoiseSchedule, check_schedule
from mcstat.torch.diffusion._solvers import DDIM, Euler, Heun, Solver, State
from mcstat.torch.diffusion._unipc import UniPC

__all__ = ["DiffusionResult", "add_noise", "initial_noise", "invert", "sample"]


@dataclass(frozen=True, kw_only=True, repr=False)
class DiffusionResult:
    """What a run gives.

    Attributes
    ----------
    samples : tensor, shape (n, ...)
    trajectory : tensor of shape (N + 1, n, ...), or None
    nfe, n_calls : int
        How often the denoiser was asked and the network run.
    grid : Grid
    diagnostics : dict
        What the solver reports of the run.
    """

    samples: torch.Tensor
    trajectory: torch.Tensor | None
    nfe: int
    n_calls: int
    grid: Grid
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        asked = f"{self.nfe} questions, {self.n_calls} network calls"
        return f"<DiffusionResult: samples {tuple(self.samples.shape)} of {self.samples.dtype}, {asked}, {self.grid!r}>"

    def to_estimate(self, fn: Callable[[torch.Tensor], torch.Tensor] | None = None, **fields: Any) -> Estimate:
        """Mean of ``fn`` over the samples with its standard error.

        Parameters
        ----------
        fn : callable, optional
            Takes the samples, returns (n,) or (n, q). Default: all coordinates.
        **fields
            Of :func:`mcstat.torch.to_estimate`, for instance ``names``.
        """
        values = self.samples.flatten(1) if fn is None else fn(self.samples)
        fields = {"method": "sample", "info": {"nfe": self.nfe, "n_calls": self.n_calls}} | fields
        return to_estimate(values, **fields)


def sample(
    solver: Solver,
    denoiser: BaseDenoiser,
    x_T: torch.Tensor,
    grid: Any,
    *,
    random_state: RandomState = None,
    one_path: bool = False,
    return_trajectory: bool = False,
    callback: Callable[[int, torch.Tensor], None] | None = None,
    check_finite: bool = False,
    differentiable: bool = False,
) -> DiffusionResult:
    """Take noise down a grid to samples.

    Parameters
    ----------
    solver : Solver
    denoiser : BaseDenoiser
        For instance a :class:`Denoiser`.
    x_T : tensor of float32 or float64, shape (n, ...)
        Samples at the grid's first node; noise of standard deviation sigma there, as :func:`initial_noise` draws it.
        It is not changed.
    grid : Grid or array_like, shape (N + 1,)
        An array holds sigma / alpha at the nodes: falling, the last may be 0.
    random_state : None, int, SeedSequence or Generator
        For solvers that draw noise. Torch's global generator is not touched.
    one_path : bool
        Noise is the increments of one Brownian path for all grids of the same ends and shape, so that more steps give
        the same samples, only more exactly. Costs about 30 draws a step.
    return_trajectory : bool
        Keep x at every node.
    callback : callable, optional
        ``callback(i, x)`` after each step, i from 1 to N.
    check_finite : bool
        Look at x after every step, which waits for the device each time; else it is looked at once, at the end.
    differentiable : bool
        Keep the graph, so that gradients flow back to ``x_T`` and the network.

    Returns
    -------
    DiffusionResult

    Raises
    ------
    FloatingPointError
        When x becomes NaN or infinite.
    TypeError, InvalidData, InvalidParameter
        When ``x_T``, the grid or the solver's settings cannot be used.

    Notes
    -----
    N times the denoiser plus O(n d) a step. Samples do not meet: for solvers without noise, two halves of ``x_T`` give
    the two halves of the answer.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import DDIM, GaussianMixtureDenoiser, make_grid, sample
    >>> denoiser = GaussianMixtureDenoiser([1, 1], [[-2.0], [2.0]], 0.01)
    >>> x_T = torch.tensor([[-1.0], [1.0]])
    >>> sample(DDIM(), denoiser, x_T, make_grid(denoiser.schedule, 20)).samples.round().tolist()
    [[-2.0], [2.0]]
    """
    _check(solver, denoiser)
    check_sample("x_T", x_T)
    nodes = as_grid(grid, denoiser.schedule)
    state = _start(solver, denoiser, x_T, nodes, random_state, one_path, differentiable)
    return _run(solver, denoiser, state, return_trajectory, callback, check_finite, differentiable)


def invert(solver: Solver, denoiser: BaseDenoiser, x_0: torch.Tensor, grid: Any) -> DiffusionResult:
    """Take data up a grid to the noise that the sampling ODE starts from.

    Parameters
    ----------
    solver : DDIM, Euler, Heun, DPMSolver or UniPC
        Without noise; low orders are the steadier ones here.
    denoiser : BaseDenoiser
    x_0 : tensor of float32 or float64, shape (n, ...)
        Data at the grid's last node.
    grid : Grid or array_like, shape (N + 1,)
        As for :func:`sample`, from noise to data; the last node may not be clean data.

    Returns
    -------
    DiffusionResult
        ``samples`` are at the grid's first node, and ``grid`` is turned round.

    Raises
    ------
    InvalidParameter
        For another solver, or a grid that ends in clean data.
    """
    _check(solver, denoiser)
    check_sample("x_0", x_0)
    if not isinstance(solver, DDIM | Euler | Heun | DPMSolver | UniPC) or solver.stochastic:
        raise InvalidParameter(f"solver must be DDIM, Euler, Heun, DPMSolver or UniPC without noise, got {solver!r}")
    nodes = as_grid(grid, denoiser.schedule)
    if nodes.ends_clean:
        raise InvalidParameter("grid must end in a level with noise, where the ODE can start")
    turned = Grid(nodes.t[::-1], nodes.lam[::-1], nodes.alpha[::-1], nodes.sigma[::-1], nodes.schedule)
    return _run(solver, denoiser, _start(solver, denoiser, x_0, turned))


def initial_noise(
    grid: Grid,
    shape: tuple[int, ...],
    random_state: RandomState = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Noise to start from: normal numbers of the standard deviation sigma of the grid's first node.

    Parameters
    ----------
    grid : Grid
    shape : tuple of int
        (n, ...).
    random_state : None, int, SeedSequence or Generator
    dtype : {torch.float32, torch.float64}
    device : torch.device or str

    Returns
    -------
    tensor of that shape
    """
    if not isinstance(grid, Grid):
        raise InvalidParameter(f"grid must be a Grid, such as make_grid gives, got {type(grid).__name__}")
    source = generator(root_seed(random_state), "initial_noise", Purpose.SAMPLE, 0, device)
    z = torch.randn(shape, generator=source, dtype=dtype, device=device)
    return check_sample("noise", float(grid.sigma[0]) * z)


def add_noise(x_0: torch.Tensor, schedule: NoiseSchedule, t: float, random_state: RandomState = None) -> torch.Tensor:
    """Noisy data alpha x_0 + sigma z at time ``t``, from where a grid with ``t_start=t`` leads back to data.

    Parameters
    ----------
    x_0 : tensor of float32 or float64, shape (n, ...)
    schedule : NoiseSchedule
    t : float
        From the schedule's t_min to t_max.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    tensor, shape of x_0
    """
    check_sample("x_0", x_0)
    check_schedule(schedule)
    t = check_real("t", t, schedule.t_min, schedule.t_max)
    source = generator(root_seed(random_state), "add_noise", Purpose.SAMPLE, 0, x_0.device)
    z = torch.randn(x_0.shape, generator=source, dtype=x_0.dtype, device=x_0.device)
    return float(schedule.alpha(t)) * x_0 + float(schedule.sigma(t)) * z


def _check(solver: Any, denoiser: Any) -> None:
    if not isinstance(solver, Solver):
        raise InvalidParameter(f"solver must be a Solver such as DDIM(), got {solver!r}")
    check_denoiser(denoiser)


def _start(
    solver: Solver,
    denoiser: BaseDenoiser,
    x: torch.Tensor,
    nodes: Grid,
    random_state: RandomState = None,
    one_path: bool = False,
    differentiable: bool = False,
) -> State:
    """State at the first node, with its source of noise where the solver wants one."""
    with nullcontext() if differentiable else torch.no_grad():
        if not solver.stochastic:
            return solver.init(x, nodes, denoiser)
        root = root_seed(random_state)
        state = solver.init(x, nodes, denoiser, generator(root, type(solver).__name__, Purpose.SAMPLE, 0, x.device))
    if one_path:
        state.path = BrownianPath(root, x, float(nodes.lam[0]), float(nodes.lam[-2 if nodes.ends_clean else -1]))
    return state


def _run(
    solver: Solver,
    denoiser: BaseDenoiser,
    state: State,
    return_trajectory: bool = False,
    callback: Callable[[int, torch.Tensor], None] | None = None,
    check_finite: bool = False,
    differentiable: bool = False,
) -> DiffusionResult:
    """All steps. The state may hold another denoiser, which asks the given one."""
    nodes = state.grid
    asked, called = denoiser.nfe, denoiser.n_calls
    with nullcontext() if differentiable else torch.no_grad():
        path = [state.x] if return_trajectory else None
        for i in range(nodes.n_steps):
            state = solver.step(state, i)
            _watch(state, i, path, callback, check_finite)
    if not check_finite and not bool(torch.isfinite(state.x).all()):
        raise FloatingPointError("samples must be finite; check_finite=True says at which step they ceased to be")
    return DiffusionResult(
        samples=state.x,
        trajectory=None if path is None else torch.stack(path),
        nfe=denoiser.nfe - asked,
        n_calls=denoiser.n_calls - called,
        grid=nodes,
        diagnostics=state.memory.get("diagnostics", {}),
    )


def _watch(
    state: State,
    i: int,
    path: list[torch.Tensor] | None,
    callback: Callable[[int, torch.Tensor], None] | None,
    check_finite: bool,
) -> None:
    if check_finite and not bool(torch.isfinite(state.x).all()):
        raise FloatingPointError(f"x must be finite, got NaN or infinity in step {i}")
    if path is not None:
        path.append(state.x)
    if callback is not None:
        callback(i + 1, state.x)
