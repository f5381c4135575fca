"""One noise level: a time with its alpha and sigma, for all samples or one each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch._bridge import to_numpy
from mcstat.torch.diffusion._schedules import NoiseSchedule

__all__ = ["Level", "Scalar", "level_of"]

Scalar: TypeAlias = float | torch.Tensor


@dataclass(frozen=True)
class Level:
    """Time, alpha and sigma: floats, or tensors of one entry a sample (times (n,), the others (n, 1, ...))."""

    t: Scalar
    alpha: Scalar
    sigma: Scalar

    def flat(self) -> Level:
        """The same with alpha and sigma of shape (n, 1, 1) where they are tensors."""
        if not isinstance(self.alpha, torch.Tensor) or not isinstance(self.sigma, torch.Tensor):
            return self
        return Level(self.t, self.alpha.reshape(-1, 1, 1), self.sigma.reshape(-1, 1, 1))


def level_of(schedule: NoiseSchedule, x: torch.Tensor, t: Any) -> Level:
    """The level at time ``t``: a number, or one time a sample (n,), which is read on the CPU."""
    if isinstance(t, torch.Tensor) and t.ndim > 0:
        if t.shape != (len(x),):
            raise InvalidData(f"t must be a number or have shape ({len(x)},), got {tuple(t.shape)}")
        times = to_numpy(t)
        shape = (len(x),) + (1,) * (x.ndim - 1)
        factors = _factors(schedule, times)
        alpha, sigma = (torch.as_tensor(one, dtype=x.dtype, device=x.device).reshape(shape) for one in factors)
        return Level(t, alpha, sigma)
    time = float(t)
    alpha, sigma = _factors(schedule, time)
    return Level(time, float(alpha), float(sigma))


def _factors(schedule: NoiseSchedule, times: Any) -> tuple[Any, Any]:
    """Alpha and sigma, which a schedule does not have at times it was not made for."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    if not (np.isfinite(alpha) & np.isfinite(sigma) & (np.asarray(times) >= 0.0)).all():
        raise InvalidParameter(
            f"t must be a time of {schedule!r}, from {schedule.t_min:g} to {schedule.t_max:g}, got {times}"
        )
    return alpha, sigma
