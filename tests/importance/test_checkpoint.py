"""Checkpoints: an interrupted fit that is made again gives the same bits, and pays for no block twice."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from mcstat.core.errors import InvalidData, InvalidFileError, InvalidParameter
from mcstat.importance import AdaptiveImportanceSampler


class Counted:
    """x^2 and x^4, counting points, until ``stop`` calls were made."""

    def __init__(self, stop=None, error=KeyboardInterrupt):
        self.n_points, self.n_calls, self.stop, self.error = 0, 0, stop, error

    def __call__(self, x):
        self.n_calls += 1
        if self.stop is not None and self.n_calls > self.stop:
            raise self.error
        self.n_points += len(x)
        return x ** np.array([2, 4])


def sampler(folder, **settings):
    return AdaptiveImportanceSampler(
        law=norm(), checkpoint=folder, **({"budget": 30_000, "random_state": 0} | settings)
    )


@pytest.fixture
def whole():
    func = Counted()
    return sampler(None).fit(func), func


@pytest.mark.parametrize("stop", [0, 1, 3, 6, 8])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_goes_on_is_the_run(whole, tmp_path, stop, error):
    first, second = Counted(stop, error), Counted()
    with pytest.raises(error):
        sampler(tmp_path).fit(first)
    resumed = sampler(tmp_path).fit(second)
    expected, func = whole
    np.testing.assert_array_equal(resumed.estimate().value, expected.estimate().value)
    np.testing.assert_array_equal(resumed.estimate().cov, expected.estimate().cov)
    np.testing.assert_array_equal(resumed.sample_, expected.sample_)
    assert first.n_points + second.n_points == func.n_points == 30_000
    assert resumed.n_calls_ == 30_000


def test_a_finished_run_costs_nothing(whole, tmp_path):
    sampler(tmp_path).fit(Counted())
    again = Counted()
    estimate = sampler(tmp_path, n_jobs=2).fit(again).estimate()
    assert again.n_points == 0
    np.testing.assert_array_equal(estimate.value, whole[0].estimate().value)


def test_extend_goes_on_from_it(tmp_path):
    one = sampler(tmp_path).fit(Counted()).extend(10_000)
    again = Counted()
    two = sampler(tmp_path).fit(again).extend(12_000)
    # Of the longer extension two blocks of 4096 are there; the third was a shorter one.
    assert again.n_points == 12_000 - 2 * 4096
    np.testing.assert_array_equal(two.sample_[:-3808], one.sample_[:-1808])


def test_names_and_dropped_points_survive(tmp_path):
    def table(x):
        return pd.DataFrame({"a": np.where(x[:, 0] > 2.5, np.nan, x[:, 0]), "b": x[:, 0] ** 2})

    settings = {"nan": "drop", "budget": 4_000}
    with pytest.warns(match="left out"):
        one = sampler(tmp_path, **settings).fit(table).estimate()
    with pytest.warns(match="left out"):
        two = sampler(tmp_path, **settings).fit(Counted(stop=0)).estimate()
    assert two.names == ("a", "b")
    np.testing.assert_array_equal(one.value, two.value)


def test_points_of_another_run_are_refused(tmp_path):
    sampler(tmp_path).fit(Counted())
    with pytest.raises(InvalidData, match="holds the points of a fit with other settings or another random_state"):
        sampler(tmp_path, random_state=1).fit(Counted())


def test_a_damaged_file_is_refused(tmp_path):
    sampler(tmp_path).fit(Counted())
    path = sorted(tmp_path.glob("*.npz"))[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidFileError, match="is damaged: delete it"):
        sampler(tmp_path).fit(Counted())
    path.unlink()
    sampler(tmp_path).fit(Counted())


def test_what_it_must_be(tmp_path):
    with pytest.raises(InvalidParameter, match="checkpoint must be the path of a folder, got 3"):
        sampler(3).fit(Counted())
    with pytest.raises(InvalidParameter, match="checkpoint wants a random_state"):
        sampler(tmp_path, random_state=None).fit(Counted())
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidParameter, match="got the file"):
        sampler(tmp_path / "file").fit(Counted())
