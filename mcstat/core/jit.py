"""Users' functions of one point, made fast: compiled where Numba can, called in a Python loop where not.

A compiled function goes into the driver as a function pointer. The driver carries its signature, so it compiles once
for all users' functions and is found in the cache by the next process; passing the function itself would compile the
driver anew for each, and never hit the cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import frozen_view
from mcstat.core.errors import PerformanceWarning

__all__ = ["Pointwise"]

FloatArray = NDArray[np.float64]


class Pointwise:
    """A function of one point (d,), applied to many (n, d).

    Parameters
    ----------
    func : callable
        (d,) to a number; compiled at the first call if Numba can. Otherwise it may also give a row (J,), runs in
        Python and a PerformanceWarning says why. A compiled function must not raise.
    """

    def __init__(self, func: Callable[[FloatArray], Any]) -> None:
        self.func = func
        self._pointer: Any = None
        self._tried = False

    def __getstate__(self) -> dict[str, Any]:
        """Without the compiled code, which belongs to this process."""
        return {"func": self.func, "_pointer": None, "_tried": False}

    def __call__(self, x: FloatArray) -> FloatArray:
        """(n, d) to (n,) or (n, J)."""
        if not self._tried:
            self._pointer, self._tried = _compiled(self.func), True
        if self._pointer is None:
            return np.array([self.func(point) for point in x], dtype=np.float64)
        out = np.empty(len(x))
        _driver()(self._pointer, frozen_view(x), out)
        return out


def _compiled(func: Callable[[FloatArray], Any]) -> Any:
    """Function pointer float64(float64[::1]), or None with a warning that says what Numba did not like."""
    import numba

    plain = getattr(func, "py_func", func)
    try:
        with warnings.catch_warnings():
            # What Numba thinks of the user's code is told once, below.
            warnings.simplefilter("ignore", numba.core.errors.NumbaWarning)
            return numba.cfunc("float64(float64[::1])")(plain)
    except Exception as error:
        # Numba's first line only says that it failed; the reason stands below it.
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and "nopython" not in line]
        reason = lines[0] if lines else type(error).__name__
        warnings.warn(
            f"{getattr(func, '__name__', 'func')} runs point by point in Python: Numba says {reason!r}. "
            "Write it vectorised over (n, d) points, or with NumPy scalars and loops that Numba knows",
            PerformanceWarning,
            stacklevel=4,
        )
        return None


@cache
def _driver() -> Any:
    """The compiled loop; made at its first use, never at import."""
    from mcstat.kernels.pointwise import make_driver

    return make_driver()
