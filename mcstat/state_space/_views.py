"""Looking at a fitted particle filter: a picture, and its particles as ArviZ data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_level
from mcstat.core.errors import InvalidParameter
from mcstat.core.extras import import_extra
from mcstat.core.plots import axes
from mcstat.core.rng import Purpose, root_seed, stream

if TYPE_CHECKING:
    from mcstat.state_space._filter import ParticleFilter

FloatArray = NDArray[np.float64]


def plot(fitted: ParticleFilter, ax: Any, level: float, component: int) -> Any:
    """See :meth:`ParticleFilter.plot`."""
    from scipy.special import ndtri

    level, component = check_level(level), check_integer("component", component)
    mean = fitted.filter_mean_
    if component >= mean.shape[1]:
        raise InvalidParameter(f"component must be below {mean.shape[1]}, got {component}")
    ends = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    at = [int(np.argmin(np.abs(np.array(fitted.quantiles) - end))) for end in ends] if len(fitted.quantiles) else []
    if at and np.allclose([fitted.quantiles[k] for k in at], ends):
        low, high = (fitted.quantiles_[:, k, component] for k in at)
        label = f"{level:.0%} of the filtering law"
    else:
        half = ndtri(ends[1]) * np.sqrt(fitted.filter_var_[:, component])
        low, high = mean[:, component] - half, mean[:, component] + half
        label = f"{level:.0%}, normal"
    ax = axes(ax, figsize=(8.0, 3.2))
    times = np.arange(len(mean))
    ax.fill_between(times, low, high, color="C0", alpha=0.25, linewidth=0, label=label)
    ax.plot(times, mean[:, component], color="C0", linewidth=1.2, label="filtering mean")
    ax.set(xlabel="time", ylabel="x" if mean.shape[1] == 1 else f"x[{component}]")
    ax.legend(frameon=False)
    return ax


def to_arviz(fitted: ParticleFilter, y: FloatArray, random_state: int) -> Any:
    """See :meth:`ParticleFilter.to_arviz`."""
    from mcstat.state_space._run import scheme_of

    history = fitted.history_
    n_times, n, d = history.x.shape
    rng = stream(root_seed(random_state), "to_arviz", Purpose.RESAMPLE, 0)
    draws, indices = np.empty((1, n, n_times, d)), np.empty(n, np.int64)
    for t in range(n_times):
        scheme_of("systematic", False)(np.exp(history.log_weights[t]), rng.random(1), indices)
        draws[0, :, t] = history.x[t, rng.permutation(indices)]
    groups = {
        "posterior": {"x": draws},
        "observed_data": {"y": y},
        "constant_data": {"ess": fitted.ess_, "loglik_increments": fitted.loglik_increments_},
    }
    coords = {"time": np.arange(n_times), "state": np.arange(d)}
    dims = {"x": ["time", "state"], "y": ["time", "observation"], "ess": ["time"], "loglik_increments": ["time"]}
    arviz = import_extra("arviz", "arviz")
    try:
        data = arviz.from_dict(**groups, coords=coords, dims=dims)
    except TypeError:
        data = arviz.from_dict(groups, coords=coords, dims=dims)
    data["posterior"].attrs.update({"method": "ParticleFilter", "n_particles": n, "random_state": random_state})
    return data
