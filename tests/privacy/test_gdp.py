"""Gaussian differential privacy and the divergence of two normal laws: known values, identities, quadrature."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from mcstat.core.errors import InvalidParameter
from mcstat.privacy import eps_to_gdp, epsilon_from_rates, gdp_to_eps
from mcstat.privacy._gdp import gaussian_divergence, gaussian_eps, log_gdp_delta, mu_from_rates


def test_the_cards_figures():
    np.testing.assert_allclose(gdp_to_eps([1.0, 2.0, 0.5], 1e-5), [4.377178, 9.997256, 1.993091], atol=1e-6)


@pytest.mark.parametrize("delta", [1e-300, 1e-12, 1e-5, 0.1, 0.9])
def test_there_and_back(delta):
    mu = np.array([1e-3, 0.1, 1.0, 5.0, 30.0])
    eps = gdp_to_eps(mu, delta)
    some = eps > 0
    np.testing.assert_allclose(eps_to_gdp(eps[some], delta), mu[some], rtol=1e-9)
    np.testing.assert_allclose(log_gdp_delta(eps[some], mu[some]), np.log(delta), rtol=1e-9, atol=1e-9)


def test_edges():
    assert gdp_to_eps(0.0, 0.0) == 0.0
    assert gdp_to_eps(1.0, 0.0) == np.inf
    assert eps_to_gdp(3.0, 0.0) == 0.0
    # At epsilon 0 delta is the total variation 2 Phi(mu / 2) - 1.
    assert eps_to_gdp(0.0, 2 * norm.cdf(0.5) - 1) == pytest.approx(1.0)
    assert gdp_to_eps(1.0, 0.5) == 0.0
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(InvalidParameter, match="mu"):
            gdp_to_eps(bad)
        with pytest.raises(InvalidParameter, match="eps"):
            eps_to_gdp(bad)


def test_no_threshold_exceeds_the_curve():
    # Gaussian mechanism: the best threshold's epsilon is just the mechanism's.
    mu, t = 1.3, np.linspace(-6, 8, 4001)
    eps = epsilon_from_rates(norm.cdf(t - mu), norm.sf(t), 1e-5)
    truth = float(gdp_to_eps(mu, 1e-5))
    assert eps.max() <= truth + 1e-9
    assert eps.max() == pytest.approx(truth, abs=1e-4)
    np.testing.assert_allclose(mu_from_rates(norm.cdf(t - mu), norm.sf(t)), mu, rtol=1e-5)


@pytest.mark.parametrize("eps", [0.0, 0.3, 1.5])
@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.7, 1.0), (-0.7, 1.0), (0.3, 1.6), (0.4, 0.3), (0.0, 2.0)])
def test_divergence_equals_quadrature(eps, mean, sd):
    def positive_part(x):
        return max(0.0, norm.pdf(x, 2 + 3 * mean, 3 * sd) - np.exp(eps) * norm.pdf(x, 2, 3))

    expected = sum(quad(positive_part, a, a + 2, epsabs=1e-12, limit=200)[0] for a in np.arange(-60, 64, 2))
    assert gaussian_divergence(eps, 2 + 3 * mean, 3 * sd, 2.0, 3.0) == pytest.approx(expected, abs=1e-9)


def test_divergence_of_equal_spreads_is_the_gaussian_curve():
    eps, mu = np.meshgrid([0.0, 1.0, 6.0], [0.1, 1.0, 3.0])
    for sign in (1, -1):
        found = gaussian_divergence(eps, sign * mu, 1.0, 0.0, 1.0)
        np.testing.assert_allclose(found, np.exp(log_gdp_delta(eps, mu)), atol=1e-14)
    # The limit of unequal spreads.
    near = gaussian_divergence(eps, mu, 1.0 + 1e-12, 0.0, 1.0)
    np.testing.assert_allclose(near, np.exp(log_gdp_delta(eps, mu)), atol=1e-11)


def test_gaussian_eps():
    assert gaussian_eps(1.0, 1.0, 0.0, 1.0, 1e-5) == pytest.approx(4.377178, abs=1e-6)
    assert gaussian_eps(0.0, 1.0, 0.0, 1.0, 1e-5) == 0.0
    mean, sd = np.array([0.5, 2.0, 0.0]), np.array([1.3, 0.8, 0.5])
    eps = gaussian_eps(mean, sd, 0.0, 1.0, 1e-5)
    both = [gaussian_divergence(eps, mean, sd, 0.0, 1.0), gaussian_divergence(eps, 0.0, 1.0, mean, sd)]
    np.testing.assert_allclose(np.max(both, axis=0), 1e-5, rtol=1e-9)
