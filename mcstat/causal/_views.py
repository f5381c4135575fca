"""Pictures of effects (extra ``plot``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.estimate import Estimate
from mcstat.core.plots import axes

__all__ = ["plot_event_study", "plot_overlap"]

FloatArray = NDArray[np.float64]


def plot_event_study(est: Estimate, ax: Any, level: float, joint: bool) -> Any:
    """Effects named ``e=...`` against time since treatment; before it in another colour."""
    ax = axes(ax, figsize=(6.0, 3.8))
    since = np.array([float(name.removeprefix("e=")) for name in est.names])
    fixed = est.std_error == 0
    band = np.tile(est.value, (2, 1))
    free = [name for name, is_fixed in zip(est.names, fixed, strict=True) if not is_fixed]
    band[:, ~fixed] = est[free].conf_int(level, joint=joint).to_numpy().T
    for part, colour, label in ((since < 0, "C1", "before treatment"), (since >= 0, "C0", "after")):
        if part.any():
            ax.vlines(since[part], band[0, part], band[1, part], color=colour, linewidth=1.5)
            ax.plot(since[part], est.value[part], "o", color=colour, markersize=5, label=label)
    ax.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    ax.axvline(-0.5, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xlabel("time since treatment")
    words = "band for all at once" if joint else "interval for each"
    ax.set_ylabel(f"effect, {100 * level:g} % {words}")
    # Above the picture: inside it would lie on a point.
    ax.legend(fontsize="small", ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return ax


def plot_overlap(propensity: FloatArray, arm: FloatArray, clip: float, ax: Any) -> Any:
    """Histograms of P(d = 1 | x), the treated upwards and the others downwards."""
    ax = axes(ax, figsize=(6.0, 3.8))
    bins = np.linspace(0.0, 1.0, 41)
    for one, sign, colour, label in ((1.0, 1.0, "C0", "treated"), (0.0, -1.0, "C1", "not treated")):
        heights = np.histogram(propensity[arm == one], bins)[0]
        ax.bar(bins[:-1], sign * heights, np.diff(bins), align="edge", color=colour, alpha=0.7, label=label)
    for end in (clip, 1.0 - clip):
        ax.axvline(end, color="0.6", linewidth=0.8, linestyle=":")
    ax.axhline(0.0, color="0.6", linewidth=0.8)
    ax.yaxis.set_major_formatter(lambda height, _: f"{abs(height):g}")
    ax.set_xlabel("predicted probability of treatment")
    ax.set_ylabel("rows")
    ax.legend(fontsize="small")
    return ax
