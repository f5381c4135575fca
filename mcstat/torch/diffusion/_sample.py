"""The driver: a solver, a denoiser, noise and a grid give samples."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, RandomState, root_seed
from mcstat.torch._bridge import check_sample, generator, to_estimate
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._grids import Grid, as_grid
from mcstat.torch.diffusion._solvers import Solver, State

__all__ = ["DiffusionResult", "sample"]


@dataclass(frozen=True, kw_only=True)
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
        Samples at the grid's first node; noise of standard deviation sigma there. It is not changed.
    grid : Grid or array_like, shape (N + 1,)
        An array holds sigma / alpha at the nodes: falling, the last may be 0.
    random_state : None, int, SeedSequence or Generator
        For solvers that draw noise. Torch's global generator is not touched.
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
    if not isinstance(solver, Solver):
        raise InvalidParameter(f"solver must be a Solver such as DDIM(), got {solver!r}")
    if not isinstance(denoiser, BaseDenoiser):
        raise InvalidParameter(f"denoiser must be a Denoiser, got {type(denoiser).__name__}")
    check_sample("x_T", x_T)
    nodes = as_grid(grid, denoiser.schedule)
    source = None
    if solver.stochastic:
        source = generator(root_seed(random_state), type(solver).__name__, Purpose.SAMPLE, 0, x_T.device)
    asked, called = denoiser.nfe, denoiser.n_calls
    with nullcontext() if differentiable else torch.no_grad():
        state = solver.init(x_T, nodes, denoiser, source)
        path = [x_T] if return_trajectory else None
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
