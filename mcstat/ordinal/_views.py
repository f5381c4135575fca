"""Pictures of paths, cross-validation and calibration (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.plots import axes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_calibration", "plot_cv", "plot_path"]

FloatArray = NDArray[np.float64]

# With more columns than this a legend hides the picture.
_MOST_NAMES = 10


def plot_path(
    lambdas: FloatArray, slopes: FloatArray, names: tuple[str, ...], ax: Any = None, chosen: float | None = None
) -> Any:
    """Slopes (L, p) against lambda on a log scale, large penalties at the left."""
    ax = axes(ax, figsize=(6.0, 3.8))
    drawn = lambdas > 0
    for j, name in enumerate(names):
        ax.plot(lambdas[drawn], slopes[drawn, j], label=name, linewidth=1.2)
    if chosen:
        ax.axvline(chosen, color="0.4", linestyle=":", label="chosen")
    ax.set_xscale("log")
    ax.invert_xaxis()
    ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_xlabel("lambda")
    ax.set_ylabel("slope of the rare class's boundary")
    if len(names) <= _MOST_NAMES:
        ax.legend(fontsize="small")
    return ax


def plot_cv(results: Mapping[str, Any], scoring: str, ax: Any = None) -> Any:
    """Mean loss with one standard error against lambda; the chosen one is marked."""
    ax = axes(ax, figsize=(6.0, 3.8))
    lambdas = results["lambda"]
    ax.errorbar(lambdas, results["mean_loss"], yerr=results["std_error"], fmt="o-", markersize=3, linewidth=1.0)
    ax.axvline(lambdas[results["chosen"]], color="0.4", linestyle=":")
    ax.set_xscale("log")
    ax.invert_xaxis()
    ax.set_xlabel("lambda")
    ax.set_ylabel(f"cross-validated loss ({scoring})")
    return ax


def plot_calibration(table: pd.DataFrame, ax: Any = None) -> Any:
    """Observed frequency against mean prediction in each bin, with the bins' binomial standard errors."""
    ax = axes(ax, figsize=(4.4, 4.2))
    spread = np.sqrt(table["observed"] * (1.0 - table["observed"]) / table["n"])
    ax.errorbar(table["predicted"], table["observed"], yerr=spread, fmt="o", markersize=4)
    top = 1.05 * float(max(table["predicted"].max(), (table["observed"] + spread).max()))
    ax.plot([0.0, top], [0.0, top], color="0.6", linewidth=0.8, zorder=0)
    ax.set_xlabel("predicted probability")
    ax.set_ylabel("observed frequency")
    return ax
