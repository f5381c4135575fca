"""One small problem with a known answer for each estimator of the room; the contract tests run on them."""

from __future__ import annotations

import numpy as np

from mcstat.core.registry import Case


def feynman_kac_corrector() -> Case:
    """The square of a normal density of variance 1, seen at noise 0.05: its integral is 1 / sqrt(4 pi 1.0025)."""
    from mcstat.torch.diffusion import EDM, FeynmanKacCorrector, GaussianDenoiser, make_grid

    schedule = EDM(sigma_min=0.05, sigma_max=40.0)
    model = GaussianDenoiser([1.0], 1.0, schedule)
    grid = make_grid(schedule, 60, "karras")
    return Case(
        estimator=FeynmanKacCorrector(model, 2.0, grid, n_particles=200, random_state=0),
        fit={},
        truth={"log_normaliser": float(-0.5 * np.log(4.0 * np.pi * 1.0025))},
    )


def super_diff() -> Case:
    """One model or another, of means -2 and 2 with odds 1 to 3: the mean of the mixture is 1."""
    from mcstat.torch.diffusion import EDM, GaussianDenoiser, SuperDiff, make_grid

    schedule = EDM(sigma_min=0.05, sigma_max=40.0)
    models = [GaussianDenoiser([-2.0], 1.0, schedule), GaussianDenoiser([2.0], 1.0, schedule)]
    grid = make_grid(schedule, 200, "karras")
    return Case(
        estimator=SuperDiff(models, grid, bias=np.log([1.0, 3.0]), n_samples=500, random_state=0),
        fit={},
        truth={"value": 1.0},
    )
