"""Bounds over chosen thresholds: all ways hold their level, and the uncorrected largest bound does not."""

import numpy as np
import pytest
from scipy.stats import binom

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.privacy._methods import CONFIDENCE, LAWS
from mcstat.privacy._scores import Challenges, count, tuned_threshold
from mcstat.privacy._thresholds import CHOSEN, pareto, tables_of
from tests.stat_asserts import STAGES, binomial_p_value

LEVEL = 0.9


def bounds(method, tables, level, delta=0.0):
    """Lower bounds of tables (k,)."""
    counts = {name: tables[name] for name in ("fn", "fp", "tn", "tp")}
    return LAWS[method]["equal-tailed"](**counts, delta=np.full(len(counts["fn"]), delta)).interval(level, "lower")[0]


def law(strategy, challenges, rng=None, method="clopper-pearson", **settings):
    """The strategy's law at delta = 0."""
    tables = tables_of(challenges, strategy, 0.0, LEVEL, rng, **settings)
    k = len(tables["fn"])
    return CHOSEN[strategy](**tables, delta=np.zeros(k), method=np.full(k, CONFIDENCE.index(method)))


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
    runs = 400
    held = 0
    for seed in range(runs):
        challenges, _ = laplace(eps, 200, seed)
        held += bounds("jeffreys", count(challenges, np.unique(challenges.scores)), LEVEL).max() <= eps
    assert held < LEVEL * runs
    assert binomial_p_value(held, runs, LEVEL) < 1e-6


def split(challenges, rng):
    tuning, counted = challenges.halves(0.5, rng)
    return bounds("jeffreys", count(counted, tuned_threshold(tuning, 0.0, LEVEL)[0]), LEVEL)[0]


WAYS = {
    "explicit": lambda challenges, rng: bounds("clopper-pearson", count(challenges, 0.5), LEVEL)[0],
    "split": split,
    "multisplit": lambda challenges, rng: law("multisplit", challenges, rng, "jeffreys", n_splits=5).lower(LEVEL)[0],
    "bonferroni": lambda challenges, rng: law("bonferroni", challenges).lower(LEVEL)[0],
    "dkw": lambda challenges, rng: law("dkw", challenges).lower(LEVEL)[0],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("eps", [0.0, 2.0])
def test_ours_hold_their_level(way, eps):
    assert_holds(lambda seed: WAYS[way](*laplace(eps, 100, seed)), eps)


@pytest.mark.parametrize("way", WAYS)
def test_many_challenges_find_the_mechanism(way):
    found = WAYS[way](*laplace(2.0, 20_000, 7))
    assert 1.6 < found < 2.0


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
        every = bounds("clopper-pearson", count(challenges, at), 0.95)
        kept = bounds("clopper-pearson", count(challenges, pareto(challenges)), 0.95)
        # The attack turned round (worse than chance) is not looked for.
        assert kept.max() == every[np.isin(at, pareto(challenges))].max()
        better = count(challenges, at)["fn"] / 50 + count(challenges, at)["fp"] / 50 < 1
        assert kept.max() >= every[better].max() - 1e-12


def test_bonferroni_is_the_bound_at_the_shared_level():
    challenges, _ = laplace(1.0, 100, 0)
    found = law("bonferroni", challenges)
    assert len(found.fn) == len(pareto(challenges)) > 1
    single = bounds("clopper-pearson", count(challenges, found.reported(0.95)), 1 - 0.05 / len(found.fn))
    assert found.lower(0.95) == single


def test_dkw_by_hand():
    scores = np.concatenate([np.full(500, 1.0), np.zeros(500)])
    found = law("dkw", Challenges(scores, np.arange(1000) < 500))
    margin = np.sqrt(np.log(40) / 1000)
    assert found.lower(0.95)[0] == pytest.approx(np.log((1 - margin) / margin))
    assert found.reported(0.95) == 1.0


def test_multisplit_is_the_lower_median_at_half_the_error():
    challenges, _ = laplace(2.0, 200, 0)
    found = law("multisplit", challenges, np.random.default_rng(5), n_splits=4)
    tables = {name: getattr(found, name) for name in ("fn", "fp", "tn", "tp")}
    assert found.lower(0.9)[0] == sorted(bounds("clopper-pearson", tables, 0.95))[1]
    # Half of the challenges chose, half were counted.
    assert np.all(found.fn + found.tp == 100)
    assert found.reported(0.9) == np.median(found.threshold)


def test_one_quantity_whatever_the_number_of_tables():
    found = law("bonferroni", laplace(1.0, 50, 0)[0])
    assert len(found) == 1
    assert found[[0]] is found
    assert found.interval(0.9, "upper")[0] == 0.0
    assert found.interval(0.9)[1] == np.inf
    with pytest.raises(IndexError):
        found[1]


def test_bad_input_is_refused():
    challenges, rng = laplace(1.0, 10, 0)
    with pytest.raises(InvalidParameter, match="level"):
        law("bonferroni", challenges).interval(1.0)
    with pytest.raises(InvalidParameter, match="n_splits"):
        law("multisplit", challenges, rng, n_splits=0)
    with pytest.raises(InvalidData, match="at least 2 members"):
        Challenges(np.arange(3.0), np.array([True, False, False])).halves(0.5, rng)
