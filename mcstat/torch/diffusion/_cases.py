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


def first_hitting_sampler() -> Case:
    """Three dependent tokens of three kinds."""
    from mcstat.torch.diffusion import FirstHittingSampler, TabularMaskedModel

    joint = np.arange(27.0).reshape(3, 3, 3) ** 2
    joint /= joint.sum()
    return Case(
        estimator=FirstHittingSampler(TabularMaskedModel(joint), 3, 3, n_samples=2000, random_state=0),
        fit={},
        truth={"sentence_entropy": _mean_entropy(joint)},
    )


def ancestral_sampler() -> Case:
    """Three independent tokens, for which any number of steps is exact."""
    from mcstat.torch.diffusion import AncestralSampler, TabularMaskedModel

    p = np.array([0.5, 0.3, 0.2])
    joint = np.einsum("i,j,k->ijk", p, p[::-1], p)
    return Case(
        estimator=AncestralSampler(TabularMaskedModel(joint), 3, 3, n_samples=2000, n_steps=20, random_state=0),
        fit={},
        truth={"sentence_entropy": _mean_entropy(joint)},
    )


def s3_search() -> Case:
    """Four questions to two narrow modes on a line. The truth is the error, on 400 000 points, of what seed 0 finds."""
    import torch

    from mcstat.torch.diffusion import GaussianMixtureDenoiser, S3Search, UniPC, make_grid, sample

    denoiser = GaussianMixtureDenoiser([1, 2], [[-1.0], [1.0]], 0.05)
    x = torch.randn((2000, 1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = sample(UniPC(3), denoiser, x, make_grid(denoiser.schedule, 100)).samples
    return Case(
        estimator=S3Search(4, n_evaluations=30, population_size=20, n_stages=2, random_state=0),
        fit={"denoiser": denoiser, "x_T": x, "reference": reference},
        truth={"rmse": 0.206},
    )


def _mean_entropy(joint: np.ndarray) -> float:
    """Mean over all sequences of the entropy of their tokens' frequencies."""
    total = 0.0
    for sequence in np.ndindex(joint.shape):
        shares = np.bincount(sequence) / joint.ndim
        shares = shares[shares > 0]
        total -= float(joint[sequence] * np.sum(shares * np.log(shares)))
    return total
