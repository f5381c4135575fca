"""Rows of the rounds: exact properties, laws, and the slow twin."""

import itertools

import numpy as np
import pytest

from mcstat.core.errors import InvalidParameter
from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.subsampling._rounds import (
    MODES,
    Rounds,
    StratifiedRounds,
    allocate,
    learning_rates,
    subset_size,
    updates_per_round,
)
from tests.naive.rounds import largest_remainders, rounds_from_orders
from tests.stat_asserts import assert_mean_close

WITHOUT, WITH, INDEPENDENT = MODES


def first_rounds(n, m, mode, n_rounds, seed=0):
    rounds = Rounds(n, m, mode, root_seed(seed))
    return [rounds.rows(k) for k in range(n_rounds)]


@pytest.mark.parametrize("mode", [WITHOUT, WITH])
def test_a_ratio_of_one_is_ordinary_epochs(mode):
    for rows in first_rounds(50, 50, mode, 4):
        assert sorted(rows) == list(range(50))


def test_rounds_partition_the_rows_when_m_divides_n():
    rounds = first_rounds(60, 12, WITHOUT, 10)
    for epoch in (rounds[:5], rounds[5:]):
        assert sorted(np.concatenate(epoch)) == list(range(60))


@pytest.mark.parametrize(("n", "m"), [(10, 3), (10, 7), (10, 9), (7, 7), (11, 1), (100, 64)])
def test_remainder_rule(n, m):
    orders = [stream(root_seed(3), "RS2Estimator", Purpose.SAMPLE, p).permutation(n) for p in range(40)]
    rounds = first_rounds(n, m, WITHOUT, 40, seed=3)
    np.testing.assert_array_equal(rounds, rounds_from_orders(orders, m, 40))
    counts = np.zeros(n, dtype=int)
    for rows in rounds:
        assert len(set(rows)) == m
        counts[rows] += 1
        assert np.ptp(counts) <= 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stratified", [False, True])
def test_a_round_is_a_function_of_the_seed_and_its_number(mode, stratified):
    def make():
        if stratified:
            return StratifiedRounds(np.arange(20) % 3, 7, mode, root_seed(1))
        return Rounds(20, 7, mode, root_seed(1))

    in_order, rounds = make(), make()
    wanted = [in_order.rows(k) for k in range(12)]
    for k in (11, 3, 0, 7, 8, 2, 11):
        np.testing.assert_array_equal(rounds.rows(k), wanted[k])


@pytest.mark.parametrize("mode", MODES)
def test_every_round_is_another_subset(mode):
    # The mistake that turns RS2 into static pruning. Two equal ones of choose(60, 20) have probability below 1e-12.
    subsets = {tuple(sorted(rows)) for rows in first_rounds(60, 20, mode, 30)}
    assert len(subsets) == 30


@pytest.mark.parametrize("mode", [WITHOUT, WITH])
def test_inclusion_and_order(mode):
    n, m, runs = 6, 3, 20_000
    single, pair, place = np.zeros(n), np.zeros((n, n)), np.zeros((m, n))
    for seed in range(runs):
        rows = Rounds(n, m, mode, root_seed(seed)).rows(0)
        single[rows] += 1
        pair[np.ix_(rows, rows)] += 1
        place[np.arange(m), rows] += 1
    se = 0.5 / np.sqrt(runs)
    assert_mean_close(single / runs, m / n, se)
    assert_mean_close(pair[~np.eye(n, dtype=bool)] / runs, m * (m - 1) / (n * (n - 1)), se)
    assert_mean_close(place / runs, 1 / n, se)


@pytest.mark.parametrize(("ratio", "n_rounds", "share"), [(0.01, 100, 0.634), (0.05, 60, 0.954), (0.1, 60, 0.998)])
def test_seen_share_with_replacement(ratio, n_rounds, share):
    n, m = 2000, round(2000 * ratio)
    exact = 1 - (1 - m / n) ** n_rounds
    assert abs(exact - share) < 6e-4
    seen = [len(np.unique(first_rounds(n, m, WITH, n_rounds, seed))) / n for seed in range(20)]
    # Rows are negatively dependent, so the binomial error is an upper bound.
    assert_mean_close(np.mean(seen), exact, np.sqrt(exact * (1 - exact) / n / 20))


@pytest.mark.parametrize("mode", [WITHOUT, WITH])
def test_mean_and_variance_of_a_subset_mean(mode):
    values = np.random.default_rng(0).exponential(size=30)
    means = np.array([values[Rounds(30, 8, mode, root_seed(seed)).rows(5)].mean() for seed in range(4000)])
    variance = values.var() / 8 * (30 - 8) / 29
    assert_mean_close(means.mean(), values.mean(), np.sqrt(variance / 4000))
    assert_mean_close(means.var(), variance, ((means - means.mean()) ** 2).std() / np.sqrt(4000))


def test_independent_rounds_draw_each_row_from_all():
    rounds = first_rounds(50, 20, INDEPENDENT, 2000)
    counts = np.bincount(np.concatenate(rounds), minlength=50)
    assert_mean_close(counts / 40_000, 1 / 50, np.sqrt(1 / 50 * 49 / 50 / 40_000))
    assert min(len(set(rows)) for rows in rounds) < 20
    distinct = np.mean([len(set(rows)) for rows in rounds])
    assert_mean_close(distinct, 50 * (1 - (1 - 1 / 50) ** 20), np.sqrt(50 * 0.25 / 2000))


def test_shares_of_strata():
    for sizes in itertools.product([3, 10, 31, 32], repeat=3):
        for m in range(3, sum(sizes) + 1, 7):
            quota = m * np.array(sizes) / sum(sizes)
            shares = allocate(sizes, m)
            assert shares.sum() == m
            assert (shares <= sizes).all()
            assert (shares >= 1).all()
            if (quota >= 1).all():
                assert (np.abs(shares - quota) < 1).all()
                assert sorted(shares) == sorted(largest_remainders(sizes, m))


def test_tiny_strata_get_one_each():
    np.testing.assert_array_equal(allocate([1, 1, 98], 10), [1, 1, 8])
    np.testing.assert_array_equal(allocate([1] * 9 + [1000], 10), [1] * 10)
    with pytest.raises(InvalidParameter, match="ratio"):
        allocate([5, 5, 5], 2)


@pytest.mark.parametrize("mode", MODES)
def test_stratified_rounds(mode):
    strata = np.repeat([0, 1, 2], [50, 30, 20])
    rounds = StratifiedRounds(strata, 10, mode, root_seed(0))
    counts, first = np.zeros(100), []
    for k in range(10):
        rows = rounds.rows(k)
        counts[rows] += 1
        first.append(strata[rows[0]])
        np.testing.assert_array_equal(np.bincount(strata[rows]), [5, 3, 2])
    assert len(set(first)) > 1  # shuffled together
    if mode == WITHOUT:
        assert (counts == 1).all()


def test_cosine_rates():
    rates = learning_rates("cosine", 200, 0.1, 1e-4)
    assert len(rates) == 200
    assert rates[0] == 0.1
    assert (np.diff(rates) < 0).all()
    assert 1e-4 < rates[-1] < 1.1e-4
    np.testing.assert_allclose(rates[100], (0.1 + 1e-4) / 2)
    np.testing.assert_array_equal(learning_rates("constant", 3, 0.1, 0.0), 0.1)


def test_sizes():
    assert [subset_size(10, ratio) for ratio in (0.05001, 0.25, 0.35, 1.0, 1)] == [1, 2, 4, 10, 10]
    assert [updates_per_round(10, batch) for batch in (None, 1, 3, 10, 99)] == [1, 10, 4, 1, 1]
    for ratio in (0, -1, 1.1, np.nan, "?", None, True):
        with pytest.raises(InvalidParameter, match="ratio"):
            subset_size(100, ratio)
    with pytest.raises(InvalidParameter, match="at least"):
        subset_size(10, 0.04)


def test_gradients_of_a_quadratic_stay_under_the_bound():
    """Mean squared gradient of f(theta) = mean |theta - x|^2 / 2 along SGD: the card's item 6, beta = 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    variance = x.var(axis=0).sum()
    for b, n_rounds in ((4, 50), (20, 20)):
        steps = n_rounds * (40 // b)
        start = np.full(3, 2.0)
        delta = ((start - x.mean(axis=0)) ** 2).sum() / 2
        rate = min(1.0, np.sqrt(2 * delta * b / (variance * steps)))
        norms = []
        for seed in range(30):
            theta, rounds = start.copy(), Rounds(400, 40, WITH, root_seed(seed))
            for k in range(n_rounds):
                for batch in rounds.rows(k).reshape(-1, b):
                    norms.append(((theta - x.mean(axis=0)) ** 2).sum())
                    theta -= rate * (theta - x[batch].mean(axis=0))
        assert np.mean(norms) < 2 * delta / steps + 2 * np.sqrt(2 * delta * variance / (b * steps))
