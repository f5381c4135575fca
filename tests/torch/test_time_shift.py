"""Time shift: the search, its edges, and what it leaves alone."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.torch.diffusion import (
    DDIM,
    VE,
    Denoiser,
    DPMSolver,
    EpsilonScaling,
    GaussianDenoiser,
    Grid,
    TimeShift,
    UniPC,
    VPDiscrete,
    VPLinear,
    make_grid,
    sample,
)
from mcstat.torch.diffusion._time_shift import _Clock
from tests.torch.problems import noise

SCHEDULE = VPDiscrete.linear()
GRID = make_grid(SCHEDULE, 10, "trailing")


def wide(d=64):
    """Gaussian data of variance 0.2 in many coordinates, seen by a network that is a little wrong."""
    exact = GaussianDenoiser(np.zeros(d), 0.2, SCHEDULE)
    return Denoiser(lambda x, t: 0.95 * exact.eps(x, (t.double() / 1000) + 1e-3), SCHEDULE)


@pytest.mark.parametrize("base", [DDIM(), DPMSolver(2), UniPC(2)], ids=repr)
@pytest.mark.parametrize("settings", [{"window": 0}, {"window": 1}, {"cutoff": 1000}])
def test_no_window_is_the_base(base, settings):
    x = noise(8, 64)
    got = sample(TimeShift(base, **settings), wide(), x, GRID)
    assert torch.equal(got.samples, sample(base, wide(), x, GRID).samples)
    if isinstance(base, DDIM):
        target = TimeShift(base, mode="target", **settings)
        assert torch.equal(sample(target, wide(), x, GRID).samples, got.samples)


@pytest.mark.parametrize("tau", [350, 600, 777])
def test_the_time_of_pure_noise_is_found(tau):
    sigma = float(SCHEDULE.sigma((tau + 1) / 1000))
    x = sigma * noise(4, 400_000)
    x = x / x.std(dim=1, keepdim=True) * sigma
    clock = _Clock(SCHEDULE, 20, 0, None, x)
    level = Grid.from_lam(SCHEDULE, SCHEDULE.lam([(tau + 8) / 1000, 0.001])).level(0)
    found = clock.matching(x, level)
    np.testing.assert_allclose(found.t.numpy(), (tau + 1) / 1000, atol=1.0001e-3)
    # The edges of the window and of the clock.
    assert clock.matching(100.0 * x, level).t[0] == pytest.approx((tau + 8 + 20) / 1000)
    assert clock.matching(0.0 * x, level).t[0] == pytest.approx((tau + 8 - 20) / 1000)
    top = Grid.from_lam(SCHEDULE, SCHEDULE.lam([0.995, 0.001])).level(0)
    assert clock.matching(100.0 * x, top).t[0] == 1.0


def test_ties_go_to_the_cleanest_time():
    x = torch.zeros(3, 20, dtype=torch.float64)
    clock = _Clock(SCHEDULE, 5, 0, None, x)
    clock.variance = torch.zeros_like(clock.variance)
    assert (clock.matching(x, GRID.level(4)).t * 1000).round().tolist() == [600 - 5] * 3


@pytest.mark.parametrize("mode", ["label", "target"])
def test_samples_are_shifted_one_by_one(mode):
    x = noise(8, 64) * torch.linspace(0.9, 1.1, 8, dtype=torch.float64)[:, None]
    solver = TimeShift(window=60, cutoff=100, mode=mode)
    result = sample(solver, wide(), x, GRID)
    turned = sample(solver, wide(), x.flip(0), GRID)
    torch.testing.assert_close(turned.samples.flip(0), result.samples, rtol=1e-12, atol=1e-12)
    times = result.diagnostics["shifted_times"]
    assert all((a.flip(0) == b).all() for a, b in zip(times, turned.diagnostics["shifted_times"], strict=True))
    assert len({int(t) for row in times for t in row}) > len(times)
    nominal = result.diagnostics["nominal_times"]
    assert nominal == ([899, 799, 699, 599, 499, 399, 299, 199] if mode == "label" else nominal)
    assert all(abs(int(t) - at) <= 30 for row, at in zip(times, nominal, strict=True) for t in row)
    assert result.nfe == result.n_calls == 10


def test_one_shifted_step_by_hand():
    d, x = wide(), noise(3, 64) * 0.9
    grid = Grid.from_lam(SCHEDULE, SCHEDULE.lam([0.9, 0.7, 0.5]))
    first = sample(DDIM(), d, x, Grid.from_lam(SCHEDULE, grid.lam[:2])).samples
    variance = first.numpy().var(axis=1, ddof=1)
    window = np.arange(699 - 25, 699 + 26)
    best = window[np.argmin((variance[:, None] - SCHEDULE.sigma((window + 1) / 1000) ** 2) ** 2, axis=1)]
    eps = torch.cat([d.eps(first[i : i + 1], (best[i] + 1) / 1000) for i in range(3)])
    x0 = (first - grid.sigma[1] * eps) / grid.alpha[1]
    got = sample(TimeShift(window=50), d, x, grid)
    torch.testing.assert_close(got.samples, grid.alpha[2] * x0 + grid.sigma[2] * eps, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(got.diagnostics["shifted_times"][0].numpy(), best)


def test_total_variance_counts_the_data(seed):
    exact = GaussianDenoiser(np.zeros(30_000), 0.2, SCHEDULE)
    x = exact.sample(4, t=0.3, random_state=seed)
    level = Grid.from_lam(SCHEDULE, SCHEDULE.lam([0.3, 0.001])).level(0)
    total = _Clock(SCHEDULE, 200, 0, 0.2, x).matching(x, level)
    noise_only = _Clock(SCHEDULE, 200, 0, None, x).matching(x, level)
    # 0.03 in time is ten standard errors of the variance.
    assert ((total.t - 0.3).abs() < 0.03).all()
    assert (noise_only.t > total.t + 0.02).all()


def test_continuous_schedules_and_noise():
    exact = GaussianDenoiser(np.zeros(64), 0.2, VE())
    grid = make_grid(VE(), 10)
    x = float(grid.sigma[0]) * noise(5, 64)
    result = sample(TimeShift(match="total", data_var=0.2), exact, x, grid)
    assert torch.isfinite(result.samples).all()
    with pytest.raises(InvalidParameter, match="match must be 'total'"):
        sample(TimeShift(), exact, x, grid)
    draws = sample(TimeShift(DDIM(1.0), mode="target"), wide(), noise(5, 64), GRID, random_state=0)
    assert torch.isfinite(draws.samples).all()


def test_window_and_cutoff_are_tuned():
    d, x = wide(), noise(20, 64)

    def metric(samples):
        # Not that it is one to use: it wants samples whose variance is far from the data's.
        return -abs(float(samples.var()) - 0.2)

    choices = {"windows": (20, 60, 200), "cutoffs": (100, 300)}
    solver = TimeShift().fit(d, GRID, x, metric, **choices)
    assert solver.scores_.shape == (3, 2)
    assert solver.base_score_ == metric(sample(DDIM(), d, x, GRID).samples)
    for i, window in enumerate(choices["windows"]):
        for j, cutoff in enumerate(choices["cutoffs"]):
            got = sample(TimeShift(window=window, cutoff=cutoff), d, x, GRID).samples
            assert solver.scores_[i, j] == metric(got)
            if (window, cutoff) == (solver.window_, solver.cutoff_):
                assert torch.equal(sample(solver, d, x, GRID).samples, got)
    assert solver.scores_.min() < solver.base_score_
    # What only gets worse is left alone.
    worse = TimeShift().fit(d, GRID, x, lambda samples: -metric(samples), windows=[60], cutoffs=[100])
    assert worse.window_ == 0
    assert torch.equal(sample(worse, d, x, GRID).samples, sample(DDIM(), d, x, GRID).samples)
    with pytest.raises(InvalidParameter, match=r"metric\(samples\) must be a number"):
        TimeShift().fit(d, GRID, x, lambda samples: float("nan"))
    with pytest.raises(InvalidParameter, match="at least one number each"):
        TimeShift().fit(d, GRID, x, metric, windows=[])


def test_the_drift_of_the_variance_is_reported():
    d, x = wide(), noise(5, 64)
    seen = sample(TimeShift(window=50, cutoff=100), d, x, GRID, return_trajectory=True)
    for i, (nominal, found) in enumerate(
        zip(*(seen.diagnostics[k] for k in ("nominal_variances", "variances")), strict=True)
    ):
        torch.testing.assert_close(found, seen.trajectory[i + 1].var(dim=1))
        assert nominal == pytest.approx(GRID.sigma[i + 1] ** 2)


def test_scaled_noise():
    d, x = wide(), noise(5, 64)
    assert torch.equal(sample(EpsilonScaling(scale=1.0), d, x, GRID).samples, sample(DDIM(), d, x, GRID).samples)
    smaller = Denoiser(lambda x, t: d.fn(x, t) / 1.01, SCHEDULE)
    got = sample(EpsilonScaling(DPMSolver(2), 1.01), d, x, GRID).samples
    torch.testing.assert_close(got, sample(DPMSolver(2), smaller, x, GRID).samples, rtol=1e-10, atol=1e-10)


def test_noise_scaled_by_the_time():
    d, x = wide(), noise(5, 64)
    ramp = lambda t: 1.002 + 0.01 * t  # noqa: E731
    smaller = Denoiser(lambda x, t: d.fn(x, t) / ramp(t[:, None].double() / 1000 + 1e-3), SCHEDULE)
    got = sample(EpsilonScaling(DPMSolver(2), ramp), d, x, GRID).samples
    torch.testing.assert_close(got, sample(DPMSolver(2), smaller, x, GRID).samples, rtol=1e-10, atol=1e-10)
    # Over shifted times, of which there is one a sample.
    both = sample(EpsilonScaling(TimeShift(window=50, cutoff=100), ramp), d, x, GRID).samples
    shifted = sample(TimeShift(window=50, cutoff=100), smaller, x, GRID).samples
    torch.testing.assert_close(both, shifted, rtol=1e-10, atol=1e-10)
    with pytest.raises(InvalidParameter, match=r"scale\(t\)"):
        sample(EpsilonScaling(scale=lambda t: -1.0), d, x, GRID)


def test_bad_input():
    d, x = wide(), noise(3, 64)
    for solver, message in [
        (TimeShift(window=-1), "window"),
        (TimeShift(cutoff=0.5), "cutoff"),
        (TimeShift(mode="both"), "mode"),
        (TimeShift(match="all"), "match"),
        (TimeShift(DPMSolver(2), mode="target"), "base must be DDIM"),
        (TimeShift(match="total"), "data_var"),
        (TimeShift(data_var=0.2), "data_var"),
        (TimeShift("ddim"), "base must be a Solver"),
        (EpsilonScaling(scale=0.0), "scale"),
        (EpsilonScaling("ddim"), "base must be a Solver"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            sample(solver, d, x, GRID)
    narrow = GaussianDenoiser([0.0, 0.0], 1.0)
    with pytest.warns(ReliabilityWarning, match="2 coordinates"):
        sample(TimeShift(), narrow, noise(3), make_grid(VPLinear(), 4))
