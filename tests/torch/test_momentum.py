"""Momentum: weights, orders, stability, and what is the same at beta = 1."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion import (
    DDIM,
    GHVB,
    PLMS,
    VE,
    Denoiser,
    DPMSolver,
    EmpiricalDenoiser,
    Grid,
    HeavyBall,
    UniPC,
    VPLinear,
    make_grid,
    sample,
    stability_region,
)
from mcstat.torch.diffusion._momentum import _weights
from tests.torch.problems import eight_modes, noise, rmse

GRID = make_grid(VPLinear(), 12)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("beta", [1.0, 0.8, 0.3])
def test_weights_integrate_polynomials_of_the_velocity(count, beta):
    # With eps a polynomial of degree < count in n, the velocity is the polynomial that the recursion keeps.
    places = -np.arange(count)
    for power in range(count):
        # v solves v(n) = (1 - beta) v(n - 1) + beta n^power: found by its moments, lowest power last.
        basis = np.vander(places, count, increasing=True)
        shifted = np.vander(places - 1, count, increasing=True)
        v = np.linalg.lstsq(basis - (1 - beta) * shifted, beta * places.astype(float) ** power, rcond=None)[0]
        assert np.dot(_weights(count, beta), basis @ v) == pytest.approx(1 / (power + 1), abs=1e-9)


def test_known_weights():
    np.testing.assert_allclose(_weights(4, 1.0), np.array([55, -59, 37, -9]) / 24)
    np.testing.assert_allclose(_weights(3, 1.0), np.array([23, -16, 5]) / 12)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_without_momentum_all_are_one(order):
    d, x = eight_modes(), noise(20)
    plain = sample(PLMS(order), d, x, GRID).samples
    for solver in (GHVB(order), GHVB(order, beta=1.0), HeavyBall(PLMS(order), 1.0)):
        assert torch.equal(sample(solver, d, x, GRID).samples, plain)
    if order == 1:
        torch.testing.assert_close(plain, sample(DDIM(), d, x, GRID).samples, rtol=1e-11, atol=1e-12)
    fractional = sample(GHVB(order - 0.25), d, x, GRID).samples if order > 1 else None
    if fractional is not None:
        assert torch.equal(fractional, sample(GHVB(order, beta=0.75), d, x, GRID).samples)


@pytest.mark.parametrize(
    "solver",
    [GHVB(1.8), GHVB(2.5), GHVB(3.8), GHVB(4.2), HeavyBall(PLMS(4), 0.5), HeavyBall(PLMS(2), 0.8, nesterov=True)],
    ids=repr,
)
def test_constant_noise_is_exact(solver):
    d, x = Denoiser(lambda x, t: torch.full_like(x, 0.7), VPLinear()), noise(10)
    wanted = GRID.alpha[-1] * (x / GRID.alpha[0] + 0.7 * (GRID.ratio[-1] - GRID.ratio[0]))
    torch.testing.assert_close(sample(solver, d, x, GRID).samples, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("base", [DPMSolver(2), UniPC(2)], ids=repr)
def test_heavy_ball_over_other_solvers(base):
    d, x = eight_modes(), noise(10)
    assert torch.equal(sample(HeavyBall(base, 1.0), d, x, GRID).samples, sample(base, d, x, GRID).samples)
    plain, heavy = (sample(solver, d, x, GRID).samples for solver in (base, HeavyBall(base, 0.8)))
    assert 1e-4 < rmse(plain, heavy) < 0.5


def test_heavy_ball_by_hand():
    d, x, grid = eight_modes(), noise(6), Grid.from_ratio(VPLinear(), [3.0, 2.0, 1.0])
    e_0 = d.eps(x, grid.t[0])
    bar = x / grid.alpha[0] - e_0
    e_1 = d.eps(grid.alpha[1] * bar, grid.t[1])
    g = 1.5 * e_1 - 0.5 * e_0
    v = 0.4 * e_0 + 0.6 * g
    got = sample(HeavyBall(PLMS(2), 0.6), d, x, grid).samples
    torch.testing.assert_close(got, grid.alpha[2] * (bar - v), rtol=1e-9, atol=1e-10)
    got = sample(HeavyBall(PLMS(2), 0.6, nesterov=True), d, x, grid).samples
    torch.testing.assert_close(got, grid.alpha[2] * (bar - 0.4 * v - 0.6 * g), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("solver", "low", "high"),
    [
        (GHVB(1), 0.9, 1.1),
        (GHVB(2), 1.85, 2.1),
        (GHVB(1.8), 1.85, 2.1),
        (GHVB(1.5), 1.85, 2.1),
        (GHVB(2.8), 2.8, 3.1),
        (HeavyBall(PLMS(2), 0.8), 0.85, 1.15),
        (HeavyBall(PLMS(4), 0.5), 0.85, 1.15),
    ],
    ids=repr,
)
def test_orders_on_a_smooth_problem(solver, low, high):
    d = eight_modes(VE())
    x = 3.0 * noise(64)

    def run(solver, n):
        return sample(solver, d, x, np.linspace(3.0, 0.5, n + 1)).samples

    reference = run(PLMS(4), 6000)
    rate = np.log2(rmse(run(solver, 160), reference) / rmse(run(solver, 320), reference))
    assert low < rate < high


@pytest.mark.parametrize(
    ("solver", "end"),
    [
        (PLMS(1), 2.0),
        (PLMS(2), 1.0),
        (PLMS(3), 6 / 11),
        (PLMS(4), 0.3),
        (HeavyBall(PLMS(2), 0.8), 1.5),
        (HeavyBall(PLMS(3), 0.5), 6 / 11 * 3),
        (GHVB(1, beta=0.5), 6.0),
        (GHVB(1.8), 1.2),
        (GHVB(1.5), 1.5),
        (GHVB(2.8), 0.64),
        (GHVB(2.5), 0.78),
        (GHVB(3.5), 0.42),
    ],
    ids=repr,
)
def test_stability_on_the_negative_axis(solver, end):
    z = -np.arange(0.0, 8.0, 0.005)
    stable = stability_region(solver, z)
    assert stable[0]
    assert -z[np.argmin(stable)] == pytest.approx(end, abs=0.02)


def test_momentum_widens_the_region():
    plane = np.linspace(-3, 0.5, 80)[:, None] + 1j * np.linspace(0, 2, 60)
    area = [stability_region(solver, plane).sum() for solver in (PLMS(3), GHVB(2.8), GHVB(2.5))]
    assert area[0] < area[1] < area[2]


def test_bad_input():
    d, x = eight_modes(), noise(3)
    for solver, message in [
        (GHVB(0.8), "order must be"),
        (GHVB(5.5), "order must be"),
        (GHVB(2.5, beta=0.5), "whole number"),
        (GHVB(2, beta=0.0), "beta"),
        (PLMS(6), "order must be at most 5"),
        (HeavyBall(beta=1.5), "beta"),
        (HeavyBall(DDIM()), "base must be"),
        (HeavyBall(DPMSolver(2, algorithm="sde-dpmsolver++")), "base must be"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            sample(solver, d, x, GRID)
    with pytest.raises(InvalidParameter, match="solver must be"):
        stability_region(DDIM(), 0.0)
    with pytest.raises(InvalidParameter, match="trim its start"):
        sample(PLMS(2), d, x, Grid(GRID.t, GRID.lam, np.append(0.0, GRID.alpha[1:]), GRID.sigma))


def test_memorised_data_at_the_end():
    data = noise(5, seed=3)
    out = sample(GHVB(1.8), EmpiricalDenoiser(data), noise(8), make_grid(VPLinear(), 40)).samples
    assert torch.cdist(out, data).amin(1).max() < 0.05
