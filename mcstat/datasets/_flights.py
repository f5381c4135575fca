"""Delays of a third of a million flights."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

__all__ = ["Flights", "load_flights"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Flights:
    """Features, response and the features' names.

    Attributes
    ----------
    X : ndarray, shape (327346, 3)
        Delay at departure in minutes, distance in miles, scheduled hour of departure.
    y : ndarray, shape (327346,)
        Delay at arrival in minutes; negative is early.
    names : tuple of str
    """

    X: FloatArray
    y: FloatArray
    names: tuple[str, ...] = ("departure delay", "distance", "hour")


def load_flights() -> Flights:
    """All flights that left New York City in 2013 and arrived.

    Returns
    -------
    Flights
        327 346 of them; in the tails delays reach 21 hours.

    Notes
    -----
    From the data set ``flights`` of the R package nycflights13 (CC0), which took it from the Bureau of Transportation
    Statistics of the United States. Four of its columns, rows without missing values, in 16-bit integers.

    Examples
    --------
    >>> from mcstat.datasets import load_flights
    >>> load_flights().X.shape
    (327346, 3)
    """
    packed = files("mcstat.datasets").joinpath("data/flights.i2.xz").read_bytes()
    columns = np.frombuffer(lzma.decompress(packed), dtype="<i2").reshape(4, -1).astype(np.float64)
    return Flights(np.ascontiguousarray(columns[:3].T), columns[3])
