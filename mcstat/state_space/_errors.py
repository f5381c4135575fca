"""What can go wrong with particles."""

from __future__ import annotations

from mcstat.core.errors import DegenerateWeightsError, InvalidData, InvalidParameter

__all__ = ["BoundViolationError", "MissingDensityError", "ParticleDegeneracyError"]


class MissingDensityError(InvalidParameter):
    """A model lacks a density, or another function, that the method needs; the message names it."""


class BoundViolationError(InvalidData):
    """A transition density above the bound that the model declares."""


class ParticleDegeneracyError(DegenerateWeightsError):
    """Every particle has weight zero; ``time`` is the index of the observation where that happened."""

    def __init__(self, time: int, series: str = "y") -> None:
        super().__init__(
            f"every particle has weight zero at time {time} of {series}: the observation is impossible under the "
            "model, or so far from all particles that its density is zero in floating point"
        )
        self.time = time
        self.series = series

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.time, self.series)
