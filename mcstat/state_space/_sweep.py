"""One sweep of Parisian particle Gibbs, and a chain of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat.core.rng import Purpose, child_seed, stream
from mcstat.state_space._additive import Additive
from mcstat.state_space._model import Model
from mcstat.state_space._paris_kernels import Plan
from mcstat.state_space._paris_run import ParisRun
from mcstat.state_space._run import FilterSettings

__all__ = ["Chain", "Setup", "Sweep", "go_on", "new_chain", "sweep"]

FloatArray = NDArray[np.float64]


class Setup(NamedTuple):
    """What all sweeps share."""

    model: Model
    settings: FilterSettings
    functional: Additive
    plan: Plan
    y: FloatArray


class Sweep(NamedTuple):
    """What one sweep found."""

    estimate: FloatArray  # (k,)
    path: FloatArray  # (T, d)
    loglik: float
    ess_min: float
    exact_fraction: float


class Chain(NamedTuple):
    """Where a chain stands: its seed, the path (T, d) (None at the start) and the number of sweeps made."""

    seed: SeedSequence
    path: FloatArray | None
    n_done: int


def sweep(setup: Setup, path: FloatArray | None, rng: np.random.Generator) -> Sweep:
    """One conditional pass of PaRIS around ``path``, and a new path from it; without a path a plain pass.

    The smoothing law is invariant, for any number of particles >= 2.
    """
    run = ParisRun(setup.model, setup.settings, setup.functional, setup.plan, rng).advance(setup.y, path)
    return Sweep(
        estimate=run.value,
        path=run.draw_path(),
        loglik=float(run.trace("increments").sum()),
        ess_min=float(run.trace("ess").min()),
        exact_fraction=float(run.trace("exact").sum() / max(run.n_drawn, 1)),
    )


def go_on(task: tuple[Setup, Chain, int]) -> tuple[Chain, list[Sweep]]:
    """The next sweeps of a chain; sweep 0 is the plain pass that gives the first path.

    A pure function of its task: each sweep has its own stream, so a chain that was interrupted goes on with the bits of
    one that was not.
    """
    setup, chain, n_sweeps = task
    found: list[Sweep] = []
    path = chain.path
    for k in range(chain.n_done, chain.n_done + n_sweeps):
        found.append(sweep(setup, path, stream(chain.seed, "sweep", Purpose.SAMPLE, k)))
        path = found[-1].path
    return Chain(chain.seed, path, chain.n_done + n_sweeps), found


def new_chain(root: SeedSequence, k: int, path: FloatArray | None) -> Chain:
    """Chain k at its start; a path that was given counts as sweep 0."""
    return Chain(child_seed(root, "ParisianParticleGibbs", Purpose.CHAINS, k), path, 0 if path is None else 1)
