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
    GuidedDenoiser,
    SuperDiff,
    VPLinear,
    ito_log_density,
    log_density,
    make_grid,
    reference_solution,
    sample_with_logp,
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


# Without noise ------------------------------------------------------------------------------------------------------


def test_divergences_give_the_density_along_the_ode():
    # In one dimension a random sign's square is 1: the divergence is exact, and what is left is of the first order.
    model = GaussianMixtureDenoiser([1, 2], [[-1.0], [1.5]], [[0.3], [0.1]], VP)
    gaps, settings = [], {"n_samples": 200, "density": "hutchinson", "random_state": 0}
    for n_steps in (200, 400):
        fit = SuperDiff(model, make_grid(VP, n_steps), "average", **settings).fit()
        exact = model.logp(fit.samples_, VP.t_min).numpy()
        gaps.append(np.median(np.abs(fit.log_densities_[:, 0] - exact)))
    assert gaps[1] < 0.1
    assert gaps[0] / gaps[1] == pytest.approx(2.0, abs=0.4)
    # The samples are those of the sampling ODE from the same noise.
    grid, source = make_grid(VP, 400), generator(root_seed(0), "SuperDiff", Purpose.SAMPLE, 0)
    x = float(grid.sigma[0]) * torch.randn((200, 1), generator=source, dtype=torch.float64)
    torch.testing.assert_close(fit.samples_, reference_solution(model, x, grid).samples, rtol=0.0, atol=0.05)


def test_or_and_and_without_noise(seed):
    settings = {"density": "hutchinson", "random_state": seed, "keep_paths": True}
    either = SuperDiff(models(), make_grid(VP, 100), n_samples=2000, n_probes=2, **settings).fit()
    est = either.estimate(modes)
    # Densities are noisy by the probes: shares within 5 standard errors and 0.03 for what that does.
    assert np.abs(est.value - [0.25, 0.5, 0.25]).max() < 0.03 + 5 * est.std_error.max()
    both = SuperDiff(models(), make_grid(VP, 100), "and", n_samples=200, **settings).fit()
    path = both.log_density_path_
    assert np.abs(path[..., 0] - path[..., 1]).max() < 1e-8
    three = SuperDiff(
        [*models(), pair([1.5, 1.2], [0.0, 0.0])], make_grid(VP, 60), "and", n_samples=20, **settings
    ).fit()
    assert np.ptp(three.log_densities_, axis=1).max() < 1e-5


def test_guidance_and_fixed_weights():
    one, other, free = *models(), eight_modes()
    grid = make_grid(VP, 40)
    settings = {"n_samples": 30, "random_state": 0}
    for density in ("ito", "hutchinson"):
        more = settings | {"density": density}
        guided = SuperDiff(one, grid, "average", unconditional=free, guidance_scale=2.5, **more).fit()
        plain = SuperDiff(GuidedDenoiser(one, free, 2.5), grid, "average", **more).fit()
        torch.testing.assert_close(guided.samples_, plain.samples_, rtol=1e-9, atol=1e-9)
        assert guided.n_calls_ == plain.n_calls_ == 80
        # The density is that of the model, not of the guided one.
        assert np.abs(guided.log_densities_ - plain.log_densities_).max() > 0.1
        exact = one.logp(guided.samples_, VP.t_min).numpy()
        assert np.corrcoef(guided.log_densities_[:, 0], exact)[0, 1] > 0.95
        first = SuperDiff([one, other], grid, "average", weights=[3.0, 0.0], **more).fit()
        alone = SuperDiff(one, grid, "average", **more).fit()
        torch.testing.assert_close(first.samples_, alone.samples_, rtol=1e-9, atol=1e-9)
        for scale in (2.5, -0.5):
            both = SuperDiff([one, other], grid, "and", unconditional=free, guidance_scale=scale, **more).fit()
            assert np.abs(both.log_densities_ @ [1.0, -1.0]).max() < 1e-7
        unguided = SuperDiff([one, other], grid, "and", unconditional=free, guidance_scale=1.0, **more).fit()
        torch.testing.assert_close(
            unguided.samples_, SuperDiff([one, other], grid, "and", **more).fit().samples_, rtol=1e-6, atol=1e-6
        )


# Densities of given samples -------------------------------------------------------------------------------------------


def test_densities_of_given_samples_by_noise(seed):
    model = eight_modes()
    x = model.sample(300, t=VP.t_min, random_state=seed)
    exact = model.logp(x, VP.t_min).numpy()
    rmse, bias = [], []
    for n_steps in (200, 800):
        est = log_density(model, x, make_grid(VP, n_steps, "time"), n_draws=8, random_state=seed)
        rmse.append(np.sqrt(np.mean((est.value - exact) ** 2)))
        bias.append(np.mean(est.value - exact))
        # The errors are as large as they say, as far as they are those of the draws.
        z = (est.value - exact - bias[-1]) / est.std_error
        assert 0.8 < np.median(np.abs(z)) / 0.71 < 1.4
    assert rmse[1] / rmse[0] < 0.7
    assert abs(bias[1]) < 0.15


def test_densities_of_given_samples_by_the_ode(seed):
    model = eight_modes()
    x = model.sample(40, t=VP.t_min, random_state=seed)
    exact = model.logp(x, VP.t_min).numpy()
    est = log_density(model, x, make_grid(VP, 100), density="hutchinson", n_draws=50, random_state=seed)
    # 40 deviates of Student's t with 49 degrees of freedom: above 7 with probability 3e-7. 0.05 for the steps.
    assert (np.abs(est.value - exact) < 0.05 + 7.0 * est.std_error).all()
    assert est.std_error.max() < 0.5
    # In one dimension probes have no noise: the steps' error alone, of second order.
    line = GaussianMixtureDenoiser([1, 2], [[-1.0], [1.5]], [[0.3], [0.1]], VP)
    x = line.sample(40, t=VP.t_min, random_state=seed)
    gaps = []
    for n_steps in (50, 100):
        est = log_density(line, x, make_grid(VP, n_steps), density="hutchinson", n_draws=2, random_state=0)
        assert est.std_error.max() < 1e-12
        gaps.append(np.median(np.abs(est.value - line.logp(x, VP.t_min).numpy())))
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx(2.0, abs=0.4)


def test_samples_with_their_densities():
    x, est = sample_with_logp(eight_modes(), make_grid(VP, 100), 50, random_state=3)
    assert x.shape == (50, 2)
    assert est.value.shape == est.std_error.shape == (50,)
    assert torch.equal(
        x, SuperDiff(eight_modes(), make_grid(VP, 100), "average", n_samples=50, random_state=3).fit().samples_
    )
    assert np.corrcoef(est.value, eight_modes().logp(x, VP.t_min).numpy())[0, 1] > 0.8
    net = Denoiser(network(eight_modes()), VP)
    x, est = sample_with_logp(net, make_grid(VP, 20), 5, shape=(2,), dtype="float32", density="hutchinson", n_draws=2)
    assert x.dtype == torch.float32
    assert est.df == 1


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
    for settings, message in [
        ({"density": "exact"}, "density must be one of 'ito', 'hutchinson'"),
        ({"n_probes": 0}, "n_probes"),
        ({"guidance_scale": 2.0}, "guidance_scale must be 1 without unconditional"),
        ({"unconditional": eight_modes(PLANE)}, "share a schedule"),
        ({"weights": [1.0]}, "weights must hold 2 numbers"),
        ({"weights": [1.0, -1.0]}, "weights must not sum to 0"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            SuperDiff(models(), grid, **settings).fit()
    rigid = Denoiser(lambda x, t: torch.ones_like(x), VP)
    with pytest.raises(InvalidParameter, match="denoisers must be differentiable"):
        SuperDiff([rigid, rigid], grid, density="hutchinson", shape=(2,)).fit()
    x = noise(3)
    with pytest.raises(InvalidParameter, match="density must be one of"):
        log_density(eight_modes(), x, grid, density="exact")
    with pytest.raises(InvalidParameter, match="n_draws must be an integer >= 2"):
        log_density(eight_modes(), x, grid, n_draws=1)
    with pytest.raises(InvalidData, match="end above 0"):
        log_density(eight_modes(), x, [10.0, 1.0, 0.0])
    with pytest.raises(TypeError, match="x must be"):
        log_density(eight_modes(), x.numpy(), grid)
    with pytest.raises(FloatingPointError, match="log densities must be finite"):
        log_density(Denoiser(lambda x, t: x * torch.nan, VP), x, grid)
    broken = Denoiser(lambda x, t: x * torch.nan, VP)
    with pytest.raises(FloatingPointError, match="NaN or infinity at 1"):
        SuperDiff([broken, broken], grid, shape=(2,)).fit()
    with pytest.raises(InvalidData, match=r"trajectory must have shape \(21, n, ...\)"):
        ito_log_density(eight_modes(), noise(20)[:, None], grid)
