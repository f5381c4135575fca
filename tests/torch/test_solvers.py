"""What all solvers must do, and the first of them against closed forms."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence
from sklearn.base import clone

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion import (
    DDIM,
    EDM,
    GHVB,
    VE,
    AdaptiveDPMSolver,
    Denoiser,
    DPMSolver,
    Euler,
    FlowMatching,
    GaussianDenoiser,
    Grid,
    Heun,
    UniPC,
    VPCosine,
    VPLinear,
    add_noise,
    invert,
    make_grid,
    sample,
)
from mcstat.torch.diffusion._brownian import BrownianPath
from tests.torch.problems import eight_modes, network, noise, rmse

SOLVERS = [DDIM(), Euler(), Heun()]
NOISY = [DDIM(eta=1.0), DDIM(eta=0.5)]
each = pytest.mark.parametrize("solver", SOLVERS, ids=repr)
every = pytest.mark.parametrize("solver", SOLVERS + NOISY, ids=repr)


@each
@pytest.mark.parametrize(
    "schedule", [VPLinear(), VPCosine(), VE(), EDM(sigma_max=20.0), FlowMatching()], ids=lambda s: type(s).__name__
)
def test_gaussian_data_follow_the_closed_form(solver, schedule):
    d = GaussianDenoiser([1.0, -2.0], [0.3, 1.5], schedule)
    grid = make_grid(schedule, 400)
    x = float(grid.sigma[0]) * noise(20)
    wanted = d.ode_solution(x, grid.level(0), grid.level(400))
    assert rmse(sample(solver, d, x, grid).samples, wanted) < 0.03


@each
def test_a_point_mass_is_met_in_one_step(solver):
    d = GaussianDenoiser([1.0, -2.0], 0.0)
    z, grid = noise(10), Grid.from_ratio(VPLinear(), [5.0, 0.5])
    start, end = grid.level(0), grid.level(1)
    c = torch.tensor([1.0, -2.0], dtype=torch.float64)
    x = sample(solver, d, start.alpha * c + start.sigma * z, grid).samples
    torch.testing.assert_close(x, end.alpha * c + end.sigma * z, rtol=1e-12, atol=1e-12)


@every
def test_two_halves_are_the_whole_and_input_stays(solver):
    d, x, grid = eight_modes(), noise(64), make_grid(VPLinear(), 7)
    before = x.clone()
    whole = sample(solver, d, x, grid, random_state=3)
    assert torch.equal(x, before)
    again = sample(solver, d, x, grid, random_state=3)
    assert torch.equal(whole.samples, again.samples)
    if not solver.stochastic:
        halves = [sample(solver, d, part, grid).samples for part in x.split(32)]
        assert torch.equal(torch.cat(halves), whole.samples)


@every
def test_any_rank_float32_and_other_parametrisations(solver):
    exact, x, grid = eight_modes(), noise(32), make_grid(VPLinear(), 7)
    wanted = sample(solver, exact, x, grid, random_state=0).samples
    image = sample(solver, exact, x.reshape(32, 1, 2, 1), grid, random_state=0).samples
    torch.testing.assert_close(image.reshape(32, 2), wanted, rtol=1e-12, atol=1e-12)
    net = Denoiser(network(exact), VPLinear(), "eps")
    torch.testing.assert_close(sample(solver, net, x, grid, random_state=0).samples, wanted, rtol=1e-8, atol=1e-8)
    if not solver.stochastic:
        single = sample(solver, exact, x.float(), grid).samples
        assert single.dtype == torch.float32
        assert rmse(single.double(), wanted) < 1e-4


@every
def test_clean_data_at_the_end(solver):
    grid = make_grid(VPLinear(), 8, final="zero")
    result = sample(solver, eight_modes(), noise(16), grid, random_state=0)
    assert torch.isfinite(result.samples).all()


@every
def test_components_clone_print_and_pickle(solver):
    twin = pickle.loads(pickle.dumps(clone(solver)))  # noqa: S301
    assert repr(twin) == repr(solver)
    assert twin.get_params() == solver.get_params()


def test_ddims_noise_is_the_ancestral_samplers(seed):
    # One step from pure noise, point mass at 0: the variance must be that of the target level, whatever eta.
    d = GaussianDenoiser([0.0], 0.0)
    grid = Grid.from_ratio(VPLinear(), [3.0, 1.0])
    x = grid.sigma[0] * noise(200_000, 1, seed=seed % 1000)
    for eta in (0.0, 0.5, 1.0):
        out = sample(DDIM(eta), d, x, grid, random_state=seed).samples.numpy()
        z = (np.mean(out**2) / grid.sigma[1] ** 2 - 1.0) / np.sqrt(2 / len(out))
        # Above 5.3 by chance with probability 1.2e-7.
        assert abs(z) < 5.3


def test_what_a_run_gives():
    d, x, grid = eight_modes(), noise(200), make_grid(VPLinear(), 6)
    seen = []
    result = sample(Heun(), d, x, grid, return_trajectory=True, callback=lambda i, x: seen.append(i))
    assert seen == [1, 2, 3, 4, 5, 6]
    assert result.trajectory.shape == (7, 200, 2)
    assert torch.equal(result.trajectory[-1], result.samples)
    assert result.nfe == result.n_calls == 12
    est = result.to_estimate(lambda x: x.square().sum(1), names=["square"])
    assert float(est) == pytest.approx(float(result.samples.square().sum(1).mean()))
    assert est.info["nfe"] == 12


def test_gradients_flow_where_asked():
    d, grid = eight_modes(), make_grid(VPLinear(), 4)
    x = noise(3).requires_grad_()
    assert not sample(DDIM(), d, x, grid).samples.requires_grad
    sample(Heun(), d, x, grid, differentiable=True).samples.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).any()


@pytest.mark.parametrize("solver", [Heun(), DPMSolver(2), UniPC(2), GHVB(2.8)], ids=repr)
def test_gradients_are_derivatives(solver):
    exact = eight_modes()
    d, grid = Denoiser(network(exact), VPLinear(), "eps"), make_grid(VPLinear(), 6)
    x, step = noise(3), torch.zeros(3, 2, dtype=torch.float64)
    step[1, 0] = 1e-6

    def total(x):
        return sample(solver, d, x, grid, differentiable=True).samples.square().sum()

    (gradient,) = torch.autograd.grad(total(x.requires_grad_()), x)
    with torch.no_grad():
        slope = float(total(x + step) - total(x - step)) / 2e-6
    assert float(gradient[1, 0]) == pytest.approx(slope, rel=1e-5)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    sample(DDIM(1.0), eight_modes(), noise(5), make_grid(VPLinear(), 4), random_state=0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_brownian_path_is_one_path(seed):
    x = noise(20_000, 1)
    path = BrownianPath(SeedSequence(seed), x, -5.0, 4.0)
    marks = [-5.0, -2.3, -0.5, 0.77, 4.0]
    parts = [path.increment(a, b) for a, b in pairwise(marks)]
    spans = [np.exp(2 * b) - np.exp(2 * a) for a, b in pairwise(marks)]
    whole = sum(part * span**0.5 for part, span in zip(parts, spans, strict=True)) / sum(spans) ** 0.5
    torch.testing.assert_close(path.increment(-5.0, 4.0), whole, rtol=1e-9, atol=1e-9)
    # Four independent standard normal samples: means, variances and six correlations within 5.5 standard errors, false
    # alarms below 6e-7.
    table = torch.cat(parts, dim=1).numpy()
    assert np.abs(table.mean(0)).max() < 5.5 / np.sqrt(len(x))
    assert np.abs(table.var(0) - 1.0).max() < 5.5 * np.sqrt(2 / len(x))
    assert np.abs(np.corrcoef(table.T)[np.triu_indices(4, 1)]).max() < 5.5 / np.sqrt(len(x))


@pytest.mark.parametrize("solver", [DPMSolver(2, algorithm="sde-dpmsolver++"), DDIM(1.0)], ids=repr)
def test_more_steps_along_one_path_give_the_same_samples(solver):
    d, x = eight_modes(), noise(100)
    runs = {
        n: sample(solver, d, x, make_grid(VPLinear(), n, final="zero"), random_state=0, one_path=True).samples
        for n in (40, 80, 160, 320)
    }
    # Medians: a few points fall to another mode when the steps change.
    gaps = [float((runs[n] - runs[2 * n]).norm(dim=1).median()) for n in (40, 80, 160)]
    assert gaps[0] > gaps[1] > gaps[2]
    other = sample(solver, d, x, make_grid(VPLinear(), 160, final="zero"), random_state=0).samples
    assert gaps[2] < 0.2 * float((other - runs[320]).norm(dim=1).median())


@pytest.mark.parametrize("solver", [DDIM(), Heun(), DPMSolver(2), UniPC(2)], ids=repr)
def test_noise_found_from_data_leads_back(solver):
    d, grid = eight_modes(), make_grid(VPLinear(), 400)
    x = d.sample(30, t=VPLinear().t_min, random_state=0)
    up = invert(solver, d, x, grid)
    assert up.grid.lam[0] == grid.lam[-1]
    limit = 0.1 if isinstance(solver, DDIM) else 0.01
    assert rmse(sample(solver, d, up.samples, grid).samples, x) < limit
    # On Gaussian data the noise is known.
    gauss = GaussianDenoiser([1.0, -2.0], [0.3, 1.5])
    wanted = gauss.ode_solution(x, grid.level(400), grid.level(0))
    assert rmse(invert(solver, gauss, x, grid).samples, wanted) < 0.05
    with pytest.raises(InvalidParameter, match="with noise"):
        invert(solver, d, x, make_grid(VPLinear(), 5, final="zero"))


def test_only_plain_solvers_invert():
    for solver in (GHVB(2.8), DDIM(1.0)):
        with pytest.raises(InvalidParameter, match="solver must be DDIM"):
            invert(solver, eight_modes(), noise(3), make_grid(VPLinear(), 5))


def test_a_start_from_noisy_data(seed):
    data = torch.full((50_000, 2), 1.5, dtype=torch.float64)
    x = add_noise(data, VPLinear(), 0.3, random_state=seed)
    alpha, sigma = float(VPLinear().alpha(0.3)), float(VPLinear().sigma(0.3))
    z = (x.numpy() - 1.5 * alpha) / sigma
    # Mean and variance of 100 000 normal numbers, within 5.3 standard errors: false alarms below 3e-7.
    assert abs(z.mean()) < 5.3 / np.sqrt(z.size)
    assert abs(z.var() - 1.0) < 5.3 * np.sqrt(2 / z.size)
    back = sample(UniPC(2), GaussianDenoiser([1.5, 1.5], 0.0), x[:100], make_grid(VPLinear(), 5, t_start=0.3))
    assert rmse(back.samples, data[:100]) < 0.05


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "dpmsolver"])
@pytest.mark.parametrize("order", [2, 3])
def test_the_adaptive_solver_meets_its_tolerance(order, algorithm):
    d, x = eight_modes(), noise(50)
    reference = sample(UniPC(3), d, x, make_grid(VPLinear(), 1000)).samples
    errors, asked = [], []
    for tolerance in (1e-2, 1e-3, 1e-4):
        solver = AdaptiveDPMSolver(order, algorithm=algorithm, atol=tolerance, rtol=tolerance)
        result = sample(solver, d, x, make_grid(VPLinear(), 1))
        errors.append(rmse(result.samples, reference))
        asked.append(result.nfe)
        steps, refused = result.diagnostics["steps"], result.diagnostics["refused"]
        assert sum(steps) == pytest.approx(np.ptp(result.grid.lam))
        # A refused try asks again for all but the first answer.
        assert result.nfe == order * len(steps) + (order - 1) * refused
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3
    assert asked[0] < asked[1] < asked[2]
    between = sample(solver, d, x, make_grid(VPLinear(), 3, final="zero"))
    assert torch.isfinite(between.samples).all()


def test_the_adaptive_solver_refuses():
    for solver, message in [
        (AdaptiveDPMSolver(1), "order must be 2 or 3"),
        (AdaptiveDPMSolver(atol=0.0), "atol"),
        (AdaptiveDPMSolver(algorithm="sde-dpmsolver++"), "algorithm"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            sample(solver, eight_modes(), noise(3), make_grid(VPLinear(), 1))


def test_bad_input():
    d, grid = eight_modes(), make_grid(VPLinear(), 4)
    with pytest.raises(InvalidParameter, match="solver must be"):
        sample("ddim", d, noise(3), grid)
    with pytest.raises(InvalidParameter, match="denoiser must be"):
        sample(DDIM(), lambda x, t: x, noise(3), grid)
    with pytest.raises(TypeError, match="x_T"):
        sample(DDIM(), d, torch.ones(3, 2, dtype=torch.int32), grid)
    with pytest.raises(InvalidData, match="fall"):
        sample(DDIM(), d, noise(3), [1.0, 2.0])
    with pytest.raises(InvalidParameter, match="grid must be a Grid, as make_grid gives, or an array"):
        sample(DDIM(), d, noise(3), 10)
    with pytest.raises(InvalidParameter, match="t must be a number in"):
        add_noise(noise(3), VPLinear(), 5.0)
    with pytest.raises(InvalidParameter, match="schedule must be a NoiseSchedule"):
        add_noise(noise(3), VPLinear, 0.5)
    with pytest.raises(InvalidParameter, match="eta"):
        sample(DDIM(2.0), d, noise(3), grid)
    broken = Denoiser(lambda x, t: x * (torch.nan if float(t[0]) < 0.5 else 1.0), VPLinear())
    with pytest.raises(FloatingPointError, match="check_finite=True"):
        sample(DDIM(), broken, noise(3), grid)
    with pytest.raises(FloatingPointError, match="in step"):
        sample(DDIM(), broken, noise(3), grid, check_finite=True)
