"""The asserts themselves: quiet on what is right, loud on what is wrong."""

import numpy as np
import pytest

from tests.stat_asserts import (
    alarm_rate,
    assert_mean_close,
    assert_proportion,
    binomial_p_value,
    false_alarm_rate,
    seed_for,
    two_stage_coverage,
)


def simulated(coverage, seed):
    """A ``count_covered`` of known coverage that remembers what it was asked."""
    rng = np.random.default_rng(seed)
    calls = []

    def count_covered(start, n):
        calls.append((start, n))
        return rng.binomial(n, coverage)

    return count_covered, calls


def test_mean_close_takes_what_is_within_z_errors():
    assert_mean_close([1.0, 2.0], [1.5, 2.0], 0.1)
    assert_mean_close(1.0, 1.0, 0.0)


@pytest.mark.parametrize("x", [0.3, np.nan, np.inf])
def test_mean_close_refuses(x):
    with pytest.raises(AssertionError, match=r"1 of 2 mean\(s\) off by more than 6 mcse; at \[1\]"):
        assert_mean_close([1.0, x], 1.0, 0.1)


def test_p_value_by_hand():
    # n = 4, p = 1/2: P(X <= 0) = P(X >= 4) = 1/16, P(X <= 1) = 5/16; the middle is capped at 1.
    assert [binomial_p_value(k, 4, 0.5) for k in range(5)] == pytest.approx([1 / 8, 5 / 8, 1.0, 5 / 8, 1 / 8])


@pytest.mark.parametrize(("k", "n", "p"), [(0, 25, 0.05), (37, 40, 0.95), (40, 40, 0.95), (3, 900, 0.01)])
def test_p_value_is_scipys_when_doubled(k, n, p):
    from scipy.stats import binomtest

    tails = [binomtest(k, n, p, alternative=side).pvalue for side in ("less", "greater")]
    assert binomial_p_value(k, n, p) == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-10)


def test_proportion():
    assert_proportion(95, 100, 0.95)
    assert_proportion(100, 100, 0.95)
    for k in (0, 70):
        with pytest.raises(AssertionError, match=f"{k} of 100"):
            assert_proportion(k, 100, 0.95)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_false_alarms_are_rarer_than_promised(level):
    assert 0.0 < false_alarm_rate(level) < 1e-6


def test_power_is_what_the_docstring_says():
    assert alarm_rate(0.90, 0.95) == pytest.approx(0.90, abs=0.02)
    assert alarm_rate(0.85, 0.95) > 1 - 2e-5


def test_right_coverage_passes_after_one_stage(seed):
    # Stage 1 alarms for 1 % of the seeds, both stages for fewer than 1e-6 of them.
    count_covered, calls = simulated(0.95, seed)
    two_stage_coverage(count_covered, 0.95)
    assert calls[0] == (0, 400)


def test_an_alarm_of_the_first_stage_is_tried_on_fresh_replicates():
    calls = []

    def count_covered(start, n):
        calls.append((start, n))
        return {400: 340, 4000: 3800}[n]

    two_stage_coverage(count_covered, 0.95)
    assert calls == [(0, 400), (400, 4000)]


@pytest.mark.parametrize("coverage", [0.0, 0.85, 1.0])
def test_wrong_coverage_fails(coverage):
    with pytest.raises(AssertionError, match=r"coverage is not 0.95: .*/400 = .*, then .*/4000"):
        two_stage_coverage(lambda start, n: round(coverage * n), 0.95)


def test_seed_is_the_checksum_of_the_id_moved_by_the_environment(request, seed, monkeypatch):
    assert seed == seed_for(request.node.nodeid)
    monkeypatch.setenv("MCSTAT_TEST_SEED", "0")
    # crc32 of "123456789" is the check value that every description of the checksum gives.
    assert seed_for("123456789") == 0xCBF43926
    monkeypatch.setenv("MCSTAT_TEST_SEED", "3")
    assert seed_for("123456789") == 0xCBF43926 + 3
