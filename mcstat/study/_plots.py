"""The two pictures of simulation studies that have a name: the zip plot and the nested-loop plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.extras import import_extra
from mcstat.core.laws import Binomial
from mcstat.core.plots import axes
from mcstat.study._measures import MEASURES

if TYPE_CHECKING:
    import pandas as pd

    from mcstat.study._result import StudyResult

__all__ = ["draw_zip", "plot_nested_loop"]


def draw_zip(result: StudyResult, term: str | None, axs: Any) -> Any:
    """See :meth:`StudyResult.plot_zip`."""
    table = result.replicates.dropna(subset=["truth", "conf_low", "conf_high"])
    terms = list(dict.fromkeys(table["term"]))
    if not terms:
        raise InvalidData("there is no interval to draw: no quantity has both a truth and an interval")
    term = terms[0] if term is None else check_option("term", term, terms)
    groups = [(method, table[(table["method"] == method) & (table["term"] == term)]) for method in result.methods]
    groups = [(method, rows) for method, rows in groups if len(rows)]
    if axs is None:
        pyplot = import_extra("matplotlib.pyplot", "plot")
        size = {"figsize": (0.8 + 2.8 * len(groups), 3.6), "layout": "constrained"}
        axs = pyplot.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False, **size)[1]
    flat = np.asarray(axs).reshape(len(groups))
    for ax, (method, rows) in zip(flat, groups, strict=True):
        _zip(ax, rows)
        ax.set_title(method, fontsize="medium")
        ax.set_xlabel(f"interval of {term} minus truth")
    flat[0].set_ylabel("percentile of the distance from the truth")
    return flat


def _zip(ax: Any, rows: pd.DataFrame) -> None:
    names = ("truth", "estimate", "conf_low", "conf_high")
    truth, estimate, low, high = (rows[name].to_numpy() for name in names)
    covered = (low <= truth) & (truth <= high)
    # Distance in units of the interval's reach on the truth's side: at most 1 where the interval covers.
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(truth - estimate) / np.where(truth >= estimate, high - estimate, estimate - low)
    distance = np.where(covered, np.nan_to_num(distance), np.where(distance > 1.0, distance, np.inf))
    order = np.argsort(distance, kind="stable")
    height = 100.0 * (np.arange(len(rows)) + 0.5) / len(rows)
    ends = np.stack([low - truth, high - truth])[:, order]
    edge = 1.1 * np.abs(ends[np.isfinite(ends)]).max(initial=0.1)
    for chosen, colour in ((covered[order], "C0"), (~covered[order], "C3")):
        ax.hlines(height[chosen], *np.clip(ends[:, chosen], -edge, edge), color=colour, linewidth=0.6)
    ax.axvline(0.0, color="0.3", linewidth=1.0)
    counts = np.array([covered.sum()], dtype=np.float64), np.array([len(rows)], dtype=np.float64)
    for share in np.concatenate(Binomial(*counts).interval(0.95)):
        ax.axhline(100.0 * share, color="0.3", linewidth=0.8, linestyle="--")
    ax.set_ylim(0.0, 100.0)


def plot_nested_loop(
    results: Mapping[Any, StudyResult],
    factors: Sequence[str],
    *,
    measure: str = "bias",
    term: str | None = None,
    ax: Any = None,
) -> Any:
    """One measure of every method over a whole grid of settings: lines above, the settings' factors as steps below.

    Parameters
    ----------
    results : mapping of tuple to StudyResult
        A study for each setting; the key holds the value of each factor (with one factor it need not be a tuple).
        The settings are drawn in the order of the mapping; let the last factor vary fastest.
    factors : sequence of str
        Names of the entries of the keys.
    measure : str
        A column of :meth:`StudyResult.to_frame`.
    term : str, optional
        The quantity; by default the first.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        The shade around a line is 1.96 Monte Carlo standard errors wide to each side; a setting in which a method
        gave no such measure is a gap.

    References
    ----------
    .. [1] Rücker, G. and Schwarzer, G. (2014). Presenting simulation results in a nested loop plot. BMC Medical
       Research Methodology 14, 129.
    """
    check_option("measure", measure, MEASURES)
    keys = [key if isinstance(key, tuple) else (key,) for key in results]
    if not keys or any(len(key) != len(factors) for key in keys):
        raise InvalidParameter(f"results must have keys of {len(factors)} value(s), one a factor, got {keys[:3]}")
    frames = [result.to_frame() for result in results.values()]
    methods = dict.fromkeys(method for frame in frames for method in frame["method"])
    term = frames[0]["term"][0] if term is None else term
    ax = axes(ax, figsize=(7.0, 4.5))
    edges = np.arange(len(keys) + 1.0)
    for number, method in enumerate(methods):
        values = np.array([_measured(frame, method, term, measure) for frame in frames])
        heights, half = np.append(values[:, 0], values[-1, 0]), 1.96 * np.append(values[:, 1], values[-1, 1])
        ax.step(edges, heights, where="post", color=f"C{number}", label=method)
        ax.fill_between(edges, heights - half, heights + half, step="post", color=f"C{number}", alpha=0.2, linewidth=0)
    _draw_factors(ax, keys, factors, edges)
    ax.set_ylabel(measure if not term else f"{measure} of {term}")
    ax.set_xlabel("setting")
    ax.set_xlim(0.0, len(keys))
    ax.legend(fontsize="small")
    return ax


def _measured(frame: pd.DataFrame, method: str, term: str, measure: str) -> tuple[float, float]:
    rows = frame[(frame["method"] == method) & (frame["term"] == term)]
    return (np.nan, np.nan) if rows.empty else (rows[measure].iloc[0], rows[f"{measure}_mcse"].iloc[0])


def _draw_factors(ax: Any, keys: list[tuple[Any, ...]], factors: Sequence[str], edges: Any) -> None:
    """Below the lines a row of steps for each factor, as high as the level's place among its levels."""
    bottom, top = ax.get_ylim()
    row = 0.12 * (top - bottom)
    for number, factor in enumerate(factors):
        column = [key[number] for key in keys]
        levels = list(dict.fromkeys(column))
        place = np.array([levels.index(value) for value in column]) / max(len(levels) - 1, 1)
        base = bottom - (number + 1) * row
        heights = base + 0.5 * row * place
        ax.step(edges, np.append(heights, heights[-1]), where="post", color="0.3", linewidth=1.0)
        words = f"{factor}: {', '.join(map(str, levels))}"
        ax.text(0.1, base + 0.55 * row, words, fontsize="x-small", color="0.3", va="bottom")
    ax.set_ylim(bottom - (len(factors) + 0.3) * row, top)
