"""The mixture that solvers are measured on, and noise to start from."""

import numpy as np
import torch

from mcstat.torch.diffusion import GaussianMixtureDenoiser

torch.set_num_threads(1)


def eight_modes(schedule=None):
    """Eight unequal modes on a circle."""
    k = np.arange(8)
    means = 4 / 3 * np.column_stack([np.cos(2 * np.pi * k / 8), np.sin(2 * np.pi * k / 8)])
    covs = np.column_stack([0.04 + 0.01 * k, np.full(8, 0.02)])
    return GaussianMixtureDenoiser([1, 2, 3, 4, 1, 2, 3, 4], means, covs, schedule)


def tilted(schedule=None, d=3):
    """Three components with full covariances."""
    rng = np.random.default_rng(1)
    roots = rng.standard_normal((3, d, d))
    return GaussianMixtureDenoiser([1, 2, 3], rng.standard_normal((3, d)), roots @ roots.mT + 0.1 * np.eye(d), schedule)


def noise(n, d=2, seed=0, dtype=torch.float64):
    """Standard normal (n, d)."""
    return torch.randn((n, d), dtype=dtype, generator=torch.Generator().manual_seed(seed))


def rmse(x, y):
    """Root of the mean square over all coordinates."""
    return float((x - y).square().mean().sqrt())


def network(denoiser):
    """The denoiser's noise as a network ``fn(x, t)`` of a continuous schedule: the same t for all rows."""
    return lambda x, t: denoiser.eps(x, float(t[0]))
