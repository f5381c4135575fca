"""DPM-Solver-v3 and its statistics against closed forms."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidFileError, InvalidParameter, PerformanceWarning
from mcstat.torch.diffusion import (
    EMS,
    VE,
    Denoiser,
    DPMSolver,
    DPMSolverV3,
    FlowMatching,
    GaussianDenoiser,
    UniPC,
    VPCosine,
    VPLinear,
    estimate_ems,
    make_grid,
    sample,
)
from mcstat.torch.diffusion._v3 import _derivatives
from tests.torch.problems import eight_modes, noise, rmse

SCHEDULE = VPLinear()


@pytest.fixture(scope="module")
def mixture():
    d = eight_modes()
    return d, estimate_ems(d, d.sample(1024, random_state=0), n_stat=120, n_data=512, random_state=0)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("kind", "algorithm"), [("data", "dpmsolver++"), ("noise", "dpmsolver")])
def test_constant_statistics_are_the_taylor_solvers(order, kind, algorithm):
    d, x, grid = eight_modes(), noise(30), make_grid(SCHEDULE, 12, "time_quadratic")
    solver = DPMSolverV3(EMS.constant(kind, SCHEDULE), order, corrector=False)
    wanted = sample(DPMSolver(order, algorithm=algorithm, solver_type="taylor"), d, x, grid).samples
    torch.testing.assert_close(sample(solver, d, x, grid).samples, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine(), VE(), FlowMatching()], ids=lambda s: type(s).__name__)
def test_gaussian_data_take_one_step(schedule):
    variances = [0.3, 1.5]
    d = GaussianDenoiser([0.0, 0.0], variances, schedule)
    ems = estimate_ems(d, d.sample(500, random_state=0), n_stat=400, n_data=200, random_state=0)
    t = schedule.t_of_lam(ems.lam)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    np.testing.assert_allclose(ems.l, sigma**2 / (alpha**2 * np.array(variances) + sigma**2), rtol=1e-6, atol=1e-9)
    assert (ems.s == 0.0).all()
    np.testing.assert_allclose(alpha * ems.b, 0.0, atol=1e-5)
    grid = make_grid(schedule, 1)
    x = float(grid.sigma[0]) * noise(20)
    wanted = d.ode_solution(x, grid.level(0), grid.level(1))
    torch.testing.assert_close(sample(DPMSolverV3(ems, 1), d, x, grid).samples, wanted, rtol=1e-5, atol=1e-5)


def test_a_mean_goes_into_b():
    mean = np.array([1.0, -2.0])
    d = GaussianDenoiser(mean, [0.3, 1.5])
    ems = estimate_ems(d, d.sample(500, random_state=0), n_stat=400, n_data=200, random_state=0)
    assert (ems.s == 0.0).all()
    np.testing.assert_allclose(ems.b[5:-5], -np.gradient(ems.l, ems.lam, axis=0)[5:-5] * mean, atol=2e-3)
    grid = make_grid(SCHEDULE, 1)
    x = noise(20)
    wanted = d.ode_solution(x, grid.level(0), grid.level(1))
    assert rmse(sample(DPMSolverV3(ems, 1), d, x, grid).samples, wanted) < 2e-3


def test_statistics_of_the_mixture_are_derivatives(mixture):
    d, ems = mixture
    assert ems.l[0] == pytest.approx(1.0, abs=1e-3)
    assert (ems.l[-1] < 0.01).all()
    # From the second derivatives of the density, on the same law of x.
    lam = ems.lam[60]
    t = float(SCHEDULE.t_of_lam(lam))
    x = d.sample(40_000, t=t, random_state=5)
    diagonal = -(SCHEDULE.sigma(t) ** 2) * d.hessian(x, t).diagonal(dim1=1, dim2=2).numpy()
    error = diagonal.std(axis=0) / np.sqrt(512)
    # Two figures, each within 6 of the larger standard error: false alarms below 1e-8.
    assert (np.abs(diagonal.mean(axis=0) - ems.l[60]) < 6 * error).all()


def test_random_signs_estimate_the_exact_diagonal(mixture):
    d, ems = mixture
    data = d.sample(1024, random_state=0)
    signs = estimate_ems(d, data, n_stat=120, n_data=4096, n_exact=0, random_state=0)
    assert np.abs(signs.l - ems.l).max() < 0.15
    mean = estimate_ems(d, data, n_stat=120, n_data=512, reduce="mean", random_state=0)
    np.testing.assert_allclose(mean.l[:, 0], ems.l.mean(axis=1))
    assert sample(DPMSolverV3(mean), d, noise(5), make_grid(SCHEDULE, 6)).nfe == 6


@pytest.mark.parametrize("n_exact", [16, 0])
def test_differences_take_the_place_of_gradients(mixture, n_exact):
    d, _ = mixture

    def rigid(x, t):
        with torch.no_grad():
            return d.eps(x.detach(), float(t[0]))

    settings = {"n_stat": 10, "n_data": 64, "n_exact": n_exact, "random_state": 0}
    data = d.sample(200, random_state=0)
    wanted = estimate_ems(d, data, **settings)
    with pytest.warns(PerformanceWarning, match="has no gradients"):
        got = estimate_ems(Denoiser(rigid, SCHEDULE), data, **settings)
    for name in ("l", "s", "b"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-6, atol=1e-6)


def test_statistics_are_repeatable_and_kept(mixture, tmp_path):
    d, ems = mixture
    again = estimate_ems(d, d.sample(1024, random_state=0), n_stat=120, n_data=512, random_state=0)
    assert all(np.array_equal(getattr(ems, name), getattr(again, name)) for name in ("lam", "l", "s", "b"))
    ems.save(tmp_path / "ems.npz")
    back = EMS.load(tmp_path / "ems.npz")
    assert all(np.array_equal(getattr(ems, name), getattr(back, name)) for name in ("lam", "l", "s", "b"))
    assert back.schedule == ems.schedule
    np.savez(tmp_path / "other.npz", lam=ems.lam)
    with pytest.raises(InvalidFileError, match=r"EMS\.save"):
        EMS.load(tmp_path / "other.npz")


def test_it_beats_unipc_in_few_steps(mixture):
    d, ems = mixture
    x = noise(400)
    reference = sample(UniPC(3), d, x, make_grid(SCHEDULE, 500)).samples
    for n in (8, 10):
        grid = make_grid(SCHEDULE, n)
        ours, theirs = (sample(solver, d, x, grid).samples for solver in (DPMSolverV3(ems, 2), UniPC(2)))
        assert rmse(ours, reference) < rmse(theirs, reference)


@pytest.mark.parametrize("solver_settings", [{}, {"pseudo": True}, {"corrector": "half"}, {"corrector": False}])
def test_shapes_dtypes_and_clean_ends(mixture, solver_settings):
    d, ems = mixture
    x, grid = noise(16), make_grid(SCHEDULE, 7)
    solver = DPMSolverV3(ems, **solver_settings)
    whole = sample(solver, d, x, grid)
    assert whole.nfe == 7
    image = sample(solver, d, x.reshape(16, 1, 2), grid).samples
    torch.testing.assert_close(image.reshape(16, 2), whole.samples, rtol=1e-12, atol=1e-12)
    assert rmse(sample(solver, d, x.float(), grid).samples.double(), whole.samples) < 1e-3
    assert torch.equal(torch.cat([sample(solver, d, part, grid).samples for part in x.split(8)]), whole.samples)
    zero = sample(solver, d, x, make_grid(SCHEDULE, 7, final="denoise"), return_trajectory=True)
    last = zero.trajectory[-2]
    torch.testing.assert_close(zero.samples, d.x0(last, float(zero.grid.t[-2])), rtol=0.05, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("order", "corrector", "rate"), [(1, False, 1), (2, False, 2), (3, False, 3)])
def test_order_of_convergence(order, corrector, rate):
    d, x = eight_modes(), noise(128)
    # Smooth statistics: those of a Gaussian law.
    smooth = GaussianDenoiser([0.3, 0.1], [0.9, 0.8])
    ems = estimate_ems(smooth, smooth.sample(500, random_state=0), n_stat=1000, n_data=100, random_state=0)
    reference = sample(UniPC(3, lower_order_final=False), d, x, make_grid(SCHEDULE, 3200)).samples
    solver = DPMSolverV3(ems, order, corrector, lower_order_final=False)
    coarse, fine = ((sample(solver, d, x, make_grid(SCHEDULE, n)).samples - reference).norm(dim=1) for n in (200, 400))
    assert float(torch.log2(coarse / fine).median()) == pytest.approx(rate, abs=0.15)


def test_derivatives_of_polynomials():
    places = np.array([-1.0, -2.5, 0.7])
    values = 2.0 * places - 3.0 * places**2 + 0.5 * places**3
    np.testing.assert_allclose(_derivatives(places, False) @ values, [2.0, -6.0, 3.0], atol=1e-10)
    # Divided differences of a straight line have no curvature.
    np.testing.assert_allclose(_derivatives(places, True) @ (2.0 * places), [2.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose((_derivatives(places, True) @ places**3)[2], 6.0)


def test_bad_input(mixture):
    d, ems = mixture
    x, grid = noise(3), make_grid(SCHEDULE, 5)
    for solver, message in [
        (DPMSolverV3(None), "ems must be an EMS"),
        (DPMSolverV3(ems, 4), "order must be at most 3"),
        (DPMSolverV3(ems, corrector="full"), "corrector"),
        (DPMSolverV3(EMS.constant("data", VE())), "ems must be of VPLinear"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            sample(solver, d, x, grid)
    short = EMS(ems.lam[10:], ems.l[10:], ems.s[10:], ems.b[10:], ems.schedule)
    with pytest.raises(InvalidParameter, match="cover the grid"):
        sample(DPMSolverV3(short), d, x, grid)
    three = EMS(ems.lam, *(np.ones((len(ems.lam), 3)) for _ in range(3)), ems.schedule)
    with pytest.raises(InvalidParameter, match="2 coordinates, got 3"):
        sample(DPMSolverV3(three), d, x, grid)
    with pytest.raises(InvalidData, match="ascending"):
        EMS(ems.lam[::-1], ems.l, ems.s, ems.b, "")
    with pytest.raises(TypeError, match="data"):
        estimate_ems(d, np.zeros((3, 2)))
    with pytest.raises(InvalidParameter, match="reduce"):
        estimate_ems(d, noise(3), reduce="sum")
