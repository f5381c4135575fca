"""DPM-Solver and UniPC: closed forms, orders of convergence, twins."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion import (
    DDIM,
    AdaptiveDPMSolver,
    Denoiser,
    DPMSolver,
    Euler,
    GaussianDenoiser,
    Grid,
    Heun,
    SinglestepDPMSolver,
    StaticThreshold,
    UniPC,
    VPLinear,
    make_grid,
    sample,
)
from mcstat.torch.diffusion._coefficients import phi
from tests.naive.diffusion import dpm_multistep, unipc
from tests.torch.problems import eight_modes, noise, rmse

SCHEDULE = VPLinear()
KINDS = ("midpoint", "taylor")
UNEVEN = Grid.from_ratio(SCHEDULE, [12.0, 7.0, 3.1, 1.9, 1.0, 0.45, 0.2, 0.11, 0.03])
WITH_ZERO = Grid.from_ratio(SCHEDULE, [12.0, 7.0, 3.1, 1.9, 1.0, 0.45, 0.2, 0.11, 0.0])


def answers_along(grid, fn):
    """A denoiser whose data depend on lambda alone, and x' = the exact solution from x at node 0."""
    return Denoiser(lambda x, t: torch.full_like(x, float(fn(SCHEDULE.lam(float(t[0]))))), SCHEDULE, "x0")


@pytest.mark.parametrize(
    ("solver", "power"),
    [
        (DPMSolver(1), 0),
        (DPMSolver(2, solver_type="taylor", lower_order_final=False), 1),
        (DPMSolver(3, lower_order_final=False), 2),
        (UniPC(3, lower_order_final=False), 2),
    ],
    ids=repr,
)
def test_polynomials_of_lambda_are_integrated_exactly(solver, power):
    from scipy.integrate import quad

    d = answers_along(UNEVEN, lambda lam: lam**power)
    result = sample(solver, d, noise(4), UNEVEN, return_trajectory=True)
    # After the warm-up steps, which are of lower order.
    i, j = power, UNEVEN.n_steps
    integral = quad(lambda lam: np.exp(lam) * lam**power, UNEVEN.lam[i], UNEVEN.lam[j], epsabs=1e-13, epsrel=1e-13)[0]
    wanted = UNEVEN.sigma[j] / UNEVEN.sigma[i] * result.trajectory[i] + UNEVEN.sigma[j] * integral
    if isinstance(solver, UniPC):
        # The corrector reaches back into the warm-up: only the steps after it are exact.
        i = power + 1
        integral = quad(lambda lam: np.exp(lam) * lam**power, UNEVEN.lam[i], UNEVEN.lam[j], epsrel=1e-13)[0]
        wanted = UNEVEN.sigma[j] / UNEVEN.sigma[i] * result.trajectory[i] + UNEVEN.sigma[j] * integral
    torch.testing.assert_close(result.samples, wanted, rtol=1e-11, atol=1e-11)
    if power == 2 and isinstance(solver, DPMSolver):
        published = solver.set_params(variant="diffusers")
        assert rmse(sample(published, d, noise(4), UNEVEN).samples, wanted) > 1e-3
        solver.set_params(variant="exact")


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "dpmsolver"])
@pytest.mark.parametrize("solver_type", ["midpoint", "taylor"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("grid", [UNEVEN, WITH_ZERO], ids=["uneven", "zero"])
@pytest.mark.parametrize("final", [True, False])
def test_against_the_naive_twin(order, solver_type, algorithm, grid, final):
    d, x = eight_modes(), noise(20)
    solver = DPMSolver(order, algorithm=algorithm, solver_type=solver_type, lower_order_final=final)
    wanted = dpm_multistep(d, x, grid, order, solver_type, algorithm, final)
    torch.testing.assert_close(sample(solver, d, x, grid).samples, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("grid", [UNEVEN, WITH_ZERO], ids=["uneven", "zero"])
@pytest.mark.parametrize("corrector", [True, False])
def test_unipc_against_the_naive_twin(order, kind, grid, corrector):
    d, x = eight_modes(), noise(20)
    result = sample(UniPC(order, kind, corrector=corrector), d, x, grid)
    torch.testing.assert_close(result.samples, unipc(d, x, grid, order, kind, corrector), rtol=1e-9, atol=1e-9)
    assert result.nfe == grid.n_steps


def test_what_is_the_same_by_theory():
    d, x = eight_modes(), noise(30)
    ddim = sample(DDIM(), d, x, UNEVEN).samples
    for solver in (DPMSolver(1), DPMSolver(1, algorithm="dpmsolver"), Euler(), UniPC(1, corrector=False)):
        torch.testing.assert_close(sample(solver, d, x, UNEVEN).samples, ddim, rtol=1e-11, atol=1e-12)
    third = sample(DPMSolver(3), d, x, UNEVEN).samples
    torch.testing.assert_close(sample(UniPC(3, corrector=False), d, x, UNEVEN).samples, third, rtol=1e-10, atol=1e-11)
    still = DPMSolver(2, algorithm="sde-dpmsolver++", eta=0.0)
    assert torch.equal(sample(still, d, x, UNEVEN).samples, sample(DPMSolver(2), d, x, UNEVEN).samples)


@pytest.mark.parametrize(
    "solver",
    [DPMSolver(k, solver_type=kind) for k in (1, 2, 3) for kind in ("midpoint", "taylor")]
    + [UniPC(k, kind) for k in (1, 2, 3) for kind in ("bh1", "bh2")]
    + [SinglestepDPMSolver(k) for k in (2, 3)],
    ids=repr,
)
def test_a_point_mass_is_exact(solver):
    d = GaussianDenoiser([1.0, -2.0], 0.0)
    z, c = noise(10), torch.tensor([1.0, -2.0], dtype=torch.float64)
    for grid in (UNEVEN, WITH_ZERO):
        x = sample(solver, d, float(grid.alpha[0]) * c + float(grid.sigma[0]) * z, grid).samples
        torch.testing.assert_close(x, float(grid.alpha[-1]) * c + float(grid.sigma[-1]) * z, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "solver",
    [DPMSolver(k, algorithm="dpmsolver") for k in (1, 2, 3)]
    + [SinglestepDPMSolver(k, algorithm="dpmsolver") for k in (2, 3)],
    ids=repr,
)
def test_constant_noise_is_exact_for_the_noise_form(solver):
    d = Denoiser(lambda x, t: torch.full_like(x, 0.7), SCHEDULE)
    x, grid = noise(10), UNEVEN
    wanted = grid.alpha[-1] * (x / grid.alpha[0] + 0.7 * (grid.ratio[-1] - grid.ratio[0]))
    torch.testing.assert_close(sample(solver, d, x, grid).samples, wanted, rtol=1e-11, atol=1e-11)


ORDERS = [
    (DDIM(), 1),
    (Euler(), 1),
    (Heun(), 2),
    (DPMSolver(2, lower_order_final=False), 2),
    (DPMSolver(2, solver_type="taylor", lower_order_final=False), 2),
    (DPMSolver(3, lower_order_final=False), 3),
    (DPMSolver(3, algorithm="dpmsolver", lower_order_final=False), 3),
    (DPMSolver(3, variant="diffusers", lower_order_final=False), 2),
    (SinglestepDPMSolver(2), 2),
    (SinglestepDPMSolver(3), 3),
    (UniPC(2, lower_order_final=False), 3),
    (UniPC(2, "bh1", lower_order_final=False), 3),
    (UniPC(3, corrector=False, lower_order_final=False), 3),
    (UniPC(3, lower_order_final=False), 4),
]


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "order"), ORDERS, ids=[f"{solver!r}-{order}" for solver, order in ORDERS])
def test_order_of_convergence_on_eight_modes(solver, order):
    """Median over the starting points: a point beside a watershed between modes has its own, later asymptotics."""
    d, x = eight_modes(), noise(256)
    reference = sample(UniPC(3, lower_order_final=False), d, x, make_grid(SCHEDULE, 3200)).samples
    coarse, fine = ((sample(solver, d, x, make_grid(SCHEDULE, n)).samples - reference).norm(dim=1) for n in (400, 800))
    assert float(torch.log2(coarse / fine).median()) == pytest.approx(order, abs=0.15)


def test_the_sde_keeps_the_law_of_a_point_mass(seed):
    d = GaussianDenoiser([0.0], 0.0)
    x = float(UNEVEN.sigma[0]) * noise(200_000, 1, seed=seed % 1000)
    for order in (1, 2):
        for kind in ("midpoint", "taylor"):
            solver = DPMSolver(order, algorithm="sde-dpmsolver++", solver_type=kind)
            out = sample(solver, d, x, UNEVEN, random_state=seed).samples.numpy()
            z = (np.mean(out**2) / UNEVEN.sigma[-1] ** 2 - 1.0) / np.sqrt(2 / len(out))
            # Above 5.3 by chance with probability 1.2e-7.
            assert abs(z) < 5.3


def test_the_sde_of_gaussian_data_converges_in_law(seed):
    d = GaussianDenoiser([0.0], 0.4)
    grid = make_grid(SCHEDULE, 200)
    start, end = (grid.alpha[i] ** 2 * 0.4 + grid.sigma[i] ** 2 for i in (0, -1))
    out = sample(
        DPMSolver(2, algorithm="sde-dpmsolver++"), d, float(start**0.5) * noise(20_000, 1), grid, random_state=seed
    ).samples.numpy()
    # 5.3 standard errors and 0.2 % for the steps.
    assert abs(np.mean(out**2) / end - 1.0) < 5.3 * np.sqrt(2 / len(out)) + 0.002


def test_single_steps_in_the_middle_of_a_run():
    # One 2S step by hand.
    d, x, grid = eight_modes(), noise(5), Grid.from_ratio(SCHEDULE, [2.0, 0.5])
    h = grid.lam[1] - grid.lam[0]
    half = Grid.from_lam(SCHEDULE, [grid.lam[0] + h / 2])
    m_s = d.x0(x, grid.t[0])
    u = half.sigma[0] / grid.sigma[0] * x - half.alpha[0] * np.expm1(-h / 2) * m_s
    m_1 = d.x0(u, half.t[0])
    base = grid.sigma[1] / grid.sigma[0] * x - grid.alpha[1] * np.expm1(-h) * m_s
    wanted = base - grid.alpha[1] * np.expm1(-h) * (m_1 - m_s)
    got = sample(SinglestepDPMSolver(2), d, x, grid)
    torch.testing.assert_close(got.samples, wanted, rtol=1e-9, atol=1e-10)
    assert got.nfe == 2
    taylor = sample(SinglestepDPMSolver(2, solver_type="taylor"), d, x, grid).samples
    wanted = base + 2 * grid.alpha[1] * (np.expm1(-h) / h + 1) * (m_1 - m_s)
    torch.testing.assert_close(taylor, wanted, rtol=1e-9, atol=1e-10)


def test_third_order_single_step_by_hand():
    d, x, grid = eight_modes(), noise(5), Grid.from_ratio(SCHEDULE, [2.0, 0.5])
    h = grid.lam[1] - grid.lam[0]
    third, two = (Grid.from_lam(SCHEDULE, [grid.lam[0] + r * h]) for r in (1 / 3, 2 / 3))
    m_s = d.x0(x, grid.t[0])
    u1 = third.sigma[0] / grid.sigma[0] * x - third.alpha[0] * np.expm1(-h / 3) * m_s
    m_1 = d.x0(u1, third.t[0])
    phi22 = np.expm1(-2 * h / 3) / (2 * h / 3) + 1
    u2 = two.sigma[0] / grid.sigma[0] * x - two.alpha[0] * np.expm1(-2 * h / 3) * m_s
    m_2 = d.x0(u2 + 2 * two.alpha[0] * phi22 * (m_1 - m_s), two.t[0])
    phi2 = np.expm1(-h) / h + 1
    base = grid.sigma[1] / grid.sigma[0] * x - grid.alpha[1] * np.expm1(-h) * m_s
    got = sample(SinglestepDPMSolver(3), d, x, grid)
    torch.testing.assert_close(got.samples, base + 1.5 * grid.alpha[1] * phi2 * (m_2 - m_s), rtol=1e-9, atol=1e-10)
    assert got.nfe == 3
    a, b = (m_1 - m_s) * 3, (m_2 - m_s) * 1.5
    first, second = (2 / 3 * a - 1 / 3 * b) * 3, 2 * (b - a) * 3
    wanted = base + grid.alpha[1] * phi2 * first - grid.alpha[1] * (phi2 / h - 0.5) * second
    taylor = sample(SinglestepDPMSolver(3, solver_type="taylor"), d, x, grid).samples
    torch.testing.assert_close(taylor, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("order", "budget", "steps"), [(3, 20, 7), (3, 21, 8), (3, 22, 8), (3, 2, 1), (2, 20, 10), (2, 21, 11), (2, 1, 1)]
)
def test_a_budget_of_questions_is_spent(order, budget, steps):
    d, x = eight_modes(), noise(5)
    solver = SinglestepDPMSolver(order, budget=budget)
    assert solver.n_steps == steps
    grid = make_grid(SCHEDULE, steps)
    result = sample(solver, d, x, grid, return_trajectory=True)
    assert result.nfe == budget
    # The steps of full order are those of the solver without a budget; a last one of order 1 is DDIM's.
    full = budget // order - (order == 3 and budget % 3 == 0)
    if full:
        start = Grid.from_lam(SCHEDULE, grid.lam[: full + 1])
        plain = sample(SinglestepDPMSolver(order), d, x, start).samples
        torch.testing.assert_close(result.trajectory[full], plain, rtol=1e-12, atol=1e-12)
    if budget % order != 2:
        end = Grid.from_lam(SCHEDULE, grid.lam[-2:])
        last = sample(
            DDIM() if budget % 2 or order == 3 else solver.set_params(budget=None), d, result.trajectory[-2], end
        )
        torch.testing.assert_close(result.samples, last.samples, rtol=1e-12, atol=1e-12)


def test_midpoint_and_taylor_differ_by_the_third_power_of_the_step():
    d, x = eight_modes(), noise(20)
    gaps = []
    for h in (0.1, 0.05, 0.025):
        grid = Grid.from_lam(SCHEDULE, [0.3 - h, 0.3, 0.3 + h])
        ends = [sample(DPMSolver(2, solver_type=kind, lower_order_final=False), d, x, grid).samples for kind in KINDS]
        gaps.append(rmse(*ends))
    np.testing.assert_allclose(np.log2(np.divide(gaps[:-1], gaps[1:])), 3.0, atol=0.1)


def test_some_steps_without_corrector():
    d, x = eight_modes(), noise(10)
    every = sample(UniPC(2, disable_corrector=range(8)), d, x, UNEVEN).samples
    assert torch.equal(every, sample(UniPC(2, corrector=False), d, x, UNEVEN).samples)
    first = UniPC(2, disable_corrector=[0])
    assert [row is None for row in first.coefficients(UNEVEN).correct] == [True] + [False] * 6 + [True]


@pytest.mark.parametrize("z", [-40.0, -1.0, -0.999, -1e-3, -1e-9, 0.0, 1e-6, 0.5, 3.0])
@pytest.mark.parametrize("k", [0, 1, 2, 3, 4])
def test_phi_functions(k, z):
    from scipy.integrate import quad

    weight = 1.0 if k < 2 else float(np.prod(np.arange(1, k)))
    wanted = np.exp(z) if k == 0 else quad(lambda u: np.exp((1 - u) * z) * u ** (k - 1) / weight, 0, 1, epsrel=1e-13)[0]
    assert phi(k, z) == pytest.approx(wanted, rel=1e-11)


def test_bad_input():
    d, x, grid = eight_modes(), noise(3), make_grid(SCHEDULE, 5)
    for solver, message in [
        (DPMSolver(4), "order must be at most 3"),
        (DPMSolver(0), "order must be an integer"),
        (DPMSolver(algorithm="deis"), "algorithm must be one of"),
        (DPMSolver(solver_type="heun"), "solver_type must be one of"),
        (DPMSolver(variant="peers"), "variant must be one of"),
        (DPMSolver(lower_order_final="never"), "lower_order_final"),
        (DPMSolver(3, algorithm="sde-dpmsolver++"), "order must be 1 or 2"),
        (DPMSolver(algorithm="sde-dpmsolver++", eta=2.0), "eta"),
        (UniPC(4), "order must be at most 3"),
        (UniPC(kind="bh3"), "kind must be one of"),
        (UniPC(lower_order_final="diffusers"), "lower_order_final"),
        (UniPC(disable_corrector=[-1]), "disable_corrector"),
        (UniPC(disable_corrector=0), "disable_corrector must be a sequence"),
        (SinglestepDPMSolver(1), "order must be 2 or 3"),
        (SinglestepDPMSolver(3, budget=0), "budget"),
        (SinglestepDPMSolver(3, budget=20), "grid must have 7 steps for budget=20, got 5"),
        (SinglestepDPMSolver(algorithm="sde-dpmsolver++"), "algorithm must be one of"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            sample(solver, d, x, grid)
    with pytest.raises(InvalidParameter, match="at least 3 steps"):
        sample(DPMSolver(3), d, x, make_grid(SCHEDULE, 2))
    clipped = Denoiser(lambda x, t: x, SCHEDULE, x0_transform=StaticThreshold())
    form = {"algorithm": "dpmsolver"}
    for solver in (DPMSolver(**form), SinglestepDPMSolver(**form), AdaptiveDPMSolver(**form)):
        with pytest.raises(InvalidParameter, match="x0_transform"):
            sample(solver, clipped, x, grid)
