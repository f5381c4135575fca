"""Bounds over chosen thresholds: all ways hold their level, and the uncorrected largest bound does not."""

import numpy as np
import pytest
from scipy.stats import binom

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle
from mcstat.privacy._scores import Challenges, count
from mcstat.privacy._thresholds import (
    best_threshold,
    bonferroni,
    dkw,
    explicit,
    law_bound,
    multisplit,
    pareto,
    split,
)
from tests.stat_asserts import STAGES, binomial_p_value

LEVEL = 0.9
JEFFREYS, EXACT = (law_bound(law, 0.0) for law in (JeffreysRectangle, ClopperPearsonRectangle))


def laplace(eps, n, seed):
    """Challenges at which every threshold outside (0, eps) has just the mechanism's epsilon."""
    rng = np.random.default_rng(seed)
    member = np.repeat([True, False], n)
    return Challenges(rng.laplace(size=2 * n) + eps * member, member), rng


def assert_holds(lower, eps):
    """``lower(seed)`` is at most ``eps`` in at least 90 % of runs: two one-sided stages, false alarm 1e-6."""
    start = 0
    for n, alarm in STAGES:
        held = sum(lower(seed) <= eps for seed in range(start, start + n))
        if binom.cdf(held, n, LEVEL) > alarm:
            return
        start += n
    raise AssertionError(f"{held} of {n} bounds hold")


# Selection ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.0, 2.0])
def test_the_largest_uncorrected_bound_is_invalid(eps):
    runs = 300
    held = sum(best_threshold(laplace(eps, 200, seed)[0], JEFFREYS, LEVEL).lower <= eps for seed in range(runs))
    assert held < LEVEL * runs
    assert binomial_p_value(held, runs, LEVEL) < 1e-6


WAYS = {
    "explicit": lambda challenges, rng: explicit(challenges, EXACT, LEVEL, 0.5),
    "split": lambda challenges, rng: split(challenges, JEFFREYS, LEVEL, rng),
    "multisplit": lambda challenges, rng: multisplit(challenges, JEFFREYS, LEVEL, rng, n_splits=3),
    "bonferroni": lambda challenges, rng: bonferroni(challenges, EXACT, LEVEL),
    "dkw": lambda challenges, rng: dkw(challenges, 0.0, LEVEL),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("eps", [0.0, 2.0])
def test_ours_hold_their_level(way, eps):
    assert_holds(lambda seed: WAYS[way](*laplace(eps, 60, seed)).lower, eps)


@pytest.mark.parametrize("way", WAYS)
def test_many_challenges_find_the_mechanism(way):
    found = WAYS[way](*laplace(2.0, 20_000, 7))
    assert 1.6 < found.lower < 2.0


# Parts ----------------------------------------------------------------------------------------------------------------


def test_pareto_keeps_the_undominated_thresholds():
    rng = np.random.default_rng(3)
    for _ in range(30):
        challenges = Challenges(rng.integers(0, 12, 40).astype(float), np.arange(40) < 15)
        at = np.unique(challenges.scores)
        points = list(zip(*(count(challenges, at)[name] for name in ("fn", "tn")), strict=True))
        kept = [
            t
            for t, (fn, tn) in zip(at, points, strict=True)
            if not any((a <= fn and b >= tn) and (a, b) != (fn, tn) for a, b in points)
        ]
        assert pareto(challenges).tolist() == kept


def test_pareto_keeps_the_largest_bound():
    for seed in range(20):
        challenges, _ = laplace(1.0, 50, seed)
        at = np.unique(challenges.scores)
        every = EXACT(**count(challenges, at), level=0.95)
        kept = EXACT(**count(challenges, pareto(challenges)), level=0.95)
        # The attack turned round (worse than chance) is not looked for.
        assert kept.max() == every[np.isin(at, pareto(challenges))].max()
        better = count(challenges, at)["fn"] / 50 + count(challenges, at)["fp"] / 50 < 1
        assert kept.max() >= every[better].max() - 1e-12


def test_bonferroni_is_the_bound_at_the_shared_level():
    challenges, _ = laplace(1.0, 100, 0)
    found = bonferroni(challenges, EXACT, 0.95)
    assert found.n_candidates == len(pareto(challenges))
    single = explicit(challenges, EXACT, 1 - 0.05 / found.n_candidates, found.threshold)
    assert found.lower == single.lower


def test_dkw_by_hand():
    scores = np.concatenate([np.full(500, 1.0), np.zeros(500)])
    found = dkw(Challenges(scores, np.arange(1000) < 500), 0.0, 0.95)
    margin = np.sqrt(np.log(40) / 1000)
    assert found.lower == pytest.approx(np.log((1 - margin) / margin))
    assert found.threshold == 1.0


def test_multisplit_is_the_lower_median_at_half_the_error():
    challenges, _ = laplace(2.0, 200, 0)
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    each = sorted(split(challenges, EXACT, 0.95, rng).lower for _ in range(4))
    assert multisplit(challenges, EXACT, 0.9, again, n_splits=4).lower == each[1]


def test_bad_input_is_refused():
    challenges, rng = laplace(1.0, 10, 0)
    with pytest.raises(InvalidParameter, match="level"):
        bonferroni(challenges, EXACT, 1.0)
    with pytest.raises(InvalidParameter, match="n_splits"):
        multisplit(challenges, EXACT, 0.9, rng, n_splits=0)
    with pytest.raises(InvalidData, match="at least 2 members"):
        split(Challenges(np.arange(3.0), np.array([True, False, False])), EXACT, 0.9, rng)
