"""SuperDiff: several diffusion models superposed while sampling, by their densities along the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.progress import progress_bar
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed
from mcstat.torch._bridge import generator, to_estimate, to_numpy
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._grids import Grid, as_grid
from mcstat.torch.diffusion._shared import check_denoisers, check_dtype, check_shape, network_calls
from mcstat.torch.diffusion._superposition import (
    equal_density_weights,
    increments,
    log_prior,
    mixed,
    scores_and_divergences,
    scores_at,
    signs,
)

__all__ = ["SuperDiff"]


class SuperDiff(Estimator):
    """Samples from several diffusion models at once: one OR another, or one AND another.

    The models' log densities are followed along each path by Itô's formula, from their scores alone; the mixing weights
    kappa of the scores follow from them in every step [1]_.

    Parameters
    ----------
    denoisers : sequence of M >= 2 BaseDenoiser
        All with one schedule. With mode "average" one will do: a sampler that knows its density.
    grid : Grid or array_like, shape (N + 1,)
        Levels, or ratios sigma / alpha, falling to a positive last one.
    mode : {"or", "and", "average"}
        "or" samples the mixture sum_i exp(bias_i) q_i: kappa is the posterior probability of each model. "and" chooses
        kappa so that all log densities grow alike: samples of equal density under all models. "average": the same kappa
        everywhere.
    n_samples : int
    temperature : float
        Of "or": kappa = softmax(temperature * log density + bias).
    bias : array_like, shape (M,), optional
        Of "or": log prior weights, up to a constant.
    lift : array_like, shape (M,), optional
        Of "and": the log densities end that far from one another.
    kappa_clip : float, optional
        Of "and": the largest deviation of kappa from 1 / M; the densities are then no longer equal.
    weights : array_like, shape (M,), optional
        Of "average": kappa, scaled to sum to 1. Default: 1 / M.
    density : {"ito", "hutchinson"}
        How log densities are followed: along the reverse diffusion by Itô's formula, or along the sampling ODE, without
        noise, by divergences of the scores. These need denoisers that are differentiable, and a backward pass a model
        and probe.
    n_probes : int
        Of "hutchinson": random signs that a divergence is estimated from, anew in each step.
    unconditional : BaseDenoiser, optional
        Guidance: the mixed score s becomes s_u + guidance_scale (s - s_u), s_u this one's. The log densities stay those
        of the denoisers.
    guidance_scale : float
    keep_paths : bool
        Keep log densities and kappa at all nodes.
    shape : tuple of int, optional
        Of one sample; needed where the denoisers do not know it.
    dtype : {"float32", "float64"}
        Of the samples; log densities are float64.
    device : str
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    samples_ : tensor, shape (n_samples, ...)
        At the last node.
    log_densities_ : ndarray, shape (n_samples, M)
        Estimated log densities of the samples there.
    assignment_ : ndarray of int, shape (n_samples,)
        The likeliest model of each sample, with its bias.
    log_density_path_ : ndarray, shape (N + 1, n_samples, M)
        With ``keep_paths``; of x / alpha, whose density is alpha^d times that of x.
    kappa_path_ : ndarray, shape (N, n_samples, M)
        With ``keep_paths``.
    n_calls_ : int
        Network calls, each on n_samples samples.

    Notes
    -----
    M network calls a step, O(n M^2 d) beside. Errors of a log density by Itô's formula are of the order of the root of
    the step along a path, and of the step in the mean: use many steps. Those by divergences are of the order of the
    step, and unbiased in the probes. Where the scores of "and" agree, kappa is 1 / M; gaps that
    rounding leaves are closed in the next step.

    The start is N(0, sigma^2): the models should be close to it at the first node.

    References
    ----------
    .. [1] Skreta, M. and others (2025). The superposition of diffusion models using the Itô density estimator. ICLR.
       arXiv:2412.17762.

    Examples
    --------
    >>> from mcstat.torch.diffusion import EDM, GaussianDenoiser, SuperDiff, make_grid
    >>> schedule = EDM(sigma_min=0.02)
    >>> models = [GaussianDenoiser([-2.0], 0.1, schedule), GaussianDenoiser([2.0], 0.1, schedule)]
    >>> either = SuperDiff(models, make_grid(schedule, 200, "karras"), n_samples=400, random_state=0).fit()
    >>> bool(abs(float(either.estimate(lambda x: (x > 0).double())) - 0.5) < 0.1)
    True
    """

    def __init__(
        self,
        denoisers: Sequence[BaseDenoiser],
        grid: Any,
        mode: str = "or",
        *,
        n_samples: int = 1000,
        temperature: float = 1.0,
        bias: ArrayLike | None = None,
        lift: ArrayLike | None = None,
        kappa_clip: float | None = None,
        weights: ArrayLike | None = None,
        density: str = "ito",
        n_probes: int = 1,
        unconditional: BaseDenoiser | None = None,
        guidance_scale: float = 1.0,
        keep_paths: bool = False,
        shape: tuple[int, ...] | None = None,
        dtype: str = "float64",
        device: str = "cpu",
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.denoisers = denoisers
        self.grid = grid
        self.mode = mode
        self.n_samples = n_samples
        self.temperature = temperature
        self.bias = bias
        self.lift = lift
        self.kappa_clip = kappa_clip
        self.weights = weights
        self.density = density
        self.n_probes = n_probes
        self.unconditional = unconditional
        self.guidance_scale = guidance_scale
        self.keep_paths = keep_paths
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self) -> Self:
        """Simulate the samples.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        FloatingPointError
            When a log density becomes NaN or infinite.
        """
        self._forget()
        mode = check_option("mode", self.mode, ("or", "and", "average"))
        denoisers = check_denoisers(self.denoisers, 1 if mode == "average" else 2)
        self._check_settings(denoisers)
        grid = as_grid(self.grid, denoisers[0].schedule)
        if grid.ends_clean:
            raise InvalidData("grid must end above 0: log densities are not defined at clean data")
        shape = (check_integer("n_samples", self.n_samples, 2), *check_shape(self.shape, denoisers))
        dtype = getattr(torch, check_dtype(self.dtype))
        self._root = root_seed(self.random_state)
        source = generator(self._root, type(self).__name__, Purpose.SAMPLE, 0, self.device)
        asked = denoisers if self.unconditional is None else (*denoisers, self.unconditional)
        called, started = network_calls(asked), perf_counter()
        with torch.no_grad(), single_threaded():
            y = float(grid.ratio[0]) * torch.randn(shape, generator=source, dtype=dtype, device=self.device)
            y, paths, kappas = self._simulate(denoisers, grid, y, source)
        self._seconds = perf_counter() - started
        self.n_calls_ = network_calls(asked) - called
        self.samples_ = float(grid.alpha[-1]) * y
        d = int(np.prod(shape[1:]))
        self.log_densities_ = to_numpy(paths[-1]) - d * float(np.log(grid.alpha[-1]))
        self.assignment_ = np.argmax(self.log_densities_ + to_numpy(self._bias), axis=1)
        if self.keep_paths:
            self.log_density_path_ = to_numpy(torch.stack(paths))
            self.kappa_path_ = to_numpy(torch.stack(kappas))
        return self

    def estimate(
        self, fn: Callable[[torch.Tensor], torch.Tensor] | None = None, names: Iterable[str] | None = None
    ) -> Estimate:
        """Mean of a function of the samples.

        Parameters
        ----------
        fn : callable, optional
            Takes samples (n, ...), returns (n,) or (n, q). Default: all coordinates.
        names : iterable of str, optional
            q names.

        Returns
        -------
        Estimate
        """
        self._check_fitted()
        return to_estimate(
            self.samples_.flatten(1) if fn is None else fn(self.samples_),
            names=names,
            estimand=f"mean under the superposition '{self.mode}'",
            method=type(self).__name__,
            info={
                "parameters": self._settings(),
                "entropy": entropy_of(self._root),
                "n_calls": self.n_calls_,
                "seconds": self._seconds,
                "version": __version__,
            },
        )

    def _check_settings(self, denoisers: tuple[BaseDenoiser, ...]) -> None:
        n_models = len(denoisers)
        check_option("density", self.density, ("ito", "hutchinson"))
        check_integer("n_probes", self.n_probes, 1)
        if self.unconditional is not None:
            check_denoisers((*denoisers, self.unconditional))
        elif check_real("guidance_scale", self.guidance_scale) != 1.0:
            raise InvalidParameter(f"guidance_scale must be 1 without unconditional, got {self.guidance_scale}")
        check_real("temperature", self.temperature, 0.0, closed="neither")
        if self.kappa_clip is not None:
            check_real("kappa_clip", self.kappa_clip, 0.0, closed="neither")
        if not isinstance(self.keep_paths, bool):
            raise InvalidParameter(f"keep_paths must be True or False, got {self.keep_paths!r}")
        self._bias = _one_a_model("bias", self.bias, n_models, self.device)
        lift = _one_a_model("lift", self.lift, n_models, self.device)
        self._lift = lift[:-1] - lift[-1]
        weights = _one_a_model("weights", np.ones(n_models) if self.weights is None else self.weights, n_models, "cpu")
        if abs(float(weights.sum())) < 1e-12:
            raise InvalidParameter(f"weights must not sum to 0, got {self.weights!r}")
        self._weights = (weights / weights.sum()).to(self.device)

    def _simulate(
        self, denoisers: tuple[BaseDenoiser, ...], grid: Grid, y: torch.Tensor, source: torch.Generator
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Samples, log densities at the nodes (only the last without ``keep_paths``) and kappas."""
        log_density = log_prior(y, float(grid.ratio[0]))[:, None].repeat(1, len(denoisers))
        paths, kappas = [log_density], list[torch.Tensor]()
        with progress_bar(grid.n_steps, "steps", self.verbose) as advance:
            for i in range(grid.n_steps):
                step = self._step(denoisers, grid, i, y, source)
                kappa = self._kappa(log_density, step, (i + 1) / grid.n_steps)
                move = step.move(mixed(step.scores, kappa))
                log_density = log_density + increments(step.scores, move, step.length, step.divergences)
                if not bool(torch.isfinite(log_density).all()):
                    raise FloatingPointError(f"log densities must be finite, got NaN or infinity at {grid.t[i]:.4g}")
                y = y + move.reshape(y.shape)
                paths = [*paths, log_density] if self.keep_paths else [log_density]
                kappas = [*kappas, kappa] if self.keep_paths else []
                advance()
        return y, paths, kappas

    def _step(
        self, denoisers: tuple[BaseDenoiser, ...], grid: Grid, i: int, y: torch.Tensor, source: torch.Generator
    ) -> _Step:
        """All that step i needs but kappa; the noise comes before it, as kappa depends on it."""
        r, after = float(grid.ratio[i]), float(grid.ratio[i + 1])
        base = None
        if self.unconditional is not None:
            base = scores_at((self.unconditional,), grid, i, y)[:, 0]
        if self.density == "ito":
            length = r**2 - after**2
            scores, divergences = scores_at(denoisers, grid, i, y), None
            noise = length**0.5 * torch.randn(y.shape, generator=source, dtype=y.dtype, device=y.device).flatten(1)
            return _Step(length, 1.0, scores, divergences, noise, base, self.guidance_scale)
        # The predicted noise is held over the step, as DDIM does: of (r^2)' = 2 r only the start counts.
        length = 2.0 * r * (r - after)
        probes = signs(y.shape, self.n_probes, source, y)
        scores, divergences = scores_and_divergences(denoisers, grid, i, y, probes)
        return _Step(length, 0.5, scores, divergences.mean(0), None, base, self.guidance_scale)

    def _kappa(self, log_density: torch.Tensor, step: _Step, done: float) -> torch.Tensor:
        """Mixing weights (n, M) in float64; ``done`` is the share of the steps at whose end the step is."""
        n_models = step.scores.shape[1]
        if self.mode == "or":
            return torch.softmax(self.temperature * log_density + self._bias, dim=1)
        if self.mode == "average":
            return self._weights.expand_as(log_density)
        gap = log_density[:, :-1] - log_density[:, -1:]
        move = step.move(step.scores.double().mean(1))
        given = increments(step.scores, move, step.length, step.divergences)
        kappa = equal_density_weights(step.scores, given, step.gain, done * self._lift - gap)
        if self.kappa_clip is None:
            return kappa
        extra = (kappa - 1.0 / n_models).clamp(-self.kappa_clip, self.kappa_clip)
        return extra - extra.mean(1, keepdim=True) + 1.0 / n_models


class _Step(NamedTuple):
    """One step before its weights are known."""

    length: float  # du
    pull: float  # of the mixed score: 1, without noise 1/2
    scores: torch.Tensor  # (n, M, d)
    divergences: torch.Tensor | None  # (n, M), without noise
    noise: torch.Tensor | None  # (n, d)
    base: torch.Tensor | None  # the score that guidance goes out from, (n, d)
    guidance_scale: float

    @property
    def gain(self) -> float:
        """How far a unit of mixed score moves y."""
        return self.length * self.pull * (1.0 if self.base is None else self.guidance_scale)

    def move(self, score: torch.Tensor) -> torch.Tensor:
        """How far y goes (n, d) with a mixed score (n, d)."""
        if self.base is not None:
            score = self.base + self.guidance_scale * (score - self.base)
        moved = self.length * self.pull * score
        return moved if self.noise is None else moved + self.noise


def _one_a_model(name: str, values: ArrayLike | None, n_models: int, device: str) -> torch.Tensor:
    """(M,) float64; None is zeros."""
    array = np.zeros(n_models) if values is None else check_array(name, values, 1)
    if len(array) != n_models:
        raise InvalidParameter(f"{name} must hold {n_models} numbers, one a denoiser, got {array}")
    return torch.tensor(array, dtype=torch.float64, device=device)
