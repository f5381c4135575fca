"""What the samplers that combine several models check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcstat.core.checks import check_integer, check_option
from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._denoiser import BaseDenoiser

__all__ = ["check_denoisers", "check_dtype", "check_shape", "network_calls"]


def check_denoisers(denoisers: Any, least: int = 1) -> tuple[BaseDenoiser, ...]:
    """At least ``least`` denoisers of one schedule; one alone is a sequence of one."""
    listed = (denoisers,) if isinstance(denoisers, BaseDenoiser) else denoisers
    good = isinstance(listed, Sequence) and all(isinstance(one, BaseDenoiser) for one in listed)
    if not good or len(listed) < least:
        raise InvalidParameter(f"denoisers must be {least} or more Denoisers, got {denoisers!r}")
    for one in listed[1:]:
        if one.schedule != listed[0].schedule:
            raise InvalidParameter(f"denoisers must share a schedule, got {listed[0].schedule!r} and {one.schedule!r}")
    return tuple(listed)


def check_shape(shape: Any, denoisers: Sequence[BaseDenoiser]) -> tuple[int, ...]:
    """Shape of one sample: the given one, else what the denoisers know."""
    if shape is None:
        known = [getattr(denoiser, "data_shape", None) for denoiser in denoisers]
        shape = next((one for one in known if one is not None), None)
        if shape is None:
            raise InvalidParameter("shape must be given, the shape of one sample: the denoisers do not know it")
    if not isinstance(shape, tuple) or not shape:
        raise InvalidParameter(f"shape must be a tuple of positive integers, got {shape!r}")
    return tuple(check_integer("shape", side, 1) for side in shape)


def check_dtype(dtype: Any) -> str:
    """The dtypes that are sampled in, by name."""
    return check_option("dtype", dtype, ("float32", "float64"))


def network_calls(denoisers: Sequence[BaseDenoiser]) -> int:
    """Network calls so far; a denoiser that is there twice counts its own."""
    return sum(denoiser.n_calls for denoiser in {id(one): one for one in denoisers}.values())
