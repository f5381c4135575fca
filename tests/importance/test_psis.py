"""Pareto-smoothed importance sampling: equal to arviz-stats, right on known tails, clear on bad input."""

from contextlib import nullcontext

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcstat.core.errors import DegenerateWeightsError, InvalidData, InvalidParameter
from mcstat.importance import ess, psis
from mcstat.importance._psis import tail_shape


def silent_kernels():
    """Interpreted kernels (NUMBA_DISABLE_JIT) announce an overflow that compiled ones pass over."""
    return np.errstate(all="ignore") if numba.config.DISABLE_JIT else nullcontext()


@pytest.mark.parametrize("n", [31, 100, 226, 1000, 5000])
@pytest.mark.parametrize("df", [2, 5, 30])
def test_equal_to_arviz_stats(n, df):
    from arviz_stats.base import array_stats

    log_weights = np.random.default_rng(n + df).standard_t(df, size=n)
    # It takes log likelihoods, whose negatives are the log weights of leaving an observation out.
    smoothed, khat = array_stats.psislw(-log_weights)
    result = psis(log_weights)
    assert abs(result.khat - float(khat)) < 1e-10
    np.testing.assert_allclose(result.log_weights, smoothed, atol=1e-10)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_khat_of_pareto_weights(k):
    # Card, exact check 9: +-0.05 at 1e5 weights. The tail holds 948 weights, so khat has sd (1 + k) / sqrt(948) and
    # its mean over 60 samples misses by 6 of its own sd with probability 2e-9; 0.02 allows for the prior's pull.
    khats = [psis(np.log1p(np.random.default_rng(s).pareto(1 / k, size=100_000))).khat for s in range(60)]
    assert abs(np.mean(khats) - k) < 6 * (1 + k) / np.sqrt(948 * 60) + 0.02


def test_constant_weights():
    result = psis(np.full(500, -3.0))
    assert result.khat < 0
    assert result.reliable
    assert result.ess == pytest.approx(500)
    assert ess(np.zeros(50)) == 50.0


def test_one_weight_is_constant_but_not_reliable():
    result = psis([-3.0])
    assert result.ess == 1.0
    assert not result.reliable


@pytest.mark.parametrize("largest", [99, 100, 110, 120, 121])
def test_two_values(largest):
    # An indicator's summands. From 100 to 120 equal exceedances put a point of the fit's grid at 0 (0/0 without care).
    log_weights = np.full(2000, -1.0)
    log_weights[:largest] = 0.0
    result = psis(log_weights)
    assert -6 < result.khat < -5
    assert tail_shape(log_weights) == result.khat
    assert result.reliable


@pytest.mark.parametrize("size", [1e-8, 1e-14, 1e-16])
def test_weights_constant_up_to_rounding(size):
    # What a perfect proposal gives. The law of the tail is the normal's: no heavier than an exponential.
    result = psis(size * np.random.default_rng(0).normal(size=2000))
    assert -0.5 < result.khat < 0.2
    assert result.reliable
    assert result.ess == pytest.approx(2000)


def test_tail_beyond_floating_point():
    # Exceedances from 1e-13 to 1e304: no law can be fitted, and nothing may be trusted.
    log_weights = np.concatenate([np.zeros(900), 2.5e-13 * np.arange(1, 41), np.linspace(695, 700, 55)])
    with silent_kernels():
        result = psis(log_weights)
    assert result.khat == np.inf
    assert not result.reliable
    # Unsmoothed.
    np.testing.assert_allclose(np.diff(result.log_weights), np.diff(log_weights), atol=1e-12)


@pytest.mark.parametrize("top", [600.0, 690.0])
def test_very_heavy_tail_does_not_warn_of_overflow(top):
    with silent_kernels():
        result = psis(np.concatenate([np.zeros(900), 2.5e-13 * np.arange(1, 41), np.linspace(top - 5, top, 55)]))
    assert 300 < result.khat < np.inf
    assert np.all(np.isfinite(result.log_weights))


def test_log_weights_at_the_ends_of_floating_point():
    assert psis(np.array([-1.7e308, 0.0, 1.7e308] * 20)).ess == 20.0


rounded = st.lists(st.sampled_from([-np.inf, -700.0, -1.0, -1e-16, 0.0, 1e-16, 1e-13, 1.0, 700.0]), min_size=1)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(rounded.filter(lambda values: max(values) > -np.inf), st.integers(1, 30))
def test_always_an_answer(values, copies):
    with silent_kernels():
        result = psis(values * copies)
    assert not np.isnan(result.khat)
    assert np.exp(result.log_weights).sum() == pytest.approx(1.0)
    assert 1 - 1e-9 <= result.ess <= len(values) * copies * (1 + 1e-9)
    order = np.argsort(values * copies, kind="stable")
    assert np.all(np.diff(np.exp(result.log_weights[order])) >= -1e-12)


def test_heavy_tail_is_not_reliable():
    result = psis(np.log(np.random.default_rng(0).pareto(0.8, size=10_000)))
    assert result.khat > 0.7
    assert not result.reliable
    assert result.log_weights.max() < 0


@pytest.mark.parametrize("shift", [-1e5, 1e5])
def test_a_common_factor_does_not_matter(shift):
    log_weights = np.random.default_rng(0).normal(size=1000)
    np.testing.assert_allclose(psis(log_weights + shift).log_weights, psis(log_weights).log_weights, atol=1e-9)


def test_weights_stay_normalised_and_ordered():
    log_weights = np.random.default_rng(0).standard_t(3, size=1000)
    result = psis(log_weights)
    assert np.exp(result.log_weights).sum() == pytest.approx(1.0)
    order = np.argsort(log_weights)
    assert np.all(np.diff(result.log_weights[order]) >= -1e-12)


def test_dependent_draws_take_a_longer_tail():
    log_weights = np.random.default_rng(0).standard_t(3, size=10_000)
    assert psis(log_weights, relative_efficiency=0.1).khat != psis(log_weights).khat


@pytest.mark.parametrize(
    ("log_weights", "error", "words"),
    [
        ([0.0, np.nan], InvalidData, r"log_weights must be finite or -inf, got nan at \[1\]"),
        ([np.inf, 0.0], InvalidData, r"got inf at \[0\]"),
        ([-np.inf, -np.inf], DegenerateWeightsError, "every weight is zero"),
        ([], InvalidData, "at least one weight"),
        ([[0.0, 1.0]], InvalidData, "1 dimension"),
    ],
)
def test_bad_input(log_weights, error, words):
    for function in (psis, ess):
        with pytest.raises(error, match=words):
            function(log_weights)


def test_bad_efficiency():
    with pytest.raises(InvalidParameter, match="relative_efficiency"):
        psis(np.zeros(10), relative_efficiency=0.0)


def test_too_few_weights_to_tell():
    assert psis(np.array([0.0, 1.0, 2.0])).khat == np.inf
