"""Epsilon of error rates and the region it comes from."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidParameter
from mcstat.privacy import epsilon_from_rates, rates_region
from tests.naive import privacy as naive

RATES = np.random.default_rng(0).random((200, 2))
DELTAS = (0.0, 1e-5, 0.05)


@pytest.mark.parametrize("delta", DELTAS)
def test_equals_the_four_inequalities(delta):
    expected = [naive.epsilon(x, y, delta) for x, y in RATES.tolist()]
    np.testing.assert_allclose(epsilon_from_rates(RATES[:, 0], RATES[:, 1], delta), expected, rtol=1e-9, atol=1e-12)


def test_the_corner_has_exactly_its_epsilon():
    eps = np.array([0.1, 1.0, 5.0, 50.0])
    for delta in DELTAS:
        corner = (1 - delta) / (1 + np.exp(eps))
        np.testing.assert_allclose(epsilon_from_rates(corner, corner, delta), eps, rtol=1e-12)


def test_edges():
    assert epsilon_from_rates(0.0, 0.3, 0.0) == np.inf
    assert epsilon_from_rates(0.0, 1.0, 0.0) == 0.0
    assert epsilon_from_rates(0.0, 0.95, 0.05) == 0.0
    assert epsilon_from_rates(1.0, 0.7, 0.0) == np.inf
    assert epsilon_from_rates(1e-300, 0.5, 0.0) == pytest.approx(np.log(0.5) - np.log(1e-300))


@pytest.mark.parametrize("delta", DELTAS)
def test_rates_lie_on_the_edge_of_their_own_region(delta):
    x, y = RATES.T
    eps = epsilon_from_rates(x, y, delta)
    low, high = rates_region(eps, delta, x)
    outside = eps > 0
    gap = np.minimum(np.abs(y - low), np.abs(y - high))
    assert gap[outside].max() < 1e-12
    assert np.all((low <= y + 1e-12) & (y <= high + 1e-12))
    # The region is symmetric when both rates turn round.
    np.testing.assert_allclose(rates_region(eps, delta, 1 - x)[0], 1 - high, atol=1e-14)


def test_region_of_an_infinite_epsilon_is_everything():
    low, high = rates_region(np.inf, 0.0, [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(low, [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(high, [1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [({"fnr": 1.1}, "fnr"), ({"fpr": -0.1}, "fpr"), ({"fnr": np.nan}, "fnr"), ({"delta": 1.0}, "delta")],
)
def test_bad_rates_are_refused(kwargs, name):
    with pytest.raises(InvalidParameter, match=name):
        epsilon_from_rates(**({"fnr": 0.1, "fpr": 0.1, "delta": 0.0} | kwargs))


def test_bad_epsilon_is_refused():
    with pytest.raises(InvalidParameter, match="eps"):
        rates_region(-1.0, 0.0, 0.5)
