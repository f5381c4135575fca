"""DEIS: integrals of the polynomial through the last noises, on any grid and in three clocks."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import lagrange

from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion import (
    DEIS,
    EDM,
    PLMS,
    DCSolver,
    Denoiser,
    DPMSolver,
    Euler,
    FlowMatching,
    Grid,
    VPDiscrete,
    VPLinear,
    convergence_order,
    make_grid,
    reference_solution,
    sample,
)
from tests.torch.problems import eight_modes, noise, rmse

SCHEDULE = VPLinear()
UNEVEN = Grid.from_ratio(SCHEDULE, [12.0, 7.0, 3.1, 1.9, 1.0, 0.45, 0.2, 0.11, 0.03])
WITH_ZERO = Grid.from_ratio(SCHEDULE, [12.0, 7.0, 3.1, 1.9, 1.0, 0.45, 0.2, 0.11, 0.0])
CLOCKS = {
    "time": lambda s: SCHEDULE.t_of_lam(-np.log(s)),
    "lambda": lambda s: -np.log(s),
    "ratio": lambda s: s,
}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("grid", [UNEVEN, WITH_ZERO], ids=["uneven", "zero"])
def test_against_quadrature_of_the_interpolant(order, clock, grid):
    d, x, at = eight_modes(), noise(3), CLOCKS[clock]
    y, answers = x / grid.alpha[0], []
    for i in range(grid.n_steps):
        answers.insert(0, d.eps(grid.alpha[i] * y, grid.t[i]))
        p = 1 if grid.sigma[i + 1] == 0.0 else min(order, i + 1)
        nodes = np.array([float(at(grid.ratio[i - k])) for k in range(p)])
        for k in range(p):
            shape = lagrange(nodes, np.eye(p)[k])
            start, end = grid.ratio[i], grid.ratio[i + 1]
            weight = quad(lambda s, shape=shape: shape(at(s)), start, end, epsrel=1e-12)[0] if p > 1 else end - start
            y = y + weight * answers[k]
    torch.testing.assert_close(sample(DEIS(order, clock), d, x, grid).samples, grid.alpha[-1] * y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("order", [2, 3, 4])
def test_polynomials_of_the_clock_are_integrated_exactly(order, clock):
    power, at = order - 1, CLOCKS[clock]
    d = Denoiser(lambda x, t: torch.full_like(x, float(at(np.exp(-SCHEDULE.lam(float(t[0]))))) ** power), SCHEDULE)
    path = sample(DEIS(order, clock), d, noise(4), UNEVEN, return_trajectory=True).trajectory
    # After the warm-up steps, which are of lower order.
    y = path / torch.tensor(UNEVEN.alpha)[:, None, None]
    wanted = quad(lambda s: float(at(s)) ** power, UNEVEN.ratio[power], UNEVEN.ratio[-1], epsrel=1e-12)[0]
    torch.testing.assert_close(y[-1] - y[power], torch.full_like(y[-1], wanted), rtol=1e-10, atol=1e-10)


def test_what_is_the_same_by_theory():
    d, x = eight_modes(), noise(20)
    for clock in CLOCKS:
        euler = sample(Euler(), d, x, UNEVEN).samples
        assert torch.equal(sample(DEIS(1, clock), d, x, UNEVEN).samples, euler)
    even = Grid.from_ratio(SCHEDULE, np.linspace(3.0, 0.3, 10))
    for order in (2, 3, 4):
        wanted = sample(PLMS(order), d, x, even).samples
        torch.testing.assert_close(sample(DEIS(order, "ratio"), d, x, even).samples, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_in_lambda_it_is_dpm_solver_in_predicted_noise(order):
    d, x = eight_modes(), noise(20)
    ours = sample(DEIS(order, "lambda", lower_order_final=True), d, x, UNEVEN).samples
    theirs = sample(DPMSolver(order, algorithm="dpmsolver", solver_type="taylor"), d, x, UNEVEN).samples
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("order", [2, 3, 4])
def test_order_of_convergence(order, clock):
    # Steps are even in lambda, and so uneven in the other clocks. The first steps are of lower order, on little noise.
    est = convergence_order(DEIS(order, clock), eight_modes(), noise(50), 200)
    assert float(est) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("schedule", [EDM(sigma_max=20.0), FlowMatching(), VPDiscrete.linear()], ids=repr)
def test_any_schedule_rank_and_dtype(schedule):
    d, grid = eight_modes(schedule), make_grid(schedule, 30)
    x = float(grid.sigma[0]) * noise(10)
    exact = reference_solution(d, x, grid).samples
    for clock in CLOCKS:
        got = sample(DEIS(3, clock), d, x, grid).samples
        assert rmse(got, exact) < 0.02
        image = sample(DEIS(3, clock), d, x.float().reshape(10, 1, 2, 1), grid).samples
        assert image.dtype == torch.float32
        assert rmse(image.double().reshape(10, 2), got) < 1e-3
    # Nodes as an array, and as a base for compensation.
    torch.testing.assert_close(sample(DEIS(3), d, x, grid.ratio).samples, sample(DEIS(3), d, x, grid).samples)
    plain = sample(DCSolver(DEIS(2), ratios=np.ones(30)), d, x, grid).samples
    assert torch.equal(plain, sample(DEIS(2), d, x, grid).samples)


def test_bad_input():
    d, x, grid = eight_modes(), noise(3), make_grid(SCHEDULE, 5)
    for solver, message in [
        (DEIS(5), "order must be at most 4"),
        (DEIS(0), "order must be an integer"),
        (DEIS(clock="sigma"), "clock must be one of 'time', 'lambda', 'ratio'"),
        (DEIS(lower_order_final="never"), "lower_order_final"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            sample(solver, d, x, grid)
    with pytest.raises(InvalidParameter, match="at least 3 steps"):
        sample(DEIS(3), d, x, make_grid(SCHEDULE, 2))
    nameless = Grid(grid.t, grid.lam, grid.alpha, grid.sigma)
    with pytest.raises(InvalidParameter, match="grid must know its schedule"):
        DEIS(2).coefficients(nameless)
    assert torch.equal(sample(DEIS(2), d, x, nameless).samples, sample(DEIS(2), d, x, grid).samples)
