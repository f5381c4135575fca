"""Users' control variates: functions whose means are known, fitted to the integrands on the first batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData, InvalidParameter

FloatArray = NDArray[np.float64]

# Fewer points a coefficient than this fit noise.
_POINTS_A_COEFFICIENT = 10


@dataclass(frozen=True)
class KnownMeans:
    """Functions (n, d) to (n, M) with means (M,): a call gives their values less the means."""

    func: Callable[[FloatArray], ArrayLike]
    means: FloatArray

    def __call__(self, x: FloatArray) -> FloatArray:
        """(n, M) columns of mean zero."""
        values = check_array("control_variates(x)", self.func(x.copy()), (1, 2))
        if values.ndim == 1:
            values = values[:, None]
        if values.shape != (len(x), len(self.means)):
            raise InvalidData(
                f"control_variates(x) must have shape ({len(x)}, {len(self.means)}), a column for each of "
                f"control_means, got {values.shape}"
            )
        return values - self.means


def known_means(func: Any, means: Any, *, signed: str, many_laws: bool) -> KnownMeans | None:
    """What ``fit`` was given, checked; None where it was given nothing."""
    if func is None and means is None:
        return None
    if not callable(func) or means is None:
        raise InvalidParameter("control_variates, a function, and control_means, its known means, go together")
    if many_laws:
        raise InvalidParameter("control_variates want law= or target=: under many laws their means differ")
    if signed in ("shift", "nonneg"):
        raise InvalidParameter(f"control_variates leave residuals of both signs: signed={signed!r} cannot hold")
    return KnownMeans(func, np.atleast_1d(check_array("control_means", means, (0, 1))))


def fitted_slopes(values: FloatArray, controls: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Intercepts (J,) and slopes (M, J) of ``values`` (n, J) on ``controls`` (n, M), by least squares."""
    n, m = controls.shape
    if n < _POINTS_A_COEFFICIENT * (m + 1):
        raise InvalidParameter(
            f"control_means must hold at most {n // _POINTS_A_COEFFICIENT - 1} means for a first batch of {n} points, "
            f"got {m}; raise budget or batch"
        )
    coefficients = np.asarray(np.linalg.lstsq(np.column_stack([np.ones(n), controls]), values)[0], dtype=np.float64)
    return coefficients[0], coefficients[1:]
