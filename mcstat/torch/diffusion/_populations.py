"""Independent populations of weighted particles going down a grid: the algorithm of the Feynman-Kac correctors.

Everything happens in the coordinate y = x / alpha with r = sigma / alpha, in which every schedule adds noise of
variance r^2 and the forward equation has no drift. With B = sum_j b_j and the scores s_j in y, backwards from r^2 = u,

    S = sum_j b_j s_j,   dy = (1 + zeta^2) / 2 S du + zeta sqrt(du) z,   dlog w = (|S|^2 - sum_j b_j |s_j|^2) / 2 du

"euler" holds both integrands over a step. Where noise is large s_j is about -y / u: "exponential" holds u S + B y, the
mixed prediction of the data, and u (|S|^2 - ...) instead, which is exact there.

Exponents that change with time change at the nodes: at node i the target goes from b(t_i) to b(t_{i+1}), for which the
weight sum_j (b_j(t_{i+1}) - b_j(t_i)) log q_j is exact, and a step is taken with constant exponents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData
from mcstat.kernels.resampling import SCHEMES
from mcstat.torch._bridge import to_numpy
from mcstat.torch._resampling import resampled_indices
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._grids import Grid

__all__ = ["Flow", "Populations", "log_gaussian_power", "run"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Flow:
    """What is simulated: product of powers (exponents at the nodes, (N + 1, M)), noise scale, resampling."""

    denoisers: tuple[BaseDenoiser, ...]
    exponents: FloatArray
    noise_scale: float
    integrator: str
    resampling: str
    ess_threshold: float
    weight_interval: tuple[float, float]
    target: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass
class Populations:
    """G populations of K particles each.

    Attributes
    ----------
    x : tensor, shape (G, K, ...)
    log_weights : tensor of float64, shape (G, K)
        Since the last resampling.
    log_normaliser : tensor of float64, shape (G,)
        Log of the product of the mean weights at each resampling, and of the last weights' mean at the end.
    ess : list of ndarray (G,)
        Effective sample size after each step.
    resampled, ancestors : list
        For each resampling the step before which it happened, and the indices (G, K); a population that kept its
        particles has 0, ..., K - 1.
    """

    x: torch.Tensor
    log_weights: torch.Tensor
    log_normaliser: torch.Tensor
    ess: list[FloatArray] = field(default_factory=list)
    resampled: list[int] = field(default_factory=list)
    ancestors: list[NDArray[np.int64]] = field(default_factory=list)


def run(
    flow: Flow,
    grid: Grid,
    shape: tuple[int, ...],
    generators: Sequence[torch.Generator],
    dtype: torch.dtype,
    advance: Callable[[], object],
) -> Populations:
    """Take populations from noise down the grid; ``shape`` is that of one population, (K, ...).

    Raises
    ------
    FloatingPointError
        When a weight becomes NaN or infinite; the message says at which time.
    """
    ratio = grid.ratio
    spread = ratio[0] / np.sqrt(flow.exponents[0].sum())
    y = spread * _noise(shape, generators, dtype)
    log_weights = torch.zeros(y.shape[:2], dtype=torch.float64, device=y.device)
    state = Populations(y, log_weights, torch.zeros_like(log_weights[:, 0]))
    drift, noise, clock = _coefficients(flow, grid)
    for i in range(grid.n_steps):
        if i > 0:
            _resample_where_poor(state, i, flow, generators)
        if clock[i] > 0.0:
            state.log_weights = state.log_weights + _reweighting(flow, grid, i, state.x)
        total, growth = _drift_and_growth(flow, grid, i, state.x)
        state.log_weights = state.log_weights + 0.5 * clock[i] * growth
        state.x = state.x + drift[i] * total
        if flow.noise_scale > 0.0:
            state.x = state.x + noise[i] * _noise(shape, generators, dtype)
        state.ess.append(_checked_sizes(state.log_weights, float(grid.t[i])))
        advance()
    state.x = float(grid.alpha[-1]) * state.x
    if flow.target is not None:
        state.log_weights = state.log_weights + _last_weights(flow, grid, state.x)
        state.ess[-1] = _checked_sizes(state.log_weights, float(grid.t[-1]))
    state.log_normaliser = state.log_normaliser + _log_mean(state.log_weights)
    return state


def log_gaussian_power(deviation: float, power: float, d: int) -> float:
    """Log of the integral of N(0, deviation^2 I)^power over d dimensions."""
    log_square = np.log(2.0 * np.pi * deviation**2)
    return float(0.5 * d * ((1.0 - power) * log_square - np.log(power)))


def _coefficients(flow: Flow, grid: Grid) -> tuple[list[float], list[float], list[float]]:
    """Of S, of z and of the weights' growth (N,) each."""
    square = grid.ratio**2
    start, end = square[:-1], square[1:]
    pull = 0.5 * (1.0 + flow.noise_scale**2)
    power = flow.exponents[1:].sum(axis=1)
    if flow.integrator == "euler":
        step = start - end
        drift, noise, clock = pull * step, flow.noise_scale * np.sqrt(step), step
    else:
        length, excess = np.log(start / end), 2.0 * pull * power - 1.0
        even = excess == 0.0
        growth = np.where(even, length, -np.expm1(-excess * length) / np.where(even, 1.0, excess))
        drift = -start / power * np.expm1(-pull * power * length)
        noise, clock = flow.noise_scale * np.sqrt(end * growth), start * length
    low, high = flow.weight_interval
    clock = np.where((grid.t[:-1] >= low) & (grid.t[:-1] <= high), clock, 0.0)
    return drift.tolist(), noise.tolist(), clock.tolist()


def _drift_and_growth(flow: Flow, grid: Grid, i: int, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixed score S (G, K, ...) and |S|^2 - sum_j b_j |s_j|^2 in float64 (G, K) at node i, b that of the step.

    The second is (1 - 1/B) |S|^2 - sum_j b_j |s_j - S/B|^2, which loses no digits when the scores are alike.
    """
    level = grid.level(i)
    flat = float(grid.alpha[i]) * y.flatten(0, 1)
    scores = [-denoiser.output(flat, level, "eps") / float(grid.ratio[i]) for denoiser in flow.denoisers]
    exponents = flow.exponents[i + 1].tolist()
    weighted = [b * score for b, score in zip(exponents, scores, strict=True)]
    total = torch.stack(weighted).sum(0) if len(weighted) > 1 else weighted[0]
    power = sum(exponents)
    growth = (1.0 - 1.0 / power) * _square(total)
    for b, score in zip(exponents, scores, strict=True):
        growth = growth - b * _square(score - total / power)
    return total.reshape(y.shape), growth.reshape(y.shape[:2])


def _reweighting(flow: Flow, grid: Grid, i: int, y: torch.Tensor) -> torch.Tensor | float:
    """What the change of the exponents at node i does to the log weights (G, K), for densities of y."""
    changes = flow.exponents[i + 1] - flow.exponents[i]
    if not changes.any():
        return 0.0
    x, t = float(grid.alpha[i]) * y, float(grid.t[i])
    jacobian = y[0, 0].numel() * float(np.log(grid.alpha[i]))
    return _log_densities(flow, changes, x, t) + float(changes.sum()) * jacobian


def _last_weights(flow: Flow, grid: Grid, x: torch.Tensor) -> torch.Tensor:
    """Log of the target's density over the product of powers (G, K)."""
    assert flow.target is not None  # noqa: S101  # for the type checker: run asks only then
    flat = x.flatten(0, 1)
    answer = flow.target(flat)
    if not isinstance(answer, torch.Tensor) or answer.shape != flat.shape[:1]:
        got = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise InvalidData(f"target must return log densities of shape ({len(flat)},), got {got}")
    powers = _log_densities(flow, flow.exponents[-1], x, float(grid.t[-1]))
    return answer.to(torch.float64).reshape(x.shape[:2]) - powers


def _log_densities(flow: Flow, factors: FloatArray, x: torch.Tensor, t: float) -> torch.Tensor:
    """Sum of factors times log densities of x (G, K) in float64."""
    flat = x.flatten(0, 1)
    terms: list[torch.Tensor] = [
        float(b) * denoiser.logp(flat, t).to(torch.float64)  # type: ignore[attr-defined]  # fit has looked
        for b, denoiser in zip(factors, flow.denoisers, strict=True)
        if b != 0.0
    ]
    return torch.stack(terms).sum(0).reshape(x.shape[:2])


def _square(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float64).flatten(1).square().sum(1)


def _resample_where_poor(state: Populations, i: int, flow: Flow, generators: Sequence[torch.Generator]) -> None:
    """Resample the populations whose effective size is below the threshold."""
    n_particles = state.x.shape[1]
    poor = np.flatnonzero(state.ess[-1] < flow.ess_threshold * n_particles).tolist()
    if not poor:
        return
    needed = SCHEMES[flow.resampling][1](n_particles, n_particles)
    uniforms = torch.stack(
        [torch.rand(needed, generator=generators[g], dtype=torch.float64, device=state.x.device) for g in poor]
    )
    rows = torch.as_tensor(poor, device=state.x.device)
    logs = state.log_weights[rows]
    chosen = resampled_indices(torch.softmax(logs, dim=1), uniforms, flow.resampling)
    state.log_normaliser = state.log_normaliser.index_add(0, rows, _log_mean(logs))
    state.log_weights = state.log_weights.index_fill(0, rows, 0.0)
    indices = torch.arange(n_particles, device=state.x.device).repeat(len(state.x), 1)
    indices[rows] = chosen
    state.x = state.x[torch.arange(len(state.x), device=state.x.device)[:, None], indices]
    state.resampled.append(i)
    state.ancestors.append(indices.cpu().numpy())


def _checked_sizes(log_weights: torch.Tensor, t: float) -> FloatArray:
    # NaN where a weight is NaN or infinite; looking at the weights too would wait for the device twice.
    sizes = to_numpy(_effective_sizes(log_weights))
    if not np.isfinite(sizes).all():
        raise FloatingPointError(f"weights must be finite, got NaN or infinity at time {t:.4g}")
    return sizes


def _effective_sizes(log_weights: torch.Tensor) -> torch.Tensor:
    return 1.0 / torch.softmax(log_weights, dim=1).square().sum(1)


def _log_mean(log_weights: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(log_weights, dim=1) - float(np.log(log_weights.shape[1]))


def _noise(shape: tuple[int, ...], generators: Sequence[torch.Generator], dtype: torch.dtype) -> torch.Tensor:
    """Standard normal (G, *shape), each population from its own generator."""
    rows = [torch.randn(shape, generator=source, dtype=dtype, device=source.device) for source in generators]
    return torch.stack(rows)
