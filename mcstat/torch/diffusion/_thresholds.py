"""Corrections of the predicted data, applied after guidance."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mcstat.core.checks import check_real

__all__ = ["DynamicThreshold", "StaticThreshold"]


@dataclass(frozen=True)
class DynamicThreshold:
    """Clamp each sample to s, a quantile of its own absolute values, and divide by s (Saharia et al. 2022).

    Parameters
    ----------
    ratio : float
        Which quantile.
    max_val : float
        s is at least this.
    """

    ratio: float = 0.995
    max_val: float = 1.0

    def __post_init__(self) -> None:
        check_real("ratio", self.ratio, 0.0, 1.0)
        check_real("max_val", self.max_val, 0.0, closed="neither")

    def __call__(self, x0: torch.Tensor) -> torch.Tensor:
        """The corrected prediction (n, ...)."""
        flat = x0.reshape(len(x0), -1)
        s = torch.quantile(flat.abs(), self.ratio, dim=1, keepdim=True).clamp(min=self.max_val)
        return (flat.clamp(-s, s) / s).reshape(x0.shape)


@dataclass(frozen=True)
class StaticThreshold:
    """Clamp every coordinate to [low, high]."""

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_real("high", self.high, self.low, closed="neither")

    def __call__(self, x0: torch.Tensor) -> torch.Tensor:
        """The corrected prediction (n, ...)."""
        return x0.clamp(self.low, self.high)
