"""Plots on matplotlib Axes (extra ``plot``): they take an Axes, give it back, and change no style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mcstat.core._intervals import interval
from mcstat.core.extras import import_extra

if TYPE_CHECKING:
    from mcstat.core.estimate import Estimate

__all__ = ["axes", "forest"]


def axes(ax: Any = None, **figure: Any) -> Any:
    """``ax`` itself, or the Axes of a new figure that is not shown."""
    if ax is not None:
        return ax
    return import_extra("matplotlib.pyplot", "plot").subplots(layout="constrained", **figure)[1]


def forest(est: Estimate, *, ax: Any = None, level: float = 0.95) -> Any:
    """One row a quantity: the value as a dot, its interval as a line.

    Returns
    -------
    matplotlib Axes
    """
    band = interval(est, level, how=None, joint=False, sides="two")
    ax = axes(ax, figsize=(6.0, 0.8 + 0.28 * len(est)))
    rows = np.arange(len(est))
    ax.hlines(rows, band.lower, band.upper, color="C0", linewidth=1.5)
    ax.plot(est.value, rows, "o", color="C0", markersize=4)
    ax.set_yticks(rows, list(est.names))
    ax.invert_yaxis()
    ax.set_xlabel(band.label)
    if est.estimand:
        ax.set_title(est.estimand)
    return ax
