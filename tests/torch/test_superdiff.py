"""SuperDiff: Itô's density estimator, mixtures with known shares, samples of equal density."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.rng import Purpose, root_seed
from mcstat.torch import generator
from mcstat.torch.diffusion import (
    EDM,
    Denoiser,
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    SuperDiff,
    VPLinear,
    ito_log_density,
    make_grid,
)
from tests.naive import superdiff as naive
from tests.stat_asserts import assert_mean_close
from tests.torch.problems import eight_modes, network, noise

VP = VPLinear()
PLANE = EDM(sigma_min=0.02, sigma_max=80.0)


def pair(one, other, schedule=VP):
    """Two modes of variance 0.16 in the plane."""
    return GaussianMixtureDenoiser([1, 1], [one, other], 0.16, schedule)


def models():
    """They share the mode (1.5, 1.2)."""
    return [pair([-1.5, 1.2], [1.5, 1.2]), pair([1.5, 1.2], [1.5, -1.2])]


def modes(x):
    """Indicators of the three modes (n, 3)."""
    left, low = x[:, 0] < 0, x[:, 1] < 0
    return torch.stack([left, ~left & ~low, low], dim=1).double()


def rough_path(n_steps, seed, drift=None):
    """Simulation of 1000 samples from the exact law at the start; the model's score or another drift.

    Returns the grid, the trajectory in x and the exact log density at the start.
    """
    model, grid = eight_modes(), make_grid(VP, n_steps, "time")
    x = model.sample(1000, t=1.0, random_state=seed)
    source, path = torch.Generator().manual_seed(seed), [x]
    y = x / grid.alpha[0]
    for i in range(n_steps):
        step = grid.ratio[i] ** 2 - grid.ratio[i + 1] ** 2
        at = path[-1]
        move = -model.eps(at, grid.t[i]) / grid.ratio[i] if drift is None else drift(y, grid.ratio[i])
        y = y + step * move + step**0.5 * torch.randn(y.shape, generator=source, dtype=y.dtype)
        path.append(grid.alpha[i + 1] * y)
    return grid, torch.stack(path), model.logp(x, 1.0)


# Against theory -----------------------------------------------------------------------------------------------------


def other_drift(y, ratio):
    """Pulls to (1, 0.5), from nowhere in the model."""
    return -(y - torch.tensor([1.0, 0.5], dtype=y.dtype)) / (ratio**2 + 0.5)


@pytest.mark.parametrize("drift", [None, other_drift], ids=["own", "other"])
def test_density_error_falls_like_the_root_of_the_step(drift, seed):
    errors = []
    for n_steps in (200, 800):
        grid, path, start = rough_path(n_steps, seed % 1000, drift)
        exact = eight_modes().logp(path[-1], 1e-3)
        errors.append(ito_log_density(eight_modes(), path, grid, start)[-1] - exact)
    ratio = float(errors[1].square().mean().sqrt() / errors[0].square().mean().sqrt())
    # Means of 1000 squares: the ratio has a standard error of about 0.03.
    assert ratio == pytest.approx(0.5, abs=0.1 if drift is None else 0.15)
    if drift is None:
        assert float(errors[0].square().mean().sqrt()) < 1.2
        assert abs(float(errors[1].mean())) < 0.5 * abs(float(errors[0].mean()))


def test_or_samples_the_mixture(seed):
    fit = SuperDiff(models(), make_grid(VP, 600, "time"), n_samples=2000, random_state=seed).fit()
    est = fit.estimate(modes, names=["left", "both", "low"])
    # Within 5 standard errors, as asked of us; three shares exceed that by chance with probability 2e-6.
    assert_mean_close(est.value, [0.25, 0.5, 0.25], est.std_error, z=5.0)
    uneven = SuperDiff(models(), make_grid(VP, 400, "time"), bias=np.log([1, 3]), n_samples=1000, random_state=seed)
    est = uneven.fit().estimate(modes)
    assert_mean_close(est.value, [0.125, 0.5, 0.375], est.std_error, z=5.0)
    # In a mode that only one model has, samples are that model's, but for a few in the tail of the shared mode.
    lone = modes(uneven.samples_).numpy().astype(bool)
    assert (uneven.assignment_[lone[:, 0]] == 0).mean() > 0.95
    assert (uneven.assignment_[lone[:, 2]] == 1).mean() > 0.95


def test_and_keeps_densities_equal(seed):
    settings = {"n_samples": 1000, "keep_paths": True, "random_state": seed}
    fit = SuperDiff(models(), make_grid(VP, 250, "time"), "and", **settings).fit()
    path = fit.log_density_path_
    assert np.abs(path[..., 0] - path[..., 1]).max() < 1e-8
    np.testing.assert_allclose(fit.kappa_path_.sum(2), 1.0, atol=1e-3)
    centre = torch.tensor([1.5, 1.2], dtype=torch.float64)
    near = (fit.samples_ - centre).norm(dim=1) < 1.2
    # 93 % were measured elsewhere: 1000 samples fall below 90 % with probability 1e-4, and the seed is fixed.
    assert near.double().mean() > 0.9
    lifted = SuperDiff(models(), make_grid(VP, 250, "time"), "and", lift=[1.0, 0.0], **settings).fit()
    gap = lifted.log_density_path_[-1] @ [1.0, -1.0]
    np.testing.assert_allclose(gap, 1.0, atol=1e-8)


def test_and_of_gaussians_lies_between_them(seed):
    three = [GaussianDenoiser(mean, 1.0, PLANE) for mean in ([-2.0, 0.0], [2.0, 0.0], [0.0, 3.0])]
    grid = make_grid(PLANE, 400, "karras")
    both = SuperDiff(three[:2], grid, "and", n_samples=500, random_state=seed).fit()
    # Estimated densities are equal; the true ones up to the error of the steps.
    assert both.samples_[:, 0].abs().max() < 0.15
    # Along the line x_1 = 0 nothing pulls: the law of both models.
    est = both.estimate(lambda x: torch.stack([x[:, 1], x[:, 1] ** 2], dim=1))
    assert_mean_close(est.value, [0.0, 1.0 + 0.02**2], est.std_error)
    every = SuperDiff(three, grid, "and", n_samples=100, random_state=seed).fit()
    gaps = every.log_densities_ - every.log_densities_[:, :1]
    assert np.abs(gaps).max() < 1e-6


def test_equal_models_are_the_plain_sampler_bit_for_bit():
    settings = {"n_samples": 50, "random_state": 0}
    grid = make_grid(VP, 30, "time")
    plain = SuperDiff(eight_modes(), grid, "average", **settings).fit()
    for mode in ("or", "and", "average"):
        for count in (2, 3):
            fit = SuperDiff([eight_modes()] * count, grid, mode, **settings).fit()
            assert torch.equal(fit.samples_, plain.samples_)
            np.testing.assert_array_equal(fit.log_densities_, np.repeat(plain.log_densities_, count, axis=1))


# Against a slow twin ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "lift"), [("or", 0.0), ("and", 0.0), ("and", 0.8)])
def test_equals_the_naive_twin(mode, lift):
    schedule = EDM(sigma_min=0.1, sigma_max=10.0)
    two = [pair([-1.5, 1.2], [1.5, 1.2], schedule), pair([1.5, 1.2], [1.5, -1.2], schedule)]
    grid, bias = make_grid(schedule, 25, "karras"), np.array([0.3, 0.0])
    settings = {"n_samples": 4, "random_state": 2} | ({"bias": bias} if mode == "or" else {"lift": [lift, 0.0]})
    fit = SuperDiff(two, grid, mode, **settings).fit()
    source = generator(root_seed(2), "SuperDiff", Purpose.SAMPLE, 0)
    draws = [torch.randn((4, 2), generator=source, dtype=torch.float64) for _ in range(26)]

    def score(j, x, i):
        return two[j].score(torch.tensor([x], dtype=torch.float64), grid.t[i])[0].tolist()

    for k in range(4):
        start, noises = (10.0 * draws[0][k]).tolist(), [draw[k].tolist() for draw in draws[1:]]
        x, log_q = naive.path(score, grid.sigma.tolist(), start, noises, mode, bias, lift)
        np.testing.assert_allclose(fit.samples_[k].numpy(), x, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(fit.log_densities_[k], log_q, rtol=1e-7, atol=1e-7)


def test_a_followed_path_is_the_densities_that_fit_reports():
    grid = make_grid(VP, 40, "time")
    fit = SuperDiff(models(), grid, n_samples=20, keep_paths=True, random_state=0).fit()
    step = grid.ratio[:-1] ** 2 - grid.ratio[1:] ** 2
    source = generator(root_seed(0), "SuperDiff", Purpose.SAMPLE, 0)
    draws = [torch.randn((20, 2), generator=source, dtype=torch.float64) for _ in range(41)]
    y, path = grid.ratio[0] * draws[0], []
    for i in range(40):
        path.append(grid.alpha[i] * y)
        scores = [-model.eps(path[-1], grid.t[i]) / grid.ratio[i] for model in models()]
        kappa = torch.tensor(fit.kappa_path_[i])
        y = y + step[i] * (kappa[:, :1] * scores[0] + kappa[:, 1:] * scores[1]) + step[i] ** 0.5 * draws[i + 1]
    path.append(grid.alpha[-1] * y)
    trajectory = torch.stack(path)
    start = torch.tensor(fit.log_density_path_[0, :, 0]) - 2 * np.log(grid.alpha[0])
    for j, model in enumerate(models()):
        followed = ito_log_density(model, trajectory, grid, start)
        np.testing.assert_allclose(followed[-1].numpy(), fit.log_densities_[:, j], rtol=1e-8, atol=1e-8)


def test_images_in_single_precision():
    exact = eight_modes()
    net = Denoiser(lambda x, t: network(exact)(x.flatten(1), t).reshape(x.shape), VP)
    settings = {"n_samples": 20, "shape": (1, 2, 1), "dtype": "float32", "random_state": 0}
    for mode in ("or", "and"):
        fit = SuperDiff([net, net], make_grid(VP, 20), mode, kappa_clip=5.0, **settings).fit()
        assert fit.samples_.shape == (20, 1, 2, 1)
        assert fit.samples_.dtype == torch.float32
        assert fit.n_calls_ == 40
        assert fit.estimate().value.shape == (2,)


def test_clipped_weights():
    settings = {"n_samples": 100, "keep_paths": True, "random_state": 0}
    fit = SuperDiff(models(), make_grid(VP, 50, "time"), "and", kappa_clip=2.0, **settings).fit()
    assert np.abs(fit.kappa_path_ - 0.5).max() <= 2.0
    np.testing.assert_allclose(fit.kappa_path_.sum(2), 1.0)


def test_bad_input():
    grid = make_grid(VP, 20)
    for mode in ("or", "and"):
        with pytest.raises(InvalidParameter, match="denoisers must be 2 or more"):
            SuperDiff([eight_modes()], grid, mode).fit()
    with pytest.raises(InvalidParameter, match="share a schedule"):
        SuperDiff([eight_modes(), eight_modes(PLANE)], grid).fit()
    with pytest.raises(InvalidData, match="end above 0"):
        SuperDiff(models(), [10.0, 1.0, 0.0]).fit()
    with pytest.raises(InvalidParameter, match="bias must hold 2 numbers"):
        SuperDiff(models(), grid, bias=[1.0]).fit()
    with pytest.raises(InvalidParameter, match="keep_paths must be True or False"):
        SuperDiff(models(), grid, keep_paths=1).fit()
    broken = Denoiser(lambda x, t: x * torch.nan, VP)
    with pytest.raises(FloatingPointError, match="NaN or infinity at 1"):
        SuperDiff([broken, broken], grid, shape=(2,)).fit()
    with pytest.raises(InvalidData, match=r"trajectory must have shape \(21, n, ...\)"):
        ito_log_density(eight_modes(), noise(20)[:, None], grid)
