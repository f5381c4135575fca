"""PrivacyAuditor: counting, thresholds, what it reports, selection bias, and bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from mcstat import Estimate
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.privacy import EpsilonPosterior, PrivacyAuditor, epsilon_from_rates
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle
from mcstat.privacy._scores import Challenges, count, tuned_threshold
from tests.stat_asserts import binomial_p_value

COUNTS = {"fn": 100, "fp": 5, "tn": 495, "tp": 400}
METHODS = ("joint-beta", "clopper-pearson", "jeffreys", "joint-exact")


def gaussian_scores(n, mu, seed):
    """Scores of the Gaussian mechanism: members N(mu, 1), the others N(0, 1)."""
    rng = np.random.default_rng(seed)
    membership = np.repeat([1, 0], n)
    return rng.normal(size=2 * n) + mu * membership, membership


# Counting -------------------------------------------------------------------------------------------------------------


def test_counts_are_those_of_a_loop():
    scores, membership = np.array([0.1, 0.5, 0.5, 0.9, 0.2, 0.5]), np.array([0, 0, 1, 1, 1, 0])
    audit = PrivacyAuditor(threshold=0.5).fit(scores, membership)
    said = scores >= 0.5
    assert audit.threshold_ == 0.5
    assert {name: array[0] for name, array in audit.counts_.items()} == {
        "fn": np.sum(~said & (membership == 1)),
        "fp": np.sum(said & (membership == 0)),
        "tn": np.sum(~said & (membership == 0)),
        "tp": np.sum(said & (membership == 1)),
    }


def test_counts_travel_as_csv(tmp_path):
    tables = PrivacyAuditor().fit_counts(fn=[100, 40], fp=[5, 60], tn=[495, 440], tp=[400, 460])
    tables.estimate().to_frame().to_csv(tmp_path / "counts.csv")
    frame = pd.read_csv(tmp_path / "counts.csv")
    again = PrivacyAuditor().fit_counts(**frame[["fn", "fp", "tn", "tp"]])
    np.testing.assert_array_equal(again.estimate().value, tables.estimate().value)


@pytest.mark.parametrize("threshold", [0.8, "dkw"])
def test_warnings_point_at_the_line_that_fits(threshold):
    scores, membership = gaussian_scores(20, 0.5, 0)
    auditor = PrivacyAuditor(threshold=threshold, method="clopper-pearson", random_state=0)
    with pytest.warns(ReliabilityWarning) as told:
        auditor.fit(0 * scores, membership)
    assert {warning.filename for warning in told} == {__file__}


def test_split_counts_what_did_not_choose():
    scores, membership = gaussian_scores(100, 2.0, 0)
    audit = PrivacyAuditor(split=0.3, random_state=0).fit(scores, membership)
    counts = {name: array[0] for name, array in audit.counts_.items()}
    assert counts["fn"] + counts["tp"] == 70
    assert counts["fp"] + counts["tn"] == 70
    assert 0 < audit.threshold_ < 3
    assert PrivacyAuditor(split=0.3, random_state=1).fit(scores, membership).threshold_ != audit.threshold_


def test_tuned_threshold_is_the_best_of_all():
    challenges = Challenges.checked(*gaussian_scores(60, 1.5, 1))
    found, bound = tuned_threshold(challenges, 1e-5, 0.95)
    bounds = []
    for threshold in np.unique(challenges.scores):
        table = count(challenges, threshold)
        bounds.append(ClopperPearsonRectangle(**table, delta=[1e-5]).interval(0.95, "lower")[0][0])
    table = count(challenges, found)
    assert ClopperPearsonRectangle(**table, delta=[1e-5]).interval(0.95, "lower")[0][0] == max(bounds) == bound > 0


# The Estimate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_estimate_and_round_trip(method, tmp_path):
    audit = PrivacyAuditor(method=method).fit_counts(**COUNTS)
    est = audit.estimate()
    assert est.names == ("epsilon",)
    assert est.kind == ("posterior" if method == "joint-beta" else "frequentist")
    assert est.coords["clopper_pearson_lower"][0] == pytest.approx(3.492857, abs=1e-6)
    band = est.conf_int(0.9).loc["epsilon"]
    assert band["lower"] < float(est) < band["upper"]
    est.save(tmp_path / "audit.zip")
    assert Estimate.load(tmp_path / "audit.zip").conf_int(0.9).equals(est.conf_int(0.9))


def test_posterior_is_reported():
    audit = PrivacyAuditor().fit_counts(**COUNTS)
    est = audit.estimate()
    law = EpsilonPosterior(**COUNTS)
    assert float(est) == law.median()[0]
    assert est.std_error[0] == law.std()[0]
    assert audit.posterior_.fn == 100
    text = str(est.summary())
    assert "credible 3.708, Clopper-Pearson 3.493 (95 %)" in text
    assert "of this attack" in text
    assert "formal claims" in text


@pytest.mark.parametrize("method", METHODS)
def test_lower_interval(method):
    low, high = PrivacyAuditor(method=method, interval="lower").fit_counts(**COUNTS).estimate().conf_int(0.95).iloc[0]
    assert high == np.inf
    full = PrivacyAuditor(method=method).fit_counts(**COUNTS).estimate()
    assert low == full.conf_int(0.95, sides="lower").iloc[0, 0]


def test_shortest_interval():
    est = PrivacyAuditor(interval="hpd").fit_counts(**COUNTS).estimate()
    np.testing.assert_array_equal(est.conf_int(0.9).iloc[0], np.ravel(EpsilonPosterior(**COUNTS).hpd(0.9)))


def test_many_tables_have_errors_and_laws_but_no_covariance():
    fp = np.arange(5, 25)
    audit = PrivacyAuditor().fit_counts(fn=100, fp=fp, tn=500 - fp, tp=400)
    est = audit.estimate()
    assert est.cov is None
    assert len(est) == 20
    assert np.all(np.diff(est.value) < 0)
    np.testing.assert_allclose(est.value[0], 4.34824, atol=5e-6)
    frame = est.to_frame()
    assert {"fn", "fp", "tn", "tp", "clopper_pearson_lower"} <= set(frame.columns)
    assert np.all(frame["clopper_pearson_lower"] < frame["conf_high"])
    one = est["epsilon[3]"]
    assert one.conf_int(0.9).equals(est.conf_int(0.9).iloc[[3]])


@pytest.mark.parametrize("method", METHODS)
def test_test_agrees_with_the_lower_bound(method):
    audit = PrivacyAuditor(method=method).fit_counts(**COUNTS)
    for level in (0.9, 0.99):
        bound = float(audit.estimate().conf_int(level, sides="lower").iloc[0, 0])
        expected = level if method == "joint-beta" else 1 - level
        assert audit.test(bound)[0] == pytest.approx(expected, rel=1e-4)
    assert audit.test(0.0)[0] > 0.99 if method == "joint-beta" else audit.test(0.0)[0] < 1e-6


def test_tradeoff_curve():
    audit = PrivacyAuditor(level=0.9).fit_counts(**COUNTS)
    curve = audit.tradeoff_curve([0.0, 1e-5, 0.1])
    assert list(curve.columns) == ["delta", "epsilon", "lower", "upper"]
    np.testing.assert_allclose(
        curve.loc[1, ["epsilon", "lower", "upper"]].astype(float), [4.34824, 3.70849, 5.16162], atol=5e-6
    )
    assert np.all(np.diff(curve["epsilon"]) < 0)


# Mechanisms with a known epsilon --------------------------------------------------------------------------------------


def test_randomised_response_has_its_epsilon():
    eps = np.array([0.2, 1.0, 3.0])
    rate = 1 / (1 + np.exp(eps))
    n = 1e6
    audit = PrivacyAuditor(delta=0.0).fit_counts(fn=n * rate, fp=n * rate, tn=n * (1 - rate), tp=n * (1 - rate))
    est = audit.estimate()
    assert np.all(np.abs(est.value - eps) < 3 * est.std_error)
    assert np.all(est.std_error < 0.01)


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_no_threshold_exceeds_the_mechanisms_epsilon(mechanism):
    # Exact rates of a mechanism at every threshold: the epsilon of the rates is at most the mechanism's.
    at = np.linspace(-6, 7, 200)
    if mechanism == "gaussian":
        delta, mu = 1e-5, 1.0
        # epsilon(mu = 1, delta = 1e-5) of a Gaussian mechanism.
        true, fnr, fpr = 4.377178, norm.cdf(at - mu), norm.sf(at)
    else:
        delta, true = 0.0, 1.0
        fnr = np.where(at < 1, 0.5 * np.exp(np.minimum(at - 1, 0)), 1 - 0.5 * np.exp(-np.maximum(at - 1, 0)))
        fpr = np.where(at < 0, 1 - 0.5 * np.exp(np.minimum(at, 0)), 0.5 * np.exp(-np.maximum(at, 0)))
    eps = epsilon_from_rates(fnr, fpr, delta)
    assert eps.max() <= true + 1e-6
    assert eps.max() > 0.9 * true


# Selection of the threshold -------------------------------------------------------------------------------------------


def selection_runs(runs, n=200):
    """Lower 90 % bounds without any signal (true epsilon 0): best of all thresholds on the same data, and by split."""
    best, split = 0, 0
    for seed in range(runs):
        scores, membership = gaussian_scores(n, 0.0, seed)
        challenges = Challenges.checked(scores, membership)
        table = count(challenges, np.unique(scores))
        bounds = JeffreysRectangle(**table, delta=np.zeros(2 * n)).interval(0.9, "lower")[0]
        best += bounds.max() > 0
        audit = PrivacyAuditor(delta=0.0, method="jeffreys", level=0.9, random_state=seed)
        with warnings.catch_warnings():
            # A half of 50 may well have no errors of either kind at its threshold.
            warnings.simplefilter("ignore", ReliabilityWarning)
            split += audit.fit(scores, membership).estimate().conf_int(0.9, sides="lower").iloc[0, 0] > 0
    return best, split


def test_the_largest_bound_of_all_thresholds_is_invalid_and_the_split_is_not():
    runs = 400
    best, split = selection_runs(runs)
    # A valid 90 % bound is above 0 in at most 10 % of runs; false alarms below 1e-6.
    assert best > 0.1 * runs
    assert binomial_p_value(best, runs, 0.1) < 1e-6
    assert split <= 0.1 * runs or binomial_p_value(split, runs, 0.1) > 1e-6


# Doubts and bad input -------------------------------------------------------------------------------------------------


def doubts(audit, *args, **counts):
    with pytest.warns(ReliabilityWarning) as caught:
        fitted = audit.fit(*args) if args else audit.fit_counts(**counts)
    texts = [str(one.message) for one in caught]
    assert tuple(texts) == fitted.estimate().warnings
    return " | ".join(texts)


def test_doubts_are_told():
    assert "no errors of either kind" in doubts(PrivacyAuditor(), fn=0, fp=0, tn=20, tp=20)
    assert "epsilon is 0 with" in doubts(PrivacyAuditor(delta=0.1), fn=50, fp=50, tn=50, tp=50)
    assert "tied" in doubts(PrivacyAuditor(), np.ones(40), np.repeat([0, 1], 20))
    scores, membership = gaussian_scores(100, 2.0, 0)
    best, _ = tuned_threshold(Challenges.checked(scores, membership), 1e-5, 0.95)
    assert "same data" in doubts(PrivacyAuditor(threshold=best), scores, membership)


@pytest.mark.parametrize(
    ("scores", "membership", "match"),
    [
        ([0.1, np.nan], [0, 1], "scores must be finite"),
        ([0.1, 0.2, 0.3], [0, 1], "one length"),
        ([0.1, 0.2], [0, 2], "0 and 1"),
        ([0.1, 0.2], [1, 1], "no non-members"),
        ([0.1, 0.2], [0, 0], "no members"),
        ([0.1, 0.2, 0.3], [0, 1, 1], "at least 2 non-members"),
        ([[0.1, 0.2]], [0, 1], "dimension"),
    ],
)
def test_bad_scores_are_refused(scores, membership, match):
    with pytest.raises(InvalidData, match=match):
        PrivacyAuditor().fit(scores, membership)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"fn": -1}, "fn"),
        ({"tn": np.nan}, "tn must be finite"),
        ({"fp": np.inf}, "fp must be finite"),
        ({"fn": 0, "tp": 0}, "members"),
        ({"fp": 0, "tn": 0}, "non-members"),
        ({"fn": [1, 2], "fp": [1, 2, 3]}, "one length"),
    ],
)
def test_bad_counts_are_refused(method, change, match):
    audit = PrivacyAuditor(method=method).fit_counts(**COUNTS)
    with pytest.raises(InvalidData, match=match):
        audit.fit_counts(**(COUNTS | change))


def test_bad_settings_are_refused():
    with pytest.raises(InvalidParameter, match="interval"):
        PrivacyAuditor(method="jeffreys", interval="hpd").fit_counts(**COUNTS)
    audit = PrivacyAuditor().fit_counts(**COUNTS)
    with pytest.raises(InvalidParameter, match="epsilon"):
        audit.test(-1.0)
    with pytest.raises(InvalidParameter, match="delta"):
        audit.tradeoff_curve([1.5])
    with pytest.raises(InvalidData, match="one table"):
        PrivacyAuditor().fit_counts(**(COUNTS | {"fn": [1, 2]})).tradeoff_curve([0.1])
