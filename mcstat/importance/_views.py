"""Looking at a fitted sampler: pictures, and its weighted sample as ArviZ data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mcstat.core.errors import InvalidData
from mcstat.core.estimate import Estimate
from mcstat.core.extras import import_extra
from mcstat.importance._proposal import coordinates
from mcstat.importance._scores import AtInputs

if TYPE_CHECKING:
    from mcstat.importance._adaptive import AdaptiveImportanceSampler


def plot(sampler: AdaptiveImportanceSampler, axes: Any = None) -> Any:
    """See :meth:`AdaptiveImportanceSampler.plot`."""
    if axes is None:
        pyplot = import_extra("matplotlib.pyplot", "plot")
        axes = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained")[1]
    history = sampler.history_
    axes[0].plot(history["n_points"], history["criterion"], "o-")
    axes[0].set(yscale="log", xlabel="points used", ylabel="criterion V", title="Exploration")
    axes[1].bar(np.arange(len(sampler.shares_)), sampler.shares_)
    axes[1].set(xlabel="part (0: initial law)", ylabel="share", title="Sampling mixture")
    weights = np.sort(np.exp(sampler.log_weights_ - sampler.log_weights_.max(axis=0)), axis=0)[::-1]
    axes[2].plot(np.arange(1, len(weights) + 1), weights, color="C0", alpha=0.6)
    axes[2].set(xscale="log", yscale="log", xlabel="rank", ylabel="weight / largest", title="Tail of the weights")
    axes[2].set_ylim(bottom=1e-8)
    return axes


def to_arviz(sampler: AdaptiveImportanceSampler, random_state: int) -> Any:
    """See :meth:`AdaptiveImportanceSampler.to_arviz`."""
    logs = sampler.log_weights_
    if logs.shape[1] > 1:
        raise InvalidData(f"to_arviz() wants one law or target, got {logs.shape[1]} laws with weights of their own")
    d = sampler.sample_.shape[1]
    func = sampler._source.func
    of_coordinates = (func.func if isinstance(func, AtInputs) else func) is coordinates and sampler._names is not None
    names = sampler._names if of_coordinates else [f"x[{k}]" for k in range(d)]
    draws = Estimate.from_draws(sampler.sample_, log_weights=logs[:, 0], names=names, method=type(sampler).__name__)
    return draws.to_arviz(random_state)
