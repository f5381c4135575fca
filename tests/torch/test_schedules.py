"""Schedules against their definitions, and grids."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion import EDM, VE, FlowMatching, Grid, VPCosine, VPDiscrete, VPLinear, make_grid

SMOOTH = [VPLinear(), VPCosine(), EDM(), VE(), FlowMatching(), FlowMatching(shift=3.0)]
ALL = [*SMOOTH, VPDiscrete.linear(), VPDiscrete.scaled_linear(), VPDiscrete.squared_cosine()]
each = pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
each_smooth = pytest.mark.parametrize("schedule", SMOOTH, ids=lambda s: type(s).__name__)


def times(schedule, count=57):
    return np.linspace(schedule.t_min, schedule.t_max, count)


@each
def test_round_trip(schedule):
    t = times(schedule)
    np.testing.assert_allclose(schedule.t_of_lam(schedule.lam(t)), t, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(np.log(schedule.alpha(t) / schedule.sigma(t)), schedule.lam(t), atol=1e-9)
    assert (np.diff(schedule.lam(t)) < 0).all()
    np.testing.assert_allclose(np.exp(schedule.log_alpha_of_lam(schedule.lam(t))), schedule.alpha(t), rtol=1e-10)


@each
def test_variance_is_preserved_where_it_says_so(schedule):
    total = schedule.alpha(times(schedule)) ** 2 + schedule.sigma(times(schedule)) ** 2
    assert np.allclose(total, 1.0, rtol=1e-14) == schedule.preserves_variance


@each_smooth
def test_drift_and_diffusion_are_derivatives(schedule):
    t = times(schedule)[1:-1]
    step = 1e-6 * t
    slope = (schedule.log_alpha(t + step) - schedule.log_alpha(t - step)) / (2 * step)
    np.testing.assert_allclose(schedule.f(t), slope, rtol=1e-6, atol=1e-7)
    growth = (schedule.sigma(t + step) ** 2 - schedule.sigma(t - step) ** 2) / (2 * step)
    np.testing.assert_allclose(
        schedule.g2(t), growth - 2 * slope * schedule.sigma(t) ** 2, rtol=1e-6, atol=1e-7 * schedule.g2(t).max()
    )


def test_known_values():
    s = VPLinear()
    assert s.log_alpha(1.0) == pytest.approx(-(20 - 0.1) / 4 - 0.05)
    assert VPDiscrete.linear().alpha(1.0) ** 2 == pytest.approx(np.prod(1 - np.linspace(1e-4, 0.02, 1000)))
    assert VPDiscrete.linear().to_model_time(0.5) == pytest.approx(499)
    assert FlowMatching(shift=3.0).sigma(0.5) == pytest.approx(0.75)
    assert FlowMatching(shift=3.0).to_model_time(0.5) == pytest.approx(0.75)
    assert VE().sigma(0.5) == pytest.approx((0.01 * 50) ** 0.5)
    c_skip, c_out, c_in, c_noise = EDM().precondition(0.5)
    np.testing.assert_allclose([c_skip, c_out, c_in, c_noise], [0.5, 0.5**1.5, 2**0.5, np.log(0.5) / 4])
    # Small noise does not cancel.
    assert s.sigma(1e-12) == pytest.approx((0.1e-12) ** 0.5, rel=1e-6)


@each
@pytest.mark.parametrize("kind", ["logsnr", "time", "time_quadratic", "karras"])
def test_grids_go_from_end_to_end(schedule, kind):
    start, end = schedule.lam([schedule.t_max, schedule.t_min])
    grid = make_grid(schedule, 9, kind)
    assert grid.n_steps == 9
    np.testing.assert_allclose([grid.lam[0], grid.lam[-1]], [start, end], rtol=1e-12)
    assert (np.diff(grid.lam) > 0).all()
    zero = make_grid(schedule, 9, kind, final="zero")
    assert zero.n_steps == 9
    assert zero.ends_clean
    assert zero.sigma[-1] == 0.0
    assert zero.alpha[-1] == 1.0
    assert zero.lam[-2] == pytest.approx(end)
    assert make_grid(schedule, 9, kind, final="denoise").n_steps == 10
    even = {"logsnr": grid.lam, "time": grid.t, "time_quadratic": grid.t**0.5, "karras": grid.ratio ** (1 / 7)}[kind]
    np.testing.assert_allclose(np.diff(even, 2), 0.0, atol=1e-7 * np.ptp(even))


def test_whole_steps():
    s = VPDiscrete.linear()
    for kind, steps in {
        "trailing": [999, 799, 599, 399, 199],
        "leading": [830, 664, 498, 332, 166],
        "linspace": [999, 799, 599, 400, 200],
    }.items():
        grid = make_grid(s, 5, kind)
        np.testing.assert_allclose(s.to_model_time(grid.t[:-1]), steps, atol=1e-7)
        assert grid.t[-1] == pytest.approx(s.t_min)
    with pytest.raises(InvalidParameter, match="VPDiscrete"):
        make_grid(VPLinear(), 5, "trailing")
    with pytest.raises(InvalidParameter, match="t_start"):
        make_grid(s, 5, "trailing", t_start=0.5)


def test_schedules_are_equal_by_value():
    assert VPDiscrete.linear() == VPDiscrete.linear()
    assert hash(VPDiscrete.linear()) == hash(VPDiscrete.linear())
    assert VPDiscrete.linear() != VPDiscrete.scaled_linear()
    assert VPDiscrete.linear() != VPLinear()
    assert VPLinear() != VPLinear(beta_max=19.0)


@pytest.mark.parametrize(
    "nodes", [[1.0], [1.0, 1.0], [1.0, 2.0], [2.0, np.nan], [np.inf, 1.0], [2.0, 1.0, -0.1], [3.0, 0.0, 0.0]]
)
def test_bad_nodes(nodes):
    with pytest.raises(InvalidData):
        Grid.from_ratio(VPLinear(), nodes)


def test_bad_settings():
    s = VPLinear()
    with pytest.raises(InvalidParameter, match="schedule must be a NoiseSchedule such as VPLinear"):
        make_grid(VPLinear, 5)
    with pytest.raises(InvalidParameter, match="kind must be one of"):
        make_grid(s, 5, "even")
    with pytest.raises(InvalidParameter, match="n must be"):
        make_grid(s, 0)
    with pytest.raises(InvalidParameter, match="t_start must be"):
        make_grid(s, 5, t_start=1.5)
    with pytest.raises(InvalidParameter, match="t_end must be"):
        make_grid(s, 5, t_end=1e-4)
    with pytest.raises(InvalidParameter, match="above t_end"):
        make_grid(s, 5, t_start=0.1, t_end=0.2)
    with pytest.raises(InvalidParameter):
        VPLinear(beta_min=0.0)
    with pytest.raises(InvalidParameter):
        EDM(sigma_min=2.0, sigma_max=1.0)
    with pytest.raises(InvalidData):
        VPDiscrete([0.5, 0.9])
