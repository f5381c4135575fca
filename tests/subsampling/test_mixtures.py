"""Shares of domains: the card's exact checks."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.subsampling import (
    gradient_variance_gap,
    scalarization_weights,
    temperature_probabilities,
    unimax_probabilities,
    variance_inflation,
)
from mcstat.subsampling._domains import DomainStream
from mcstat.subsampling._mixtures import check_shares, temperatures
from tests.naive import rounds as naive
from tests.stat_asserts import assert_mean_close

SIZES = np.array([1000.0, 300.0, 20.0, 1.0])
RANKS = np.arange(1.0, 11.0)


def test_temperature_one_is_proportional():
    np.testing.assert_allclose(temperature_probabilities(SIZES, 1), SIZES / SIZES.sum(), rtol=1e-14)
    np.testing.assert_allclose(scalarization_weights(SIZES, 1), 1, rtol=1e-14)
    assert abs(variance_inflation(SIZES, 1) - 1) < 1e-14
    p, w = temperature_probabilities(SIZES, 1), scalarization_weights(SIZES, 1)
    assert abs(gradient_variance_gap(p, w, [5, 1, 9, 2])) < 1e-13


@pytest.mark.parametrize("tau", [1e9, np.inf])
def test_hot_is_uniform(tau):
    np.testing.assert_allclose(temperature_probabilities(SIZES, tau), 0.25, rtol=1e-7)
    np.testing.assert_allclose(scalarization_weights(SIZES, tau), SIZES.sum() / (4 * SIZES), rtol=1e-7)


@pytest.mark.parametrize("tau", [0.3, 1, 5, np.inf])
def test_equal_sizes(tau):
    np.testing.assert_allclose(temperature_probabilities([7, 7, 7], tau), 1 / 3, rtol=1e-14)
    assert abs(variance_inflation([7, 7, 7], tau) - 1) < 1e-14


@pytest.mark.parametrize(
    ("power", "wanted"),
    [(1, [1.1618, 1.4033, 1.5998]), (2, [1.8065, 3.8219, 5.8465]), (0.5, [1.0351, 1.0852, 1.1258])],
)
def test_inflation_of_zipf_sizes(power, wanted):
    found = [variance_inflation(RANKS**-power, tau) for tau in (2.0, 5.0, 100.0)]
    np.testing.assert_allclose(found, wanted, atol=6e-5)


def test_published_shares():
    found = temperature_probabilities([2733, 162, 39, 1], 3.33)
    # The last of them has three digits.
    np.testing.assert_allclose(found / found[3] * 0.527, [5.670, 2.427, 1.583, 0.527], rtol=1e-3)


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.33, 20.0])
def test_equals_the_naive_one(tau):
    np.testing.assert_allclose(temperature_probabilities(SIZES, tau), naive.temperature_probabilities(SIZES, tau))


def test_monotone_in_tau_and_order_of_sizes_kept():
    table = np.array([temperature_probabilities(SIZES, tau) for tau in (0.2, 0.5, 1, 2, 5, 100, np.inf)])
    assert (np.diff(table[:, -1]) > 0).all()
    assert (np.diff(table[:, 0]) < 0).all()
    assert (np.diff(table[:-1], axis=1) < 0).all()
    inflation = [variance_inflation(SIZES, tau) for tau in (1, 2, 5, 100, np.inf)]
    assert (np.diff(inflation) > 0).all()


def test_extreme_sizes_do_not_overflow():
    found = temperature_probabilities([1e300, 1e-300], 1e-3)
    np.testing.assert_array_equal(found, [1, 0])


def test_weights_keep_the_mean_loss():
    w = scalarization_weights(SIZES, 5)
    assert abs(w @ SIZES / SIZES.sum() - 1) < 1e-14


def test_the_gap_can_be_negative():
    p, w = temperature_probabilities([99, 1], np.inf), scalarization_weights([99, 1], np.inf)
    moments = np.array([10, 0.01])
    np.testing.assert_allclose([np.sum(p * w * moments), p @ moments], [2.775, 5.005], atol=1e-3)
    np.testing.assert_allclose(gradient_variance_gap(p, w, moments), 2.775252525 - 5.005, atol=1e-8)
    # With equal second moments it is m (F - 1).
    np.testing.assert_allclose(gradient_variance_gap(p, w, [3, 3]), 3 * (variance_inflation([99, 1], np.inf) - 1))


def softmax_gradients(theta, X, y):
    """Gradient of each row's logistic loss (n, d)."""
    return (1 / (1 + np.exp(-X @ theta)) - y)[:, None] * X


def test_full_gradients_and_paths_agree():
    rng = np.random.default_rng(0)
    sizes = np.array([90, 9, 3])
    domain = np.repeat(np.arange(3), sizes)
    X, y = rng.normal(size=(102, 4)), rng.integers(0, 2, 102)
    p, w = temperature_probabilities(sizes, 5), scalarization_weights(sizes, 5)

    def sampled(theta):
        gradients = softmax_gradients(theta, X, y)
        return sum(p[k] * gradients[domain == k].mean(axis=0) for k in range(3))

    def weighted(theta):
        return (w[domain][:, None] * softmax_gradients(theta, X, y)).mean(axis=0)

    paths = [np.zeros(4), np.zeros(4)]
    np.testing.assert_allclose(sampled(paths[0]), weighted(paths[0]), rtol=0, atol=1e-12)
    for _ in range(200):
        paths = [paths[0] - 0.5 * sampled(paths[0]), paths[1] - 0.5 * weighted(paths[1])]
    np.testing.assert_allclose(paths[0], paths[1], rtol=0, atol=1e-10)


def test_single_rows_have_the_right_mean_and_second_moment():
    rng = np.random.default_rng(0)
    sizes, draws = np.array([90, 9, 3]), 60_000
    domain = np.repeat(np.arange(3), sizes)
    X, y = rng.normal(size=(102, 4)) * (1 + domain)[:, None], rng.integers(0, 2, 102)
    gradients = softmax_gradients(np.ones(4), X, y)
    p, w = temperature_probabilities(sizes, 5), scalarization_weights(sizes, 5)
    moments = np.array([(gradients[domain == k] ** 2).sum(axis=1).mean() for k in range(3)])
    full = sum(p[k] * gradients[domain == k].mean(axis=0) for k in range(3))
    stream = DomainStream(domain, np.random.default_rng(1))
    sampled = gradients[stream.draw(p, draws)[0]]
    rows, domains = stream.draw(sizes / 102, draws)
    weighted = w[domains][:, None] * gradients[rows]
    for found, moment in ((sampled, p @ moments), (weighted, p @ (w * moments))):
        # Walks without replacement inside a domain make the true errors smaller than these.
        assert_mean_close(found.mean(axis=0), full, found.std(axis=0) / np.sqrt(draws))
        squares = (found**2).sum(axis=1)
        assert_mean_close(squares.mean(), moment, squares.std() / np.sqrt(draws))
    gap = gradient_variance_gap(p, w, moments)
    np.testing.assert_allclose(gap, p @ (w * moments) - p @ moments)


def test_stratified_batches_have_less_variance():
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1], [400, 100])
    values = rng.normal(size=500) + 3 * domain  # domains of different means
    variances = {}
    for stratified in (False, True):
        stream = DomainStream(domain, np.random.default_rng(1), stratified)
        means = [values[stream.draw(np.array([0.5, 0.5]), 10)[0]].mean() for _ in range(2000)]
        variances[stratified] = np.var(means)
    # Within 1/10, and the between-domain part 9/4 on top of it: 0.1 against 0.325, each known to some 3 %.
    assert variances[True] < 0.13
    assert variances[False] > 0.25


def test_unimax():
    for budget, most in ((300, 4), (10_000, 4), (5, 1), (1e6, 0.5)):
        found = unimax_probabilities(SIZES, budget, most)
        np.testing.assert_allclose(found, naive.unimax(list(SIZES), budget, most), rtol=1e-12)
    # Enough budget for all: every domain is passed equally often.
    np.testing.assert_allclose(unimax_probabilities(SIZES, 1e9, 2), SIZES / SIZES.sum())


def test_schedules():
    steps = temperatures("step", 5.0, 1.0, 0.5, 10)
    np.testing.assert_array_equal(steps, [5] * 5 + [1] * 5)
    np.testing.assert_array_equal(temperatures("step", 5.0, 1.0, 0.0, 3), 1)
    np.testing.assert_array_equal(temperatures("step", 5.0, 1.0, 1.0, 3), 5)
    np.testing.assert_allclose(temperatures("linear", 5.0, 1.0, 0.5, 4), [5, 4, 3, 2])
    np.testing.assert_allclose(temperatures("cosine", 5.0, 1.0, 0.5, 2), [5, 3])
    np.testing.assert_allclose(temperatures("exponential", 4.0, 1.0, 0.5, 2), [4, 2])
    np.testing.assert_array_equal(temperatures([(0, 5), (0.25, np.inf), (0.5, 1)], 5.0, 1.0, 0.5, 4), [5, np.inf, 1, 1])


@pytest.mark.parametrize("tau", [0, -1, np.nan, -np.inf, "?", None, True])
def test_bad_temperatures(tau):
    with pytest.raises(InvalidParameter, match="tau"):
        temperature_probabilities(SIZES, tau)


@pytest.mark.parametrize("sizes", [[], [0, 0], [1, 0], [1, -1], [np.nan, 1], [[1, 2]]])
def test_bad_sizes(sizes):
    with pytest.raises(InvalidData, match="sizes"):
        temperature_probabilities(sizes, 2)


def test_empty_domains_where_allowed():
    np.testing.assert_allclose(temperature_probabilities([4, 0, 1], 2, allow_empty=True), [2 / 3, 0, 1 / 3])
    np.testing.assert_allclose(temperature_probabilities([4, 0, 1], np.inf, allow_empty=True), [0.5, 0, 0.5])
    assert scalarization_weights([4, 0, 1], 2, allow_empty=True)[1] == 0
    np.testing.assert_array_equal(temperature_probabilities([3], 5), [1])


@pytest.mark.parametrize(
    "schedule", [[], [(0.1, 5)], [(0, 5), (0, 1)], [(0, 5), (0.5, 2), (0.4, 1)], [(0, -1)], [5, 1], "?", None, 3]
)
def test_bad_schedules(schedule):
    with pytest.raises(InvalidParameter, match="schedule"):
        temperatures(schedule, 5.0, 1.0, 0.5, 10)


def test_dense_schedules_want_finite_temperatures():
    with pytest.raises(InvalidParameter, match="finite"):
        temperatures("linear", np.inf, 1.0, 0.5, 10)


def test_shares_are_normalised_with_a_warning():
    with pytest.warns(ReliabilityWarning, match="sum to 2"):
        np.testing.assert_array_equal(check_shares("probabilities", [1, 1], 2), 0.5)
    for bad in ([1.0], [-0.5, 1.5], [0, 0]):
        with pytest.raises(InvalidParameter, match="probabilities"):
            check_shares("probabilities", bad, 2)
