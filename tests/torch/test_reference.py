"""The sampling ODE solved to a tolerance, orders of solvers, and noise to start from."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion import (
    DDIM,
    EDM,
    VE,
    DCSolver,
    Denoiser,
    FlowMatching,
    GaussianDenoiser,
    UniPC,
    VPCosine,
    VPDiscrete,
    VPLinear,
    convergence_order,
    estimate_ems,
    initial_noise,
    ito_log_density,
    log_density,
    make_grid,
    reference_solution,
    sample,
)
from tests.torch.problems import eight_modes, noise, rmse


@pytest.mark.parametrize(
    "schedule",
    [VPLinear(), VPCosine(), VE(), EDM(), FlowMatching(), VPDiscrete.linear()],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("method", ["DOP853", "RK45"])
def test_gaussian_data_follow_the_closed_form(schedule, method):
    d, grid = GaussianDenoiser([1.0, -2.0], [0.3, 1.5], schedule), make_grid(schedule, 3)
    x = float(grid.sigma[0]) * noise(20)
    result = reference_solution(d, x, grid, method=method, return_trajectory=True)
    for i in range(4):
        wanted = d.ode_solution(x, grid.level(0), grid.level(i))
        torch.testing.assert_close(result.trajectory[i], wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(result.trajectory[-1], result.samples)
    assert result.nfe == result.n_calls == d.nfe


def test_it_is_the_limit_of_many_steps():
    d, x = eight_modes(), noise(50)
    exact = reference_solution(d, x, make_grid(VPLinear(), 1))
    many = sample(UniPC(3, lower_order_final=False), d, x, make_grid(VPLinear(), 2000)).samples
    assert float((exact.samples - many).abs().max()) < 1e-6
    rough = reference_solution(d, x, make_grid(VPLinear(), 1), rtol=1e-3, atol=1e-3)
    assert rough.nfe < exact.nfe
    assert 1e-7 < rmse(rough.samples, exact.samples) < 0.01


def test_clean_ends_ranks_and_dtypes():
    d, x = eight_modes(), noise(6)
    clean = make_grid(VPLinear(), 4, final="denoise")
    result = reference_solution(d, x, clean, return_trajectory=True)
    assert result.trajectory.shape == (6, 6, 2)
    torch.testing.assert_close(result.samples, d.x0(result.trajectory[-2], clean.t[-2]))
    one = reference_solution(d, x, make_grid(VPLinear(), 1, final="zero"))
    torch.testing.assert_close(one.samples, d.x0(x, 1.0))
    image = reference_solution(d, x.float().reshape(6, 1, 2, 1), clean).samples
    assert image.dtype == torch.float32
    assert rmse(image.double().reshape(6, 2), result.samples) < 1e-3


def test_orders_are_found():
    d, x = eight_modes(), noise(40)
    for solver, order in ((DDIM(), 1), (UniPC(2, lower_order_final=False), 3)):
        est = convergence_order(solver, d, x, 200)
        assert float(est) == pytest.approx(order, abs=0.15)
        assert 0.0 < est.std_error[0] < 0.15
    exact = reference_solution(d, x, make_grid(VPLinear(), 1), rtol=1e-11, atol=1e-11).samples
    assert float(convergence_order(DDIM(), d, x, 200, reference=exact)) == pytest.approx(
        float(convergence_order(DDIM(), d, x, 200)), abs=1e-6
    )


def test_noise_to_start_from(seed):
    grid = make_grid(EDM(), 5)
    before = torch.get_rng_state()
    x = initial_noise(grid, (40_000, 2), seed, dtype=torch.float64)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(x, initial_noise(grid, (40_000, 2), seed, dtype=torch.float64))
    assert initial_noise(grid, (3, 1, 8, 8)).dtype == torch.float32
    # Variance of 80 000 normal numbers, within 5.3 standard errors: false alarms below 2e-7.
    assert abs(np.mean(x.numpy() ** 2) / 80.0**2 - 1.0) < 5.3 * np.sqrt(2 / x.numel())


def test_bad_input():
    d, x, grid = eight_modes(), noise(3), make_grid(VPLinear(), 4)
    with pytest.raises(InvalidParameter, match="method must be one of 'DOP853', 'RK45'"):
        reference_solution(d, x, grid, method="Radau")
    with pytest.raises(InvalidParameter, match="rtol"):
        reference_solution(d, x, grid, rtol=0.0)
    with pytest.raises(TypeError, match="x_T"):
        reference_solution(d, x.numpy(), grid)
    with pytest.raises(FloatingPointError, match="NaN or infinity at lambda"):
        reference_solution(Denoiser(lambda x, t: x * torch.nan, VPLinear()), x, grid)
    # y' = y^2 runs into infinity before the end.
    explosive = Denoiser(lambda x, t: -10.0 * x**2, VPLinear())
    with pytest.raises(FloatingPointError, match="the ODE was not solved to rtol"):
        reference_solution(explosive, x.abs() + 1.0, grid)
    net = torch.nn.Linear(2, 2)
    for ask in (
        lambda: reference_solution(net, x, grid),
        lambda: convergence_order(DDIM(), net, x),
        lambda: log_density(net, x, grid),
        lambda: ito_log_density(net, torch.stack([x] * 5), grid),
        lambda: estimate_ems(net, x),
        lambda: DCSolver().fit(net, grid, x),
    ):
        with pytest.raises(InvalidParameter, match="denoiser must be a Denoiser, got Linear"):
            ask()
    with pytest.raises(InvalidParameter, match="without noise"):
        convergence_order(DDIM(1.0), d, x)
    with pytest.raises(InvalidData, match="at least 2 samples"):
        convergence_order(DDIM(), d, x[:1])
    with pytest.raises(InvalidParameter, match="grid must be a Grid"):
        initial_noise([1.0, 0.5], (3, 2))
    with pytest.raises(InvalidData, match=r"shape \(n, ...\)"):
        initial_noise(grid, (3,))
    for other in (EDM(), VPLinear(beta_max=10.0)):
        with pytest.raises(InvalidParameter, match="grid must be of the denoiser's schedule"):
            sample(DDIM(), d, x, make_grid(other, 4))
