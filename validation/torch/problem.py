"""The mixture of the diffusion cards, noise to start from, and errors of runs."""

from __future__ import annotations

from math import sqrt

import numpy as np
import torch

from mcstat.torch.diffusion import GaussianMixtureDenoiser, Grid, Solver, UniPC, VPLinear, make_grid, sample
from mcstat.torch.diffusion._denoiser import BaseDenoiser

SCHEDULE = VPLinear()
SETTING = "8 modes in the plane, VP linear to t = 1e-3"


def eight_modes() -> GaussianMixtureDenoiser:
    """Means on a circle of radius 4/3, weights 1 2 3 4 1 2 3 4, covariances diag(.04 + .01 k, .02)."""
    k = np.arange(8)
    means = 4 / 3 * np.column_stack([np.cos(2 * np.pi * k / 8), np.sin(2 * np.pi * k / 8)])
    covs = np.column_stack([0.04 + 0.01 * k, np.full(8, 0.02)])
    return GaussianMixtureDenoiser([1, 2, 3, 4, 1, 2, 3, 4], means, covs, SCHEDULE)


def noise(n: int, seed: int = 0) -> torch.Tensor:
    """Where all solvers start, (n, 2)."""
    return torch.randn((n, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reference(denoiser: BaseDenoiser, x: torch.Tensor, steps: int = 4000) -> torch.Tensor:
    """The sampling ODE's end, by UniPC-3 of full order throughout."""
    return sample(UniPC(3, lower_order_final=False), denoiser, x, make_grid(SCHEDULE, steps)).samples


def squares(solver: Solver, denoiser: BaseDenoiser, x: torch.Tensor, grid: Grid, target: torch.Tensor) -> np.ndarray:
    """Mean square error of each sample over its coordinates (n,)."""
    return (sample(solver, denoiser, x, grid).samples - target).square().mean(1).numpy()


def rmse(errors: np.ndarray) -> tuple[float, float]:
    """Root of the mean and its standard error."""
    value = sqrt(errors.mean())
    return value, float(errors.std(ddof=1) / sqrt(len(errors)) / (2 * value))


def ratio(errors: np.ndarray, against: np.ndarray) -> tuple[float, float]:
    """RMSE over RMSE on the same points, with the standard error of the pairs."""
    value = sqrt(errors.mean() / against.mean())
    paired = 0.5 * value * (errors / errors.mean() - against / against.mean())
    return value, float(paired.std(ddof=1) / sqrt(len(errors)))


def logsnr(n: int, *, final: str = "sigma_min") -> Grid:
    """Uniform in lambda."""
    return make_grid(SCHEDULE, n, final=final)
