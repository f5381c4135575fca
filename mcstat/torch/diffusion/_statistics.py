"""Empirical model statistics: the change of variables in which a model is easiest to integrate.

Zheng, Lu, Chen, Zhu (2023). DPM-Solver-v3: improved diffusion ODE solver with empirical model statistics. NeurIPS.
arXiv:2310.13268.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mcstat.core.checks import check_array, check_integer, check_option
from mcstat.core.errors import InvalidData, InvalidFileError, InvalidParameter, PerformanceWarning
from mcstat.core.rng import Purpose, RandomState, root_seed
from mcstat.torch._bridge import check_sample, generator, to_numpy
from mcstat.torch.diffusion._denoiser import BaseDenoiser, check_denoiser
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._level import Level
from mcstat.torch.diffusion._schedules import NoiseSchedule

__all__ = ["EMS", "estimate_ems"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class EMS:
    """Statistics l, s and b of a model on a grid of lambda.

    With N = sigma eps - l x and f = N / alpha: l makes N flat in x, and f' is near s f + b along the sampling ODE.

    Attributes
    ----------
    lam : ndarray, shape (m,)
        Ascending.
    l, s, b : ndarray, shape (m, d) or (m, 1)
        By coordinate, or one number for all.
    schedule : str
        The schedule's repr, by which a solver knows that they fit.
    """

    lam: FloatArray
    l: FloatArray  # noqa: E741  # the paper's name
    s: FloatArray
    b: FloatArray
    schedule: str

    def __post_init__(self) -> None:
        lam = check_array("lam", self.lam, 1)
        if len(lam) < 4 or not (np.diff(lam) > 0.0).all():
            raise InvalidData("lam must hold at least 4 ascending values")
        for name in ("l", "s", "b"):
            if check_array(name, getattr(self, name), 2).shape != (len(lam), self.l.shape[1]):
                raise InvalidData(f"{name} must have shape ({len(lam)}, {self.l.shape[1]})")

    def __repr__(self) -> str:
        m, d = self.l.shape
        ends = f"lambda {self.lam[0]:.4g} to {self.lam[-1]:.4g}"
        return f"<EMS: {m} nodes, {ends}, {d} coordinate(s), of {self.schedule}>"

    @classmethod
    def constant(cls, kind: str, schedule: NoiseSchedule, n_stat: int = 250) -> Self:
        """Statistics that make the solver the exponential integrator of predicted data or noise.

        With l = 1 and s = b = 0 it is DPM-Solver++, with l = 0, s = -1 and b = 0 it is DPM-Solver.

        Parameters
        ----------
        kind : {"data", "noise"}
        schedule : NoiseSchedule
        n_stat : int
            Intervals of the grid.
        """
        lam = _even(schedule, None, check_integer("n_stat", n_stat, 3))
        level, slope = (1.0, 0.0) if check_option("kind", kind, ("data", "noise")) == "data" else (0.0, -1.0)
        column = (len(lam), 1)
        return cls(lam, np.full(column, level), np.full(column, slope), np.zeros(column), repr(schedule))

    def save(self, path: str | PathLike[str]) -> None:
        """Write an npz file."""
        np.savez(path, lam=self.lam, l=self.l, s=self.s, b=self.b, schedule=np.array(self.schedule))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InvalidFileError
            If it is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                lam, l, s, b = (archive[name] for name in ("lam", "l", "s", "b"))  # noqa: E741
                return cls(lam, l, s, b, str(archive["schedule"]))
        except (KeyError, ValueError) as error:
            raise InvalidFileError(f"{path} must be a file that EMS.save wrote: {error}") from error


def estimate_ems(
    denoiser: BaseDenoiser,
    data: torch.Tensor,
    grid: Grid | None = None,
    *,
    n_stat: int = 250,
    n_data: int = 1024,
    reduce: str = "none",
    n_exact: int = 16,
    random_state: RandomState = None,
) -> EMS:
    """Estimate a model's statistics from noisy data.

    Parameters
    ----------
    denoiser : BaseDenoiser
        Differentiable in x: else its derivatives are differences, with a warning. A guided model has statistics of its
        own; estimate them on the guided denoiser. (They are taken on noisy data all the same, where a guided run does
        not go.)
    data : tensor, shape (m, ...)
        Clean data.
    grid : Grid, optional
        Its range of lambda is covered; default the schedule's.
    n_stat : int
        Intervals in lambda.
    n_data : int
        Noisy data at each of the n_stat + 1 nodes, with the same noise at all.
    reduce : {"none", "mean"}
        "mean" keeps one number for all coordinates.
    n_exact : int
        Up to so many coordinates the derivatives are exact, one backward pass a coordinate (or two questions, where
        they are differences); above it they are estimated by one pass with random signs.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    EMS

    Notes
    -----
    (n_stat + 1) times three questions and min(d, 1 or n_exact) backward passes on ``n_data`` samples. The derivative
    along the ODE is a central difference in lambda.
    """
    from scipy.interpolate import CubicSpline

    check_denoiser(denoiser)
    check_sample("data", data)
    check_integer("n_data", n_data, 2)
    check_option("reduce", reduce, ("none", "mean"))
    lam = _even(denoiser.schedule, grid, check_integer("n_stat", n_stat, 3))
    source = generator(root_seed(random_state), "estimate_ems", Purpose.EXPLORE, 0, data.device)
    rows = torch.randint(len(data), (n_data,), generator=source, device=data.device)
    x0 = data[rows]
    z = torch.randn(x0.shape, generator=source, dtype=x0.dtype, device=x0.device)
    signs = None
    if x0[0].numel() > check_integer("n_exact", n_exact):
        signs = torch.randint(0, 2, x0.shape, generator=source, device=x0.device).to(x0.dtype) * 2.0 - 1.0
    _warn_if_rigid(denoiser, x0[:1], float(lam[0]))
    moments = [_Moments.at(denoiser, x0, z, float(value), signs) for value in lam]
    l = np.stack([moment.l for moment in moments])  # noqa: E741
    if reduce == "mean":
        l = l.mean(axis=1, keepdims=True)  # noqa: E741
    slope = CubicSpline(lam, l).derivative()(lam)
    fits = [moment.regression(*pair) for moment, *pair in zip(moments, l, slope, strict=True)]
    s, b = (np.stack(column) for column in zip(*fits, strict=True))
    if reduce == "mean":
        s, b = s.mean(axis=1, keepdims=True), b.mean(axis=1, keepdims=True)
    return EMS(lam, l, s, b, repr(denoiser.schedule))


@dataclass(frozen=True)
class _Moments:
    """What is kept of the samples at one lambda."""

    lam: float
    alpha: float
    sigma: float
    x: FloatArray  # (n, d)
    eps: FloatArray
    change: FloatArray  # of eps along the ODE, in lambda
    l: FloatArray  # (d,)  # noqa: E741

    @classmethod
    def at(
        cls, denoiser: BaseDenoiser, x0: torch.Tensor, z: torch.Tensor, lam: float, signs: torch.Tensor | None
    ) -> Self:
        # The cube root of the rounding error balances it with the error of a central difference.
        delta = float(torch.finfo(x0.dtype).eps) ** (1.0 / 3.0)
        before, level, after = (_level(denoiser.schedule, lam + shift) for shift in (-delta, 0.0, delta))
        x = level.alpha * x0 + level.sigma * z
        eps, diagonal = _noise_and_diagonal(denoiser, x, level, signs)
        schedule, t, sigma = denoiser.schedule, level.t, float(level.sigma)
        drift = -2.0 * sigma**2 * float(schedule.f(float(t)) / schedule.g2(float(t)))
        velocity = drift * x - sigma * eps
        with torch.no_grad():
            ahead = denoiser.output(x + delta * velocity, after, "eps")
            behind = denoiser.output(x - delta * velocity, before, "eps")
        change = (ahead - behind) / (2.0 * delta)
        rows = [to_numpy(tensor).reshape(len(x), -1) for tensor in (x, eps, change)]
        return cls(lam, float(level.alpha), sigma, rows[0], rows[1], rows[2], sigma * diagonal)

    def regression(self, l: FloatArray, slope: FloatArray) -> tuple[FloatArray, FloatArray]:  # noqa: E741
        """S and b of f' on f."""
        ratio = self.sigma / self.alpha
        f = ratio * self.eps - l * self.x / self.alpha
        change = ratio * ((l - 1.0) * self.eps + self.change) - slope * self.x / self.alpha
        centred = f - f.mean(axis=0)
        variance = (centred**2).mean(axis=0)
        covariance = (centred * change).mean(axis=0)
        # Where f does not vary there is nothing to regress on.
        flat = variance <= 1e-10 * ratio**2
        s = np.where(flat, 0.0, covariance / np.where(flat, 1.0, variance))
        return s, change.mean(axis=0) - s * f.mean(axis=0)


def _noise_and_diagonal(
    denoiser: BaseDenoiser, x: torch.Tensor, level: Level, signs: torch.Tensor | None
) -> tuple[torch.Tensor, FloatArray]:
    """Predicted noise, and the mean of d eps_i / d x_i by coordinate (d,)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        eps = denoiser.output(x, level, "eps")
        if not eps.requires_grad:
            return eps, _differenced_diagonal(denoiser, x.detach(), level, signs)
        if signs is not None:
            (gradient,) = torch.autograd.grad((eps * signs).sum(), x)
            diagonal = (gradient * signs).flatten(1).mean(0)
        else:
            columns = eps.flatten(1).sum(0)
            diagonal = torch.stack(
                [
                    torch.autograd.grad(columns[i], x, retain_graph=i + 1 < len(columns))[0].flatten(1)[:, i].mean()
                    for i in range(len(columns))
                ]
            )
    return eps.detach(), to_numpy(diagonal)


def _differenced_diagonal(
    denoiser: BaseDenoiser, x: torch.Tensor, level: Level, signs: torch.Tensor | None
) -> FloatArray:
    """The same by central differences."""
    delta = float(torch.finfo(x.dtype).eps) ** (1.0 / 3.0)

    def along(direction: torch.Tensor) -> torch.Tensor:
        ahead, behind = (denoiser.output(x + step * direction, level, "eps") for step in (delta, -delta))
        slope: torch.Tensor = ((ahead - behind) * direction / (2.0 * delta)).flatten(1).mean(0)
        return slope

    with torch.no_grad():
        if signs is not None:
            return to_numpy(along(signs))
        axes = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).reshape(-1, *x.shape[1:])
        return to_numpy(torch.stack([along(axis.expand_as(x)).sum() for axis in axes]))


def _warn_if_rigid(denoiser: BaseDenoiser, x: torch.Tensor, lam: float) -> None:
    with torch.enable_grad():
        eps = denoiser.output(x.detach().requires_grad_(), _level(denoiser.schedule, lam), "eps")
    if not eps.requires_grad:
        message = "the denoiser has no gradients: differences take their place, which cost digits and questions"
        warnings.warn(message, PerformanceWarning, stacklevel=3)


def _level(schedule: NoiseSchedule, lam: float) -> Level:
    return Grid.from_lam(schedule, np.array([lam])).level(0)


def _even(schedule: NoiseSchedule, grid: Grid | None, count: int) -> FloatArray:
    """Ascending, ``count`` even intervals over the grid's or the schedule's range."""
    if grid is None:
        ends: Any = schedule.lam(np.array([schedule.t_max, schedule.t_min]))
    else:
        ends = grid.lam[[0, -2 if grid.ends_clean else -1]]
    if not ends[0] < ends[1]:
        raise InvalidParameter("grid must have at least two nodes with noise")
    return np.linspace(ends[0], ends[1], count + 1)
