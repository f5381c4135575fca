"""One-run audits: the card's figures, a slow twin, exact validity, Gaussian canaries, and bad input."""

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import binom

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.privacy import gdp_to_eps, one_run_pvalue
from mcstat.privacy._one_run import OneRun, OneRunGaussian, count_guesses, one_run_lower, one_run_mu
from mcstat.privacy._scores import Challenges
from tests.naive import one_run as naive
from tests.stat_asserts import binomial_p_value

# Against theory ---------------------------------------------------------------------------------------------------


def test_the_cards_figures():
    assert one_run_lower(1000, 100, 100, 1e-5, 0.95) == pytest.approx(3.46538, abs=1e-5)
    assert one_run_lower(1000, 100, 100, 0.0, 0.95) == pytest.approx(3.492965, abs=1e-6)
    assert one_run_lower(1000, 1000, 600, 0.0, 0.95) == pytest.approx(0.29747, abs=1e-5)
    mu = one_run_mu(1000, 100, 100, 0.95)
    assert mu == pytest.approx(1.225533, abs=1e-6)
    assert gdp_to_eps(mu, 1e-5) == pytest.approx(5.549028, abs=1e-6)


@pytest.mark.parametrize(("r", "level"), [(1, 0.9), (30, 0.95), (5000, 0.999)])
def test_all_guesses_right_without_delta_is_closed_form(r, level):
    expected = max(0.0, logit((1 - level) ** (1 / r)))
    assert one_run_lower(2 * r, r, r, 0.0, level) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_p_value_is_exactly_valid_for_randomised_response(epsilon):
    # Each of the r guesses is right with the probability that epsilon allows at the most.
    r, q = 60, np.exp(epsilon) / (1 + np.exp(epsilon))
    chance = binom.pmf(np.arange(r + 1), r, q)
    p = np.array(
        [one_run_pvalue(n_canaries=r, n_guesses=r, n_correct=v, epsilon=epsilon, delta=0.0) for v in range(r + 1)]
    )
    for level in (0.001, 0.05, 0.3):
        assert chance[p <= level].sum() <= level * (1 + 1e-12)


def test_p_value_falls_with_right_guesses_and_grows_with_epsilon_and_delta():
    def p(v=70, epsilon=1.0, delta=1e-4):
        return one_run_pvalue(n_canaries=300, n_guesses=100, n_correct=v, epsilon=epsilon, delta=delta)

    assert np.all(np.diff([p(v=v) for v in range(101)]) <= 1e-15)
    assert np.all(np.diff([p(epsilon=e) for e in np.linspace(0, 8, 200)]) >= -1e-12)
    assert np.all(np.diff([p(delta=d) for d in (0.0, 1e-6, 1e-4, 1e-2)]) >= 0)
    assert p(v=0) == 1.0


def guessed_runs(mu, m, n_guesses, runs, seed):
    """Right guesses of ``runs`` audits with scores N(mu, 1) for canaries that are in and N(0, 1) for the others."""
    rng = np.random.default_rng(seed)
    right = []
    for _ in range(runs):
        member = rng.random(m) < 0.5
        challenges = Challenges(rng.normal(size=m) + mu * member, member)
        right.append(count_guesses(challenges, n_guesses, rng)[1])
    return np.array(right)


@pytest.mark.parametrize("mu", [0.0, 1.0, 2.0])
def test_bounds_hold_for_gaussian_canaries(mu):
    # The truth is exceeded at most as often as 1 - level: false alarm below 1e-6.
    m, n_guesses, runs = 200, 40, 1000
    right = guessed_runs(mu, m, n_guesses, runs, seed=5)
    values, times = np.unique(right, return_counts=True)
    too_high = sum(t for v, t in zip(values, times, strict=True) if one_run_mu(m, n_guesses, int(v), 0.9) > mu)
    assert too_high <= 0.1 * runs or binomial_p_value(int(too_high), runs, 0.1) > 1e-6
    truth = float(gdp_to_eps(mu, 1e-5)) if mu else 0.0
    too_high = sum(
        t for v, t in zip(values, times, strict=True) if one_run_lower(m, n_guesses, int(v), 1e-5, 0.9) > truth
    )
    assert too_high <= 0.1 * runs or binomial_p_value(int(too_high), runs, 0.1) > 1e-6


def test_the_gaussian_bound_uses_more_than_one_point_of_the_curve():
    # A strong attack: the f-DP recursion sees far more than the (epsilon, delta) test.
    law, gaussian = (kind([1000], [100], [100], [1e-5]) for kind in (OneRun, OneRunGaussian))
    assert gaussian.interval(0.95, "lower")[0] > 1.5 * law.interval(0.95, "lower")[0]


# Against a slow twin ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_naive_twin(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 120))
    r = int(rng.integers(0, m + 1))
    v = int(rng.integers(0, r + 1))
    epsilon, delta = float(3 * rng.random()), float(rng.choice([0.0, 1e-5, 1e-3]))
    p = one_run_pvalue(n_canaries=m, n_guesses=r, n_correct=v, epsilon=epsilon, delta=delta)
    assert p == pytest.approx(naive.p_value(m, r, v, epsilon, delta), rel=1e-10)


def test_guesses_are_the_extremes_and_ties_know_nothing():
    member = np.array([True, True, False, False, True])
    challenges = Challenges(np.array([9.0, 5.0, 8.0, 1.0, 2.0]), member)
    rng = np.random.default_rng(0)
    assert count_guesses(challenges, 2, rng) == (2, 2)
    assert count_guesses(challenges, 3, rng) == (3, 2)
    assert count_guesses(challenges, 5, rng) == (5, 3)
    # Members first and all scores tied: right guesses are hypergeometric, not all of them (5e-60 for one draw).
    tied = Challenges(np.zeros(200), np.arange(200) < 100)
    assert 60 < count_guesses(tied, 200, rng)[1] < 140


# The laws, and bad input --------------------------------------------------------------------------------------------


def test_laws_have_lower_bounds_only():
    law = OneRun([1000, 1000], [100, 1000], [100, 600], [1e-5, 0.0])
    lower, upper = law.interval(0.95)
    np.testing.assert_allclose(lower, [3.46538, 0.29747], atol=1e-5)
    assert np.all(upper == np.inf)
    assert law.interval(0.95, "upper")[0].tolist() == [0.0, 0.0]
    assert OneRun([100], [100], [50], [0.0]).interval(0.95)[0] == 0.0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_correct": 11}, "n_correct"),
        ({"n_guesses": 21}, "n_guesses"),
        ({"n_canaries": 0}, "n_canaries"),
        ({"n_correct": 2.0}, "n_correct"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"epsilon": np.inf}, "epsilon"),
        ({"delta": 1.0}, "delta"),
    ],
)
def test_bad_input_is_refused_by_name(change, match):
    good = {"n_canaries": 20, "n_guesses": 10, "n_correct": 9, "epsilon": 1.0, "delta": 1e-5}
    with pytest.raises((InvalidData, InvalidParameter), match=match):
        one_run_pvalue(**(good | change))


def test_more_guesses_than_canaries_are_refused():
    challenges = Challenges(np.arange(4.0), np.array([True, False, True, False]))
    with pytest.raises(InvalidParameter, match="n_guesses"):
        count_guesses(challenges, 5, np.random.default_rng(0))
