"""Feynman-Kac correctors: closed forms, quadrature, the paper's algorithm particle by particle."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.rng import Purpose, root_seed
from mcstat.torch import generator
from mcstat.torch.diffusion import (
    EDM,
    VE,
    Denoiser,
    FeynmanKacCorrector,
    FlowMatching,
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    VPLinear,
    make_grid,
)
from mcstat.torch.diffusion._populations import Flow, _drift_and_growth
from tests.naive import fkc as naive
from tests.stat_asserts import two_stage_coverage
from tests.torch.problems import eight_modes, network, noise, tilted

SCHEDULE = EDM(sigma_min=0.02, sigma_max=80.0)
KARRAS = make_grid(SCHEDULE, 400, "karras")
# Two-sided 1e-7 of Student's t with 9 degrees of freedom.
FAR = 15.2


def mixture(weights, means, variances, schedule=SCHEDULE):
    """In one dimension."""
    return GaussianMixtureDenoiser(weights, np.array(means)[:, None], np.array(variances)[:, None], schedule)


def q(schedule=SCHEDULE):
    return mixture([0.3, 0.7], [-2.0, 1.5], [0.5, 0.3], schedule)


def r(schedule=SCHEDULE):
    return mixture([0.5, 0.5], [0.0, 2.5], [0.6, 0.4], schedule)


def truth(models, exponents, t):
    """Log-normaliser, mean, variance and P(x < 0) of the product of powers at time t, by quadrature."""
    x = torch.linspace(-30.0, 30.0, 200_001, dtype=torch.float64)[:, None]
    log_density = sum(b * model.logp(x, t) for b, model in zip(exponents, models, strict=True))
    density = torch.exp(log_density) * (x[1] - x[0])
    total, x = density.sum(), x[:, 0]
    mean = (density * x).sum() / total
    variance = (density * (x - mean) ** 2).sum() / total
    return [float(one) for one in (torch.log(total), mean, variance, density[x < 0].sum() / total)]


def moments(x):
    return torch.cat([x, x**2, (x < 0).to(x)], dim=1)


def within(est, value):
    return np.abs(est.value - value) / est.std_error


# Against theory -----------------------------------------------------------------------------------------------------

PROBLEMS = {
    "annealing 2": ([q], [2.0]),
    "annealing 0.5": ([q], [0.5]),
    "product": ([q, r], [1.0, 1.0]),
    "guidance": ([q, r], [-1.0, 2.0]),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_mixtures_against_quadrature(name, seed):
    makes, exponents = PROBLEMS[name]
    models = [make() for make in makes]
    log_z, mean, variance, negative = truth(models, exponents, 0.02)
    grid = make_grid(SCHEDULE, 120, "karras")
    fkc = FeynmanKacCorrector(models, exponents, grid, n_particles=1000, random_state=seed).fit()
    # Four questions: a false alarm with probability 4e-7.
    assert within(fkc.estimate(), [log_z]).max() < FAR
    assert within(fkc.estimate(moments), [mean, variance + mean**2, negative]).max() < FAR
    assert fkc.estimate().std_error[0] < 0.25


def test_guidance_is_corrected_where_the_mixed_score_alone_is_wrong(seed):
    models, exponents = [q(), r()], [1.0 - 2.0, 2.0]
    assert truth(models, exponents, 0.02)[1] == pytest.approx(4.196, abs=5e-4)
    settings = {"n_particles": 1000, "random_state": seed, "extrapolate": False}
    est = FeynmanKacCorrector(models, exponents, KARRAS, **settings).fit().estimate(lambda x: x)
    assert within(est, 4.196)[0] < 5
    assert est.std_error[0] < 0.06
    plain = FeynmanKacCorrector(models, exponents, KARRAS, ess_threshold=0.0, **settings).fit()
    means = plain.samples_.numpy().mean(axis=(1, 2))
    assert abs(means.mean() - 2.09) < 5 * means.std(ddof=1) / 10**0.5
    assert plain.resample_times_.size == 0


@pytest.mark.parametrize(("m", "c2", "power"), [(1.0, 1.0, 2.0), (-3.0, 0.25, 0.5), (0.5, 4.0, 1.5)])
@pytest.mark.parametrize(
    "schedule", [SCHEDULE, VPLinear(), VE(), FlowMatching()], ids=lambda schedule: type(schedule).__name__
)
def test_a_power_of_one_gaussian(m, c2, power, schedule, seed):
    model = GaussianDenoiser([m], c2, schedule)
    grid = make_grid(schedule, 100, "karras")
    fkc = FeynmanKacCorrector(model, power, grid, n_particles=500, random_state=seed).fit()
    alpha, total = grid.alpha[-1], grid.alpha[-1] ** 2 * c2 + grid.sigma[-1] ** 2
    log_z = 0.5 * ((1 - power) * np.log(2 * np.pi * total) - np.log(power))
    est = fkc.estimate(lambda x: torch.cat([x, (x - alpha * m) ** 2], dim=1), names=["mean", "variance"])
    assert within(fkc.estimate(), log_z)[0] < FAR
    assert within(est, [alpha * m, total / power]).max() < FAR
    assert est.names == ("mean", "variance")


@pytest.mark.parametrize("noise_scale", [0.0, 0.7, 1.4])
def test_the_law_does_not_depend_on_the_noise_of_the_simulation(noise_scale, seed):
    models, exponents = [q(), r()], [0.5, 0.5]
    log_z, mean, variance, _ = truth(models, exponents, 0.02)
    grid = make_grid(SCHEDULE, 120, "karras")
    settings = {"n_particles": 500, "noise_scale": noise_scale, "random_state": seed}
    fkc = FeynmanKacCorrector(models, exponents, grid, **settings).fit()
    assert within(fkc.estimate(), log_z)[0] < FAR
    assert within(fkc.estimate(moments)[["value[0]", "value[1]"]], [mean, variance + mean**2]).max() < FAR


def test_noise_for_strong_tempering_keeps_the_weights_together(seed):
    model, grid = GaussianDenoiser([0.0], 1.0, SCHEDULE), make_grid(SCHEDULE, 100, "karras")
    settings = {"n_particles": 500, "n_populations": 40, "extrapolate": False, "random_state": seed}
    spread = {}
    for noise_scale in (None, 1.0):
        fkc = FeynmanKacCorrector(model, 3.0, grid, noise_scale=noise_scale, **settings).fit()
        spread[noise_scale] = fkc.log_normalisers_.std(ddof=1)
    # Standard deviations of 40 populations have a relative error of 0.11; a third was measured.
    assert spread[None] < 0.6 * spread[1.0]


def test_general_weights_are_the_special_forms():
    models, grid = [tilted(), tilted(d=3)], make_grid(VPLinear(), 4)
    models[1] = GaussianMixtureDenoiser([1.0], [[0.5, 0.0, -1.0]], 0.4, VPLinear())
    y = 3.0 * noise(20, 3).reshape(2, 10, 3)
    i = 2
    s1, s2 = (-model.output(grid.alpha[i] * y.flatten(0, 1), grid.level(i), "eps") / grid.ratio[i] for model in models)

    def growth(exponents):
        table = np.tile(exponents, (5, 1))
        flow = Flow(tuple(models[: len(exponents)]), table, 1.0, "euler", "systematic", 0.5, (-np.inf, np.inf))
        return _drift_and_growth(flow, grid, i, y)[1].flatten()

    def square(s):
        return s.square().sum(1)

    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(growth((1.7,)), 1.7 * 0.7 * square(s1), **close)
    torch.testing.assert_close(growth((1 - 2.5, 2.5)), 2.5 * 1.5 * square(s2 - s1), **close)
    product = 1.3 * 0.3 * square(s1 + s2) + 2 * 1.3 * (s1 * s2).sum(1)
    torch.testing.assert_close(growth((1.3, 1.3)), product, **close)
    assert not growth((1.0, 0.0)).any()
    assert not growth((1.0,)).any()


def test_one_model_is_the_plain_sampler_bit_for_bit():
    settings = {"n_particles": 50, "n_populations": 2, "random_state": 1}
    grid = make_grid(SCHEDULE, 20, "karras")
    alone = FeynmanKacCorrector(q(), 1, grid, **settings).fit()
    pair = FeynmanKacCorrector([q(), r()], [1, 0], grid, **settings).fit()
    assert torch.equal(alone.samples_, pair.samples_)
    assert not pair.log_weights_.any()
    assert float(pair.estimate()) == 0.0
    same = FeynmanKacCorrector([q(), q()], [-1, 2], grid, **settings).fit()
    np.testing.assert_allclose(same.log_weights_, 0.0, atol=1e-20)


def test_bias_is_of_first_order_and_extrapolation_removes_it(seed):
    # Euler steps of b = 1/2, where a run of this size has a standard error of 0.005 and halving the steps shows.
    def answer(n, extrapolate):
        grid = make_grid(SCHEDULE, n, "karras")
        settings = {"n_particles": 4000, "integrator": "euler", "extrapolate": extrapolate, "random_state": seed}
        est = FeynmanKacCorrector(q(), 0.5, grid, **settings).fit().estimate()
        return float(est) - log_z, est.std_error[0]

    log_z = truth([q()], [0.5], 0.02)[0]
    (coarse, error), (fine, _) = answer(20, False), answer(40, False)
    assert coarse < -10 * error
    assert coarse / fine == pytest.approx(2.0, abs=0.6)
    rest, rest_error = answer(40, True)
    assert abs(rest) < 0.4 * abs(fine) + 6 * rest_error


def warmer(t):
    """From 1 at high noise to 2 at the last node."""
    return 1.0 + 1.0 / (1.0 + (t / 2.0) ** 2)


@pytest.mark.parametrize("schedule", [SCHEDULE, VPLinear()], ids=["EDM", "VP"])
def test_powers_that_change_with_time(schedule, seed):
    model, t = q(schedule), schedule.t_min
    rise = warmer if schedule is SCHEDULE else lambda t: 2.0 - t
    log_z, mean, variance, negative = truth([model], [rise(t)], t)
    grid = make_grid(schedule, 120, "karras")
    fkc = FeynmanKacCorrector(model, rise, grid, n_particles=500, random_state=seed).fit()
    assert within(fkc.estimate(), [log_z]).max() < FAR
    assert within(fkc.estimate(moments), [mean, variance + mean**2, negative]).max() < FAR
    assert fkc.estimate().std_error[0] < 0.25
    # Of two models, guidance that grows towards the data.
    models = [q(schedule), r(schedule)]
    weight = lambda t: 1.0 + (rise(t) - 1.0) / (rise(schedule.t_min) - 1.0)  # noqa: E731
    wanted = truth(models, [-1.0, 2.0], t)
    both = FeynmanKacCorrector(models, lambda t: [1 - weight(t), weight(t)], grid, n_particles=500, random_state=seed)
    assert within(both.fit().estimate(), wanted[:1]).max() < FAR
    assert within(both.estimate(lambda x: x), wanted[1:2]).max() < FAR


def test_powers_that_do_not_change_are_the_constant_ones():
    grid = make_grid(SCHEDULE, 40, "karras")
    settings = {"n_particles": 50, "n_populations": 3, "random_state": 1}
    plain = FeynmanKacCorrector([q(), r()], [0.4, 0.9], grid, **settings).fit()
    changing = FeynmanKacCorrector([q(), r()], lambda t: [0.4, 0.9], grid, **settings).fit()
    assert torch.equal(plain.samples_, changing.samples_)
    np.testing.assert_array_equal(plain.log_normalisers_, changing.log_normalisers_)


def test_last_weights_lead_to_a_target(seed):
    # From the square of q to a normal law, whose normaliser is known.
    def target(x):
        return 0.3 - 0.5 * (x[:, 0] - 1.0) ** 2 / 0.5

    grid = make_grid(SCHEDULE, 120, "karras")
    fkc = FeynmanKacCorrector(q(), 1.2, grid, n_particles=1000, target=target, random_state=seed).fit()
    assert within(fkc.estimate(), [0.3 + 0.5 * np.log(2 * np.pi * 0.5)])[0] < FAR
    est = fkc.estimate(lambda x: torch.cat([x, (x - 1.0) ** 2], dim=1))
    assert within(est, [1.0, 0.5]).max() < FAR
    assert "target" in est.estimand
    shares = np.exp(fkc.log_weights_)
    np.testing.assert_allclose(fkc.ess_path_[-1], shares.sum(1) ** 2 / (shares**2).sum(1))
    # A target that is the product of powers itself adds nothing.
    same = FeynmanKacCorrector(q(), 1.2, grid, n_particles=50, target=lambda x: 1.2 * q().logp(x, 0.02), random_state=1)
    plain = FeynmanKacCorrector(q(), 1.2, grid, n_particles=50, random_state=1).fit()
    np.testing.assert_allclose(same.fit().log_normalisers_, plain.log_normalisers_, rtol=1e-9)


@pytest.mark.parametrize("scheme", ["stratified", "multinomial", "residual"])
def test_other_resampling_has_the_same_law(scheme, seed):
    grid = make_grid(SCHEDULE, 60, "karras")
    settings = {"n_particles": 1000, "resampling": scheme, "random_state": seed}
    fkc = FeynmanKacCorrector(q(), 0.5, grid, **settings).fit()
    assert len(fkc.ancestors_) > 0
    assert within(fkc.estimate(), truth([q()], [0.5], 0.02)[:1])[0] < FAR


def test_equal_samples_from_the_particles():
    grid = make_grid(SCHEDULE, 60, "karras")
    fkc = FeynmanKacCorrector([q(), r()], [-1.0, 2.0], grid, n_particles=400, random_state=0, extrapolate=False).fit()
    x = fkc.sample(500)
    assert x.shape == (500, 1)
    assert torch.equal(x, fkc.sample(500))
    weights = np.exp(fkc.log_weights_ - fkc.log_weights_.max(1, keepdims=True))
    weights = weights / weights.sum(1, keepdims=True) * np.exp(fkc.log_normalisers_ - 4.0)[:, None]
    weights = (weights / weights.sum()).ravel()
    counts = (x == fkc.samples_.flatten(0, 1).T).sum(0).numpy()
    # Systematic: 500 times the weight, up to one.
    assert np.abs(counts - 500 * weights).max() < 1.0
    assert (x[1:] < x[:-1]).any()


@pytest.mark.slow
def test_coverage_of_the_extrapolated_log_normaliser(seed):
    models, exponents = [q(), r()], [-1.0, 2.0]
    log_z = truth(models, exponents, 0.02)[0]
    grid = make_grid(SCHEDULE, 200, "karras")

    def covered(start, n):
        count = 0
        for k in range(start, start + n):
            settings = {"n_particles": 200, "random_state": seed + k}
            band = FeynmanKacCorrector(models, exponents, grid, **settings).fit().estimate().conf_int(0.95)
            count += bool(band["lower"].iloc[0] <= log_z <= band["upper"].iloc[0])
        return count

    two_stage_coverage(covered, 0.95)


# Against a slow twin ------------------------------------------------------------------------------------------------


def test_equals_the_naive_twin():
    grid = make_grid(SCHEDULE, 60, "karras")
    models, exponents = [q(), r()], (0.9, 1.1)
    settings = {"n_particles": 12, "extrapolate": False, "integrator": "euler", "random_state": 3, "noise_scale": 1.0}
    fkc = FeynmanKacCorrector(models, exponents, grid, **settings).fit()
    source = generator(root_seed(3), "FeynmanKacCorrector", Purpose.REPLICATES, 4)

    def noises():
        return torch.randn((12, 1), generator=source, dtype=torch.float64)[:, 0].numpy()

    def uniforms():
        return float(torch.rand(1, generator=source, dtype=torch.float64))

    def score(j, x, i):
        return float(models[j].score(torch.tensor([[x]], dtype=torch.float64), grid.t[i]))

    start = (80.0 / 2**0.5 * noises()).tolist()
    x, log_w, log_z, times = naive.population(score, exponents, grid.sigma.tolist(), start, noises, uniforms, 0.5)
    np.testing.assert_allclose(fkc.samples_[4, :, 0].numpy(), x, rtol=1e-8)
    np.testing.assert_allclose(fkc.log_weights_[4], log_w, rtol=1e-8)
    assert times
    assert set(grid.t[times]) <= set(fkc.resample_times_)
    start_z = 0.5 * ((1 - 2.0) * np.log(2 * np.pi * 80.0**2) - np.log(2.0))
    assert fkc.log_normalisers_[4] == pytest.approx(start_z + log_z, rel=1e-9)


# What is kept -------------------------------------------------------------------------------------------------------


def test_genealogy_and_paths():
    grid = make_grid(SCHEDULE, 60, "karras")
    fkc = FeynmanKacCorrector(q(), 2, grid, n_particles=100, n_populations=3, random_state=0).fit()
    assert fkc.ess_path_.shape == (60, 3)
    assert len(fkc.ancestors_) == len(fkc.resample_times_) > 0
    assert (np.diff(fkc.resample_times_) < 0).all()
    for ancestors in fkc.ancestors_:
        assert ancestors.shape == (3, 100)
        assert (np.diff(ancestors, axis=1) >= 0).all()
    assert fkc.n_calls_ == 90
    shares = np.exp(fkc.log_weights_)
    np.testing.assert_allclose(fkc.ess_path_[-1], shares.sum(1) ** 2 / (shares**2).sum(1))


def test_weights_grow_only_in_their_interval():
    grid = make_grid(SCHEDULE, 60, "karras")
    settings = {"n_particles": 50, "n_populations": 2, "random_state": 0, "extrapolate": False, "ess_threshold": 0.0}
    fkc = FeynmanKacCorrector(q(), 2, grid, weight_interval=(0.1, 5.0), **settings).fit()
    inside = (grid.t[:-1] >= 0.1) & (grid.t[:-1] <= 5.0)
    moved = np.abs(np.diff(fkc.ess_path_, axis=0, prepend=50.0)).max(axis=1) > 1e-9
    np.testing.assert_array_equal(moved, inside)
    assert fkc.estimate(lambda x: x).value.shape == (1,)
    with pytest.raises(InvalidParameter, match="fn must be given"):
        fkc.estimate()
    whole = FeynmanKacCorrector(q(), 2, grid, weight_interval=(0.0, 100.0), **settings).fit()
    np.testing.assert_array_equal(whole.log_weights_, FeynmanKacCorrector(q(), 2, grid, **settings).fit().log_weights_)


def test_networks_of_any_rank_in_single_precision():
    exact = eight_modes()
    net = Denoiser(lambda x, t: network(exact)(x.flatten(1), t).reshape(x.shape), VPLinear())
    grid = make_grid(VPLinear(), 30, "karras")
    settings = {"n_particles": 40, "n_populations": 2, "random_state": 0}
    images = FeynmanKacCorrector(net, 0.7, grid, shape=(1, 2, 1), dtype="float32", **settings).fit()
    assert images.samples_.shape == (2, 40, 1, 2, 1)
    assert images.samples_.dtype == torch.float32
    assert images.log_weights_.dtype == np.float64
    odd = make_grid(VPLinear(), 31, "karras")
    flat = FeynmanKacCorrector(exact, 0.7, odd, **settings).fit()
    assert set(flat.estimate().diagnostics) >= {"at 31 steps", "at 15 steps"}


def test_bad_input():
    grid = make_grid(SCHEDULE, 20, "karras")
    for exponents in (-1.0, 0.0):
        with pytest.raises(InvalidParameter, match="exponents must have a positive sum"):
            FeynmanKacCorrector(q(), exponents, grid).fit()
    with pytest.raises(InvalidParameter, match=r"exponents must hold 1 number\(s\)"):
        FeynmanKacCorrector(q(), [1.0, 2.0], grid).fit()
    with pytest.raises(InvalidParameter, match="share a schedule"):
        FeynmanKacCorrector([q(), q(VPLinear())], [1.0, 1.0], grid).fit()
    with pytest.raises(InvalidParameter, match="denoisers must be 1 or more Denoisers"):
        FeynmanKacCorrector([], [], grid).fit()
    for exponents, message in [
        (lambda t: [1.0, 2.0], r"exponents must hold 1 number\(s\)"),
        (lambda t: 1.0 - t, "exponents must have a positive sum, got -79"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            FeynmanKacCorrector(q(), exponents, grid).fit()
    net = Denoiser(network(q()), SCHEDULE)
    with pytest.raises(InvalidParameter, match=r"denoisers must have logp\(x, t\) for exponents that change"):
        FeynmanKacCorrector(net, warmer, grid, shape=(1,)).fit()
    with pytest.raises(InvalidParameter, match=r"denoisers must have logp\(x, t\) for a target; Denoiser"):
        FeynmanKacCorrector(net, 1.0, grid, shape=(1,), target=lambda x: x[:, 0]).fit()
    with pytest.raises(InvalidParameter, match="target must be a function"):
        FeynmanKacCorrector(q(), 1.0, grid, target=1.0).fit()
    with pytest.raises(InvalidData, match=r"target must return log densities of shape \(50,\), got \(50, 1\)"):
        FeynmanKacCorrector(q(), 1.0, grid, n_particles=5, target=lambda x: x).fit()
    with pytest.raises(InvalidParameter, match="n must be an integer"):
        FeynmanKacCorrector(q(), 1.0, grid, n_particles=5).fit().sample(0)
    with pytest.raises(InvalidData, match="end above 0"):
        FeynmanKacCorrector(q(), 2.0, [80.0, 1.0, 0.0]).fit()
    with pytest.raises(InvalidData, match="at least 4 steps"):
        FeynmanKacCorrector(q(), 2.0, [80.0, 1.0, 0.5]).fit()
    with pytest.raises(InvalidParameter, match="shape must be given"):
        FeynmanKacCorrector(Denoiser(network(q()), SCHEDULE), 2.0, grid).fit()
    with pytest.raises(InvalidParameter, match="shape must be a tuple"):
        FeynmanKacCorrector(q(), 2.0, grid, shape=[1]).fit()
    with pytest.raises(InvalidParameter, match="extrapolate must be True or False"):
        FeynmanKacCorrector(q(), 2.0, grid, extrapolate=1).fit()
    with pytest.raises(InvalidParameter, match="dtype must be one of"):
        FeynmanKacCorrector(q(), 2.0, grid, dtype="float16").fit()
    with pytest.raises(InvalidData, match="fn must return"):
        FeynmanKacCorrector(q(), 1.0, grid, n_particles=5).fit().estimate(lambda x: x.mean())
    broken = Denoiser(lambda x, t: x * torch.nan, SCHEDULE)
    with pytest.raises(FloatingPointError, match="NaN or infinity at time 80"):
        FeynmanKacCorrector(broken, 2.0, grid, shape=(1,)).fit()
    with pytest.warns(ReliabilityWarning, match="weights collapsed"):
        fkc = FeynmanKacCorrector(q(), 40.0, grid, n_particles=5, random_state=0).fit()
    assert "collapsed" in fkc.estimate().warnings[0]
