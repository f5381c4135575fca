"""Drawing from probabilities, and what single precision does to the Gumbel trick.

Uniforms of float32 lie on a lattice of step 2^-24, so Gumbel noise -log(-log u) ends at 24 log 2 = 16.6: classes that
are less likely than the likeliest by a factor of 2^24 never win, and a step with transitions as small loses them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_option, check_real
from mcstat.core.errors import InvalidData

__all__ = [
    "CATEGORICALS",
    "FLOAT32_LEVEL",
    "PRECISIONS",
    "draw_categorical",
    "reshaped",
    "sample_categorical",
    "truncated_gumbel_law",
]

CATEGORICALS = ("inverse", "gumbel")
PRECISIONS = ("float64", "float32")
# Largest Gumbel variable that float32 gives.
FLOAT32_LEVEL = 24.0 * float(np.log(2.0))


def sample_categorical(
    probabilities: torch.Tensor, source: torch.Generator, method: str = "inverse", precision: str = "float64"
) -> torch.Tensor:
    """Draw one class from each row.

    Parameters
    ----------
    probabilities : tensor, shape (..., V)
        Not negative, each row with a positive sum.
    source : torch.Generator
        On the device of ``probabilities``.
    method : {"inverse", "gumbel"}
        Inverse distribution function with one uniform a row, or the largest of log p + Gumbel noise with V.
    precision : {"float64", "float32"}
        Of the uniforms and sums. "float32" shows what it loses; it is not for use.

    Returns
    -------
    tensor of int64, shape (...)

    Raises
    ------
    InvalidData
        Rows that are negative, not finite or all zero.

    Notes
    -----
    O(V) a row.
    """
    check_option("method", method, CATEGORICALS)
    check_option("precision", precision, PRECISIONS)
    if not bool((probabilities >= 0.0).all() & ((total := probabilities.sum(-1)) > 0.0).all() & total.isfinite().all()):
        raise InvalidData("probabilities must be finite and not negative, each row with a positive sum")
    return draw_categorical(probabilities, source, method, precision)


def draw_categorical(
    probabilities: torch.Tensor, source: torch.Generator, method: str = "inverse", precision: str = "float64"
) -> torch.Tensor:
    """The same for rows that were looked at."""
    dtype = getattr(torch, precision)
    p = probabilities.to(dtype)
    if method == "gumbel":
        u = torch.rand(p.shape, generator=source, dtype=dtype, device=p.device)
        return (torch.log(p) - torch.log(-torch.log(u))).argmax(-1)
    below = torch.cumsum(p, dim=-1)
    u = torch.rand((*p.shape[:-1], 1), generator=source, dtype=dtype, device=p.device)
    last = torch.where(p > 0.0, torch.arange(p.shape[-1], device=p.device), 0).amax(-1)
    return torch.minimum(torch.searchsorted(below, u * below[..., -1:], right=True)[..., 0], last)


def reshaped(probabilities: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Powers 1 / temperature of the rows (..., V), then only the likeliest classes that hold ``top_p`` of it."""
    p = probabilities
    if temperature != 1.0:
        p = torch.softmax(torch.log(p) / temperature, dim=-1)
    if top_p < 1.0:
        ordered, classes = p.sort(dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        p = torch.zeros_like(p).scatter(-1, classes, torch.where(before < top_p, ordered, 0.0))
    return p


def truncated_gumbel_law(probabilities: ArrayLike, level: float = FLOAT32_LEVEL) -> NDArray[np.float64]:
    """Law of the class that wins by the Gumbel trick when the noise is truncated.

    Parameters
    ----------
    probabilities : array_like, shape (V,)
    level : float
        Largest value of the noise, that is of ``-log(-log u)``. Default: that of float32.

    Returns
    -------
    ndarray, shape (V,)
        Sums to 1. Large probabilities gain.

    Raises
    ------
    InvalidData
        Probabilities that are negative or do not sum to 1.

    Notes
    -----
    With E = exp(-level), classes in ascending order and R_i = sum of p_k over k >= i, class n wins with probability
    p_n times the sum over i <= n of exp(E (V - i + 1)) (exp(-R_i E / p_i) - exp(-R_i E / p_(i - 1))) / R_i. O(V log V).

    References
    ----------
    Zheng, K. and others (2025). Masked diffusion models are secretly time-agnostic masked models and exploit inaccurate
    categorical sampling. ICLR. arXiv:2409.02908.

    Examples
    --------
    >>> from mcstat.torch.diffusion import truncated_gumbel_law
    >>> truncated_gumbel_law([0.5, 0.3, 0.2], level=1.5).round(3).tolist()
    [0.597, 0.275, 0.128]
    """
    p = check_array("probabilities", probabilities, 1)
    if p.min(initial=0.0) < 0.0 or abs(p.sum() - 1.0) > 1e-6:
        raise InvalidData(f"probabilities must not be negative and sum to 1, got the sum {p.sum():g}")
    edge = np.exp(-check_real("level", level))
    order = np.argsort(p)
    ascending = p[order]
    above = np.cumsum(ascending[::-1])[::-1]
    with np.errstate(divide="ignore"):
        inverse = np.append(np.inf, 1.0 / ascending)
    rank = np.arange(len(p), 0, -1)
    steps = np.exp(edge * (rank - above * inverse[1:])) - np.exp(edge * (rank - above * inverse[:-1]))
    law = np.empty_like(p)
    law[order] = ascending * np.cumsum(steps / above)
    return law
