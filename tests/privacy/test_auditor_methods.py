"""PrivacyAuditor with groups, chosen thresholds, Gaussian and one-run methods; thousands of tables; side by side."""

import warnings
from time import process_time

import numpy as np
import pandas as pd
import pytest

from mcstat import Estimate
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.privacy import EpsilonPosterior, PrivacyAuditor, one_run_pvalue
from mcstat.privacy._groups import GroupCounts, corrected_counts
from mcstat.privacy._scores import Challenges, count
from mcstat.privacy._thresholds import pareto

COUNTS = {"fn": 100, "fp": 5, "tn": 495, "tp": 400}
CHOSEN = ("multisplit", "bonferroni", "dkw")


def laplace(eps, n, seed):
    """Scores at which every threshold outside (0, eps) has just the mechanism's epsilon, at delta = 0."""
    rng = np.random.default_rng(seed)
    membership = np.repeat([1, 0], n)
    return rng.laplace(size=2 * n) + eps * membership, membership


def models(n_models, size, icc, seed):
    """Scores 0 and 1, ``size`` challenges of each kind a model, whose error rates 0.3 and 0.1 vary between models."""
    rng = np.random.default_rng(seed)
    precision = 1 / icc - 1
    tpr, fpr = (np.repeat(rng.beta(p * precision, (1 - p) * precision, n_models), size) for p in (0.7, 0.1))
    scores = rng.random(2 * n_models * size) < np.concatenate([tpr, fpr])
    names = np.array([f"model {k}" for k in range(n_models)])
    return scores.astype(float), np.repeat([1, 0], n_models * size), np.tile(np.repeat(names, size), 2)


# Groups ---------------------------------------------------------------------------------------------------------------


def test_groups_divide_the_counts_by_their_design_effects():
    scores, membership, groups = models(40, 25, 0.2, 0)
    with pytest.warns(ReliabilityWarning, match="differ between models more than chance"):
        audit = PrivacyAuditor(threshold=0.7).fit(scores, membership, groups)
    expected, negatives, positives = corrected_counts(
        GroupCounts.of(Challenges.checked(scores, membership), 0.7, groups)
    )
    assert negatives.deff > 2
    for found, wanted in zip(audit.dispersion_.values(), (negatives, positives), strict=True):
        assert found.deff == pytest.approx(wanted.deff)
    assert audit.counts_["fn"] + audit.counts_["tp"] == 1000
    for name, value in expected.items():
        assert getattr(audit.posterior_, name)[0] == pytest.approx(value)
    est = audit.estimate()
    assert est.diagnostics["design_effect_fn"] == pytest.approx(negatives.deff)
    pooled = PrivacyAuditor().fit_counts(**audit.counts_).estimate()
    assert est.std_error[0] > 1.3 * pooled.std_error[0]
    # The exact bound beside it is of the corrected counts, too.
    assert est.coords["clopper_pearson_lower"][0] < pooled.coords["clopper_pearson_lower"][0]


def test_independent_challenges_lose_nothing():
    scores, membership, groups = models(40, 25, 1e-9, 1)
    with warnings.catch_warnings():
        # A p-value below 0.05 may come by chance; this seed's are above.
        warnings.simplefilter("error")
        audit = PrivacyAuditor(threshold=0.7).fit(scores, membership, groups)
    assert audit.dispersion_["fn"].p_value > 0.05
    assert audit.dispersion_["fn"].deff < 1.3


def test_split_keeps_models_whole():
    scores, membership, groups = models(20, 10, 0.1, 2)
    challenges = Challenges.checked(scores + np.linspace(0, 0.01, len(scores)), membership, groups)
    first, second = challenges.halves(0.3, np.random.default_rng(0))
    assert len(first) + len(second) == len(challenges)
    assert not set(first.model) & set(second.model)
    assert len(set(first.model)) == 6
    # One challenge a model: members and non-members are split apart.
    single = Challenges(np.arange(20.0), np.arange(20) < 5, np.arange(20))
    first, second = single.halves(0.2, np.random.default_rng(0))
    assert first.member.sum() == 1
    assert len(first) == 4


def test_a_single_challenge_a_model_that_disagrees_is_told():
    # Three hundred models of one challenge, on which the attack is right, and one with a thousand on which it is not.
    rng = np.random.default_rng(0)
    membership = np.concatenate([np.repeat([1, 0], 150), np.repeat([1, 0], 500)])
    said = np.concatenate([rng.random(300) < np.where(membership[:300] == 1, 0.95, 0.05), rng.random(1000) < 0.5])
    groups = np.concatenate([np.arange(300), np.full(1000, 300)])
    with pytest.warns(ReliabilityWarning, match="one random challenge a model does not touch"):
        PrivacyAuditor(threshold=0.7, random_state=0).fit(said.astype(float), membership, groups)


@pytest.mark.parametrize(
    ("groups", "match"),
    [
        ([1, 1, 1, 1], "at least 2 models"),
        ([1, 2, 3], "one a score"),
        ([1, 2, np.nan, 3], "every challenge"),
        (["a", None, "b", "c"], "every challenge"),
        ([[1, 2, 3, 4]], "one a score"),
    ],
)
def test_bad_groups_are_refused(groups, match):
    with pytest.raises(InvalidData, match=match):
        PrivacyAuditor(threshold=0.5).fit([0.1, 0.9, 0.2, 0.8], [0, 1, 0, 1], groups)


def test_groups_want_one_table():
    scores, membership, groups = models(4, 5, 0.1, 0)
    for settings in ({"method": "one-run"}, {"method": "jeffreys", "threshold": "dkw"}):
        with pytest.raises(InvalidParameter, match="groups"):
            PrivacyAuditor(**settings).fit(scores, membership, groups)
    with pytest.raises(InvalidData, match="2 models with members"):
        PrivacyAuditor().fit([0.1, 0.9, 0.2, 0.8], [0, 1, 0, 0], [1, 2, 3, 4])


# Chosen thresholds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", CHOSEN)
def test_chosen_thresholds_give_a_lower_bound(strategy, tmp_path):
    scores, membership = laplace(2.0, 500, 0)
    audit = PrivacyAuditor(delta=0.0, method="clopper-pearson", threshold=strategy, random_state=0)
    est = audit.fit(scores, membership).estimate()
    low, high = est.conf_int(0.9).iloc[0]
    assert high == np.inf
    assert est.conf_int(0.9, sides="lower").iloc[0, 0] == low
    # True epsilon 2; bounds at 90 % and at 50 %.
    assert 1.0 < low < float(est) < 2.1
    assert est.kind == "frequentist"
    assert "clopper_pearson_lower" not in est.coords
    assert audit.test(low)[0] == pytest.approx(0.1, rel=1e-3)
    challenges = Challenges.checked(scores, membership)
    expected = count(challenges, audit.threshold_)
    assert {name: array[0] for name, array in audit.counts_.items()} == {k: v[0] for k, v in expected.items()}
    if strategy != "multisplit":
        assert audit.threshold_ in (pareto(challenges) if strategy == "bonferroni" else scores)
    est.save(tmp_path / "audit.zip")
    assert Estimate.load(tmp_path / "audit.zip").conf_int(0.8).equals(est.conf_int(0.8))
    table = audit.compare()
    assert list(table.index) == (
        ["clopper-pearson"] if strategy == "dkw" else ["clopper-pearson", "jeffreys", "joint-exact"]
    )
    assert table.loc["clopper-pearson", "bound"] == pytest.approx(est.conf_int(0.95).iloc[0, 0])


def test_posteriors_have_no_chosen_threshold():
    for method in ("joint-beta", "gdp", "one-run"):
        with pytest.raises(InvalidParameter, match="method must be one of clopper-pearson"):
            PrivacyAuditor(method=method, threshold="bonferroni").fit([0.0, 1.0], [0, 1])
    with pytest.raises(InvalidParameter, match="'split', 'multisplit', 'bonferroni', 'dkw'"):
        PrivacyAuditor(threshold="best").fit([0.0, 1.0], [0, 1])


# Gaussian curve -------------------------------------------------------------------------------------------------------


def test_gaussian_method():
    audit = PrivacyAuditor(method="gdp").fit_counts(**COUNTS)
    est = audit.estimate()
    plain = PrivacyAuditor().fit_counts(**COUNTS).estimate()
    assert est.kind == "posterior"
    assert float(est) > float(plain) + 1
    assert "Gaussian trade-off curve" in est.diagnostics["assumes"]
    draws = audit.posterior_.rvs(20_000, random_state=0)
    # Six standard errors of a median: density there times 2 sqrt(n), with 1.25 / sqrt(n) standard deviations.
    assert abs(np.median(draws) - float(est)) < 6 * 1.25 * est.std_error[0] / np.sqrt(20_000)
    low, high = PrivacyAuditor(method="gdp", interval="hpd").fit_counts(**COUNTS).estimate().conf_int(0.9).iloc[0]
    full = est.conf_int(0.9).iloc[0]
    assert high - low < full["upper"] - full["lower"]
    assert (
        PrivacyAuditor(method="gdp", interval="lower").fit_counts(**COUNTS).estimate().conf_int().iloc[0, 1] == np.inf
    )
    with pytest.raises(InvalidParameter, match="delta must be positive"):
        PrivacyAuditor(0.0, method="gdp").fit_counts(**COUNTS)


# One run --------------------------------------------------------------------------------------------------------------


def test_one_run_of_the_card():
    audit = PrivacyAuditor(method="one-run").fit_guesses(n_canaries=1000, n_guesses=100, n_correct=100)
    est = audit.estimate()
    low, high = est.conf_int(0.95).iloc[0]
    assert low == pytest.approx(3.46538, abs=5e-6)
    assert high == np.inf
    assert audit.test(1.0)[0] == pytest.approx(
        one_run_pvalue(n_canaries=1000, n_guesses=100, n_correct=100, epsilon=1.0), rel=1e-6
    )
    assert audit.threshold_ is None
    assert audit.posterior_ is None
    assert est.diagnostics["n_correct"] == 100
    table = audit.compare()
    assert table.loc["one-run-fdp", "bound"] == pytest.approx(5.549028, abs=1e-6)
    assert list(audit.tradeoff_curve([0.0, 1e-5])["lower"].round(5)) == [3.49297, 3.46538]


def test_one_run_counts_its_guesses():
    rng = np.random.default_rng(0)
    membership = rng.random(500) < 0.5
    audit = PrivacyAuditor(method="one-run", n_guesses=60, random_state=0).fit(
        rng.normal(size=500) + 5 * membership, membership
    )
    assert {name: array[0] for name, array in audit.counts_.items()} == {
        "n_canaries": 500,
        "n_guesses": 60,
        "n_correct": 60,
    }
    every = PrivacyAuditor(method="one-run", random_state=0).fit(rng.normal(size=500), membership)
    assert every.counts_["n_guesses"][0] == 500


def test_one_run_and_counts_do_not_mix():
    with pytest.raises(InvalidParameter, match="fit_guesses"):
        PrivacyAuditor(method="one-run").fit_counts(**COUNTS)
    with pytest.raises(InvalidParameter, match="method must be one of one-run"):
        PrivacyAuditor().fit_guesses(n_canaries=10, n_guesses=10, n_correct=5)
    with pytest.raises(InvalidData, match="n_correct"):
        PrivacyAuditor(method="one-run").fit_guesses(n_canaries=10, n_guesses=5, n_correct=6)
    with pytest.raises(InvalidParameter, match="n_guesses must be at most"):
        PrivacyAuditor(method="one-run", n_guesses=5).fit([0.1, 0.2], [0, 1])
    for bad in (0, 0.5, True, "?"):
        with pytest.raises(InvalidParameter, match="n_guesses"):
            PrivacyAuditor(n_guesses=bad).fit_counts(**COUNTS)


# Many tables, side by side --------------------------------------------------------------------------------------------


def test_compare_has_all_methods_of_the_card():
    audit = PrivacyAuditor(level=0.9).fit_counts(**COUNTS)
    table = audit.compare()
    assert list(table.index) == ["joint-beta", "gdp", "clopper-pearson", "jeffreys", "joint-exact"]
    ends = table[["lower", "upper"]]
    np.testing.assert_allclose(ends.loc["clopper-pearson"], [3.492857, 5.546354], atol=5e-7)
    np.testing.assert_allclose(ends.loc["jeffreys"], [3.556660, 5.383610], atol=5e-7)
    np.testing.assert_allclose(ends.loc["joint-beta"], [3.70849, 5.16162], atol=5e-6)
    assert np.all(table["bound"] > table["lower"])
    assert "gdp" not in PrivacyAuditor(0.0).fit_counts(**COUNTS).compare().index
    with pytest.raises(InvalidData, match="one table"):
        PrivacyAuditor().fit_counts(**(COUNTS | {"fn": [1, 2]})).compare()


def test_counts_go_through_a_file(tmp_path):
    fp = np.arange(5, 10)
    first = PrivacyAuditor().fit_counts(fn=100, fp=fp, tn=500 - fp, tp=400).estimate()
    first.to_frame().to_csv(tmp_path / "audit.csv", index=False)
    counts = pd.read_csv(tmp_path / "audit.csv")[["fn", "fp", "tn", "tp"]]
    again = PrivacyAuditor().fit_counts(**counts).estimate()
    assert again.conf_int().equals(first.conf_int())


def test_a_thousand_tables_take_two_seconds():
    rng = np.random.default_rng(0)
    wrong = rng.integers(0, 500, size=(2, 1000))
    counts = {"fn": wrong[0], "fp": wrong[1], "tn": 500 - wrong[1], "tp": 500 - wrong[0]}
    law = EpsilonPosterior(**counts)
    law[:2].moments(), law[:2].interval()
    with warnings.catch_warnings():
        # Some of a thousand tables have no errors, and some are near chance.
        warnings.simplefilter("ignore", ReliabilityWarning)
        started = process_time()
        est = PrivacyAuditor().fit_counts(**counts).estimate()
        band = est.conf_int(0.9)
        seconds = process_time() - started
    assert seconds < 2.5
    assert np.all((band["lower"] <= est.value) & (est.value <= band["upper"]))
