"""Bootstrap of group-time effects by multipliers of the units' influence."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.causal._base import multipliers
from mcstat.core._algebra import cluster_sums
from mcstat.core.estimate import Estimate

__all__ = ["SCALES", "bootstrap_draws", "spread_of"]

FloatArray = NDArray[np.float64]

SCALES = ("sd", "iqr")
_BLOCK = 256
_NORMAL_IQR = 1.3489795003921634


def bootstrap_draws(est: Estimate, multiplier: str, n_draws: int, rng: Generator) -> FloatArray:
    """(n_draws, q) around the estimate's values: one multiplier a cluster, or a unit where there are none."""
    assert est.influence is not None  # noqa: S101
    sums = cluster_sums(est.influence, est.clusters) / len(est.influence)
    draws = np.empty((n_draws, len(est)))
    for start in range(0, n_draws, _BLOCK):
        block = draws[start : start + _BLOCK]
        block[:] = est.value + multipliers(multiplier, (len(block), len(sums)), rng) @ sums
    return draws


def spread_of(draws: FloatArray, scale: str) -> FloatArray:
    """Standard deviations (q,), or for ``"iqr"`` those of normal laws with the draws' interquartile ranges."""
    if scale == "sd":
        return np.asarray(draws.std(axis=0, ddof=1))
    low, high = np.quantile(draws, [0.25, 0.75], axis=0)
    return np.asarray((high - low) / _NORMAL_IQR)
