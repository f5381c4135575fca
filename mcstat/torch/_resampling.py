"""Resampling of tensors: which particles are copied.

On the CPU the compiled kernels of the house do it. Elsewhere a torch twin gives the same indices for the same
uniforms (up to the rounding of a parallel cumulative sum), without a synchronisation with the host.
"""

from __future__ import annotations

import numpy as np
import torch

from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidData
from mcstat.kernels.resampling import SCHEMES

__all__ = ["resampled_indices", "torch_indices"]

_SCHEMES = ("systematic", "stratified", "multinomial", "residual")


def resampled_indices(weights: torch.Tensor, uniforms: torch.Tensor, scheme: str = "systematic") -> torch.Tensor:
    """Draw as many indices as there are weights, index i coming n W_i times on average.

    They ascend, but for "residual", where the copies that are certain come first.

    Parameters
    ----------
    weights : tensor of float64, shape (..., n)
        Not negative, each row with a positive sum; a row is a population of its own.
    uniforms : tensor of float64, shape (..., u)
        In [0, 1); u is 1 for "systematic", n for "stratified", n + 1 for "multinomial" and "residual".
    scheme : {"systematic", "stratified", "multinomial", "residual"}

    Returns
    -------
    tensor of int64, shape (..., n)
        On the weights' device.

    Raises
    ------
    InvalidData
        Shapes that do not fit.

    Notes
    -----
    O(n) a row on the CPU, O(n log n) work elsewhere. The values of the weights are not looked at, as that would wait
    for the device; NaN gives some index in range.
    """
    check_option("scheme", scheme, _SCHEMES)
    n = weights.shape[-1]
    wanted = (*weights.shape[:-1], SCHEMES[scheme][1](n, n))
    if tuple(uniforms.shape) != wanted:
        raise InvalidData(f"uniforms must have shape {wanted} for {scheme}, got {tuple(uniforms.shape)}")
    if weights.device.type != "cpu":
        return torch_indices(weights, uniforms, scheme)
    kernel = SCHEMES[scheme][0]
    rows = weights.detach().to(torch.float64).numpy().reshape(-1, n)
    points = uniforms.detach().to(torch.float64).numpy().reshape(len(rows), -1)
    indices = np.empty(rows.shape, np.int64)
    for row, point, out in zip(rows, points, indices, strict=True):
        kernel(np.ascontiguousarray(row), np.ascontiguousarray(point), out)
    return torch.from_numpy(indices).reshape(weights.shape)


def torch_indices(weights: torch.Tensor, uniforms: torch.Tensor, scheme: str) -> torch.Tensor:
    """The twin of the kernels in torch operations, on any device."""
    weights, uniforms = weights.to(torch.float64), uniforms.to(torch.float64)
    n = weights.shape[-1]
    places = torch.arange(n, device=weights.device)
    if scheme == "residual":
        return _residual(weights, uniforms, places)
    last = torch.where(weights > 0.0, places, 0).amax(dim=-1, keepdim=True)
    below = torch.cumsum(weights, dim=-1)
    total = below[..., -1:].contiguous()
    if scheme == "systematic":
        # Particle j owns the points from the upper end of particle j - 1 on.
        ends = torch.ceil(below * (n / total) - uniforms)
        points = places.to(torch.float64).expand(weights.shape).contiguous()
        return torch.minimum(torch.searchsorted(ends, points, right=True), last)
    if scheme == "stratified":
        points = (places + uniforms) / n
    else:
        sums = torch.cumsum(-torch.log1p(-uniforms), dim=-1)
        points = sums[..., :-1] / sums[..., -1:]
    return torch.minimum(torch.searchsorted(below, (points * total).contiguous(), right=True), last)


def _residual(weights: torch.Tensor, uniforms: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """floor(n W_i) copies of each, then the rest with the fractional parts."""
    share = len(places) * (weights / weights.sum(-1, keepdim=True))
    copies = share.floor()
    rest = share - copies
    # Fractional parts that vanish in rounding: their owners are as good as any.
    rest = torch.where(rest.sum(-1, keepdim=True) > 0.0, rest, weights)
    points = places.to(torch.float64).expand(weights.shape).contiguous()
    certain = copies.cumsum(-1)
    sure = torch.searchsorted(certain, points, right=True)
    count = certain[..., -1:].long()
    sums = torch.cumsum(-torch.log1p(-uniforms), dim=-1)
    # As many draws as there are places left.
    total = sums.gather(-1, len(places) - count)
    drawn = sums.gather(-1, (places - count).clamp(min=0)) / total
    below = rest.cumsum(-1)
    last = torch.where(rest > 0.0, places, 0).amax(dim=-1, keepdim=True)
    some = torch.minimum(torch.searchsorted(below, drawn * below[..., -1:], right=True), last)
    return torch.where(places < count, sure.clamp(max=len(places) - 1), some)
