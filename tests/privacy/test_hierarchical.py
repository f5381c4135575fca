"""The hierarchical audit: refusals without sampling, and known attacks with PyMC (slow)."""

import numpy as np
import pytest
from scipy.stats import norm

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.privacy import gdp_to_eps, hierarchical_audit
from mcstat.privacy._hierarchical import _doubts

COUNTS = {"fn": [10, 20], "fp": [10, 5], "tn": [90, 95], "tp": [90, 80]}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"fn": [1.5, 2]}, "fn must hold whole"),
        ({"tp": [-1, 2]}, "tp must hold whole"),
        ({"fp": [1, 2, 3]}, "one shape"),
        ({"tn": [np.nan, 2]}, "tn must be finite"),
        ({"delta": 0.0}, "delta"),
        ({"n_draws": 5}, "n_draws"),
        ({"n_chains": 1}, "n_chains"),
        ({"n_tune": 1.5}, "n_tune"),
    ],
)
def test_bad_input_is_refused_before_sampling(change, match):
    with pytest.raises((InvalidData, InvalidParameter), match=match):
        hierarchical_audit(**(COUNTS | change))


def test_one_attack_is_refused():
    with pytest.raises(InvalidData, match="at least 2 attacks"):
        hierarchical_audit(fn=[1], fp=[1], tn=[1], tp=[1])


def test_chains_that_disagree_are_flagged():
    assert not _doubts(0, 1.0)
    assert "diverged" in _doubts(3, 1.0)[0]
    assert "R-hat" in _doubts(0, 1.2)[0]


@pytest.mark.slow
@pytest.mark.bayes
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_models", [1, 4])
def test_known_attacks_are_found(n_models):
    pytest.importorskip("pymc", reason="needs the bayes extra")
    rng = np.random.default_rng(0)
    strength, mu, n = np.array([0.95, 0.9, 0.8, 0.6, 0.5, 0.9]), 1.5, 400
    threshold = np.linspace(-0.3, 1.2, 6)[:, None] + (0.3 * rng.normal(size=n_models) if n_models > 1 else 0.0)
    fp = rng.binomial(n, norm.sf(threshold))
    fn = rng.binomial(n, norm.cdf(threshold - mu * strength[:, None]))
    settings = {"n_draws": 400, "n_tune": 400, "n_chains": 2, "random_state": 0, "verbose": False}
    est = hierarchical_audit(fn=fn, fp=fp, tn=n - fp, tp=n - fn, **settings)
    assert est.draws.shape == (2, 400, 4)
    # Posteriors within five of their standard deviations, and sharper than their priors.
    best = est["mu[best attack]"]
    assert abs(best.value[0] - 0.95 * mu) < 5 * best.std_error[0]
    assert best.std_error[0] < 0.2
    assert abs(est["mu[algorithm]"].value[0] - mu) < 5 * est["mu[algorithm]"].std_error[0]
    np.testing.assert_allclose(est.draws[..., 0], gdp_to_eps(est.draws[..., 2], 1e-5))
    assert np.all(est.draws[..., 3] >= est.draws[..., 2])
