"""Pictures of effects (extra ``plot``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcstat.core.estimate import Estimate
from mcstat.core.plots import axes

__all__ = ["plot_event_study"]


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
    ax.legend(fontsize="small")
    return ax
