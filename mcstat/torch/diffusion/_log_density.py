"""Log densities of given samples under a diffusion model, with errors from replicates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mcstat.core.checks import check_integer, check_option
from mcstat.core.errors import InvalidData
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed
from mcstat.torch._bridge import check_sample, generator, to_numpy
from mcstat.torch.diffusion._denoiser import BaseDenoiser, check_denoiser
from mcstat.torch.diffusion._grids import Grid, as_grid
from mcstat.torch.diffusion._superdiff import SuperDiff
from mcstat.torch.diffusion._superposition import (
    increments,
    log_prior,
    scores_and_divergences,
    scores_at,
    signs,
)

__all__ = ["log_density", "sample_with_logp"]


def log_density(
    denoiser: BaseDenoiser,
    x: torch.Tensor,
    grid: Any,
    *,
    density: str = "ito",
    n_draws: int = 8,
    random_state: RandomState = None,
) -> Estimate:
    """Log density of a model at given samples.

    Parameters
    ----------
    denoiser : BaseDenoiser
    x : tensor of float32 or float64, shape (n, ...)
        At the grid's last node.
    grid : Grid or array_like, shape (N + 1,)
        As for :func:`sample`; ends above clean data. The density at its first node should be close to N(0, sigma^2).
    density : {"ito", "hutchinson"}
        Itô's formula along ``n_draws`` noisings of x, from the scores alone; or the change of variables along the
        sampling ODE, with ``n_draws`` random signs that probe its divergence, for differentiable denoisers.
    n_draws : int
        At least 2.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    Estimate
        One quantity a sample, in nats. ``std_error`` is that of the mean over the draws: it knows of noise and probes,
        not of the steps, nor of the first node's law.

    Notes
    -----
    "ito": ``n_draws`` N questions; a draw is off by the order of the root of the step, its mean by that of the step.
    "hutchinson": 2 N questions (Heun) and 2 N ``n_draws`` backward passes; the steps' error is of second order.

    On eight modes in the plane one draw of "ito" had the standard deviation 1.18, 0.64 and 0.32 nats and the bias
    -0.77, -0.20 and -0.06 at 100, 400 and 1600 questions; one of "hutchinson" 0.83 at all, and 0.06, 0.01 and 0.005.

    References
    ----------
    Skreta, M. and others (2025). The superposition of diffusion models using the Itô density estimator. ICLR.
    arXiv:2412.17762. Song, Y. and others (2021). Score-based generative modeling through stochastic differential
    equations. ICLR.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import EDM, GaussianDenoiser, log_density, make_grid
    >>> schedule = EDM(sigma_min=0.02)
    >>> model, grid = GaussianDenoiser([0.0], 1.0, schedule), make_grid(schedule, 200, "karras")
    >>> est = log_density(model, torch.zeros((1, 1), dtype=torch.float64), grid, density="hutchinson", random_state=0)
    >>> bool(abs(float(est) + 0.9189) < 0.01)  # -log(2 pi) / 2
    True
    """
    check_denoiser(denoiser)
    check_sample("x", x)
    nodes = as_grid(grid, denoiser.schedule)
    if nodes.ends_clean:
        raise InvalidData("grid must end above 0: log densities are not defined at clean data")
    check_option("density", density, ("ito", "hutchinson"))
    root = root_seed(random_state)
    sources = [
        generator(root, "log_density", Purpose.REPLICATES, k, x.device)
        for k in range(check_integer("n_draws", n_draws, 2))
    ]
    y = x / float(nodes.alpha[-1])
    with torch.no_grad():
        if density == "ito":
            draws = torch.stack([_along_noise(denoiser, nodes, y, source) for source in sources])
        else:
            draws = _along_ode(denoiser, nodes, y, sources)
    # From the density of x / alpha to that of x.
    table = to_numpy(draws) - x[0].numel() * float(np.log(nodes.alpha[-1]))
    if not np.isfinite(table).all():
        raise FloatingPointError("log densities must be finite, got NaN or infinity")
    return Estimate(
        value=table.mean(axis=0),
        std_error=table.std(axis=0, ddof=1) / np.sqrt(n_draws),
        df=n_draws - 1,
        kind="monte_carlo",
        estimand="log density at each sample, nats",
        method="log_density",
        info={"density": density, "n_draws": n_draws, "entropy": entropy_of(root)},
    )


def sample_with_logp(
    denoiser: BaseDenoiser,
    grid: Any,
    n_samples: int = 1000,
    *,
    density: str = "ito",
    n_draws: int = 8,
    random_state: RandomState = None,
    **settings: Any,
) -> tuple[torch.Tensor, Estimate]:
    """Samples of a model and their log densities.

    Parameters
    ----------
    denoiser : BaseDenoiser
    grid, density, n_draws, random_state
        As for :func:`log_density`; with "hutchinson" the samples are those of the sampling ODE.
    n_samples : int
    **settings
        Of :class:`SuperDiff`: ``shape`` of one sample where the denoiser does not know it, ``dtype``, ``device``,
        ``verbose``.

    Returns
    -------
    samples : tensor, shape (n_samples, ...)
    log_densities : Estimate
        One quantity a sample.
    """
    settings = {"n_samples": n_samples, "density": density, "random_state": random_state} | settings
    x = SuperDiff(denoiser, grid, "average", **settings).fit().samples_  # type: ignore[arg-type]  # one alone will do
    return x, log_density(denoiser, x, grid, density=density, n_draws=n_draws, random_state=random_state)


def _along_noise(denoiser: BaseDenoiser, grid: Grid, y: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    """One noising of y, read backwards: in that direction it is a path with the right noise and some drift."""
    total = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    for i in range(grid.n_steps - 1, -1, -1):
        step = float(grid.ratio[i] ** 2 - grid.ratio[i + 1] ** 2)
        noise = step**0.5 * torch.randn(y.shape, generator=source, dtype=y.dtype, device=y.device)
        y = y + noise
        total = total + increments(scores_at((denoiser,), grid, i, y), -noise.flatten(1), step)[:, 0]
    return total + log_prior(y, float(grid.ratio[0]))


def _along_ode(denoiser: BaseDenoiser, grid: Grid, y: torch.Tensor, sources: list[torch.Generator]) -> torch.Tensor:
    """Heun's method for dy/dr = eps up to the noise, and for the integral of div eps by each probe (n_draws, n)."""
    probes = torch.cat([signs(y.shape, 1, source, y) for source in sources])
    total = torch.zeros((len(sources), len(y)), dtype=torch.float64, device=y.device)

    def slopes(i: int, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Eps (n, ...), and its divergence by each probe."""
        scores, divergences = scores_and_divergences((denoiser,), grid, i, y, probes)
        r = -float(grid.ratio[i])
        return r * scores[:, 0].reshape(y.shape), r * divergences[:, :, 0]

    for i in range(grid.n_steps - 1, -1, -1):
        length = float(grid.ratio[i] - grid.ratio[i + 1])
        eps, spread = slopes(i + 1, y)
        ahead, spread_ahead = slopes(i, y + length * eps)
        y = y + 0.5 * length * (eps + ahead)
        total = total + 0.5 * length * (spread + spread_ahead).double()
    return total + log_prior(y, float(grid.ratio[0]))
