"""Whether Markov chains agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["split_r_hat"]

FloatArray = NDArray[np.float64]
# Variance of normal scores that is no more than rounding.
_NOTHING = 1e-12


def split_r_hat(draws: FloatArray) -> FloatArray:
    """Rank-normalised potential scale reduction (q,) of split chains, draws (chain, draw, q): 1 where they agree.

    The larger of that of the draws and that of their distances to the median, so that chains of different spread show,
    too. 1 for a quantity that does not move; NaN for chains of fewer than four draws.

    References
    ----------
    .. [1] Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Bürkner, P.-C. (2021). Rank-normalization, folding,
       and localization: an improved R-hat. Bayesian Analysis 16, 667-718. doi:10.1214/20-BA1221.
    """
    half = draws.shape[1] // 2
    if half < 2:
        return np.full(draws.shape[2], np.nan)
    parts = np.concatenate([draws[:, :half], draws[:, -half:]])
    folded = np.abs(parts - np.median(parts, axis=(0, 1)))
    return np.maximum(_scale_reduction(parts), _scale_reduction(folded))


def _scale_reduction(parts: FloatArray) -> FloatArray:
    """Of parts (chain, draw, q), after their normal scores."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    chains, length, q = parts.shape
    ranks = rankdata(parts.reshape(-1, q), axis=0)
    scores = ndtri((ranks - 0.375) / (chains * length + 0.25)).reshape(parts.shape)
    within = scores.var(axis=1, ddof=1).mean(axis=0)
    between = scores.mean(axis=1).var(axis=0, ddof=1)
    moves, apart = within > _NOTHING, between > _NOTHING
    ratio = np.divide(between, within, out=np.zeros(q), where=moves)
    return np.where(moves, np.sqrt((length - 1) / length + ratio), np.where(apart, np.inf, 1.0))
