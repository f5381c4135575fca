"""Posterior under a Gaussian trade-off curve: against draws, against a slow integral, identities."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, norm

from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.privacy import eps_to_gdp
from mcstat.privacy._gdp_posterior import GaussianPosterior
from tests.stat_asserts import assert_proportion

TABLES = {
    "usual": {"fn": 100, "fp": 5, "tn": 495, "tp": 400},
    "weak": {"fn": 250, "fp": 240, "tn": 260, "tp": 250},
    "no errors": {"fn": 0, "fp": 0, "tn": 50, "tp": 30},
    "uneven": {"fn": 3, "fp": 2_000, "tn": 100_000, "tp": 5},
}


@pytest.mark.parametrize("name", TABLES)
def test_quantiles_and_draws_agree(name):
    law = GaussianPosterior(**TABLES[name])
    draws = law.rvs(100_000, random_state=1)[:, 0]
    for p in (0.05, 0.5, 0.95):
        assert_proportion(int(np.sum(draws <= law.ppf(p)[0])), len(draws), p)
    assert law.cdf(law.ppf([0.05, 0.5, 0.95])) == pytest.approx([0.05, 0.5, 0.95], abs=1e-9)


@pytest.mark.parametrize("name", ["usual", "weak", "no errors"])
def test_tail_equals_the_double_integral(name):
    counts = TABLES[name]
    law = GaussianPosterior(**counts)
    first, second = beta(counts["fn"] + 0.5, counts["tp"] + 0.5), beta(counts["fp"] + 0.5, counts["tn"] + 0.5)
    for eps in law.ppf([0.1, 0.9]):
        mu = float(eps_to_gdp(eps, 1e-5))

        def within(p, mu=mu):
            q = norm.ppf(first.ppf(p))
            return second.cdf(norm.cdf(mu - q)) - second.cdf(norm.cdf(-mu - q))

        expected = sum(quad(within, a, a + 0.02, epsabs=1e-11)[0] for a in np.arange(0, 1, 0.02))
        assert law.cdf(eps) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", TABLES)
def test_density_is_the_derivative_and_integrates_to_one(name):
    law = GaussianPosterior(**TABLES[name])
    for x in law.ppf([0.2, 0.5, 0.9]):
        step = 1e-4 * x
        slope = (law.cdf(x + step) - law.cdf(x - step)) / (2 * step)
        assert law.pdf(x) == pytest.approx(slope, rel=1e-5)
    assert law.cdf(1e6) == 1.0
    mean, sd = law.moments()
    draws = law.rvs(20_000, random_state=0)[:, 0]
    assert abs(draws.mean() - mean) < 6 * sd / np.sqrt(len(draws))


def test_tables_are_symmetric_and_independent_of_each_other():
    table = TABLES["usual"]
    turned = {"fn": table["fp"], "fp": table["fn"], "tn": table["tp"], "tp": table["tn"]}
    p = np.array([[0.05], [0.5], [0.95]])
    both = GaussianPosterior(**{name: [table[name], turned[name], TABLES["weak"][name]] for name in table})
    found = both.ppf(p)
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=1e-9)
    np.testing.assert_allclose(found[:, 2], GaussianPosterior(**TABLES["weak"]).ppf(p[:, 0]), rtol=1e-12)
    low, high = both.mu_interval(0.9)
    np.testing.assert_allclose(eps_to_gdp(found[0, 0], 1e-5), low[0], rtol=1e-9)
    assert np.all(low < high)


def test_many_challenges_find_the_mechanism():
    n, mu = 1e7, 1.5
    fn, fp = n * norm.cdf(-0.2), n * norm.sf(mu - 0.2)
    low, high = GaussianPosterior(fn=fn, fp=fp, tn=n - fp, tp=n - fn).mu_interval(0.999)
    assert mu - 3e-3 < low[0] < mu < high[0] < mu + 3e-3


def test_shortest_interval():
    law = GaussianPosterior(**TABLES["usual"])
    low, high = law.hpd(0.9)
    ends = law.interval(0.9)
    assert law.cdf(high) - law.cdf(low) == pytest.approx(0.9, abs=1e-8)
    assert high - low < ends[1] - ends[0]
    assert law.pdf(low) == pytest.approx(law.pdf(high), rel=1e-3)
    assert GaussianPosterior(**TABLES["weak"]).hpd(0.9)[0] == 0.0


def test_delta_zero_is_refused_and_files_keep_the_law(tmp_path):
    with pytest.raises(InvalidParameter, match="delta"):
        GaussianPosterior(**TABLES["usual"], delta=0.0)
    law = GaussianPosterior(**TABLES["usual"])
    Estimate(value=1.0, std_error=1.0, law=law).save(tmp_path / "a.npz")
    assert Estimate.load(tmp_path / "a.npz").law.ppf(0.5) == law.ppf(0.5)
