"""What particles say about what comes next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidData
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, entropy_of, stream
from mcstat.state_space import _filter_kernels as kernels
from mcstat.state_space._kalman import state_names
from mcstat.state_space._run import FilterRun

FloatArray = NDArray[np.float64]


def predict(passes: list[FilterRun], h: int, of: str, root: SeedSequence) -> Estimate:
    """See :meth:`ParticleFilter.predict`."""
    observed = check_option("of", of, ("state", "observation")) == "observation"
    model, start = passes[0].model, passes[0].time
    draws = []
    for k, run in enumerate(passes):
        # Its own stream: asking twice gives the same answer, and the passes go on as if nobody had asked.
        rng = stream(root, "ParticleFilter.predict", Purpose.SAMPLE, k)
        paths = model.walk(rng, run.particles, start, h)
        if observed:
            paths = np.array([[model.observe(rng, start + s, x) for x in paths[s]] for s in range(h)])
        draws.append(np.moveaxis(paths.reshape(h, run.settings.n_particles, -1), 0, 1))
    sample = np.stack(draws)
    width = sample.shape[3]
    return Estimate.from_draws(
        sample.reshape(*sample.shape[:2], h * width),
        log_weights=np.stack([run.cloud.log_weights for run in passes]),
        names=state_names(h, width, start, "y" if observed else "x"),
        coords={"time": np.repeat(np.arange(start, start + h), width), "component": np.tile(np.arange(width), h)},
        kind="posterior",
        estimand=f"{of}s to come",
        method="ParticleFilter",
        info={"entropy": entropy_of(root), "mcstat": __version__},
    )


def pit(passes: list[FilterRun], y: FloatArray) -> FloatArray:
    """See :meth:`ParticleFilter.pit`."""
    run = passes[0]
    model, theta = run.model, run.model.packed()
    if y.shape[1] > 1:
        raise InvalidData(f"pit() wants a scalar observation, got {y.shape[1]} components")
    if len(y) != run.time:
        raise InvalidData(f"pit() wants all {run.time} observations from fit, got {len(y)}: partial_fit keeps none")
    loop: Any = kernels.weigh if model.vectorized else kernels.compiled_weigh()
    x, potentials = run.trace("x"), np.empty(run.trace("log_weights").shape)
    loop(model.function("log_weight"), x, np.arange(x.shape[1]), y, theta, potentials)
    # The weights before y_t was seen.
    logs = run.trace("log_weights") - potentials
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    out = np.full(len(y), np.nan)
    for t in np.flatnonzero(~np.isnan(y[:, 0])):
        out[t] = weights[t] @ model.observation_cdf(int(t), x[t], y[t]) / weights[t].sum()
    return out
