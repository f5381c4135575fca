"""Trade-off curves: the lowest false positive rate that privacy allows at each false negative rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_level
from mcstat.core.errors import InvalidData
from mcstat.privacy._posterior import EpsilonPosterior
from mcstat.privacy._rates import rates_region

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["gaussian_tradeoff", "tradeoff", "tradeoff_band"]

FloatArray = NDArray[np.float64]


def tradeoff(x: ArrayLike, eps: ArrayLike, delta: ArrayLike) -> FloatArray:
    """Lowest second error rate that all of several privacy parameters allow together.

    Parameters
    ----------
    x : array_like, shape (n,)
        One error rate, in [0, 1].
    eps, delta : array_like, shape (k,)
        Pairs that the algorithm obeys.

    Returns
    -------
    ndarray, shape (n,)
        The largest of the k lower borders: convex, non-increasing, and below 1 - x.
    """
    pairs = np.broadcast_arrays(np.atleast_1d(np.asarray(eps, float)), np.atleast_1d(np.asarray(delta, float)))
    lowest, _ = rates_region(pairs[0][:, None], pairs[1][:, None], check_array("x", x, 1))
    return np.asarray(lowest.max(axis=0))


def gaussian_tradeoff(x: ArrayLike, mu: float) -> FloatArray:
    """The curve of mu-Gaussian privacy, Phi(Phi^-1(1 - x) - mu)."""
    from scipy.special import ndtr, ndtri

    return np.asarray(ndtr(-ndtri(np.asarray(x, dtype=np.float64)) - mu))


def tradeoff_band(posterior: EpsilonPosterior, x: ArrayLike, deltas: ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """Trade-off curve of one table of counts, with a credible band.

    Parameters
    ----------
    posterior : EpsilonPosterior
        Of one table; its own delta does not matter.
    x : array_like, shape (n,)
        Error rates.
    deltas : array_like, shape (k,)
        In [0, 1): epsilon is taken at each of them.
    level : float
        Of each epsilon by itself, not of the whole curve.

    Returns
    -------
    DataFrame
        Columns ``x``, ``lower``, ``median`` and ``upper``: the curves of the upper end, the median and the lower end of
        epsilon. The more epsilon, the lower the curve.
    """
    import pandas as pd

    if len(posterior) != 1:
        raise InvalidData(f"tradeoff_band is of one table, the posterior holds {len(posterior)}")
    at = check_array("deltas", deltas, 1)
    counts = {name: getattr(posterior, name)[0] for name in ("fn", "fp", "tn", "tp")}
    law = type(posterior)(**counts, delta=at, prior=posterior.prior, allow_empty=posterior.allow_empty)
    tail = (1 - check_level(level)) / 2
    curves = {
        name: tradeoff(x, law.ppf(np.full(len(at), p)), at)
        for name, p in (("lower", 1 - tail), ("median", 0.5), ("upper", tail))
    }
    return pd.DataFrame({"x": np.asarray(x, dtype=np.float64), **curves})
