"""Folds, losses, the choice of lambda, the bootstrap, calibration and pictures."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.datasets import load_soup, make_funnel, make_presto
from mcstat.ordinal import (
    PRESTOClassifier,
    calibration_error,
    calibration_table,
    plot_calibration,
    presto_path,
)
from mcstat.ordinal._bootstrap import resample
from mcstat.ordinal._data import read_data
from mcstat.ordinal._tuning import choose, deal_folds, score
from tests.stat_asserts import assert_mean_close

PROBLEM = make_presto(800, 4, cuts=(0.0, 2.0, 3.5), random_state=1)
X, Y = PROBLEM.X, PROBLEM.y


def read(X, y, weights=None):
    return read_data(np.asarray(X, dtype=float), None, y, None, weights)


# Folds --------------------------------------------------------------------------------------------------------------


def test_folds_share_every_class_out_evenly():
    data = read(X, Y)
    parts = deal_folds(data, data.counts, 5, np.random.default_rng(0))
    np.testing.assert_array_equal(parts.sum(axis=1), 1)
    for k in range(4):
        assert np.ptp(parts[data.codes == k].sum(axis=0)) <= 1
    assert np.ptp(parts.sum(axis=0)) <= 1
    other = deal_folds(data, data.counts, 5, np.random.default_rng(1))
    assert np.any(other != parts)


def test_folds_follow_the_rows_and_deal_counts_like_repeated_rows():
    weights = 1 + np.arange(800) % 4
    order = np.random.default_rng(0).permutation(800)
    one, two = read(X, Y, weights), read(X[order], Y[order], weights[order])
    repeated = read(np.repeat(X, weights, axis=0), np.repeat(Y, weights))
    a, b, c = (deal_folds(data, data.counts, 5, np.random.default_rng(0)) for data in (one, two, repeated))
    np.testing.assert_array_equal(a[order], b)
    np.testing.assert_array_equal(a.sum(axis=1), weights)
    np.testing.assert_array_equal(np.add.reduceat(c, np.r_[0, np.cumsum(weights)[:-1]], axis=0), a)


def test_a_class_with_one_row_stays_in_training():
    y = np.r_[np.zeros(20), np.ones(20), 2.0].astype(int)
    data = read(X[:41], y)
    parts = deal_folds(data, data.counts, 3, np.random.default_rng(0))
    assert parts[40].sum() == 0
    with pytest.warns(ReliabilityWarning, match="smallest class has 1 row"):
        PRESTOClassifier(random_state=0).fit(X[:41], y)


def test_small_classes_reduce_the_folds():
    y = np.r_[np.zeros(20), np.ones(20), [2, 2, 2]].astype(int)
    with pytest.warns(ReliabilityWarning, match="n_folds is 5, but the smallest class has 3.*3 folds"):
        model = PRESTOClassifier(random_state=0).fit(X[:43], y)
    assert model.cv_results_["fold_losses"].shape == (3, 20)


# Losses and the choice ----------------------------------------------------------------------------------------------


def test_scores_by_hand():
    proba, codes = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([0, 1])
    weights, frequencies = np.array([1.0, 3.0]), np.array([0.25, 0.5, 0.25])
    brier = (1 * (0.25 + 0.09 + 0.04) + 3 * (0.01 + 0.64 + 0.49)) / 4
    log_loss = -(np.log(0.5) + 3 * np.log(0.2)) / 4
    null = -(np.log(0.25) + 3 * np.log(0.5)) / 4
    wanted = {
        "brier": brier,
        "rare_brier": (0.04 + 3 * 0.49) / 4,
        "log_loss": log_loss,
        "misclassification": 0.75,
        "deviance": log_loss / null,
    }
    for name, value in wanted.items():
        assert score(name, proba, codes, weights, frequencies) == pytest.approx(value), name


def test_the_choice():
    losses = np.array([[3.0, 1.0, 1.0, 2.0], [3.0, 1.4, 1.4, 2.0]])
    assert choose(losses, "min") == 1
    assert choose(np.array([[1.60, 1.2, 1.0, 1.1], [1.55, 1.4, 1.4, 1.5]]), "1se") == 1
    assert choose(np.array([[1.60, 1.2, 1.0, 1.1], [1.55, 1.4, 1.4, 1.5]]), "min") == 2


@pytest.mark.parametrize("scoring", ["brier", "rare_brier", "log_loss", "misclassification", "deviance"])
def test_tuning_is_a_refit_of_each_fold(scoring):
    model = PRESTOClassifier(scoring=scoring, n_lambdas=5, n_folds=3, random_state=0).fit(X, Y)
    results = model.cv_results_
    assert model.lambda_ == results["lambda"][results["chosen"]]
    np.testing.assert_allclose(results["mean_loss"], results["fold_losses"].mean(axis=0))
    # The final fit is the path on all rows.
    path = presto_path(X, Y, n_lambdas=5)
    np.testing.assert_array_equal(path.lambdas, model.lambdas_)
    np.testing.assert_array_equal(path.beta, model.path_beta_)
    np.testing.assert_array_equal(model.beta_, path.beta[results["chosen"]])
    careful = PRESTOClassifier(scoring=scoring, n_lambdas=5, n_folds=3, select="1se", random_state=0).fit(X, Y)
    assert careful.lambda_ >= model.lambda_


def test_a_fold_by_hand():
    model = PRESTOClassifier(n_lambdas=4, n_folds=2, random_state=0).fit(X, Y)
    from mcstat.core.rng import Purpose, root_seed, stream

    data = read(X, Y)
    held_out = deal_folds(data, data.counts, 2, stream(root_seed(0), "PRESTOClassifier", Purpose.FOLDS, 0))[:, 0] == 1
    for lam, loss in zip(model.lambdas_, model.cv_results_["fold_losses"][0], strict=True):
        part = PRESTOClassifier(lam).fit(X[~held_out], Y[~held_out])
        proba = part.predict_proba(X[held_out])
        brier = np.mean(np.sum((proba - np.eye(4)[Y[held_out]]) ** 2, axis=1))
        assert loss == pytest.approx(brier, abs=1e-7)


# Uncertainty --------------------------------------------------------------------------------------------------------


def test_resamples_keep_classes_and_draw_their_sizes():
    data = read(X, Y)
    draws = np.array([resample(data, np.random.default_rng(r)) for r in range(400)])
    np.testing.assert_array_equal(draws.sum(axis=1), 800)
    sizes = np.array([np.bincount(Y, row) for row in draws])
    assert sizes.min() >= 1
    share = np.bincount(Y) / 800
    # The mean is that of n draws from the classes; the spread is multinomial, not zero.
    assert_mean_close(sizes.mean(axis=0), 800 * share, np.sqrt(800 * share * (1 - share) / 400))
    ratio = sizes.var(axis=0, ddof=1) / (800 * share * (1 - share))
    assert_mean_close(ratio, 1.0, np.sqrt(2 / 399))


def test_words_about_uncertainty():
    est = PRESTOClassifier(0.01).fit(X, Y).estimate()
    assert est.diagnostics["uncertainty"] == "none"
    assert np.isnan(est.std_error).all()
    assert "set n_draws" in est.warnings[0]
    est = PRESTOClassifier(0.0).fit(X, Y).estimate()
    assert (est.kind, est.diagnostics["uncertainty"]) == ("frequentist", "observed information")
    est = PRESTOClassifier(0.01, n_draws=20, random_state=0).fit(X, Y).estimate()
    assert (est.kind, est.diagnostics["uncertainty"]) == ("bootstrap", "stratified bootstrap, lambda fixed")
    assert est.draws.shape == (1, 20, 6)
    tuned = PRESTOClassifier(n_draws=3, retune=True, n_lambdas=4, random_state=0).fit(X, Y).estimate()
    assert tuned.diagnostics["uncertainty"] == "stratified bootstrap, lambda tuned anew in each resample"


def test_without_penalty_information_and_bootstrap_agree():
    information = PRESTOClassifier(0.0).fit(X, Y).estimate()
    bootstrap = PRESTOClassifier(0.0, n_draws=400, random_state=0).fit(X, Y).estimate()
    np.testing.assert_array_equal(information.value, bootstrap.value)
    # 400 draws tell a standard error to 4 %; the bootstrap's own small-sample excess is below 20 % here.
    ratio = bootstrap.std_error / information.std_error
    assert np.all((ratio > 0.75) & (ratio < 1.5))


def test_from_the_other_end_the_draws_turn_too():
    there = PRESTOClassifier(0.01, n_draws=5, random_state=0).fit(X, 3 - Y).estimate()
    back = PRESTOClassifier(0.01, n_draws=5, random_state=0, reverse=True).fit(X, Y).estimate()
    signs = np.r_[1.0, -np.ones(5)]
    np.testing.assert_allclose(back.value, there.value * signs, rtol=1e-10)
    np.testing.assert_allclose(back.draws, there.draws * signs, rtol=1e-8, atol=1e-10)
    assert back.names[1] == "0|1"


def test_interrupted_resamples_answer(monkeypatch):
    from mcstat.ordinal import _bootstrap

    calls, real = [], _bootstrap.resample

    def interrupted(data, rng):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(data, rng)

    monkeypatch.setattr(_bootstrap, "resample", interrupted)
    model = PRESTOClassifier(0.01, n_draws=10, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    est = model.estimate()
    assert "3 of 10 resamples" in est.warnings[0]
    assert est.draws.shape[1] == 3


# Calibration --------------------------------------------------------------------------------------------------------


def test_calibration_by_hand():
    p, y = np.array([0.3, 0.1, 0.2, 0.9]), np.array([1, 0, 1, 1])
    table = calibration_table(p, y, n_bins=2)
    np.testing.assert_allclose(table["predicted"], [0.15, 0.6])
    np.testing.assert_allclose(table["observed"], [0.5, 1.0])
    assert calibration_error(p, y, n_bins=2) == pytest.approx((0.4**2 + 0.3**2 + 0.7**2 + 0.1**2) / 4)
    assert len(calibration_table(np.linspace(0, 1, 2000), np.ones(2000))) == 20
    assert len(calibration_table(np.linspace(0, 1, 120), np.ones(120))) == 10


def test_the_order_of_rows_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    p = rng.random(500)
    y = rng.random(500) < p
    order = rng.permutation(500)
    assert calibration_error(p, y) == pytest.approx(calibration_error(p[order], y[order]), rel=1e-12)
    assert calibration_error(p, y) < 0.02 < calibration_error(1 - p, y)


@pytest.mark.parametrize(
    ("p", "y", "words"),
    [
        ([0.1, 1.2], [0, 1], "between 0 and 1"),
        ([], [], "at least one"),
        ([0.1, 0.2], [0, 2], "0 or 1"),
        ([0.1, 0.2], [0], "0 or 1"),
    ],
)
def test_bad_calibration_input(p, y, words):
    with pytest.raises(InvalidData, match=words):
        calibration_table(p, y)
    with pytest.raises(InvalidParameter, match="n_bins"):
        calibration_table([0.1], [1], n_bins=0)


# Pictures -----------------------------------------------------------------------------------------------------------


def test_pictures():
    from matplotlib import pyplot as plt

    model = PRESTOClassifier(n_lambdas=5, n_folds=3, random_state=0).fit(X, Y)
    path = model.plot_path()
    assert len(path.lines) == 4 + 2
    np.testing.assert_array_equal(path.lines[0].get_ydata(), model.path_beta_[:, -1, 0])
    cv = model.plot_cv()
    assert "brier" in cv.get_ylabel()
    ax = plt.figure().add_subplot()
    assert plot_calibration(model.predict_rare_proba(X), Y == 3, ax=ax) is ax
    assert len(presto_path(X, Y, n_lambdas=3).plot().lines) == 5
    with pytest.raises(InvalidParameter, match="lam='cv'"):
        PRESTOClassifier(0.01).fit(X, Y).plot_cv()
    plt.close("all")


# Data sets ----------------------------------------------------------------------------------------------------------


def test_make_presto():
    one, other = make_presto(random_state=0), make_presto(random_state=0)
    np.testing.assert_array_equal(one.y, other.y)
    assert (one.X.shape, one.beta.shape) == ((2500, 10), (3, 10))
    assert set(np.unique(one.y)) == {0, 1, 2, 3}
    assert np.abs(one.X).max() < 1
    assert set(np.unique(one.beta[0])) <= {0.0, 0.5}
    assert set(np.unique(np.diff(one.beta, axis=0))) <= {-0.5, 0.0, 0.5}
    eta = one.alpha + one.X @ one.beta.T
    assert np.diff(eta, axis=1).min() >= 0
    np.testing.assert_allclose(one.rare_probability, 1 - 1 / (1 + np.exp(-eta[:, -1])), rtol=1e-10)
    with pytest.raises(InvalidParameter, match="cuts"):
        make_presto(cuts=(0.0, 0.0))
    with pytest.raises(InvalidParameter, match="crossing boundaries"):
        make_presto(50, 10, cuts=(0.0, 0.01), sparsity=1.0, strength=5.0)


def test_make_presto_draws_from_its_probabilities(seed):
    problem = make_presto(20_000, 3, random_state=seed)
    p = problem.rare_probability
    assert_mean_close(np.mean(problem.y == 3), p.mean(), np.sqrt(np.sum(p * (1 - p))) / 20_000)


def test_make_funnel(seed):
    problem = make_funnel(random_state=seed)
    p, bought = problem.rare_probability, np.asarray(problem.y == "buy")
    assert problem.y.categories.tolist() == ["view", "click", "buy"]
    assert 0.005 < p.mean() < 0.03
    assert_mean_close(bought.mean(), p.mean(), np.sqrt(np.sum(p * (1 - p))) / len(p))
    assert list(problem.X.columns) == ["price", "discount", "visits", "device", "source"]


def test_load_soup():
    soup = load_soup()
    assert soup.shape == (1847, 12)
    assert soup["SURENESS"].value_counts(sort=False).tolist() == [228, 260, 115, 98, 277, 869]
    assert soup["SURENESS"].cat.ordered
    assert soup["RESP"].nunique() == 185
