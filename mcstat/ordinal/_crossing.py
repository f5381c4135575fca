"""From boundaries to class probabilities, also where fitted boundaries cross."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData
from mcstat.ordinal._links import cumulative, survival

__all__ = ["CROSSING", "class_probabilities", "crosses", "ordered_eta"]

FloatArray = NDArray[np.float64]

CROSSING = ("rearrange", "clip", "raw", "raise")


def crosses(eta: FloatArray) -> NDArray[np.bool_]:
    """Rows of eta (..., K - 1) where a higher boundary lies under a lower one."""
    return np.asarray(np.any(np.diff(eta, axis=-1) < 0, axis=-1))


def ordered_eta(eta: FloatArray, crossing: str) -> FloatArray:
    """Boundaries as the policy wants them: sorted, refused, or as they are."""
    if crossing == "rearrange":
        return np.sort(eta, axis=-1)
    if crossing == "raise":
        crossed = crosses(eta)
        if crossed.any():
            raise InvalidData(
                f"fitted boundaries cross in {int(crossed.sum())} of {crossed.size} rows, first in row "
                f"{int(np.argmax(crossed))}; use crossing='rearrange', or a larger lam"
            )
    return eta


def class_probabilities(link: str, eta: FloatArray, crossing: str) -> FloatArray:
    """(..., K - 1) linear predictors to (..., K) probabilities.

    Differences are taken of F or of 1 - F, whichever is small, so that small probabilities keep their digits.
    """
    eta = ordered_eta(eta, crossing)
    low, high = cumulative(link, eta), survival(link, eta)
    middle = np.where(eta[..., 1:] + eta[..., :-1] > 0, high[..., :-1] - high[..., 1:], low[..., 1:] - low[..., :-1])
    out = np.concatenate([low[..., :1], middle, high[..., -1:]], axis=-1)
    if crossing == "clip":
        out = np.maximum(out, 0.0)
        out /= out.sum(axis=-1, keepdims=True)
    return out
