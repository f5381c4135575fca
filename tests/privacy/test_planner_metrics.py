"""Planner, attack metrics and pictures."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.privacy import (
    EpsilonPosterior,
    attack_metrics,
    challenges_needed,
    membership_advantage,
    plot_posterior,
    plot_roc,
    plot_tradeoff,
    rates_region,
)
from mcstat.privacy._rectangles import ClopperPearsonRectangle

# Planner --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "law"), [("joint-beta", EpsilonPosterior), ("clopper-pearson", ClopperPearsonRectangle)]
)
@pytest.mark.parametrize(("fnr", "fpr"), [(0.2, 0.05), (0.4, 0.5), (0.9, 0.001)])
def test_the_planned_number_is_the_smallest(method, law, fnr, fpr):
    def width(n):
        counts = {"fn": [n * fnr], "fp": [n * fpr], "tn": [n * (1 - fpr)], "tp": [n * (1 - fnr)], "delta": [1e-5]}
        return np.diff(np.ravel(law(**counts).interval(0.9)))[0]

    n = challenges_needed(0.5, fnr=fnr, fpr=fpr, level=0.9, method=method)
    assert width(n) <= 0.5 < width(n - 1)


def test_ten_times_narrower_needs_a_hundred_times_more():
    many = challenges_needed(0.05, fnr=0.2, fpr=0.05)
    assert many / challenges_needed(0.5, fnr=0.2, fpr=0.05) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize(
    "change",
    [{"width": 0.0}, {"fnr": 0.0}, {"fpr": 1.0}, {"delta": 1.0}, {"level": 0.0}, {"method": "?"}, {"most": 50}],
)
def test_bad_plans_are_refused(change):
    with pytest.raises(InvalidParameter, match=next(iter(change))):
        challenges_needed(**({"width": 0.5, "fnr": 0.2, "fpr": 0.05} | change))


# Metrics --------------------------------------------------------------------------------------------------------------


def test_metrics_agree_with_other_definitions():
    rng = np.random.default_rng(0)
    membership = rng.integers(0, 2, 600)
    scores = np.round(rng.normal(size=600) + membership, 1)
    found = attack_metrics(scores, membership, fpr=(0.0, 0.05, 1.0), random_state=0)
    assert found["auc"].value[0] == pytest.approx(roc_auc_score(membership, scores), abs=1e-12)
    members, others = scores[membership == 1], scores[membership == 0]
    assert found["auc"].value[0] == pytest.approx(
        mannwhitneyu(members, others).statistic / (len(members) * len(others)), abs=1e-12
    )
    thresholds = np.append(np.unique(scores), np.inf)
    rates = [(np.mean(others >= t), np.mean(members >= t)) for t in thresholds]
    for rate in (0.0, 0.05, 1.0):
        assert found[f"tpr[fpr={rate:g}]"].value[0] == pytest.approx(max(tpr for fpr, tpr in rates if fpr <= rate))
    assert found["advantage"].value[0] == pytest.approx(max(tpr - fpr for fpr, tpr in rates))


def test_bootstrap_errors_are_those_of_repeated_attacks():
    def scores(seed):
        rng = np.random.default_rng(seed)
        membership = np.repeat([0, 1], 400)
        return rng.normal(size=800) + membership, membership

    found = attack_metrics(*scores(0), fpr=(0.1,), random_state=0)
    values = np.array([attack_metrics(*scores(seed), fpr=(0.1,), n_draws=2).value for seed in range(1, 301)])
    np.testing.assert_allclose(found.std_error / values.std(axis=0), 1.0, atol=0.35)
    assert abs(values[:, 0].mean() - norm.cdf(np.sqrt(0.5))) < 6 * values[:, 0].std() / np.sqrt(300)
    again = attack_metrics(*scores(0), fpr=(0.1,), random_state=0)
    assert np.array_equal(found.draws, again.draws)


def test_advantage_is_the_corner_of_the_region():
    eps, delta = np.array([0.0, 0.7, 3.0]), np.array([0.1, 1e-5, 0.0])
    x = np.linspace(0, 1, 100_001)
    for e, d in zip(eps, delta, strict=True):
        assert membership_advantage(e, d) == pytest.approx(np.max(1 - x - rates_region(e, d, x)[0]), abs=1e-4)
    assert membership_advantage(1e4, 0.0) == 1.0
    with pytest.raises(InvalidParameter, match="eps"):
        membership_advantage(-1.0)


# Pictures -------------------------------------------------------------------------------------------------------------


def test_pictures_hold_what_they_say():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs the plot extra")
    rng = np.random.default_rng(0)
    membership = np.repeat([0, 1], 200)
    scores = rng.normal(size=400) + membership
    for log in (False, True):
        ax = plot_roc(scores, membership, eps=2.0, log=log)
        curve = ax.lines[-1].get_xydata()
        assert curve[0].tolist() == [0, 0]
        assert curve[-1].tolist() == [1, 1]
        assert ax.get_xscale() == ("log" if log else "linear")
        limit = ax.lines[0].get_xydata()
        np.testing.assert_allclose(limit[:, 1], 1 - rates_region(2.0, 1e-5, limit[:, 0])[0])
    weak = EpsilonPosterior(fn=250, fp=240, tn=260, tp=250, delta=0.05)
    ax = plot_posterior(weak)
    x, density = ax.lines[0].get_xydata().T
    assert np.trapezoid(density, x) == pytest.approx(1 - weak.prob_zero[0], abs=0.01)
    assert f"= {weak.prob_zero[0]:.2g}" in ax.get_legend().get_texts()[1].get_text()
    ax = plot_tradeoff(EpsilonPosterior(fn=40, fp=10, tn=190, tp=160))
    assert ax.lines[-1].get_xydata().ravel().tolist() == [0.2, 0.05]
    given = ax.figure.axes[0]
    assert plot_tradeoff(EpsilonPosterior(fn=40, fp=10, tn=190, tp=160), deltas=[0.0, 0.1], ax=given) is given
    pyplot.close("all")
    for picture in (plot_posterior, plot_tradeoff):
        with pytest.raises(InvalidData, match="one table"):
            picture(EpsilonPosterior(fn=[1, 2], fp=1, tn=3, tp=4))
