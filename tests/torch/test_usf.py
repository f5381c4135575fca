"""Solver schedules: known solvers as special cases, closed forms, JSON, counts, and what is refused."""

import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion import (
    DDIM,
    Denoiser,
    DPMSolver,
    GaussianDenoiser,
    Grid,
    SinglestepDPMSolver,
    SolverSchedule,
    StaticThreshold,
    StepConfig,
    UniPC,
    USFSolver,
    VPLinear,
    make_grid,
    sample,
)
from tests.naive.usf import run_schedule
from tests.torch.problems import eight_modes, noise

SCHEDULE = VPLinear()
UNEVEN = Grid.from_ratio(SCHEDULE, [12.0, 7.0, 3.1, 1.9, 1.0, 0.45, 0.2, 0.11, 0.03])
WITH_ZERO = Grid.from_ratio(SCHEDULE, [12.0, 7.0, 3.1, 1.9, 1.0, 0.45, 0.2, 0.11, 0.0])
GRIDS = {"even": make_grid(SCHEDULE, 10), "uneven": UNEVEN, "zero": WITH_ZERO}
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)

PRESETS = [
    (SolverSchedule.ddim, {}, DDIM()),
    (SolverSchedule.dpmpp_2m, {}, DPMSolver(2)),
    (SolverSchedule.dpmpp_2m, {"scale": "taylor"}, DPMSolver(2, solver_type="taylor")),
    (SolverSchedule.dpmpp_3m, {}, DPMSolver(3)),
    *[
        (SolverSchedule.unipc, {"order": p, "scale": kind}, UniPC(p, kind))
        for p in (1, 2, 3)
        for kind in ("bh1", "bh2")
    ],
    *[
        (SolverSchedule.deis, {"order": p}, DPMSolver(p, algorithm="dpmsolver", solver_type="taylor"))
        for p in (1, 2, 3)
    ],
]


def follow(schedule, denoiser, x, **kwargs):
    """A run of the schedule on its own grid."""
    return sample(USFSolver(schedule), denoiser, x, schedule.grid, **kwargs)


def any_steps(rng, n):
    """Steps with settings drawn at random; the last has no corrector."""
    drawn = [
        StepConfig(
            order=int(rng.integers(1, 4)),
            prediction=str(rng.choice(["data", "noise"])),
            derivative=str(rng.choice(["multistep", "singlestep", "mixed"])),
            support=str(rng.choice(["full", "low"])),
            scale=str(rng.choice(["taylor", "bh1", "bh2"])),
            correct=bool(rng.integers(2)) and i < n - 1,
        )
        for i in range(n)
    ]
    return drawn


@every_grid
@pytest.mark.parametrize(("preset", "fields", "solver"), PRESETS, ids=[repr(solver) for *_, solver in PRESETS])
def test_presets_are_the_rooms_solvers(preset, fields, solver, grid):
    d, x = eight_modes(), noise(50)
    schedule = preset(grid, **fields)
    got, wanted = follow(schedule, d, x), sample(solver, d, x, grid)
    torch.testing.assert_close(got.samples, wanted.samples, rtol=1e-12, atol=1e-12)
    assert got.nfe == schedule.nfe == wanted.nfe == grid.n_steps


@every_grid
@pytest.mark.parametrize(("prediction", "algorithm"), [("data", "dpmsolver++"), ("noise", "dpmsolver")])
@pytest.mark.parametrize("order", [2, 3])
def test_single_steps_are_the_rooms(order, prediction, algorithm, grid):
    d, x = eight_modes(), noise(50)
    step = StepConfig(order=order, prediction=prediction, derivative="singlestep")
    schedule = SolverSchedule([step] * grid.n_steps, grid)
    wanted = sample(SinglestepDPMSolver(order, algorithm=algorithm, solver_type="taylor"), d, x, grid)
    got = follow(schedule, d, x)
    torch.testing.assert_close(got.samples, wanted.samples, rtol=1e-12, atol=1e-12)
    assert got.nfe == schedule.nfe == wanted.nfe


@pytest.mark.parametrize("seed", range(12))
def test_against_the_naive_twin(seed):
    rng = np.random.default_rng(seed)
    d, x = eight_modes(), noise(20)
    schedule = SolverSchedule(any_steps(rng, 8), WITH_ZERO if seed % 3 == 0 else UNEVEN)
    result = follow(schedule, d, x)
    torch.testing.assert_close(result.samples, run_schedule(schedule, d, x), rtol=1e-9, atol=1e-9)
    assert result.nfe == schedule.nfe


@pytest.mark.parametrize("derivative", ["multistep", "singlestep", "mixed"])
@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_polynomials_of_lambda_are_integrated_exactly(order, derivative, correct, prediction):
    """Order n takes degree n - 1 exactly, and degree n with a corrector; one degree more it does not."""
    from scipy.integrate import quad

    data = prediction == "data"
    step = StepConfig(order=order, derivative=derivative, prediction=prediction, correct=correct)
    schedule = SolverSchedule([step] * 7 + [StepConfig()], UNEVEN)

    def error(power):
        d = Denoiser(
            lambda x, t: torch.full_like(x, float(SCHEDULE.lam(float(t[0])) ** power)),
            SCHEDULE,
            "x0" if data else "eps",
        )
        path = follow(schedule, d, noise(4), return_trajectory=True).trajectory
        # Between the warm-up and the last step, which is of order 1.
        i, j = 3, 7
        sign, keep = (1.0, UNEVEN.sigma) if data else (-1.0, UNEVEN.alpha)
        integral = quad(lambda lam: np.exp(sign * lam) * lam**power, UNEVEN.lam[i], UNEVEN.lam[j], epsrel=1e-13)[0]
        wanted = keep[j] / keep[i] * path[i] + sign * keep[j] * integral
        return float((path[j] - wanted).abs().max())

    reached = order - 1 + correct
    assert all(error(power) < 1e-11 for power in range(reached + 1))
    assert error(reached + 1) > 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_a_point_mass_is_exact_in_predicted_data(seed):
    d = GaussianDenoiser([1.0, -2.0], 0.0)
    z, c = noise(10), torch.tensor([1.0, -2.0], dtype=torch.float64)
    steps = any_steps(np.random.default_rng(seed), 8)
    for grid in (UNEVEN, WITH_ZERO):
        schedule = SolverSchedule([StepConfig(**(vars(step) | {"prediction": "data"})) for step in steps], grid)
        x = follow(schedule, d, float(grid.alpha[0]) * c + float(grid.sigma[0]) * z).samples
        torch.testing.assert_close(x, float(grid.alpha[-1]) * c + float(grid.sigma[-1]) * z, rtol=1e-11, atol=1e-11)


def test_low_support_takes_the_slope_from_two_points():
    """With m = lambda^2 its slope over the last step is (lambda_0 + lambda_-1), not 2 lambda_0."""
    grid = Grid.from_ratio(SCHEDULE, [7.0, 2.0, 0.8, 0.3])
    d = Denoiser(lambda x, t: torch.full_like(x, float(SCHEDULE.lam(float(t[0])) ** 2)), SCHEDULE, "x0")
    x = noise(4)
    ends = [
        follow(SolverSchedule([StepConfig(), StepConfig(order=2), StepConfig(order=3, support=support)], grid), d, x)
        for support in ("full", "low")
    ]
    h, before = grid.lam[3] - grid.lam[2], grid.lam[2] - grid.lam[1]
    # The second derivative is 2 in both; the slopes differ by the length of the step before.
    difference = grid.alpha[3] * h * (np.expm1(-h) / h + 1.0) / h * (h * before)
    torch.testing.assert_close(ends[0].samples - ends[1].samples, torch.full_like(x, difference), rtol=1e-9, atol=1e-12)


def test_orders_are_lowered_and_recorded():
    steps = [
        StepConfig(order=3),
        StepConfig(order=3, derivative="mixed"),
        StepConfig(order=3),
        StepConfig(order=3, derivative="singlestep"),
        StepConfig(order=3, derivative="singlestep"),
    ]
    schedule = SolverSchedule(steps, Grid.from_ratio(SCHEDULE, [7.0, 3.0, 2.0, 1.0, 0.5, 0.0]))
    assert schedule.orders == (1, 3, 3, 3, 1)
    assert schedule.lowered == (0, 4)
    # Five nodes, one question within the second step and two within the fourth.
    assert schedule.nfe == 8
    result = follow(schedule, eight_modes(), noise(5))
    assert result.nfe == 8
    assert result.diagnostics == {"orders": schedule.orders, "lowered": (0, 4)}
    first = SolverSchedule([StepConfig(order=3, derivative="mixed"), StepConfig()], make_grid(SCHEDULE, 2))
    assert first.orders == (2, 1)


@every_grid
def test_json_and_pickle_come_back_to_the_bit(grid):
    schedule = SolverSchedule(any_steps(np.random.default_rng(0), grid.n_steps), grid)
    x = noise(10)
    wanted = follow(schedule, eight_modes(), x).samples
    for copy in (SolverSchedule.from_json(schedule.to_json()), pickle.loads(pickle.dumps(schedule))):  # noqa: S301
        assert copy.steps == schedule.steps
        assert torch.equal(follow(copy, eight_modes(), x).samples, wanted)
        assert copy.to_json() == schedule.to_json()
    solver = clone(USFSolver(schedule))
    assert torch.equal(sample(solver, eight_modes(), x, grid).samples, wanted)
    assert "10 questions" in repr(SolverSchedule.ddim(make_grid(SCHEDULE, 10)))


def test_any_rank_dtype_and_halves():
    rng = np.random.default_rng(3)
    schedule = SolverSchedule(any_steps(rng, 8), UNEVEN)
    d = GaussianDenoiser([0.5], 0.3)
    x = noise(24, 1)
    whole = follow(schedule, d, x).samples
    halves = torch.cat([follow(schedule, d, part).samples for part in x.split(12)])
    assert torch.equal(whole, halves)
    single = follow(schedule, d, x.float()).samples
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, rtol=1e-3, atol=1e-4)
    image = Denoiser(lambda x, t: x, SCHEDULE)
    flat = follow(schedule, image, x.reshape(2, 12)).samples
    assert torch.equal(follow(schedule, image, x.reshape(2, 3, 2, 2)).samples.reshape(2, 12), flat)


def test_gradients_flow():
    schedule = SolverSchedule(any_steps(np.random.default_rng(1), 8), UNEVEN)
    x = noise(3).requires_grad_()
    follow(schedule, eight_modes(), x, differentiable=True).samples.sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_bad_steps():
    for fields, message in [
        ({"order": 0}, "order"),
        ({"order": 4}, "order"),
        ({"order": True}, "order"),
        ({"order": 2.0}, "order"),
        ({"prediction": "v"}, "prediction"),
        ({"derivative": "both"}, "derivative"),
        ({"support": "half"}, "support"),
        ({"scale": "bh3"}, "scale"),
        ({"correct": 1}, "correct"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            StepConfig(**fields)


def test_bad_schedules():
    two, step = make_grid(SCHEDULE, 2), StepConfig()
    for steps, grid, message in [
        ([step], two, "one for each of the 2 steps"),
        ([], two, "steps must hold StepConfigs"),
        (["ddim", "ddim"], two, "steps must hold StepConfigs"),
        ([step, step], [3.0, 1.0, 0.1], "grid must be a Grid"),
        ([step, StepConfig(correct=True)], two, "without corrector"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            SolverSchedule(steps, grid)
    for lam in ([0.0, 0.0, 1.0], [0.0, 1.0, 0.5], [-np.inf, 0.0, 1.0], [0.0, np.nan, 1.0], [0.0, np.inf, np.inf]):
        columns = [np.array([0.9, 0.5, 0.1]), np.array(lam), np.full(3, 0.5), np.full(3, 0.5)]
        with pytest.raises(InvalidData, match="rise strictly"):
            SolverSchedule([step, step], Grid(*columns))
    with pytest.raises(InvalidParameter, match="at least 3 steps"):
        SolverSchedule.dpmpp_3m(two)
    with pytest.raises(InvalidParameter, match="order must be at most 3"):
        SolverSchedule.unipc(make_grid(SCHEDULE, 6), 4)
    schedule = SolverSchedule([StepConfig(order=2, derivative="singlestep"), step], two)
    assert schedule.check_budget(3) is schedule
    for nfe in (1, 2):
        with pytest.raises(InvalidParameter, match="nfe must be at least 3, for 2 steps"):
            schedule.check_budget(nfe)


def test_bad_json():
    good = json.loads(SolverSchedule.ddim(make_grid(SCHEDULE, 3)).to_json())
    broken = [
        "no json",
        "[]",
        json.dumps({"steps": good["steps"]}),
        json.dumps(good | {"steps": [{"size": 1}] * 3}),
        json.dumps(good | {"steps": [{"order": 9}] * 3}),
        json.dumps(good | {"grid": good["grid"] | {"lam": ["?"] * 4}}),
        json.dumps(good | {"grid": good["grid"] | {"lam": [0.0, 1.0]}}),
        json.dumps(good | {"grid": good["grid"] | {"lam": [0.0, None, 1.0, 2.0]}}),
    ]
    for text in broken:
        with pytest.raises(InvalidData):
            SolverSchedule.from_json(text)


def test_bad_runs():
    d, x, grid = eight_modes(), noise(3), make_grid(SCHEDULE, 5)
    with pytest.raises(InvalidParameter, match="schedule must be a SolverSchedule"):
        sample(USFSolver("ddim"), d, x, grid)
    for other in (make_grid(SCHEDULE, 6), make_grid(SCHEDULE, 5, "time")):
        with pytest.raises(InvalidParameter, match="the schedule's own"):
            sample(USFSolver(SolverSchedule.ddim(grid)), d, x, other)
    clipped = Denoiser(lambda x, t: x, SCHEDULE, x0_transform=StaticThreshold())
    with pytest.raises(InvalidParameter, match="x0_transform"):
        sample(USFSolver(SolverSchedule.deis(grid)), clipped, x, grid)
