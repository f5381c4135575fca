"""EpsilonPosterior against published and exact values, against plain quadrature, against draws, and on bad input."""

import pickle
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcstat import Estimate
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.privacy import EpsilonPosterior, epsilon_from_rates
from tests.naive import privacy as naive
from tests.stat_asserts import assert_proportion

# fn, fp, tn, tp; the last two have an atom at 0 and a long tail.
TABLES = [
    (100, 5, 495, 400),
    (40, 60, 440, 460),
    (250, 240, 260, 250),
    (0, 512, 1, 487),
    (0, 0, 20, 20),
    (3, 2, 900, 1.5),
    (1, 0, 7, 2),
    (20_000, 300, 49_700, 30_000),
]


def law(table, delta=1e-5, **settings):
    return EpsilonPosterior(**dict(zip(("fn", "fp", "tn", "tp"), table, strict=True)), delta=delta, **settings)


def random_tables(n, most, seed=0):
    """n tables with 1 to ``most`` challenges a side (log-uniform), some with counts of 0, and deltas from 0 to 0.1."""
    rng = np.random.default_rng(seed)
    sides = np.floor(most ** rng.random((n, 2)))
    wrong = np.floor(sides * np.where(rng.random((n, 2)) < 0.5, 10 ** rng.uniform(-5, 0, (n, 2)), rng.random((n, 2))))
    wrong = np.where(rng.random((n, 2)) < 0.1, 0.0, wrong)
    delta = np.where(rng.random(n) < 0.3, 0.0, 10 ** rng.uniform(-8, -1, n))
    right = sides - wrong
    return EpsilonPosterior(fn=wrong[:, 0], tp=right[:, 0], fp=wrong[:, 1], tn=right[:, 1], delta=delta)


# Exact values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "quantiles"),
    [
        ((100, 5, 495, 400), (3.70849, 4.34824, 5.16162)),
        ((40, 60, 440, 460), (2.15941, 2.39375, 2.65607)),
        ((250, 240, 260, 250), (0.00497, 0.05324, 0.14960)),
    ],
)
def test_quantiles_of_the_reference_tables(table, quantiles):
    np.testing.assert_allclose(law(table).ppf([0.05, 0.5, 0.95]), quantiles, atol=5e-6)


def test_atoms_of_the_reference_tables():
    assert law((250, 240, 260, 250)).prob_zero == pytest.approx(2.0686e-4, rel=1e-4)
    assert law((0, 512, 1, 487)).prob_zero == pytest.approx(3.27e-3, rel=2e-3)


@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.05])
@pytest.mark.parametrize("table", TABLES)
def test_equals_plain_quadrature(table, delta):
    one = law(table, delta)
    at = one.ppf([0.01, 0.3, 0.5, 0.9, 0.999])
    expected = [naive.cdf(e, *table, delta) for e in at]
    np.testing.assert_allclose(one.cdf(at), expected, atol=2e-10)


def test_other_priors_equal_plain_quadrature():
    for prior in [(1.0, 1.0), (0.2, 3.0)]:
        one = law((7, 3, 90, 20), 0.01, prior=prior)
        at = one.ppf([0.05, 0.5, 0.95])
        assert one.cdf(at[1]) == pytest.approx(0.5, abs=1e-12)
        # Below 1/2 the substitution of the twin leaves a singular end: counts keep it away.
        np.testing.assert_allclose([naive.cdf(e, 7, 3, 90, 20, 0.01, prior) for e in at], [0.05, 0.5, 0.95], atol=1e-9)


# What the card says -------------------------------------------------------------------------------------------------


def test_symmetries():
    at = np.linspace(0.01, 8, 9)
    for fn, fp, tn, tp in TABLES:
        for delta in (0.0, 0.02):
            expected = law((fn, fp, tn, tp), delta).cdf(at)
            np.testing.assert_allclose(law((fp, fn, tp, tn), delta).cdf(at), expected, atol=1e-10)
            np.testing.assert_allclose(law((tp, tn, fp, fn), delta).cdf(at), expected, atol=1e-10)


def assert_monotone(tables):
    levels = np.linspace(0.001, 0.999, 25)[:, None]
    at = np.sort(np.vstack([tables.ppf(levels), np.zeros(len(tables)), np.full(len(tables), 50.0)]), axis=0)
    assert np.all(np.diff(tables.cdf(at), axis=0) > -1e-11)
    assert np.max(np.abs(tables.cdf(600.0) - 1.0)) < 1e-10


def mass_of_density(one):
    """Integral of the density over e > 0, by Gauss-Legendre panels halved until they agree (features can be sharp)."""
    nodes, weights = np.polynomial.legendre.leggauss(20)

    def integral(low, high, depth=0):
        half = 0.5 * (high - low)
        whole = half * weights @ one.pdf(low + half * (1 + nodes))
        left = 0.5 * half * weights @ one.pdf(low + 0.5 * half * (1 + nodes))
        right = 0.5 * half * weights @ one.pdf(low + half + 0.5 * half * (1 + nodes))
        if abs(left + right - whole) < 1e-12 or depth == 30:
            return left + right
        return integral(low, low + half, depth + 1) + integral(low + half, high, depth + 1)

    edges = np.concatenate(
        [[0.0], one.ppf([1e-12, 1e-9, 1e-5, 0.01, 0.2, 0.5, 0.8, 0.99, 1 - 1e-5, 1 - 1e-9, 1 - 1e-12])]
    )
    return sum(integral(low, high) for low, high in pairwise(edges) if high > low)


def test_monotone_with_mass_one():
    tables = random_tables(60, 1e7)
    assert_monotone(tables)
    for i in range(10):
        assert mass_of_density(tables[i]) + tables[i].prob_zero[0] == pytest.approx(1.0, abs=1e-10)


@pytest.mark.slow
def test_monotone_with_mass_one_on_many_tables():
    tables = random_tables(1500, 1e7, seed=1)
    assert_monotone(tables)
    for i in range(200):
        assert mass_of_density(tables[i]) + tables[i].prob_zero[0] == pytest.approx(1.0, abs=1e-10)


def test_no_atom_without_delta():
    tables = random_tables(60, 1e7)
    none = tables.delta == 0
    assert np.all(tables.prob_zero[none] == 0.0)
    assert np.all(tables.ppf(1e-9)[none] > 0)
    assert law((250, 240, 260, 250), 0.0).prob_zero == 0.0


def test_larger_delta_means_smaller_epsilon():
    at = np.linspace(0.0, 9, 12)
    for table in TABLES:
        rising = np.array([law(table, delta).cdf(at) for delta in (0.0, 1e-5, 1e-3, 0.1, 0.5)])
        assert np.all(np.diff(rising, axis=0) > -1e-11)


def test_a_hundred_times_the_counts_is_a_tenth_of_the_width():
    table = np.array([60, 30, 470, 440])
    few, many = law(table), law(100 * table)
    width = [np.ravel(np.subtract(*one.interval(0.9)[::-1]))[0] for one in (few, many)]
    assert width[0] / width[1] == pytest.approx(10, rel=0.05)
    assert many.median()[0] == pytest.approx(epsilon_from_rates(60 / 500, 30 / 500, 1e-5), abs=2e-3)


def test_cdf_and_quantile_are_inverse():
    tables = random_tables(60, 1e7, seed=3)
    levels = np.array([1e-4, 0.05, 0.5, 0.95, 0.9999])[:, None]
    found = tables.ppf(levels)
    inside = found > 0
    assert np.max(np.abs(tables.cdf(found) - levels)[inside]) < 1e-9
    assert np.all((tables.prob_zero >= levels)[~inside])


def test_law_of_a_huge_epsilon():
    # All of 1e7 challenges told apart: the quantiles are near 2 log(1e7) and beyond.
    one = law((0, 0, 1e7, 1e7), 0.0)
    upper = one.ppf(1 - 1e-9)
    assert 50 < upper < 80
    assert one.sf(upper) == pytest.approx(1e-9, rel=1e-3)


def check_draws(tables, n_draws, levels):
    for i in range(len(tables)):
        one = tables[i]
        draws = one.rvs(n_draws, random_state=i)[:, 0]
        for level, end in zip(levels, one.ppf(levels), strict=True):
            if end > 0:
                # Each two-sided binomial test raises a false alarm with probability 1e-9.
                assert_proportion(int(np.sum(draws <= end)), n_draws, level, alpha=1e-9)
        assert_proportion(int(np.sum(draws == 0)), n_draws, float(one.prob_zero[0]), alpha=1e-9)


def test_quantiles_of_draws():
    check_draws(random_tables(40, 1e7, seed=4), 20_000, np.array([0.05, 0.5, 0.95]))


@pytest.mark.slow
def test_quantiles_of_four_million_draws():
    levels = np.array([0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999])
    tables = [law(table, delta) for table in TABLES for delta in (0.0, 1e-5, 0.1)]
    for one in tables:
        check_draws(one, 4_000_000, levels)
    check_draws(random_tables(30, 1e7, seed=5), 4_000_000, levels)


def test_moments():
    for table in TABLES:
        one = law(table)
        draws = one.rvs(200_000, random_state=0)[:, 0]
        mean, sd = one.mean()[0], one.std()[0]
        assert abs(draws.mean() - mean) < 6 * sd / np.sqrt(len(draws)) + 1e-4 * mean
        # The kurtosis of these laws is below 20, that of an exponential 9.
        assert draws.std() == pytest.approx(sd, rel=6 * np.sqrt(20 / 4 / len(draws)) + 1e-3)


# Intervals ----------------------------------------------------------------------------------------------------------


def test_interval_sides():
    one = law((100, 5, 495, 400))
    lower, upper = one.interval(0.9)
    assert one.interval(0.95, "lower")[0] == pytest.approx(lower)
    assert one.interval(0.95, "lower")[1] == np.inf
    assert one.interval(0.95, "upper")[0] == 0.0
    assert one.interval(0.95, "upper")[1] == pytest.approx(upper)


def test_shortest_interval():
    for table in TABLES:
        for delta in (0.0, 0.02):
            one = law(table, delta)
            low, high = (end[0] for end in one.hpd(0.9))
            held = one.cdf(high)[0] - (one.cdf(low)[0] if low > 0 else 0.0)
            assert held == pytest.approx(max(0.9, one.prob_zero[0]), abs=1e-7)
            # No interval on a fine grid of lower ends is shorter.
            tails = np.linspace(1e-4, 0.1 - 1e-4, 60)
            widths = one.ppf(tails + 0.9) - one.ppf(tails)
            assert high - low <= widths.min() + 1e-7
            assert high - low <= one.ppf(0.9)[0] + 1e-7


def test_shortest_interval_of_an_atom():
    one = law((50, 50, 50, 50), 0.3)
    assert one.prob_zero > 0.99
    np.testing.assert_array_equal(one.hpd(0.9), [[0.0], [0.0]])


# Many tables --------------------------------------------------------------------------------------------------------


def test_many_tables_are_one_by_one():
    tables = random_tables(70, 1e4, seed=6)
    levels = np.array([[0.1], [0.9]])
    both = tables.ppf(levels)
    assert both.shape == (2, 70)
    for i in (0, 33, 69):
        np.testing.assert_array_equal(tables[i].ppf(levels[:, 0]), both[:, i])
    np.testing.assert_array_equal(tables[10:13].ppf(0.1), both[0, 10:13])
    assert tables.interval(0.8)[1].shape == (70,)
    assert tables.rvs(5).shape == (5, 70)
    assert np.array_equal(tables.median(n_jobs=2), tables.median())


def test_shapes_of_one_table():
    one = law((100, 5, 495, 400))
    assert one.cdf(1.0).shape == (1,)
    assert one.ppf([0.1, 0.9]).shape == (2,)
    assert one.pdf(np.ones((3, 2))).shape == (3, 2)
    assert np.isnan(one.cdf(np.nan)[0])
    assert one.cdf(-1.0) == 0.0
    assert one.pdf(-1.0) == 0.0
    np.testing.assert_array_equal(one.ppf([0.0, 1.0]), [0.0, np.inf])


def test_an_estimate_carries_it(tmp_path):
    tables = law(([100, 40], [5, 60], [495, 440], [400, 460]), prior=(1.0, 1.0))
    est = Estimate(value=tables.median(), std_error=tables.std(), law=tables, kind="posterior")
    est.save(tmp_path / "one.zip")
    back = Estimate.load(tmp_path / "one.zip")
    np.testing.assert_array_equal(back.conf_int(0.9), np.column_stack(tables.interval(0.9)))
    assert est[est.names[1]].law.fn == 40
    assert pickle.loads(pickle.dumps(tables)).median()[0] == est.value[0]  # noqa: S301  (our own bytes)


def test_speed():
    tables = random_tables(300, 1000, seed=7)
    tables[:2].interval(0.9)  # compiles
    started = time.process_time()
    tables.interval(0.9)
    # 10 000 tables are to take 20 CPU seconds; measured 0.6 ms each, tested with room for a busy machine.
    assert (time.process_time() - started) / 300 < 5e-3


# Any input ----------------------------------------------------------------------------------------------------------

counts = st.floats(0, 1e7) | st.integers(0, 50).map(float) | st.just(0.0)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(counts, counts, counts, counts, st.floats(0, 0.1) | st.just(0.0))
def test_anything_is_a_law(fn, fp, tn, tp, delta):
    one = law((fn, fp, tn, tp), delta, allow_empty=True)
    ends = one.ppf([0.01, 0.5, 0.99])
    assert np.all(np.isfinite(ends))
    assert np.all(np.diff(ends) >= 0)
    inside = ends > 0
    assert np.all(np.abs(one.cdf(ends) - [0.01, 0.5, 0.99])[inside] < 1e-8)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"fn": -1}, "fn must be at least 0"),
        ({"fp": np.nan}, "fp must be finite"),
        ({"tn": np.inf}, "tn must be finite"),
        ({"tp": [1, 2], "fn": [1, 2, 3]}, "one length"),
        ({"fn": 0, "tp": 0}, r"members \(fn \+ tp\)"),
        ({"fp": 0, "tn": 0}, "allow_empty"),
        ({"fn": np.ones((2, 2))}, "dimension"),
        ({"fn": []}, "at least one"),
        ({"delta": 1.0}, "delta"),
        ({"delta": -1e-9}, "delta"),
        ({"delta": np.nan}, "delta"),
        ({"delta": [0.1, 0.2], "fn": [1, 2, 3]}, "delta must broadcast"),
        ({"prior": (0.0, 1.0)}, "prior"),
        ({"prior": (1.0,)}, "prior"),
        ({"prior": "flat"}, "prior"),
    ],
)
def test_bad_counts_are_refused(change, match):
    good = {"fn": 1, "fp": 2, "tn": 3, "tp": 4}
    with pytest.raises((InvalidData, InvalidParameter), match=match):
        EpsilonPosterior(**(good | change))


def test_bad_questions_are_refused():
    one = law((1, 2, 3, 4))
    with pytest.raises(InvalidParameter, match="level"):
        one.interval(1.0)
    with pytest.raises(InvalidParameter, match="level"):
        one.hpd(0.0)
    with pytest.raises(InvalidParameter, match="q must"):
        one.ppf(1.1)
