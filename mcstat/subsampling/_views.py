"""Pictures of a sampler (extra ``plot``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mcstat.core.extras import import_extra
from mcstat.core.plots import axes as one_axes

if TYPE_CHECKING:
    from mcstat.subsampling._sampler import LpSampler

__all__ = ["plot"]

_SHARES, _REPEATS = (0.125, 0.25, 0.5, 1.0), 3
# Points of a curve of millions of scores that an eye can tell apart.
_MOST_POINTS = 2000


def plot(sampler: LpSampler, X: Any, axes: Any) -> Any:
    """Scores by rank; with X also the distortion of fresh samples against their size."""
    if X is None:
        ax = one_axes(axes, figsize=(5.2, 3.6))
        _plot_scores(sampler, ax)
        return ax
    if axes is None:
        axes = import_extra("matplotlib.pyplot", "plot").subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")[1]
    _plot_scores(sampler, axes[0])
    _plot_distortion(sampler, X, axes[1])
    return axes


def _plot_scores(sampler: LpSampler, ax: Any) -> None:
    scores = np.sort(sampler.scores_)[::-1]
    rank = np.unique(np.geomspace(1, len(scores), _MOST_POINTS).astype(int))
    ax.loglog(rank, scores[rank - 1], linewidth=1.5)
    ax.axhline(scores.sum() / len(scores), color="0.5", linestyle=":", label="mean")
    ax.set_xlabel("row, by rank")
    ax.set_ylabel(f"score ({sampler.score_})")
    ax.legend(fontsize="small")


def _plot_distortion(sampler: LpSampler, X: Any, ax: Any) -> None:
    sizes = np.unique([max(2, round(share * sampler.n_samples)) for share in _SHARES])
    found = np.array([[_distortion(sampler, X, int(size), seed) for seed in range(_REPEATS)] for size in sizes])
    ax.loglog(np.repeat(sizes, _REPEATS), found.ravel(), "o", markersize=4, label="samples")
    level = np.exp(np.mean(np.log(found) + 0.5 * np.log(sizes)[:, None]))
    ax.loglog(sizes, level / np.sqrt(sizes), color="0.5", linestyle=":", label="1 / sqrt(rows)")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_xlabel("rows")
    ax.set_ylabel("distortion")
    ax.legend(fontsize="small")


def _distortion(sampler: LpSampler, X: Any, size: int, seed: int) -> float:
    again = type(sampler)(**sampler.get_params() | {"n_samples": size, "random_state": seed})
    return again.fit(X).distortion(X).value
