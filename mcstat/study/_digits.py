"""A number beside its Monte Carlo error, both to the second digit of the error."""

from __future__ import annotations

import numpy as np

__all__ = ["digits"]


def digits(x: float, mcse: float) -> tuple[str, str]:
    """The number and its error as text; the error is empty where it says nothing (NaN, infinite or 0)."""
    if not np.isfinite(x) or not np.isfinite(mcse) or mcse <= 0:
        return f"{x:.4g}", ""
    decimals = 1 - int(np.floor(np.log10(mcse)))
    if not -3 <= decimals <= 6:
        return f"{x:.3g}", f"{mcse:.1g}"
    return f"{x:.{max(decimals, 0)}f}", f"{mcse:.{max(decimals, 0)}f}"
