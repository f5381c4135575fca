"""What solvers are judged by: the sampling ODE solved to a tolerance, and the order at which a solver comes near it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.torch._bridge import check_sample, to_numpy
from mcstat.torch.diffusion._denoiser import BaseDenoiser, check_denoiser
from mcstat.torch.diffusion._grids import Grid, as_grid, make_grid
from mcstat.torch.diffusion._sample import DiffusionResult, sample
from mcstat.torch.diffusion._solvers import Solver

__all__ = ["convergence_order", "reference_solution"]

FloatArray = NDArray[np.float64]
_METHODS = ("DOP853", "RK45")
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}


def reference_solution(
    denoiser: BaseDenoiser,
    x_T: torch.Tensor,
    grid: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    method: str = "DOP853",
    return_trajectory: bool = False,
) -> DiffusionResult:
    """Solve the sampling ODE to a tolerance, by an adaptive Runge-Kutta method of SciPy.

    Parameters
    ----------
    denoiser : BaseDenoiser
    x_T : tensor of float32 or float64, shape (n, ...)
        Samples at the grid's first node.
    grid : Grid or array_like, shape (N + 1,)
        As for :func:`sample`. Only its ends matter, and where the trajectory is kept; two nodes will do.
    rtol, atol : float, optional
        Of x / alpha, for the root mean square over all samples together. Default 1e-8 in float64, 1e-4 in float32,
        whose rounding allows no less.
    method : {"DOP853", "RK45"}
        Of order 8 or 5.
    return_trajectory : bool
        Keep x at the grid's nodes.

    Returns
    -------
    DiffusionResult
        From the same noise as a solver's run, so that :func:`ode_error` compares them.

    Raises
    ------
    FloatingPointError
        When the denoiser answers NaN or infinity, or when the step falls below what rounding allows: mostly a tolerance
        below the accuracy of a network.

    Notes
    -----
    The ODE is integrated in lambda, where it is smooth; all samples share the steps, which are as short as the hardest
    sample wants. A last step to clean data is x = x0. Several hundred questions are usual; every one goes through the
    CPU.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import GaussianMixtureDenoiser, UniPC, make_grid, ode_error, sample
    >>> from mcstat.torch.diffusion import reference_solution
    >>> denoiser = GaussianMixtureDenoiser([1, 1], [[-2.0], [2.0]], 0.3)
    >>> x_T, grid = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None], make_grid(denoiser.schedule, 200)
    >>> exact = reference_solution(denoiser, x_T, grid)
    >>> float(ode_error(sample(UniPC(3), denoiser, x_T, grid).samples, exact.samples)) < 1e-5
    True
    """
    from scipy.integrate import solve_ivp

    check_denoiser(denoiser)
    check_sample("x_T", x_T)
    nodes = as_grid(grid, denoiser.schedule)
    check_option("method", method, _METHODS)
    rtol, atol = (
        _TOLERANCE[x_T.dtype] if value is None else check_real(name, value, 0.0, closed="neither")
        for name, value in (("rtol", rtol), ("atol", atol))
    )
    asked, called = denoiser.nfe, denoiser.n_calls
    lam = nodes.lam[:-1] if nodes.ends_clean else nodes.lam

    def velocity(at: float, y: FloatArray) -> FloatArray:
        """d(x / alpha) / dlambda."""
        level = Grid.from_lam(denoiser.schedule, [at]).level(0)
        x = torch.as_tensor(float(level.alpha) * y).to(x_T).reshape(x_T.shape)
        slope: FloatArray = -np.exp(-at) * to_numpy(denoiser.output(x, level, "eps")).ravel()
        if not np.isfinite(slope).all():
            raise FloatingPointError(f"the denoiser's answer must be finite, got NaN or infinity at lambda {at:.4g}")
        return slope

    path = to_numpy(x_T).reshape(1, -1) / nodes.alpha[0]
    with torch.no_grad():
        if len(lam) > 1:
            tolerances = {"rtol": rtol, "atol": atol}
            solution: Any = solve_ivp(velocity, (lam[0], lam[-1]), path[0], method, lam, **tolerances)  # type: ignore[call-overload]  # a str of two
            if not solution.success:
                raise FloatingPointError(f"the ODE was not solved to rtol={rtol:g}: {solution.message}")
            path = solution.y.T
        x = torch.as_tensor(path * nodes.alpha[: len(lam), None]).to(x_T).reshape(len(lam), *x_T.shape)
        if nodes.ends_clean:
            clean = float(nodes.alpha[-1]) * denoiser.output(x[-1], nodes.level(len(lam) - 1), "x0")
            x = torch.cat([x, clean[None]])
    return DiffusionResult(
        samples=x[-1],
        trajectory=x if return_trajectory else None,
        nfe=denoiser.nfe - asked,
        n_calls=denoiser.n_calls - called,
        grid=nodes,
    )


def convergence_order(
    solver: Solver, denoiser: BaseDenoiser, x_T: torch.Tensor, n: int = 100, *, reference: torch.Tensor | None = None
) -> Estimate:
    """Order of a solver: by which power of the step its error falls between n and 2 n steps uniform in lambda.

    Parameters
    ----------
    solver : Solver
        Without noise, and with ``lower_order_final=False`` where it has that.
    denoiser : BaseDenoiser
    x_T : tensor, shape (m, ...)
        At the schedule's t_max, m >= 2; float64, as rounding of float32 hides high orders.
    n : int
    reference : tensor, shape (m, ...), optional
        What the ODE makes of ``x_T``; default :func:`reference_solution` with a tolerance of 1e-11.

    Returns
    -------
    Estimate
        The median of log2(error at n / error at 2 n) over the samples: one beside a watershed between modes has its
        own, later asymptotics. ``std_error`` is that of a median, by its order statistics.

    Notes
    -----
    3 n steps, and the reference.
    """
    check_denoiser(denoiser)
    check_sample("x_T", x_T)
    if solver.stochastic:
        raise InvalidParameter(f"solver must be one without noise, got {solver!r}")
    if len(x_T) < 2:
        raise InvalidData(f"x_T must hold at least 2 samples, got {len(x_T)}")
    grids = [make_grid(denoiser.schedule, check_integer("n", n, 1) * k) for k in (1, 2)]
    if reference is None:
        reference = reference_solution(denoiser, x_T, grids[0], rtol=1e-11, atol=1e-11).samples
    coarse, fine = (
        to_numpy((sample(solver, denoiser, x_T, grid).samples - reference).flatten(1).norm(dim=1)) for grid in grids
    )
    rates = np.sort(np.log2(coarse / fine))
    # One standard error of the median's rank to each side.
    middle, reach = 0.5 * (len(rates) - 1), 0.5 * np.sqrt(len(rates))
    low, high = np.interp([middle - reach, middle + reach], np.arange(len(rates)), rates)
    return Estimate(
        value=np.array([np.median(rates)]),
        std_error=np.array([0.5 * (high - low)]),
        names=("order",),
        kind="monte_carlo",
        method="convergence_order",
        info={"solver": repr(solver), "n": n},
    )
