"""Trade-off curves: envelopes, the Gaussian curve, bands."""

import numpy as np
import pytest
from scipy.stats import norm

from mcstat.core.errors import InvalidData
from mcstat.privacy import EpsilonPosterior, epsilon_from_rates, gdp_to_eps
from mcstat.privacy._tradeoff import gaussian_tradeoff, tradeoff, tradeoff_band

X = np.linspace(0.0, 1.0, 201)


def test_all_pairs_of_a_gaussian_mechanism_are_its_curve():
    deltas = np.concatenate([np.geomspace(1e-9, 0.5, 3000), np.linspace(0.01, 0.68, 2000)])
    curve = tradeoff(X, gdp_to_eps(2.0, deltas), deltas)
    assert np.all(curve <= gaussian_tradeoff(X, 2.0) + 1e-12)
    np.testing.assert_allclose(curve, gaussian_tradeoff(X, 2.0), atol=1e-4)
    np.testing.assert_allclose(gaussian_tradeoff(X, 2.0), norm.cdf(norm.ppf(1 - X) - 2.0), atol=1e-15)


def test_curve_is_convex_and_below_chance():
    curve = tradeoff(X, [0.5, 1.0, 3.0], [0.2, 0.1, 0.0])
    assert np.all(np.diff(curve, 2) >= -1e-12)
    assert np.all(curve <= 1 - X)
    np.testing.assert_allclose(tradeoff(X, 0.0, 0.0), 1 - X, atol=1e-15)


def test_curve_passes_through_the_attacks_rates():
    deltas = np.linspace(0, 0.75, 4001)
    curve = tradeoff([0.2], epsilon_from_rates(0.2, 0.05, deltas), deltas)
    assert curve == pytest.approx(0.05, abs=1e-12)


def test_band():
    posterior = EpsilonPosterior(fn=100, fp=25, tn=475, tp=400)
    band = tradeoff_band(posterior, X, np.linspace(0, 0.7, 60), level=0.9)
    assert np.all(band["lower"] <= band["median"])
    assert np.all(band["median"] <= band["upper"])
    # At the observed rate of 0.2 the other one, 0.05, is inside.
    row = band.iloc[np.argmin(np.abs(X - 0.2))]
    assert row["lower"] < 0.05 < row["upper"]
    with pytest.raises(InvalidData, match="one table"):
        tradeoff_band(EpsilonPosterior(fn=[1, 2], fp=1, tn=3, tp=4), X, [0.1])
