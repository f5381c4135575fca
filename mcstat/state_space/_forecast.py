"""What particles say about what comes next."""

from __future__ import annotations

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidData
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, entropy_of, stream
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


def pit(passes: list[FilterRun], y: FloatArray, root: SeedSequence) -> FloatArray:
    """See :meth:`ParticleFilter.pit`. Particles of t - 1 move on by the model, whatever proposal the filter had."""
    run = passes[0]
    if y.shape[1] > 1:
        raise InvalidData(f"pit() wants a scalar observation, got {y.shape[1]} components")
    if len(y) != run.time:
        raise InvalidData(f"pit() wants all {run.time} observations from fit, got {len(y)}: partial_fit keeps none")
    rng = stream(root, "ParticleFilter.pit", Purpose.SAMPLE, 0)
    x, log_weights = run.trace("x"), run.trace("log_weights")
    out = np.full(len(y), np.nan)
    for t in np.flatnonzero(~np.isnan(y[:, 0])).tolist():
        weights = np.exp(log_weights[t - 1]) if t > 0 else np.ones(x.shape[1])
        ahead = run.model.walk(rng, x[t - 1], t, 1)[0]
        out[t] = weights @ run.model.observation_cdf(t, ahead, y[t]) / weights.sum()
    return out
