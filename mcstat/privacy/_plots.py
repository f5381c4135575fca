"""Pictures of an audit, on matplotlib Axes (extra ``plot``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mcstat.core.checks import check_real
from mcstat.core.errors import InvalidData
from mcstat.core.plots import axes
from mcstat.privacy._metrics import roc
from mcstat.privacy._posterior import EpsilonPosterior
from mcstat.privacy._rates import rates_region
from mcstat.privacy._scores import Challenges
from mcstat.privacy._tradeoff import tradeoff_band

__all__ = ["plot_posterior", "plot_roc", "plot_tradeoff"]


def plot_roc(
    scores: ArrayLike,
    membership: ArrayLike,
    *,
    eps: float | None = None,
    delta: float = 1e-5,
    log: bool = False,
    ax: Any = None,
) -> Any:
    """Empirical ROC curve of an attack, and the region that (eps, delta)-privacy leaves to all attacks.

    Parameters
    ----------
    scores, membership : array_like, shape (n,)
    eps, delta : float
        Privacy parameters of the region; without ``eps`` none is drawn.
    log : bool
        Both axes logarithmic: what the attack achieves at few false positives.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    challenges = Challenges.checked(scores, membership)
    fpr, tpr = roc(challenges)
    ax = axes(ax, figsize=(4.8, 4.5))
    smallest = 0.5 / max(np.sum(challenges.member), np.sum(~challenges.member))
    grid = np.geomspace(smallest, 1.0, 400) if log else np.linspace(0.0, 1.0, 401)
    if eps is not None:
        low, high = rates_region(check_real("eps", eps, 0.0), delta, grid)
        ax.fill_between(grid, 1 - high, 1 - low, color="C1", alpha=0.2, linewidth=0)
        ax.plot(grid, 1 - low, color="C1", linewidth=1, label=f"limit of ({eps:.3g}, {delta:.0e})-privacy")
    ax.plot(grid, grid, color="0.6", linewidth=1, linestyle=":", label="chance")
    ax.step(fpr, tpr, where="post", color="C0", label="attack")
    if log:
        ax.set(xscale="log", yscale="log", xlim=(smallest, 1), ylim=(smallest, 1.1))
    ax.set(xlabel="false positive rate", ylabel="true positive rate")
    ax.legend(loc="lower right")
    return ax


def plot_posterior(posterior: EpsilonPosterior, *, level: float = 0.95, ax: Any = None) -> Any:
    """Density of epsilon of one table, its credible interval, and the probability of 0 as a bar of its own.

    Parameters
    ----------
    posterior : EpsilonPosterior
    level : float
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    _one_table(posterior)
    ax = axes(ax, figsize=(5.5, 3.2))
    low, high = (float(end[0]) for end in posterior.interval(level))
    ends = posterior.ppf([1e-4, 1 - 1e-3])
    x = np.linspace(max(ends[0] - 0.1 * (ends[1] - ends[0]), 0.0), ends[1], 300)
    density = posterior.pdf(x)
    inside = (x >= low) & (x <= high)
    ax.plot(x, density, color="C0")
    label = f"{100 * level:g} % credible: {low:.2f} to {high:.2f}"
    ax.fill_between(x, 0, density, where=inside, color="C0", alpha=0.25, linewidth=0, label=label)
    atom = float(posterior.prob_zero[0])
    if atom > 1e-3:
        ax.vlines(0, 0, atom * density.max(), color="C3", linewidth=4, label=f"P(epsilon = 0) = {atom:.2g}")
    ax.set(xlabel="epsilon", ylabel="posterior density")
    ax.set_ylim(bottom=0)
    ax.legend()
    return ax


def plot_tradeoff(
    posterior: EpsilonPosterior, *, deltas: ArrayLike | None = None, level: float = 0.95, ax: Any = None
) -> Any:
    """Trade-off curve of one table of counts with its credible band.

    Parameters
    ----------
    posterior : EpsilonPosterior
    deltas : array_like, shape (k,), optional
        At which epsilon is taken; default 40 from 0 to 0.95.
    level : float
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    _one_table(posterior)
    ax = axes(ax, figsize=(4.8, 4.5))
    x = np.linspace(0.0, 1.0, 201)
    band = tradeoff_band(posterior, x, np.linspace(0.0, 0.95, 40) if deltas is None else deltas, level)
    ax.fill_between(
        x, band["lower"], band["upper"], color="C0", alpha=0.25, linewidth=0, label=f"{100 * level:g} % band"
    )
    ax.plot(x, band["median"], color="C0", label="median")
    ax.plot(x, 1 - x, color="0.6", linewidth=1, linestyle=":", label="chance")
    fn, fp, tn, tp = (float(getattr(posterior, name)[0]) for name in ("fn", "fp", "tn", "tp"))
    ax.plot(fn / (fn + tp), fp / (fp + tn), "o", color="C3", markersize=5, label="this attack")
    ax.set(xlabel="false negative rate", ylabel="false positive rate")
    ax.legend(loc="upper right")
    return ax


def _one_table(posterior: EpsilonPosterior) -> None:
    if len(posterior) != 1:
        raise InvalidData(f"the picture is of one table, the posterior holds {len(posterior)}; choose one with law[i]")
