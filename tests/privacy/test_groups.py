"""Challenges in groups: dispersion against theory, coverage with dependent outcomes, bad input."""

import numpy as np
import pytest
from scipy.stats import beta, chi2_contingency, kstest

from mcstat.core.errors import InvalidData
from mcstat.privacy import EpsilonPosterior, epsilon_from_rates
from mcstat.privacy._groups import (
    GroupCounts,
    beta_binomial_draws,
    cluster_bootstrap,
    corrected_counts,
    dispersion,
    one_a_group,
    overlap,
)
from mcstat.privacy._scores import Challenges
from tests.stat_asserts import assert_mean_close, binomial_p_value

FNR, FPR, DELTA = 0.3, 0.1, 1e-5
TRUTH = float(epsilon_from_rates(FNR, FPR, DELTA))


def models(n_models, size, icc, seed):
    """Counts of models whose rates are Beta with the given mean and correlation."""
    rng = np.random.default_rng(seed)
    precision = 1 / icc - 1
    wrong = [rng.binomial(size, rng.beta(p * precision, (1 - p) * precision, n_models)) for p in (FNR, FPR)]
    fn, fp = (w.astype(float) for w in wrong)
    return GroupCounts(fn, fp, size - fp, size - fn)


# Dispersion -----------------------------------------------------------------------------------------------------------


def test_chi_squared_is_that_of_the_table():
    rng = np.random.default_rng(0)
    wrong, right = rng.integers(1, 20, 12).astype(float), rng.integers(1, 30, 12).astype(float)
    expected = chi2_contingency(np.array([wrong, right]), correction=False)
    found = dispersion(wrong, right)
    assert found.phi == pytest.approx(expected.statistic / 11)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_independent_outcomes_have_uniform_p_values():
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(1000):
        wrong = rng.binomial(200, 0.3, 40).astype(float)
        p_values.append(dispersion(wrong, 200 - wrong).p_value)
    # The chi-squared law is an approximation; a Kolmogorov-Smirnov p-value of 1e-6 is the alarm.
    assert kstest(p_values, "uniform").pvalue > 1e-6


def test_correlation_is_found():
    counts = models(4000, 20, 0.1, 2)
    for wrong, right in ((counts.fn, counts.tp), (counts.fp, counts.tn)):
        found = dispersion(wrong, right)
        # The standard error of the correlation is about sqrt(2 / 4000) * (1 + 19 * 0.1) / 19 times a factor below 2.
        assert_mean_close(found.icc, 0.1, 0.007)
        assert found.deff == pytest.approx(1 + 19 * found.icc)
        assert found.p_value < 1e-12


def test_one_challenge_a_model_needs_no_correction():
    wrong = np.array([1.0, 0.0, 0.0, 1.0])
    found = dispersion(wrong, 1 - wrong)
    assert np.isnan(found.icc)
    assert found.deff == 1.0
    assert dispersion(np.zeros(5), np.full(5, 9.0)).deff == 1.0


def test_counts_by_model_and_correction():
    scores = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    challenges = Challenges(scores, np.array([True, True, False, False, True, False]))
    counts = GroupCounts.of(challenges, 0.5, ["a", "a", "a", "a", "b", "b"])
    assert counts.fn.tolist() == [1, 0]
    assert counts.tp.tolist() == [1, 1]
    assert counts.fp.tolist() == [1, 1]
    assert counts.tn.tolist() == [1, 0]
    big = models(30, 50, 0.2, 3)
    corrected, negatives, positives = corrected_counts(big)
    assert corrected["fn"] / corrected["tp"] == pytest.approx(big.fn.sum() / big.tp.sum())
    assert corrected["fn"] == pytest.approx(big.fn.sum() / negatives.deff)
    assert corrected["tn"] == pytest.approx(big.tn.sum() / positives.deff)


# Coverage: 90 % intervals of 60 models with 50 challenges a side and correlation 0.1 ----------------------------------


def covered(ends, runs):
    return sum(low <= TRUTH <= high for low, high in (ends(seed) for seed in range(runs)))


def pooled_ends(seed):
    return np.ravel(EpsilonPosterior(**models(60, 50, 0.1, seed).pooled()).interval(0.9))


def corrected_ends(seed):
    return np.ravel(EpsilonPosterior(**corrected_counts(models(60, 50, 0.1, seed))[0]).interval(0.9))


def bootstrap_ends(seed):
    draws = cluster_bootstrap(models(60, 50, 0.1, seed), DELTA, 400, np.random.default_rng(seed))
    return np.quantile(draws, [0.05, 0.95])


def beta_binomial_ends(seed):
    draws = beta_binomial_draws(models(60, 50, 0.1, seed), DELTA, 1000, np.random.default_rng(seed))
    return np.quantile(draws, [0.05, 0.95])


def test_pooled_counts_cover_far_too_rarely():
    held = covered(pooled_ends, 300)
    assert held < 200
    assert binomial_p_value(held, 300, 0.9) < 1e-6


@pytest.mark.parametrize("ends", [corrected_ends, bootstrap_ends, beta_binomial_ends])
def test_the_ways_that_know_of_models_cover(ends):
    # The design effect itself is estimated from 60 models: 87 % or more is what is asked for, false alarm 1e-6.
    held = covered(ends, 150)
    assert held >= 0.87 * 150 or binomial_p_value(held, 150, 0.87) > 1e-6


def test_beta_binomial_without_correlation_is_the_beta():
    # One challenge a model knows nothing of rho: the mean's posterior is that of one proportion.
    wrong = np.repeat([1.0, 0.0], [30, 170])
    counts = GroupCounts(wrong, wrong, 1 - wrong, 1 - wrong)
    draws = beta_binomial_draws(counts, 0.0, 20_000, np.random.default_rng(0))
    law = beta(30.5, 170.5)
    rng = np.random.default_rng(1)
    expected = epsilon_from_rates(law.rvs(20_000, random_state=rng), law.rvs(20_000, random_state=rng), 0.0)
    assert_mean_close(draws.mean(), expected.mean(), np.hypot(draws.std(), expected.std()) / np.sqrt(20_000))
    assert draws.std() == pytest.approx(expected.std(), rel=0.05)


# One a model, and bad input -------------------------------------------------------------------------------------------


def test_one_a_group():
    groups = np.array([3, 1, 1, 3, 2, 1])
    kept = [one_a_group(groups, np.random.default_rng(seed)) for seed in range(300)]
    assert all(sorted(groups[one]) == [1, 2, 3] for one in kept)
    # Each challenge of a model is as likely as the others; a third of 300, false alarm below 1e-6.
    for place in (1, 2, 5):
        assert binomial_p_value(sum(place in one for one in kept), 300, 1 / 3) > 1e-6


def test_overlap():
    near, far = EpsilonPosterior(fn=10, fp=5, tn=95, tp=90), EpsilonPosterior(fn=500, fp=450, tn=550, tp=500)
    assert overlap(near, near)
    assert not overlap(near, far)


def test_bad_groups_are_refused():
    challenges = Challenges(np.arange(4.0), np.array([True, True, False, False]))
    with pytest.raises(InvalidData, match="at least 2 models"):
        GroupCounts.of(challenges, 0.5, [1, 1, 1, 1])
    with pytest.raises(InvalidData, match="one a score"):
        GroupCounts.of(challenges, 0.5, [1, 2])
