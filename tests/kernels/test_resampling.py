"""Resampling schemes: exact maps of uniforms, right on average, and safe at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcstat.kernels.resampling import SCHEMES, alias_table, inverse_cdf, sort_uniforms, systematic
from tests.naive import resampling as naive
from tests.stat_asserts import assert_mean_close

every_scheme = pytest.mark.parametrize("scheme", SCHEMES)
WEIGHTS = np.array([0.0, 0.05, 0.3, 0.0, 1.2, 0.25, 0.2, 0.0])
NEARLY_ONE = np.nextafter(1.0, 0.0)

# Multiples of 1/8, so that sums and products are exact and ties are met.
eighths = st.lists(st.integers(0, 16), min_size=1, max_size=12).filter(any).map(lambda k: np.array(k) / 8.0)


def draw(scheme, weights, m, uniforms):
    kernel, n_uniforms = SCHEMES[scheme]
    out = np.full(m, -1)
    kernel(weights.copy(), uniforms(n_uniforms(len(weights), m)), out)
    return out


@settings(derandomize=True, deadline=None, max_examples=80)
@given(eighths, st.lists(st.integers(0, 63), min_size=1, max_size=10))
def test_inverse_cdf(weights, points):
    at = np.sort(points) / 64.0
    out = np.empty(len(at), np.int64)
    inverse_cdf(weights, at, out)
    assert out.tolist() == naive.inverse_cdf(weights, at)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(eighths.filter(lambda w: np.log2(w.sum() * 8) % 1 == 0), st.integers(0, 63), st.sampled_from([1, 2, 4, 8, 16]))
def test_systematic(weights, uniform, m):
    out = np.empty(m, np.int64)
    systematic(weights, np.array([uniform / 64.0]), out)
    assert out.tolist() == naive.systematic(weights, uniform / 64.0, m)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(eighths)
def test_alias_table_holds_the_law(weights):
    n = len(weights)
    keep, alias = np.empty(n), np.empty(n, np.int64)
    alias_table(weights, keep, alias)
    law = np.array([float(p) for p in naive.alias_law(keep, alias)])
    np.testing.assert_allclose(law, weights / weights.sum(), rtol=1e-14, atol=1e-15)
    assert np.all(law[weights == 0.0] == 0.0)


@every_scheme
@pytest.mark.parametrize("m", [8, 21])
def test_offspring_is_right_on_average(scheme, m, seed):
    # 14 means at 6 standard errors: false-alarm rate 14 * 5 * 2e-9 < 1e-6.
    if scheme == "killing" and m != len(WEIGHTS):
        pytest.skip("killing keeps the number of particles")
    rng = np.random.default_rng(seed)
    counts = np.array([np.bincount(draw(scheme, WEIGHTS, m, rng.random), minlength=8) for _ in range(1500)])
    expected = m * WEIGHTS / WEIGHTS.sum()
    assert_mean_close(counts.mean(axis=0), expected, counts.std(axis=0) / np.sqrt(1500) + 1e-12)
    assert np.all(counts.sum(axis=1) == m)
    low, high = np.floor(expected + 1e-9), np.ceil(expected - 1e-9)
    if scheme in ("systematic", "ssp"):
        assert np.all((counts >= low) & (counts <= high))
    if scheme == "stratified":
        # Its points may fall into two neighbouring strata at each end.
        assert np.all((counts >= low - 1) & (counts <= high + 1))
    if scheme == "residual":
        assert np.all(counts >= low)


@every_scheme
@pytest.mark.parametrize("uniform", [0.0, 0.5, NEARLY_ONE])
def test_edges(scheme, uniform):
    def same(n):
        return np.full(n, uniform)

    assert draw(scheme, np.array([3.0]), 1, same).tolist() == [0]
    for j in (0, 4, 7):
        one = np.zeros(8)
        one[j] = 1e-300
        assert draw(scheme, one, 8, same).tolist() == [j] * 8
    # Sums that end below 1, and zeros at both ends.
    for weights in (np.full(10, 0.1), np.r_[0.0, np.full(10, 0.1), 0.0], WEIGHTS, np.r_[1e-300, 1.0, 1e-300, 0.0]):
        out = draw(scheme, weights, len(weights), same)
        assert np.all((out >= 0) & (out < len(weights)))
        assert np.all(weights[out] > 0.0)


@pytest.mark.parametrize("scheme", ["systematic", "stratified", "residual", "ssp", "killing"])
def test_equal_weights_keep_everybody(scheme, seed):
    rng = np.random.default_rng(seed)
    for n in (1, 7, 16):
        out = draw(scheme, np.full(n, 0.3), n, rng.random)
        if scheme in ("systematic", "stratified", "killing"):
            assert out.tolist() == list(range(n))
        assert len(out) == n


def test_sort_uniforms_gives_order_statistics(seed):
    # Means k / (m + 1) of 5 order statistics at 6 standard errors.
    rng = np.random.default_rng(seed)
    found = np.empty((2000, 5))
    for row in found:
        sort_uniforms(rng.random(6), row)
    assert np.all(np.diff(found, axis=1) >= 0.0)
    assert np.all(found < 1.0)
    assert_mean_close(found.mean(axis=0), np.arange(1, 6) / 6, found.std(axis=0) / np.sqrt(2000))


def test_independent_draws_are_in_random_order(seed):
    rng = np.random.default_rng(seed)
    out = draw("multinomial_iid", np.ones(50), 50, rng.random)
    assert np.any(np.diff(out) < 0)
