"""Rectangles and joint inversion: against published values, against brute force, and their coverage."""

import numpy as np
import pytest
from scipy.stats import binom

from mcstat.privacy import EpsilonPosterior, epsilon_from_rates
from mcstat.privacy._joint import JointExact, product_limit
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle
from tests.stat_asserts import binomial_p_value

TABLE = {"fn": 100, "fp": 5, "tn": 495, "tp": 400}


def both_ends(law, level=0.9, sides="two"):
    return [float(end[0]) for end in law.interval(level, sides)]


# Against numbers that the reference package printed -----------------------------------------------------------------


def test_rectangles_of_the_reference_package():
    exact, jeffreys = (law(**TABLE, delta=1e-5) for law in (ClopperPearsonRectangle, JeffreysRectangle))
    np.testing.assert_allclose(both_ends(exact), [3.492857, 5.546354], atol=1e-6)
    np.testing.assert_allclose(both_ends(jeffreys), [3.556660, 5.383610], atol=1e-6)
    assert both_ends(exact, 0.95, "lower") == [both_ends(exact)[0], np.inf]
    assert both_ends(exact, 0.95, "upper") == [0.0, both_ends(exact)[1]]


@pytest.mark.parametrize("law", [ClopperPearsonRectangle, JeffreysRectangle, JointExact])
def test_infinite_ends_and_the_diagonal(law):
    low, high = both_ends(law(fn=0, fp=0, tn=20, tp=20, delta=1e-5))
    assert 1 < low < 3
    assert high == np.inf
    low, high = both_ends(law(fn=25, fp=25, tn=25, tp=25, delta=1e-5))
    assert low == 0.0
    assert 0 < high < 1


@pytest.mark.parametrize("law", [ClopperPearsonRectangle, JeffreysRectangle, JointExact])
def test_two_sided_intervals_are_symmetric(law):
    one = both_ends(law(**TABLE, delta=0.01))
    np.testing.assert_allclose(both_ends(law(fn=5, fp=100, tn=400, tp=495, delta=0.01)), one, rtol=1e-9)
    np.testing.assert_allclose(both_ends(law(fn=400, fp=495, tn=5, tp=100, delta=0.01)), one, rtol=1e-9)


# Against brute force -------------------------------------------------------------------------------------------------


def test_product_limit():
    for level in (0.5, 0.1, 1e-6):
        t = product_limit(level)
        assert t * (1 - np.log(t)) == pytest.approx(level, rel=1e-12)


@pytest.mark.parametrize("table", [(2, 30, 10, 40), (0, 3, 20, 20), (10, 1, 30, 20), (15, 12, 13, 16)])
def test_joint_inversion_equals_a_scan_of_all_rates(table):
    fn, fp, tn, tp = table
    law = JointExact(fn, fp, tn, tp, 1e-3)
    fine = np.geomspace(1e-7, 0.05, 500)
    grid = np.unique(np.concatenate([np.linspace(0, 1, 801), fine, 1 - fine]))
    x, y = np.meshgrid(grid, grid, indexing="ij")
    eps = epsilon_from_rates(x, y, 1e-3)
    few = [binom.cdf(k, n, grid) for k, n in ((fn, fn + tp), (fp, fp + tn))]
    many = [binom.sf(k - 1, n, grid) for k, n in ((fn, fn + tp), (fp, fp + tn))]
    one_sided = few[0][:, None] * few[1] >= product_limit(0.05)
    two = [np.minimum(1, 2 * np.minimum(*tails)) for tails in zip(few, many, strict=True)]
    two_sided = two[0][:, None] * two[1] >= product_limit(0.1)
    # Between neighbours of the scan epsilon changes by up to about 2 %.
    close = {"rel": 0.03, "abs": 0.03}
    assert both_ends(law, 0.95, "lower")[0] == pytest.approx(eps[one_sided].min(), **close)
    low, high = both_ends(law)
    assert low == pytest.approx(eps[two_sided].min(), **close)
    finite = np.isfinite(high)
    assert finite == np.isfinite(eps[two_sided].max())
    if finite:
        assert high == pytest.approx(eps[two_sided].max(), **close)


# Coverage: exact intervals never below their level -------------------------------------------------------------------


def holds(law, n, fnr, fpr, runs, seed):
    """In how many of ``runs`` audits with n challenges a side the bound and the interval hold the true epsilon."""
    rng = np.random.default_rng(seed)
    fn, fp = rng.binomial(n, fnr, runs).astype(float), rng.binomial(n, fpr, runs).astype(float)
    made = law(fn=fn, fp=fp, tn=n - fp, tp=n - fn, delta=np.full(runs, 1e-5))
    truth = float(epsilon_from_rates(fnr, fpr, 1e-5))
    low, high = made.interval(0.9)
    return int(np.sum(made.interval(0.95, "lower")[0] <= truth)), int(np.sum((low <= truth) & (truth <= high)))


RATES = [(100, 0.49, 0.5), (30, 0.01, 0.4), (500, 0.3, 0.3), (50, 0.9, 0.002)]


@pytest.mark.parametrize("law", [ClopperPearsonRectangle, JointExact])
def test_exact_intervals_hold_their_level(law):
    runs = 200
    for seed, (n, fnr, fpr) in enumerate(RATES):
        one_sided, two_sided = holds(law, n, fnr, fpr, runs, seed)
        # Too often is fine. 16 comparisons, each a false alarm with probability 2.5e-8 at most.
        for k, level in ((one_sided, 0.95), (two_sided, 0.9)):
            assert k >= level * runs or binomial_p_value(k, runs, level) > 5e-8


def test_credible_bounds_cover_less_near_the_diagonal():
    # What summary() warns of: 0.78 of 95 % bounds (the card's 1500 runs). 400 runs are below 0.9 almost surely.
    rng = np.random.default_rng(0)
    fn, fp = (rng.binomial(100, rate, 400).astype(float) for rate in (0.49, 0.5))
    law = EpsilonPosterior(fn=fn, fp=fp, tn=100 - fp, tp=100 - fn)
    held = np.mean(law.interval(0.95, "lower")[0] <= epsilon_from_rates(0.49, 0.5, 1e-5))
    assert 0.65 < held < 0.9


# Width ---------------------------------------------------------------------------------------------------------------

WIDTHS = [((0.05, 0.2), 28), ((0.1, 0.1), 34), ((0.3, 0.3), 39), ((0.01, 0.5), 32), ((0.01, 0.9), 40)]


@pytest.mark.parametrize(("rates", "percent"), WIDTHS)
def test_credible_intervals_are_narrower_by_the_cards_percentage(rates, percent):
    n = 500
    fp, fn = n * rates[0], n * rates[1]
    counts = {"fn": fn, "fp": fp, "tn": n - fp, "tp": n - fn, "delta": 1e-5}
    width = [
        np.subtract(*law.interval(0.9)[::-1])[0]
        for law in (EpsilonPosterior(**counts), ClopperPearsonRectangle(**counts))
    ]
    assert 100 * (1 - width[0] / width[1]) == pytest.approx(percent, abs=2)
