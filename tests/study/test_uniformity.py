"""The exact simultaneous test of uniform ranks."""

import numpy as np
import pytest

from mcstat.study._uniformity import uniform_cells
from tests.naive import uniformity as naive
from tests.stat_asserts import assert_proportion


@pytest.mark.parametrize("ranks", [(0, 1, 2, 3), (0, 0, 0, 0), (3, 3, 2, 3), (1, 1, 2, 2), (0, 0, 3, 3)])
def test_p_value_is_that_of_enumeration(ranks):
    assert uniform_cells(4, 3).p_value(np.array(ranks)) == pytest.approx(naive.p_value(ranks, 3), abs=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_band_holds_at_least_its_level_and_agrees_with_the_p_value(level):
    cells = uniform_cells(50, 9)
    low, high = cells.band(level)
    rng = np.random.default_rng(3)
    for _ in range(200):
        ranks = rng.integers(0, 10, size=50)
        counts = cells.counts(ranks)
        assert bool(np.all((low <= counts) & (counts <= high))) == (cells.p_value(ranks) > 1.0 - level)


@pytest.mark.parametrize(("n", "n_draws"), [(200, 19), (300, 499)])
def test_false_alarm_rate(n, n_draws):
    # The share of uniform samples outside the 90 % band is exactly 1 - P(inside); fails with probability < 1e-6.
    cells = uniform_cells(n, n_draws)
    low, high = cells.band(0.9)
    row = np.arange(len(cells.z))
    tail = min(cells.at_most[row, low].min(), cells.at_least[row, high].min())
    exact = 1.0 - cells.inside(tail * (1 - 1e-9))
    assert 0.07 < exact <= 0.1
    rng = np.random.default_rng(4)
    outside = 0
    for _ in range(4000):
        counts = cells.counts(rng.integers(0, n_draws + 1, size=n))
        outside += bool(np.any((counts < low) | (counts > high)))
    assert_proportion(outside, 4000, exact)


def test_cells_are_the_ranks_or_about_a_hundred():
    np.testing.assert_array_equal(uniform_cells(5, 3).last, [0, 1, 2])
    np.testing.assert_array_equal(uniform_cells(5, 1).last, [0])
    many = uniform_cells(5, 1004)
    assert len(many.last) == 99
    assert set(np.diff(many.last)) == {10, 11}
    np.testing.assert_allclose(many.z, (many.last + 1) / 1005)
