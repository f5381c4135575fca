"""Itô's density estimator and the mixing weights of superposed models.

In y = x / alpha with u = (sigma / alpha)^2 the reverse equation is dy = sum_j kappa_j s_j du + sqrt(du) z, and along
any path with that noise, whatever its drift, d log q_i = <dy, s_i> - |s_i|^2 / 2 du: no divergence of a network. Along
a path without noise it is <dy, s_i> - (|s_i|^2 + div s_i) / 2 du; the sampling ODE is dy = sum_j kappa_j s_j / 2 du.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch._bridge import check_sample
from mcstat.torch.diffusion._denoiser import BaseDenoiser, check_denoiser
from mcstat.torch.diffusion._grids import Grid, as_grid

__all__ = [
    "equal_density_weights",
    "increments",
    "ito_log_density",
    "log_prior",
    "mixed",
    "scores_and_divergences",
    "scores_at",
    "signs",
]


def ito_log_density(
    denoiser: BaseDenoiser, trajectory: torch.Tensor, grid: Any, log_start: torch.Tensor | None = None
) -> torch.Tensor:
    """Log density of a model along a simulated path, from its scores alone.

    Parameters
    ----------
    denoiser : BaseDenoiser
    trajectory : tensor, shape (N + 1, n, ...)
        Samples at each node of a simulation with the noise of the reverse equation (variance of
        d (sigma / alpha)^2 in x / alpha) and any drift: also one of other models.
    grid : Grid or array_like, shape (N + 1,)
        Ends above clean data.
    log_start : tensor, shape (n,), optional
        Log density at the first node. Default: that of N(0, sigma^2).

    Returns
    -------
    tensor of float64, shape (N + 1, n)
        Log density at each node.

    Raises
    ------
    InvalidData
        When the shapes do not fit or the grid ends at clean data.

    Notes
    -----
    N network calls. The root mean square error falls like 1 / sqrt(N), the bias like 1 / N.

    References
    ----------
    Skreta, M. and others (2025). The superposition of diffusion models using the Itô density estimator. ICLR.
    arXiv:2412.17762.
    """
    check_denoiser(denoiser)
    nodes = as_grid(grid, denoiser.schedule)
    check_sample("trajectory", trajectory)
    if trajectory.ndim < 3 or len(trajectory) != nodes.n_steps + 1 or nodes.ends_clean:
        raise InvalidData(
            f"trajectory must have shape ({nodes.n_steps + 1}, n, ...) on a grid that ends above 0, "
            f"got {tuple(trajectory.shape)}"
        )
    with torch.no_grad():
        log_density = log_prior(trajectory[0], float(nodes.sigma[0])) if log_start is None else log_start.double()
        path = [log_density]
        d = trajectory[0, 0].numel()
        for i in range(nodes.n_steps):
            y, after = (trajectory[k] / float(nodes.alpha[k]) for k in (i, i + 1))
            score = scores_at((denoiser,), nodes, i, y)
            change = increments(score, (after - y).flatten(1), _step(nodes, i))[:, 0]
            # A density of y becomes one of x.
            path.append(path[-1] + change + d * float(np.log(nodes.alpha[i] / nodes.alpha[i + 1])))
    return torch.stack(path)


def scores_at(denoisers: tuple[BaseDenoiser, ...], grid: Grid, i: int, y: torch.Tensor) -> torch.Tensor:
    """Scores in y of each model at node i, (n, M, d)."""
    x, level = float(grid.alpha[i]) * y, grid.level(i)
    answers = [denoiser.output(x, level, "eps").flatten(1) for denoiser in denoisers]
    return torch.stack(answers, dim=1) / -float(grid.ratio[i])


def signs(shape: torch.Size, count: int, source: torch.Generator, like: torch.Tensor) -> torch.Tensor:
    """Random signs (count, *shape), which probe a divergence."""
    drawn = torch.randint(0, 2, (count, *shape), generator=source, device=like.device)
    return drawn.to(like.dtype) * 2.0 - 1.0


def scores_and_divergences(
    denoisers: tuple[BaseDenoiser, ...], grid: Grid, i: int, y: torch.Tensor, probes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (n, M, d), and Hutchinson's estimates of their divergences (P, n, M) by ``probes`` (P, n, ...)."""
    y = y.detach().requires_grad_()
    found, divergences = [], []
    with torch.enable_grad():
        for denoiser in denoisers:
            score = -denoiser.output(float(grid.alpha[i]) * y, grid.level(i), "eps") / float(grid.ratio[i])
            if not score.requires_grad:
                raise InvalidParameter("denoisers must be differentiable in x for density='hutchinson'")
            traces = [torch.autograd.grad((score * v).sum(), y, retain_graph=True)[0] * v for v in probes]
            found.append(score.detach().flatten(1))
            divergences.append(torch.stack(traces).flatten(2).sum(2))
    return torch.stack(found, dim=1), torch.stack(divergences, dim=2)


def increments(
    scores: torch.Tensor, move: torch.Tensor, step: float, divergences: torch.Tensor | None = None
) -> torch.Tensor:
    """Changes of the log densities (n, M) in float64 for a move (n, d), without noise if there are ``divergences``."""
    scores, move = scores.double(), move.double()
    change = (scores @ move[:, :, None])[:, :, 0] - 0.5 * step * scores.square().sum(2)
    return change if divergences is None else change - 0.5 * step * divergences.double()


def equal_density_weights(scores: torch.Tensor, given: torch.Tensor, gain: float, change: torch.Tensor) -> torch.Tensor:
    """Weights kappa (n, M), of sum 1, with which the log densities i < M change by ``change`` (n, M - 1) more than M's.

    ``given`` (n, M) are the changes with kappa = 1/M, and kappa = 1/M + e moves y by gain sum_j e_j s_j more. With
    delta_i = s_i - s_M it is the linear system gain <delta_i, sum_j e_j delta_j> = change_i - given_i + given_M; where
    scores agree, kappa is 1/M.
    """
    scores = scores.double()
    n_models = scores.shape[1]
    delta = scores[:, :-1] - scores[:, -1:]
    missing = change - (given[:, :-1] - given[:, -1:])
    gram = gain * delta @ delta.mT
    if n_models == 2:
        # Differences below the rounding of the scores have no direction.
        floor = abs(gain) * (torch.finfo(torch.float64).eps * scores.abs().amax(dim=(1, 2))) ** 2
        square = gram[:, :, 0]
        alike = square.abs() <= floor[:, None]
        extra = torch.where(alike, 0.0, missing / torch.where(alike, 1.0, square))
    else:
        extra = (torch.linalg.pinv(gram, hermitian=True) @ missing[:, :, None])[:, :, 0]
    return torch.cat([extra, -extra.sum(1, keepdim=True)], dim=1) + 1.0 / n_models


def mixed(scores: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
    """Sum of kappa_i s_i (n, d) as s_M + sum kappa_i (s_i - s_M): exact for equal scores, however large kappa is."""
    last = scores[:, -1]
    delta = scores[:, :-1] - scores[:, -1:]
    return last + (kappa[:, None, :-1].to(scores.dtype) @ delta)[:, 0]


def log_prior(x: torch.Tensor, deviation: float) -> torch.Tensor:
    """Log density (n,) of N(0, deviation^2 I)."""
    flat = x.flatten(1).double() / deviation
    return -0.5 * flat.square().sum(1) - flat.shape[1] * float(np.log(deviation) + 0.5 * np.log(2.0 * np.pi))


def _step(grid: Grid, i: int) -> float:
    return float(grid.ratio[i] ** 2 - grid.ratio[i + 1] ** 2)
