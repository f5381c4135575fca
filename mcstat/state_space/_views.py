"""Looking at fitted filters and smoothers: a picture of bands, and draws as ArviZ data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Laws(NamedTuple):
    """What is known of the law of each state: moments (T, d), and quantiles (T, k, d) at ``levels`` or None."""

    mean: FloatArray
    var: FloatArray
    quantiles: FloatArray | None
    levels: tuple[float, ...]
    word: str


def plot_band(laws: Laws, ax: Any, level: float, component: int) -> Any:
    """Mean of one component and a band: of quantiles where both ends of ``level`` are there, else normal."""
    from scipy.special import ndtri

    level, component = check_level(level), check_integer("component", component)
    n_times, d = laws.mean.shape
    if component >= d:
        raise InvalidParameter(f"component must be below {d}, got {component}")
    mean = laws.mean[:, component]
    ends = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    at = [int(np.argmin(np.abs(np.array(laws.levels) - end))) for end in ends] if laws.levels else []
    if laws.quantiles is not None and np.allclose([laws.levels[k] for k in at], ends):
        low, high = (laws.quantiles[:, k, component] for k in at)
        label = f"{level:.0%} of the {laws.word} law"
    else:
        half = ndtri(ends[1]) * np.sqrt(laws.var[:, component])
        low, high = mean - half, mean + half
        label = f"{level:.0%}, normal"
    ax = axes(ax, figsize=(8.0, 3.2))
    times = np.arange(n_times)
    ax.fill_between(times, low, high, color="C0", alpha=0.25, linewidth=0, label=label)
    ax.plot(times, mean, color="C0", linewidth=1.2, label=f"{laws.word} mean")
    ax.set(xlabel="time", ylabel="x" if d == 1 else f"x[{component}]")
    ax.legend(frameon=False)
    return ax


def filter_to_arviz(fitted: ParticleFilter, y: FloatArray, random_state: int) -> Any:
    """See :meth:`ParticleFilter.to_arviz`."""
    from mcstat.state_space._run import scheme_of

    history = fitted.history_
    n_times, n, d = history.x.shape
    rng = stream(root_seed(random_state), "to_arviz", Purpose.RESAMPLE, 0)
    draws, indices = np.empty((1, n, n_times, d)), np.empty(n, np.int64)
    for t in range(n_times):
        scheme_of("systematic", False)(np.exp(history.log_weights[t]), rng.random(1), indices)
        draws[0, :, t] = history.x[t, rng.permutation(indices)]
    records = {"ess": fitted.ess_, "loglik_increments": fitted.loglik_increments_}
    return states_to_arviz(
        draws, y, records, {"method": "ParticleFilter", "n_particles": n, "random_state": random_state}
    )


def states_to_arviz(
    draws: FloatArray, y: FloatArray, records: Mapping[str, FloatArray], attributes: Mapping[str, Any]
) -> Any:
    """Draws of states (chain, draw, T, d) with observations (T, p) and records by time (T,)."""
    n_times, d = draws.shape[2:]
    groups = {"posterior": {"x": draws}, "observed_data": {"y": y}, "constant_data": dict(records)}
    coords = {"time": np.arange(n_times), "state": np.arange(d)}
    dims = {"x": ["time", "state"], "y": ["time", "observation"]} | {name: ["time"] for name in records}
    arviz = import_extra("arviz", "arviz")
    try:
        data = arviz.from_dict(**groups, coords=coords, dims=dims)
    except TypeError:
        data = arviz.from_dict(groups, coords=coords, dims=dims)
    data["posterior"].attrs.update(attributes)
    return data
