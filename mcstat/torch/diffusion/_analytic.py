"""Denoisers in closed form: the exact answers that solvers and correctors are tested on."""

from __future__ import annotations

from math import log, pi
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._level import Level, level_of
from mcstat.torch.diffusion._schedules import NoiseSchedule

__all__ = ["EmpiricalDenoiser", "GaussianDenoiser", "GaussianMixtureDenoiser"]

FloatArray = NDArray[np.float64]


class _Parts(NamedTuple):
    """At n points, for K components in the axes of each: what all answers are made of."""

    centred: torch.Tensor  # (n, K, d)
    variances: torch.Tensor  # (K, d) or (n, K, d)
    log_joint: torch.Tensor  # (n, K), log w_k N_k(x), without d log(2 pi) / 2
    shares: torch.Tensor  # (n, K)


class GaussianMixtureDenoiser(BaseDenoiser):
    """The exact denoiser of data from a Gaussian mixture.

    At every level the noisy data are a mixture too, with means alpha mu_k and covariances alpha^2 C_k + sigma^2 I.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Positive; scaled to sum to 1.
    means : array_like, shape (K, d)
    covs : array_like, shape (K, d, d) or (1, d, d), (K, d) or (1, d), or ()
        Full covariances, diagonal ones, or one variance; a leading 1 shares it between the components.
    schedule : NoiseSchedule, optional
        Default ``VPLinear()``.

    Notes
    -----
    A question costs O(n K d), for full covariances O(n K d^2): they are diagonalised once. Samples of any rank are
    read as n rows of d coordinates.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import GaussianMixtureDenoiser
    >>> two = GaussianMixtureDenoiser([1, 1], [[-2.0], [2.0]], 0.25)
    >>> float(two.x0(torch.zeros(1, 1), 0.5))
    0.0
    """

    def __init__(
        self, weights: ArrayLike, means: ArrayLike, covs: ArrayLike, schedule: NoiseSchedule | None = None
    ) -> None:
        super().__init__(schedule)
        self.weights, self.means = check_array("weights", weights, 1), check_array("means", means, 2)
        if self.weights.min(initial=np.inf) <= 0.0 or len(self.weights) != len(self.means) or len(self.means) == 0:
            raise InvalidData(
                f"weights must hold one positive number for each of the {len(self.means)} rows of means, "
                f"got shape {self.weights.shape}"
            )
        self.weights = self.weights / self.weights.sum()
        self._variances, self._axes = _diagonalised(covs, *self.means.shape)
        self._tensors: dict[tuple[torch.device, torch.dtype], tuple[Any, ...]] = {}

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.means.shape[1:]

    def _described(self) -> str:
        count, d = self.means.shape
        return f"{count} component(s) in {d} dimension(s)"

    def logp(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Log density of the noisy data (n,)."""
        parts = self._parts(x, level_of(self.schedule, x, t))
        density: torch.Tensor = torch.logsumexp(parts.log_joint, dim=1) - 0.5 * self.means.shape[1] * log(2.0 * pi)
        return density

    def responsibilities(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Posterior probability of each component (n, K)."""
        return self._parts(x, level_of(self.schedule, x, t)).shares

    def hessian(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Second derivatives of the log density (n, d, d)."""
        parts = self._parts(x, level_of(self.schedule, x, t))
        axes = self._on(x)[3]
        scores = -parts.centred / parts.variances
        inverse = torch.diag_embed((1.0 / parts.variances).expand(parts.centred.shape))
        if axes is not None:
            scores = torch.einsum("nke,kde->nkd", scores, axes)
            inverse = axes @ inverse @ axes.mT
        score = torch.einsum("nk,nkd->nd", parts.shares, scores)
        spread = torch.einsum("nk,nkd,nke->nde", parts.shares, scores, scores)
        return spread - torch.einsum("nk,nkde->nde", parts.shares, inverse) - score[:, :, None] * score[:, None, :]

    def posterior_cov(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Covariance of the data given x_t = x, (n, d, d): sigma^2 / alpha^2 (I + sigma^2 hessian)."""
        level = level_of(self.schedule, x, t).flat()
        identity = torch.eye(self.means.shape[1], dtype=x.dtype, device=x.device)
        return (level.sigma / level.alpha) ** 2 * (identity + level.sigma**2 * self.hessian(x, t))

    def sample(
        self, n: int, t: float | None = None, random_state: RandomState = None, dtype: torch.dtype = torch.float64
    ) -> torch.Tensor:
        """Draw independent data, or noisy data at time ``t``.

        Parameters
        ----------
        n : int
        t : float, optional
            None draws clean data.
        random_state : None, int, SeedSequence or Generator
        dtype : torch.dtype

        Returns
        -------
        tensor, shape (n, d)
            On the CPU.
        """
        rng = stream(root_seed(random_state), type(self).__name__, Purpose.DATA, 0)
        k = rng.choice(len(self.weights), size=check_integer("n", n, 1), p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1])) * np.sqrt(self._variances)[k]
        if self._axes is not None:
            noise = np.einsum("ne,nde->nd", noise, self._axes[k])
        x = self.means[k] + noise
        if t is not None:
            x = self.schedule.alpha(t) * x + self.schedule.sigma(t) * rng.standard_normal(x.shape)
        return torch.as_tensor(x, dtype=dtype)

    def _x0(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        """Mean of mu_k + alpha C_k V_k^-1 (x - alpha mu_k): well defined at alpha = 0 and at sigma = 0."""
        self.n_calls += 1
        parts = self._parts(x, level)
        _, means, variances, _ = self._on(x)
        shift = self._rotated_mean(x, parts, variances * parts.centred / parts.variances)
        return parts.shares.mm(means).reshape(x.shape) + level.alpha * shift.reshape(x.shape)

    def _eps(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        self.n_calls += 1
        parts = self._parts(x, level)
        return level.sigma * self._rotated_mean(x, parts, parts.centred / parts.variances).reshape(x.shape)

    def _rotated_mean(self, x: torch.Tensor, parts: _Parts, vectors: torch.Tensor) -> torch.Tensor:
        """Mean over the components of vectors (n, K, d) that are in their axes."""
        axes = self._on(x)[3]
        weighted = parts.shares[:, :, None] * vectors
        return weighted.sum(1) if axes is None else torch.einsum("nke,kde->nd", weighted, axes)

    def _parts(self, x: torch.Tensor, level: Level) -> _Parts:
        flat = x.reshape(len(x), -1)
        if flat.shape[1] != self.means.shape[1]:
            raise InvalidData(f"x must have {self.means.shape[1]} coordinates a sample, got shape {tuple(x.shape)}")
        log_weights, means, variances, axes = self._on(x)
        level = level.flat()
        centred = flat[:, None, :] - level.alpha * means
        if axes is not None:
            centred = torch.einsum("nkd,kde->nke", centred, axes)
        total = level.alpha**2 * variances + level.sigma**2
        log_joint = log_weights - 0.5 * (centred**2 / total + torch.log(total)).sum(-1)
        return _Parts(centred, total, log_joint, torch.softmax(log_joint, dim=1))

    def _on(self, x: torch.Tensor) -> tuple[Any, ...]:
        """Log weights, means, variances and axes on the device and in the dtype of ``x``."""
        key = (x.device, x.dtype)
        if key not in self._tensors:
            arrays = (np.log(self.weights), self.means, self._variances, self._axes)
            self._tensors[key] = tuple(
                None if array is None else torch.tensor(array, dtype=x.dtype, device=x.device) for array in arrays
            )
        return self._tensors[key]


class GaussianDenoiser(GaussianMixtureDenoiser):
    """Data from one Gaussian law, for which the sampling ODE has a closed form.

    Parameters
    ----------
    mean : array_like, shape (d,)
    variances : array_like, shape (d,) or ()
        Variance of each coordinate; 0 is a point mass.
    schedule : NoiseSchedule, optional
    """

    def __init__(self, mean: ArrayLike, variances: ArrayLike, schedule: NoiseSchedule | None = None) -> None:
        mean = check_array("mean", mean, 1)
        super().__init__([1.0], mean[None], np.broadcast_to(np.asarray(variances), mean.shape)[None], schedule)

    def ode_solution(self, x: torch.Tensor, start: Level, end: Level) -> torch.Tensor:
        """Where the sampling ODE takes ``x`` (n, d) from one level to another: standardised values stay."""
        _, means, variances, _ = self._on(x)
        before, after = (torch.sqrt(level.alpha**2 * variances + level.sigma**2) for level in (start, end))
        moved: torch.Tensor = end.alpha * means + after * ((x - start.alpha * means) / before)
        return moved


class EmpiricalDenoiser(BaseDenoiser):
    """The denoiser that memorises: data are draws from a list, exactly.

    Parameters
    ----------
    data : tensor, shape (m, ...)
    schedule : NoiseSchedule, optional
    """

    def __init__(self, data: torch.Tensor, schedule: NoiseSchedule | None = None) -> None:
        super().__init__(schedule)
        if not isinstance(data, torch.Tensor) or not data.is_floating_point() or data.ndim < 2 or len(data) == 0:
            raise InvalidParameter("data must be a floating-point tensor of shape (m, ...)")
        self.data = data

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.data.shape[1:])

    def _described(self) -> str:
        return f"{len(self.data)} samples of shape {self.data_shape}"

    def _x0(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        self.n_calls += 1
        data = self.data.to(x).reshape(len(self.data), -1)
        flat = x.reshape(len(x), -1)
        alpha, sigma = (a.reshape(-1, 1) if isinstance(a, torch.Tensor) else a for a in (level.alpha, level.sigma))
        log_joint = (flat @ data.T - 0.5 * alpha * data.square().sum(1)) * (alpha / sigma**2)
        return (torch.softmax(log_joint, dim=1) @ data).reshape(x.shape)

    def _eps(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        return (x - level.alpha * self._x0(x, level)) / level.sigma


def _diagonalised(covs: ArrayLike, count: int, d: int) -> tuple[FloatArray, FloatArray | None]:
    """Variances (K, d) and axes (K, d, d), or None where the axes are those of the coordinates."""
    array = check_array("covs", covs, (0, 2, 3))
    if array.ndim < 3:
        if array.ndim == 2 and array.shape not in ((count, d), (1, d)):
            raise InvalidData(f"diagonal covs must have shape ({count}, {d}) or (1, {d}), got {array.shape}")
        variances, axes = np.broadcast_to(array, (count, d)).copy(), None
    else:
        if array.shape not in ((count, d, d), (1, d, d)):
            raise InvalidData(f"full covs must have shape ({count}, {d}, {d}) or (1, {d}, {d}), got {array.shape}")
        if not np.allclose(array, array.mT):
            raise InvalidData("covs must be symmetric")
        values, vectors = np.linalg.eigh(array)
        floor = -1e-12 * np.abs(values).max()
        variances = np.broadcast_to(np.where((values < 0.0) & (values >= floor), 0.0, values), (count, d)).copy()
        axes = np.broadcast_to(vectors, (count, d, d)).copy()
    if variances.min() < 0.0:
        raise InvalidData("covs must have no negative variance")
    return variances, axes
