"""The zip plot and the nested-loop plot show what the tables say."""

import numpy as np
import pytest

from mcstat import Estimate
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.study import SimulationStudy, plot_nested_loop
from tests.study.methods import normal_data, t_interval, two_moments

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def no_open_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def run(methods, n=40, truth=2.0, **study):
    return SimulationStudy(normal_data, methods, truth=truth, **study).run(n, random_state=3, verbose=False)


def segments(ax):
    """Intervals in the order of their height, and which of them are red."""
    from matplotlib.colors import same_color

    rows = []
    for lines in ax.collections:
        red = same_color(lines.get_color()[0], "C3")
        rows += [(segment[0, 1], *segment[:, 0], red) for segment in lines.get_segments()]
    return np.array(sorted(rows))


def test_zip_draws_every_interval_and_the_uncovered_on_top():
    result = run({"t": t_interval, "wrong": lambda x: Estimate(value=x.mean(), std_error=0.15)})
    axs = result.plot_zip()
    assert [ax.get_title() for ax in axs] == ["t", "wrong"]
    for ax, (_, rows) in zip(axs, result.replicates.groupby("method", sort=False), strict=True):
        drawn = segments(ax)
        np.testing.assert_allclose(drawn[:, 0], 100 * (np.arange(40) + 0.5) / 40)
        np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(rows["conf_low"] - 2.0))
        red = drawn[:, 3].astype(bool)
        np.testing.assert_array_equal(red, (drawn[:, 1] > 0) | (drawn[:, 2] < 0))
        assert np.all(np.diff(red.astype(int)) >= 0)
    assert segments(axs[1])[:, 3].any()


def test_zip_takes_infinite_ends_and_one_chosen_term():
    def half_open(x):
        return Estimate(value=[x.mean(), x.var()], std_error=[0.1, np.inf], names=["mean", "variance"])

    result = run({"a": half_open}, truth={"mean": 2.0, "variance": 1.0})
    (ax,) = result.plot_zip("variance")
    assert np.isfinite(segments(ax)).all()
    assert not segments(ax)[:, 3].any()
    with pytest.raises(InvalidParameter, match="term must be one of 'mean', 'variance'"):
        result.plot_zip("median")


def test_zip_wants_a_truth():
    with pytest.raises(InvalidData, match="no interval to draw"):
        run({"t": t_interval}, truth=None).plot_zip()


def test_nested_loop_draws_the_measure_of_each_setting():
    results = {
        (n, scale): run({"two": two_moments, "t": t_interval}, truth={"mean": 2.0 + scale}, n=n)
        for n in (10, 20)
        for scale in (0.0, 1.0, 2.0)
    }
    ax = plot_nested_loop(results, ["n", "shift"], measure="bias", term="mean")
    steps = {line.get_label(): line for line in ax.lines}
    wanted = [frame.query("method == 'two' and term == 'mean'")["bias"].iloc[0]
              for frame in (result.to_frame() for result in results.values())]  # fmt: skip
    np.testing.assert_allclose(steps["two"].get_ydata()[:-1], wanted)
    # The t method has no such term: a gap, and no error.
    assert np.isnan(steps["t"].get_ydata()).all()
    assert [text.get_text() for text in ax.texts] == ["n: 10, 20", "shift: 0.0, 1.0, 2.0"]
    n_steps, shift_steps = (line.get_ydata() for line in ax.lines[-2:])
    assert len(np.unique(n_steps)) == 2
    assert len(np.unique(shift_steps)) == 3
    assert max(n_steps.max(), shift_steps.max()) < min(wanted)


def test_nested_loop_of_one_factor_and_bad_input():
    results = {10: run({"t": t_interval}, n=10), 20: run({"t": t_interval}, n=20)}
    ax = plot_nested_loop(results, ["n"], measure="coverage")
    assert ax.get_ylabel() == "coverage of value"
    with pytest.raises(InvalidParameter, match=r"keys of 2 value\(s\)"):
        plot_nested_loop(results, ["n", "p"])
    with pytest.raises(InvalidParameter, match="measure must be one of"):
        plot_nested_loop(results, ["n"], measure="beauty")
