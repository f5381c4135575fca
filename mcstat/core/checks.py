"""The words in which bad input is refused: which argument, what it wants, what it got.

Every function returns the cleaned value, so that ``x = check_...("x", x)`` is the only line a caller needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData, InvalidParameter

__all__ = [
    "check_array",
    "check_finite",
    "check_integer",
    "check_level",
    "check_names",
    "check_option",
    "check_real",
    "frozen_view",
]

FloatArray = NDArray[np.float64]


def check_integer(name: str, value: Any, minimum: int = 0) -> int:
    """An integer of at least ``minimum`` (Python or NumPy; a bool is not one)."""
    if not isinstance(value, Integral) or isinstance(value, (bool, np.bool_)) or value < minimum:
        raise InvalidParameter(f"{name} must be an integer >= {minimum}, got {value!r}")
    return int(value)


def check_real(name: str, value: Any, low: float = -np.inf, high: float = np.inf, *, closed: str = "both") -> float:
    """A finite number between ``low`` and ``high``; ``closed`` is "both", "left", "right" or "neither"."""
    left, right = ("[" if closed in ("both", "left") else "("), ("]" if closed in ("both", "right") else ")")
    good = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    if good:
        number = float(value)
        good = (
            bool(np.isfinite(number))
            and (low < number or (left == "[" and number == low))
            and (number < high or (right == "]" and number == high))
        )
    if not good:
        raise InvalidParameter(f"{name} must be a number in {left}{low:g}, {high:g}{right}, got {value!r}")
    return float(value)


def check_level(level: Any) -> float:
    """A confidence level: strictly between 0 and 1."""
    return check_real("level", level, 0.0, 1.0, closed="neither")


def check_option(name: str, value: Any, options: Sequence[str]) -> str:
    """One of the allowed strings."""
    if not isinstance(value, str) or value not in options:
        allowed = ", ".join(repr(option) for option in options)
        raise InvalidParameter(f"{name} must be one of {allowed}, got {value!r}")
    return value


def check_array(name: str, value: Any, ndim: int | tuple[int, ...], *, finite: bool = True) -> FloatArray:
    """A real array of the wanted number of dimensions as C-contiguous float64 (no copy when it is one already)."""
    wanted = (ndim,) if isinstance(ndim, int) else ndim
    if isinstance(value, np.ma.MaskedArray) or hasattr(value, "toarray"):
        raise TypeError(f"{name} must be a dense array without a mask, got {type(value).__name__}")
    try:
        raw = np.asarray(value)
    except ValueError as error:
        raise InvalidData(f"{name} must be a rectangular array, got a ragged sequence") from error
    if raw.dtype == object:
        try:
            raw = raw.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must hold numbers, got an array of objects") from error
    if raw.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {raw.dtype}")
    if raw.ndim not in wanted:
        dims = " or ".join(str(d) for d in wanted)
        raise InvalidData(f"{name} must have {dims} dimension(s), got shape {raw.shape}")
    array = np.ascontiguousarray(raw, dtype=np.float64)
    return check_finite(name, array) if finite else array


def check_finite(name: str, array: FloatArray) -> FloatArray:
    """Refuse NaN and infinity, naming the first bad place."""
    bad = ~np.isfinite(array)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place = ", ".join(str(i) for i in index)
        raise InvalidData(f"{name} must be finite, got {array[index]} at [{place}] ({int(bad.sum())} bad in all)")
    return array


def check_names(name: str, names: Any, length: int) -> tuple[str, ...]:
    """``length`` unique strings."""
    listed = (names,) if isinstance(names, str) else tuple(names)
    if len(listed) != length or not all(isinstance(item, str) for item in listed):
        raise InvalidParameter(f"{name} must be {length} string(s), got {listed!r}")
    if len(set(listed)) != length:
        twice = next(item for item in listed if listed.count(item) > 1)
        raise InvalidParameter(f"{name} must be unique, got {twice!r} more than once")
    return tuple(str(item) for item in listed)


def frozen_view(array: NDArray[Any]) -> NDArray[Any]:
    """Read-only C-contiguous view: the one array type that kernels take as input.

    pandas and joblib hand out read-only arrays, which Numba takes for another type; viewing all inputs as
    read-only costs nothing and leaves one compiled signature.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
