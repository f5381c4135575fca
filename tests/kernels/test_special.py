"""Special functions against 50-digit values, SciPy, each other, and at the edges."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import special as scipy_special
from scipy.stats import beta, binomtest

from mcstat.kernels import special

REFERENCE = Path(__file__).parents[1] / "reference" / "incomplete_beta.json"


def test_incomplete_beta_equals_fifty_digits():
    a, b, x, lower, upper = np.array(json.loads(REFERENCE.read_text())).T
    got_lower, got_upper = special.incomplete_beta(a, b, x)
    for got, wanted in ((got_lower, lower), (got_upper, upper)):
        # The exponent of a tail of 1e-300 is -690; its own rounding is 1e-13.
        allowed = 2e-14 + 1e-15 * -np.log(np.maximum(wanted, 1e-300))
        seen = wanted > 1e-300
        assert np.max(np.abs(got[seen] / wanted[seen] - 1) / allowed[seen]) < 1
    assert lower.min() < 1e-200
    assert max(a.max(), b.max()) > 5e6


def test_incomplete_beta_at_the_edges_and_beyond():
    lower, upper = special.incomplete_beta(2.0, 3.0, [-1.0, 0.0, 1.0, 2.0, 1e-300])
    np.testing.assert_array_equal(lower, [0, 0, 1, 1, 0])
    np.testing.assert_array_equal(upper, [1, 1, 0, 0, 1])
    # x so near 1 that only 1 - x tells where.
    lower, upper = special.incomplete_beta(3.0, 0.5, 1.0, y=1e-40)
    assert upper == pytest.approx(1e-20 / (0.5 * scipy_special.beta(3.0, 0.5)), rel=1e-13)
    assert special.incomplete_beta(np.ones((2, 3)), 1.0, 0.25)[0].shape == (2, 3)


@pytest.mark.parametrize("shapes", [(0.1, 0.1), (0.5, 20.5), (30.5, 900.5), (0.5, 1e7), (1e6 + 0.5, 0.7), (41.0, 41.0)])
def test_the_two_tails_are_mirror_images(shapes):
    a, b = shapes
    x = special.incomplete_beta_inverse(a, b, np.array([1e-200, 1e-9, 0.02, 0.5, 0.9]))[0]
    lower, upper = special.incomplete_beta(a, b, x)
    np.testing.assert_allclose(special.incomplete_beta(b, a, 1 - x, y=x), (upper, lower), rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("shapes", [(0.3, 0.4), (0.5, 20.5), (3.0, 2.0), (500.5, 900.5), (0.5, 1e7), (1e6 + 0.5, 0.7)])
def test_quantiles_go_back_and_forth(shapes):
    a, b = shapes
    p = np.array([1e-60, 1e-12, 1e-3, 0.2, 0.5])
    x, y = special.incomplete_beta_inverse(a, b, p)
    np.testing.assert_allclose(special.incomplete_beta(a, b, x, y=y)[0], p, rtol=1e-10)
    x, y = special.incomplete_beta_inverse(a, b, 1 - p, q=p)
    np.testing.assert_allclose(special.incomplete_beta(a, b, x, y=y)[1], p, rtol=1e-10)


def test_quantiles_at_the_ends():
    np.testing.assert_array_equal(special.incomplete_beta_inverse(2.0, 3.0, [0.0, 1.0]), [[0.0, 1.0], [1.0, 0.0]])


def test_log_gamma_and_log_beta():
    z = np.array([0.05, 0.5, 1.5, 9.9, 10.1, 300.0, 1e7])
    got = [special.log_gamma(one) for one in z]
    np.testing.assert_allclose(got, scipy_special.gammaln(z), rtol=1e-14)
    for a in (0.1, 0.5, 3.0, 40.0, 5e4):
        for b in (0.2, 8.0, 700.0, 1e6):
            # SciPy's betaln subtracts log-gammas: its own last digits are those of the largest of them.
            lost = 1e-15 * scipy_special.gammaln(a + b)
            assert special.log_beta(a, b) == pytest.approx(scipy_special.betaln(a, b), rel=1e-13, abs=lost)
            power = special.beta_log_power(a, b, 0.3, 0.7, special.beta_log_scale(a, b))
            assert power == pytest.approx(a * np.log(0.3) + b * np.log(0.7) - special.log_beta(a, b), rel=1e-12)


def test_small_differences_keep_their_digits():
    z = np.array([-0.9, -0.41, -0.39, -1e-3, 1e-9, 0.05, 0.59, 0.61, 3.0])
    got = [special.log1p_minus(one) for one in z]
    np.testing.assert_allclose(got, [float(longer_log1p_minus(one)) for one in z], rtol=1e-14)
    got = [special.expm1_minus(one) for one in z]
    np.testing.assert_allclose(got, [float(longer_expm1_minus(one)) for one in z], rtol=1e-14)


def longer_log1p_minus(z):
    if abs(z) > 0.3:
        return np.log1p(np.longdouble(z)) - np.longdouble(z)
    k = np.arange(2, 40, dtype=np.longdouble)
    return np.sum((-1) ** (k + 1) * np.longdouble(z) ** k / k)


def longer_expm1_minus(z):
    terms = [np.longdouble(z) ** 2 / 2]
    for k in range(3, 40):
        terms.append(terms[-1] * z / k)
    return np.sum(terms)


@pytest.mark.parametrize(("k", "n"), [(0, 20), (3, 20), (20, 20), (1, 1), (250, 1000)])
def test_binomial_intervals(k, n):
    exact = binomtest(k, n).proportion_ci(0.9, method="exact")
    lower, upper = special.clopper_pearson(k, n, 0.05, 0.05)
    np.testing.assert_allclose([lower, upper], [exact.low, exact.high], rtol=1e-10)
    lower, upper = special.jeffreys(k, n, 0.025, 0.1)
    law = beta(k + 0.5, n - k + 0.5)
    assert lower == pytest.approx(law.ppf(0.025) if k > 0 else 0.0, rel=1e-10)
    assert upper == pytest.approx(law.isf(0.1) if k < n else 1.0, rel=1e-10)


def test_one_sided_binomial_intervals_end_at_the_edge():
    lower, upper = special.clopper_pearson([3, 5], 20, [0.0, 0.1], [0.1, 0.0])
    assert lower[0] == 0.0
    assert upper[1] == 1.0
    assert 0 < lower[1] < 0.25
