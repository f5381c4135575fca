"""Parametrisations, guidance and corrections; analytic denoisers against automatic differentiation."""

import pickle

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion import (
    DDIM,
    EDM,
    EMS,
    VE,
    Denoiser,
    DynamicThreshold,
    EmpiricalDenoiser,
    FlowMatching,
    GaussianMixtureDenoiser,
    GuidedDenoiser,
    StaticThreshold,
    VPCosine,
    VPDiscrete,
    VPLinear,
    make_grid,
    sample,
)
from mcstat.torch.diffusion._level import Level
from tests.torch.problems import eight_modes, network, noise, tilted


def raw(denoiser, prediction):
    """A network that predicts in the given way, from an analytic denoiser."""

    def fn(x, t):
        time = float(t[0])
        if prediction == "flow":
            return denoiser.eps(x, time) - denoiser.x0(x, time)
        return {"eps": denoiser.eps, "x0": denoiser.x0, "v": denoiser.velocity, "score": denoiser.score}[prediction](
            x, time
        )

    return fn


PAIRS = [(p, s) for p in ("eps", "x0", "v", "score") for s in (VPLinear(), VPCosine(), VE(), FlowMatching())]


@pytest.mark.parametrize(("prediction", "schedule"), [*PAIRS, ("flow", FlowMatching())], ids=repr)
@pytest.mark.parametrize("shape", [(20, 2), (20, 1, 2, 1)])
def test_every_pair_of_parametrisations(prediction, schedule, shape):
    exact = eight_modes(schedule)
    net = Denoiser(raw(exact, prediction), schedule, prediction, normalise_v=True)
    x = noise(20).reshape(shape)
    for t in (0.2, 0.5, 0.9):
        for name in ("x0", "eps", "score", "velocity"):
            torch.testing.assert_close(getattr(net, name)(x, t), getattr(exact, name)(x, t), rtol=1e-9, atol=1e-9)


def test_data_and_velocity_networks_survive_vanishing_alpha():
    x, nothing_left = noise(4), Level(1.0, 0.0, 1.0)
    for prediction in ("x0", "v"):
        net = Denoiser(lambda x, t: torch.ones_like(x), VPLinear(), prediction)
        assert torch.isfinite(net.output(x, nothing_left, "x0")).all()
        assert torch.isfinite(net.output(x, nothing_left, "eps")).all()


def test_guidance_mixes_and_is_exact_at_its_ends():
    c, u = eight_modes(), tilted(d=2)
    both = {True: c, False: u}

    def fn(x, t, which):
        return both[which].eps(x, float(t[0]))

    x = noise(10)
    makes = {w: Denoiser(fn, VPLinear(), guidance_scale=w, cond=True, uncond=False) for w in (0.0, 1.0, 3.0)}
    only = {which: Denoiser(lambda x, t, w=which: fn(x, t, w), VPLinear()) for which in both}
    assert torch.equal(makes[1.0].x0(x, 0.4), only[True].x0(x, 0.4))
    assert torch.equal(makes[0.0].x0(x, 0.4), only[False].x0(x, 0.4))
    assert (makes[1.0].nfe, makes[1.0].n_calls) == (1, 1)
    mixed = u.score(x, 0.4) + 3.0 * (c.score(x, 0.4) - u.score(x, 0.4))
    torch.testing.assert_close(makes[3.0].score(x, 0.4), mixed)
    assert (makes[3.0].nfe, makes[3.0].n_calls) == (1, 2)
    analytic = GuidedDenoiser(c, u, 3.0)
    torch.testing.assert_close(analytic.score(x, 0.4), mixed)
    assert analytic.n_calls == 2
    assert torch.equal(GuidedDenoiser(c, u, 1.0).x0(x, 0.4), c.x0(x, 0.4))
    assert torch.equal(GuidedDenoiser(c, u, 0.0).x0(x, 0.4), u.x0(x, 0.4))


def test_tensor_conditions_go_in_one_batch():
    rows = []

    def fn(x, t, c):
        rows.append(len(x))
        return x * c

    x, cond, uncond = noise(6), torch.full((6, 1), 2.0).double(), torch.full((6, 1), 0.5).double()
    net = Denoiser(fn, VPLinear(), "x0", guidance_scale=2.0, cond=cond, uncond=uncond)
    torch.testing.assert_close(net.x0(x, 0.3), 3.5 * x)
    assert rows == [12]
    assert (net.nfe, net.n_calls) == (1, 2)


def test_classifier_guidance_of_the_whole_mixture_is_the_conditional_score():
    full = eight_modes()
    first = GaussianMixtureDenoiser([1.0], full.means[:1], [[0.04, 0.02]])
    net = Denoiser(
        network(full), VPLinear(), classifier=lambda x, t: torch.log(full.responsibilities(x, float(t[0]))[:, 0])
    )
    x = noise(15)
    with torch.no_grad():
        torch.testing.assert_close(net.score(x, 0.4), first.score(x, 0.4), rtol=1e-8, atol=1e-8)


def test_thresholds_correct_the_data_and_noise_follows():
    x = 3.0 * noise(8, 5)
    net = Denoiser(lambda x, t: x, VPLinear(), "x0", x0_transform=DynamicThreshold(0.9))
    x0 = net.x0(x, 0.5)
    assert x0.abs().max() <= 1.0
    s = max(np.quantile(np.abs(x[0].numpy()), 0.9), 1.0)
    np.testing.assert_allclose(x0[0].numpy(), np.clip(x[0].numpy(), -s, s) / s)
    alpha, sigma = VPLinear().alpha(0.5), VPLinear().sigma(0.5)
    torch.testing.assert_close(net.eps(x, 0.5), (x - float(alpha) * x0) / float(sigma))
    net = Denoiser(lambda x, t: x, VPLinear(), "x0", x0_transform=StaticThreshold(-0.5, 0.5))
    assert net.x0(x, 0.5).abs().max() == 0.5


@pytest.mark.parametrize("make", [eight_modes, lambda: tilted(d=2)], ids=["diagonal", "full"])
@pytest.mark.parametrize("t", [0.05, 0.5])
def test_mixture_against_automatic_differentiation(make, t):
    d = make()
    x = (0.7 * noise(12)).requires_grad_()
    (gradient,) = torch.autograd.grad(d.logp(x, t).sum(), x)
    torch.testing.assert_close(d.score(x, t), gradient, rtol=1e-10, atol=1e-10)
    alpha, sigma = float(d.schedule.alpha(t)), float(d.schedule.sigma(t))
    torch.testing.assert_close(d.x0(x, t), (x + sigma**2 * gradient) / alpha, rtol=1e-9, atol=1e-10)
    hessian = torch.stack(
        [torch.autograd.functional.hessian(lambda row: d.logp(row[None], t)[0], row) for row in x.detach()]
    )
    torch.testing.assert_close(d.hessian(x.detach(), t), hessian, rtol=1e-9, atol=1e-9)
    cov = d.posterior_cov(x.detach(), t)
    assert (torch.linalg.eigvalsh(cov) > 0).all()


def test_mixture_density_is_scipys():
    from scipy.stats import multivariate_normal

    d, t = tilted(), 0.3
    x = noise(9, 3)
    alpha, sigma = d.schedule.alpha(t), d.schedule.sigma(t)
    covs = np.einsum("kde,ke,kfe->kdf", d._axes, d._variances, d._axes)
    wanted = sum(
        w * multivariate_normal.pdf(x.numpy(), alpha * m, alpha**2 * c + sigma**2 * np.eye(3))
        for w, m, c in zip(d.weights, d.means, covs, strict=True)
    )
    np.testing.assert_allclose(d.logp(x, t).numpy(), np.log(wanted), rtol=1e-10)


def test_one_time_a_sample():
    d, x = tilted(d=2), noise(5)
    t = torch.tensor([0.1, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)
    for name in ("x0", "eps", "score", "logp", "hessian", "velocity", "posterior_cov"):
        one = torch.cat([getattr(d, name)(x[i : i + 1], float(t[i])) for i in range(5)])
        torch.testing.assert_close(getattr(d, name)(x, t), one)
    net = Denoiser(lambda x, t: x * t[:, None], VPLinear(), "x0")
    torch.testing.assert_close(net.x0(x, t), x * t[:, None])
    with pytest.raises(InvalidData, match=r"shape \(5,\)"):
        d.x0(x, t[:4])


def test_memorised_data_are_a_mixture_without_spread():
    data, x = noise(7, 3, seed=2), noise(9, 3)
    memory = EmpiricalDenoiser(data)
    mixture = GaussianMixtureDenoiser(np.ones(7), data.numpy(), 0.0)
    for t in (0.1, 0.6):
        torch.testing.assert_close(memory.x0(x, t), mixture.x0(x, t))
        torch.testing.assert_close(memory.eps(x, t), mixture.eps(x, t))


def test_samples_of_the_mixture_have_its_moments(seed):
    d = tilted()
    x = d.sample(100_000, random_state=seed).numpy()
    mean = d.weights @ d.means
    covs = np.einsum("kde,ke,kfe->kdf", d._axes, d._variances, d._axes)
    centred = d.means - mean
    cov = np.einsum("k,kde->de", d.weights, covs) + (d.weights[:, None] * centred).T @ centred
    z = (x.mean(0) - mean) / np.sqrt(np.diag(cov) / len(x))
    # Three normal deviates: above 5.4 by chance with probability 2e-7.
    assert np.abs(z).max() < 5.4
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.05 * np.diag(cov).max())


def test_analytic_denoisers_pickle():
    for d in (eight_modes(), tilted(d=2), GuidedDenoiser(eight_modes(), tilted(d=2), 2.0)):
        x = noise(4)
        wanted = d.x0(x, 0.3)
        twin = pickle.loads(pickle.dumps(d))  # noqa: S301
        assert torch.equal(twin.x0(x, 0.3), wanted)


def test_reprs_say_what_there_is_in_a_line():
    def unet(x, t, c):
        return x

    discrete = VPDiscrete.linear()
    net = Denoiser(unet, discrete, guidance_scale=3.0, cond=1, uncond=0)
    assert repr(discrete).startswith("<VPDiscrete: 1000 steps, alphas_cumprod 0.9999, ")
    assert repr(net) == f"<Denoiser: unet predicting eps, guidance 3, {discrete!r}>"
    assert len(repr(discrete)) < 80
    assert repr(eight_modes()).startswith("<GaussianMixtureDenoiser: 8 component(s) in 2 dimension(s), VPLinear(")
    guided = GuidedDenoiser(eight_modes(), tilted(d=2), 2.0)
    assert repr(guided).endswith(f"guidance 2, {VPLinear()!r}>")
    assert "7 samples of shape (3,)" in repr(EmpiricalDenoiser(noise(7, 3)))
    grid = make_grid(EDM(), 5, final="zero")
    assert repr(grid) == f"<Grid: 5 steps, sigma/alpha 80 to 0 of {EDM()!r}>"
    result = sample(DDIM(), eight_modes(), noise(4), make_grid(VPLinear(), 3))
    assert repr(result).startswith(
        "<DiffusionResult: samples (4, 2) of torch.float64, 3 questions, 3 network calls, <Grid"
    )
    assert repr(EMS.constant("data", VPLinear())).startswith(
        "<EMS: 251 nodes, lambda -5.025 to 4.558, 1 coordinate(s), of"
    )
    assert "\n" not in "".join(map(repr, (net, grid, result, guided)))


def test_float32_is_kept():
    x = noise(4, dtype=torch.float32)
    assert eight_modes().x0(x, 0.3).dtype == torch.float32
    torch.testing.assert_close(
        eight_modes().x0(x, 0.3).double(), eight_modes().x0(x.double(), 0.3), rtol=1e-4, atol=1e-5
    )


def test_bad_input():
    with pytest.raises(InvalidParameter, match="prediction must be one of 'eps', 'x0', 'v', 'score', 'flow'"):
        Denoiser(lambda x, t: x, VPLinear(), "noise")
    with pytest.raises(InvalidParameter, match="normalise_v"):
        Denoiser(lambda x, t: x, VE(), "v")
    with pytest.raises(InvalidParameter, match="FlowMatching"):
        Denoiser(lambda x, t: x, VE(), "flow")
    with pytest.raises(InvalidParameter, match="guidance_scale must be 1"):
        Denoiser(lambda x, t: x, VE(), guidance_scale=2.0)
    with pytest.raises(InvalidData, match=r"\(4, 2\), got \(4,\)"):
        Denoiser(lambda x, t: x[:, 0], VPLinear()).x0(noise(4), 0.5)
    with pytest.raises(InvalidData, match=r"a tensor of the shape of x, \(4, 2\), got ndarray"):
        Denoiser(lambda x, t: x.numpy(), VPLinear()).x0(noise(4), 0.5)
    with pytest.raises(InvalidParameter, match="fn must be a network"):
        Denoiser(None, VPLinear())
    with pytest.raises(InvalidParameter, match="schedule must be a NoiseSchedule such as VPLinear"):
        Denoiser(lambda x, t: x, VPLinear)
    with pytest.raises(InvalidData, match="2 coordinates"):
        eight_modes().x0(noise(4, 3), 0.5)
    for t in (-1.0, float("nan"), torch.tensor([0.1, 0.2, -1.0, 0.3])):
        with pytest.raises(InvalidParameter, match="t must be a time of VPLinear"):
            eight_modes().score(noise(4), t)
    with pytest.raises(InvalidData, match="weights"):
        GaussianMixtureDenoiser([1.0, -1.0], np.zeros((2, 2)), 1.0)
    with pytest.raises(InvalidData, match="symmetric"):
        GaussianMixtureDenoiser([1.0], np.zeros((1, 2)), [[[1.0, 0.5], [0.0, 1.0]]])
    with pytest.raises(InvalidData, match="negative variance"):
        GaussianMixtureDenoiser([1.0], np.zeros((1, 2)), -1.0)
    with pytest.raises(InvalidParameter, match="schedule of conditional"):
        GuidedDenoiser(eight_modes(), eight_modes(VE()), 2.0)
