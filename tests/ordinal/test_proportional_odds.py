"""ProportionalOdds: theory, another package's numbers, tests of hypotheses, bad input."""

import json
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.utils.estimator_checks import check_estimator

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.parallel import single_threaded
from mcstat.ordinal import ProportionalOdds, RareLogit
from tests.naive import ordinal as naive
from tests.ordinal.problems import ALPHA, ordered_rows
from tests.stat_asserts import assert_mean_close, two_stage_coverage

LINKS = ["logit", "probit", "cloglog", "cauchit"]
REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "ordered_model.json").read_text("utf-8"))


@pytest.mark.parametrize("record", REFERENCE, ids=lambda record: record["link"])
def test_agrees_with_statsmodels(record):
    X, y, _ = ordered_rows()
    model = ProportionalOdds(link=record["link"]).fit(X, y)
    est = model.estimate()
    assert model.loglik_ == pytest.approx(record["loglik"], rel=1e-9)
    # Its slopes have the other sign.
    np.testing.assert_allclose(model.coef_, -np.array(record["slopes"]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.alpha_, record["cuts"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(est[["x1", "x2", "x3"]].std_error, record["slope_errors"], rtol=1e-4)


@pytest.mark.parametrize("link", LINKS)
def test_the_gradient_is_zero_and_the_value_that_of_the_plain_formula(link):
    X, y, _ = ordered_rows()
    model = ProportionalOdds(link=link).fit(X, y)
    assert model.kkt_ < 1e-7
    ones = np.ones(len(y))
    assert model.loglik_ == pytest.approx(
        -len(y) * naive.mean_loss(link, X, y, ones, model.alpha_, model.beta_), rel=1e-12
    )
    best = naive.mean_loss(link, X, y, ones, model.alpha_, model.beta_)
    for shift in (1e-3, -1e-3):
        for j in range(3):
            moved = model.beta_ + shift * (np.arange(3) == j)
            assert naive.mean_loss(link, X, y, ones, model.alpha_, moved) > best


def test_two_classes_are_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    X, y, _ = ordered_rows()
    ours = ProportionalOdds().fit(X, y >= 1)
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit((X - 5.0) / [1.0, 3.0, 0.2], y >= 1)
    np.testing.assert_allclose(ours.coef_ * [1.0, 3.0, 0.2], -other.coef_[0], atol=1e-5)
    rare = RareLogit().fit(X, y >= 1)
    np.testing.assert_allclose(rare.coef_, -ours.coef_, rtol=1e-6)
    np.testing.assert_allclose(rare.predict_proba(X), ours.predict_proba(X), atol=1e-8)
    with pytest.raises(InvalidParameter, match="at least 3 classes"):
        ours.parallel_lines_test()


def test_scaling_and_shifting_columns():
    X, y, _ = ordered_rows()
    model, other = ProportionalOdds().fit(X, y), ProportionalOdds().fit(10.0 * X - 3.0, y)
    np.testing.assert_allclose(other.coef_, model.coef_ / 10.0, rtol=1e-6)
    np.testing.assert_allclose(other.predict_proba(10.0 * X - 3.0), model.predict_proba(X), atol=1e-9)


def test_weights_are_repeated_rows_and_counts_are_too():
    X, y, _ = ordered_rows(60)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    weights[:20] = 1
    weighted = ProportionalOdds().fit(X, y, sample_weight=weights)
    repeated = ProportionalOdds().fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    table = np.eye(4, dtype=int)[y] * weights[:, None]
    counted = ProportionalOdds().fit(X, table)
    for other in (repeated, counted):
        assert other.loglik_ == pytest.approx(weighted.loglik_, rel=1e-12)
        np.testing.assert_allclose(other.estimate().cov, weighted.estimate().cov, rtol=1e-8)
        np.testing.assert_allclose(other.alpha_, weighted.alpha_, rtol=1e-8)


def test_orders_of_labels():
    X, y, _ = ordered_rows(100)
    words = np.array(["none", "some", "many", "all"])
    wanted = ProportionalOdds().fit(X, y)
    categorical = pd.Series(pd.Categorical(words[y], categories=words, ordered=True))
    for model, response in [
        (ProportionalOdds(), categorical),
        (ProportionalOdds(), pl.Series(words[y]).cast(pl.Enum(list(words)))),
        (ProportionalOdds(categories=list(words)), words[y]),
        (ProportionalOdds(categories=list(words)), words[y].tolist()),
    ]:
        model.fit(X, response)
        np.testing.assert_array_equal(model.classes_, words)
        np.testing.assert_allclose(model.coef_, wanted.coef_, rtol=1e-12)
        np.testing.assert_array_equal(model.predict(X), words[wanted.predict(X)])
    with pytest.warns(ReliabilityWarning, match="categories="):
        alphabetic = ProportionalOdds().fit(X, words[y])
    assert alphabetic.classes_.tolist() == ["all", "many", "none", "some"]


def test_counts_in_a_data_frame_name_the_classes():
    X, y, _ = ordered_rows(100)
    table = pd.DataFrame(np.eye(4, dtype=int)[y], columns=["none", "some", "many", "all"])
    model = ProportionalOdds().fit(X, table)
    assert model.classes_.tolist() == ["none", "some", "many", "all"]
    np.testing.assert_allclose(model.coef_, ProportionalOdds().fit(X, y).coef_, rtol=1e-12)
    with pytest.raises(InvalidParameter, match="name the 4 columns"):
        ProportionalOdds(categories=["a", "b"]).fit(X, table)


def test_likelihood_ratio_tests():
    X, y, _ = ordered_rows()
    model, smaller = ProportionalOdds().fit(X, y), ProportionalOdds().fit(X[:, :2], y)
    counts = np.bincount(y)
    assert model.loglik_null_ == pytest.approx(np.sum(counts * np.log(counts / len(y))))
    against_null, against_smaller = model.likelihood_ratio_test(), model.likelihood_ratio_test(smaller)
    assert (against_null["df"], against_smaller["df"]) == (3, 1)
    assert against_null["p_value"] < 1e-9
    # The third slope is zero, and the Wald test agrees with the likelihood ratio to second order.
    wald = model.estimate()["x3"].test()
    assert against_smaller["statistic"] == pytest.approx(wald.statistic, rel=0.05)
    with pytest.raises(InvalidParameter, match="smaller must be"):
        smaller.likelihood_ratio_test(model)


def test_parallel_lines_test_sees_slopes_that_differ_and_only_those():
    X, y, _ = ordered_rows(4000)
    table = ProportionalOdds().fit(X, y).parallel_lines_test()
    assert table.index.tolist() == ["all", "x1", "x2", "x3"]
    assert table["df"].tolist() == [6, 2, 2, 2]
    assert table["p_value"].min() > 1e-4
    rng = np.random.default_rng(1)
    z = rng.uniform(-1, 1, size=(4000, 2))
    eta = np.array([-0.5, 1.5, 3.0]) + z[:, :1] * np.array([0.0, 0.5, 1.0])
    y = np.sum(rng.random((4000, 1)) > 1 / (1 + np.exp(-eta)), axis=1)
    table = ProportionalOdds().fit(z, y).parallel_lines_test()
    assert table.loc["x1", "p_value"] < 1e-4
    assert table.loc["x2", "p_value"] > 1e-4


@cache
def verdicts(r):
    """Of data set r, 70 rows in the last class: which intervals hold the truth, whether the lines pass as parallel."""
    X, y, beta = ordered_rows(800, seed=10_000 + r)
    model = ProportionalOdds().fit(X, y)
    eta = ALPHA[-1] + (X - 5.0) @ beta
    truth = {"rare probability": np.mean(1 / (1 + np.exp(eta))), "2|3": ALPHA[-1] - 5.0 * beta.sum(), "x1": beta[0]}
    band = model.estimate()[list(truth)].conf_int()
    found = {name: band.loc[name, "lower"] <= value <= band.loc[name, "upper"] for name, value in truth.items()}
    return found | {"parallel lines": model.parallel_lines_test().loc["all", "p_value"] > 0.05}


@pytest.mark.parametrize("name", ["rare probability", "2|3", "x1", "parallel lines"])
def test_intervals_cover_and_the_parallel_lines_test_holds_its_size(name):
    # 400 data sets, then 4000 where these alarm: a right interval or test fails with probability below 1e-6.
    with single_threaded():
        two_stage_coverage(lambda start, n: sum(verdicts(r)[name] for r in range(start, start + n)), 0.95)


def test_slopes_are_consistent(seed):
    X, y, beta = ordered_rows(20_000, seed=seed)
    est = ProportionalOdds().fit(X, y).estimate()[["x1", "x2", "x3"]]
    assert_mean_close(est.value, beta, est.std_error)


def test_formula_and_data_frames():
    X, y, _ = ordered_rows()
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(group=np.tile(["u", "v"], 200), rating=y)
    model = ProportionalOdds().fit_formula("rating ~ a + b + group", frame)
    assert model.estimate().names[-3:] == ("a", "b", "group[T.v]")
    design = np.column_stack([X[:, :2], np.tile([0.0, 1.0], 200)])
    plain = ProportionalOdds().fit(design, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-10)
    # New rows that hold one of the levels only are coded as in the fit.
    np.testing.assert_allclose(model.predict_proba(frame[1::2]), plain.predict_proba(design[1::2]), rtol=1e-10)
    for formula in ["rating", "nothing ~ a", "log(rating) ~ a", 3]:
        with pytest.raises(InvalidParameter, match="formula must be"):
            ProportionalOdds().fit_formula(formula, frame)


def test_pickle_keeps_answers():
    X, y, _ = ordered_rows(100)
    model = ProportionalOdds().fit(X, y)
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301  (our own bytes)
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(copy.estimate().cov, model.estimate().cov)


@pytest.mark.parametrize("estimator", [ProportionalOdds(), RareLogit()], ids=lambda one: type(one).__name__)
@pytest.mark.filterwarnings("ignore")
def test_is_a_scikit_learn_classifier(estimator):
    check_estimator(estimator)


def test_rare_logit_with_more_classes():
    X, y, _ = ordered_rows()
    model = RareLogit(rare=1).fit(X, y)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(proba[:, 1], model.predict_rare_proba(X))
    shares = np.bincount(y) / len(y)
    np.testing.assert_allclose(proba[:, 0] / proba[:, 2], shares[0] / shares[2], rtol=1e-12)
    np.testing.assert_allclose(model.predict_cumulative(X)[:, 1], proba[:, :2].sum(axis=1))
    assert float(model.estimate()["rare probability"]) == pytest.approx(shares[1], rel=1e-6)
    with pytest.raises(InvalidParameter, match="rare must be one of"):
        RareLogit(rare=9).fit(X, y)


# Doubtful and bad input ---------------------------------------------------------------------------------------------


def test_separated_classes_are_told():
    X = np.linspace(-1, 1, 60)[:, None]
    for model in (ProportionalOdds(), RareLogit()):
        with pytest.warns(ReliabilityWarning, match="separate the classes"):
            model.fit(X, np.repeat([0, 1, 2], 20))
        assert "separate" in model.estimate().warnings[0]
    # A level that only one class has: separation along one direction of many.
    X, y, _ = ordered_rows()
    level = ((y == 0) & (np.arange(400) % 10 == 0)).astype(float)
    with pytest.warns(ReliabilityWarning, match="separate the classes"):
        ProportionalOdds().fit(np.column_stack([X, level]), y)


def test_too_few_steps_are_told():
    X, y, _ = ordered_rows()
    with pytest.warns(ReliabilityWarning, match="no convergence.*raise max_iter"):
        ProportionalOdds(max_iter=1).fit(X, y)


def test_columns_that_say_nothing_new():
    X, y, _ = ordered_rows()
    wanted = ProportionalOdds().fit(X, y)
    with pytest.warns(ReliabilityWarning, match="without variation"):
        model = ProportionalOdds().fit(np.column_stack([X, np.full(400, 0.1)]), y)
    assert model.coef_[3] == 0.0
    np.testing.assert_allclose(model.coef_[:3], wanted.coef_, rtol=1e-9)
    assert np.isnan(model.estimate()["x4"].std_error)
    np.testing.assert_allclose(model.estimate()["x1"].std_error, wanted.estimate()["x1"].std_error, rtol=1e-9)
    with pytest.warns(ReliabilityWarning, match="depend linearly"):
        double = ProportionalOdds().fit(np.column_stack([X, X[:, 0]]), y)
    np.testing.assert_allclose(double.loglik_, wanted.loglik_, rtol=1e-12)
    assert np.isnan(double.estimate().std_error).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, y: (X, y[:-1]), "y must have as many rows as X"),
        (lambda X, y: (X, np.zeros(len(y))), "at least 2 classes, got 1"),
        (lambda X, y: (X, y + 0.5), "[Uu]nknown label type"),
        (lambda X, y: (X, np.where(y == 0, np.nan, y)), "y must be finite"),
        (lambda X, y: (X, np.array(["a", None] * 200, dtype=object)), "a label in every row"),
        (lambda X, y: (np.where(X > 5, np.nan, X), y), "finite"),
        (lambda X, y: (X, pd.Categorical(y, categories=[0, 1, 2, 3, 4], ordered=True)), "every class at least once.*4"),
        (lambda X, y: (X, None), "requires y"),
        (lambda X, y: (X, -np.eye(4)[y]), "y must hold counts"),
        (lambda X, y: (X, 0.5 * np.eye(4)[y]), "y must hold counts"),
        (lambda X, y: (X, np.eye(5)[y]), "every class at least once, got no count of"),
        (lambda X, y: (X, np.eye(4)[y][:-1]), "as many rows as X"),
    ],
)
def test_bad_data_are_refused(change, words):
    X, y, _ = ordered_rows()
    with pytest.raises(InvalidData if "label type" not in words else ValueError, match=words):
        ProportionalOdds().fit(*change(X, y))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (-np.ones(400), "must not be negative"),
        (np.ones(399), "must have 400 entries"),
        (np.full(400, np.nan), "finite"),
        (np.ones((400, 2)), "1D array"),
    ],
)
def test_bad_weights_are_refused(weights, words):
    X, y, _ = ordered_rows()
    with pytest.raises(InvalidData, match=words):
        ProportionalOdds().fit(X, y, sample_weight=weights)
    with pytest.raises(InvalidData, match="leave every class at least one row"):
        ProportionalOdds().fit(X, y, sample_weight=(y > 0).astype(float))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"link": "log"}, "link must be one of"),
        ({"categories": [0, 1, 1, 2]}, "categories must be"),
        ({"categories": "0123"}, "categories must be"),
        ({"tol": 0.0}, "tol must be"),
        ({"max_iter": 0}, "max_iter must be"),
    ],
)
def test_bad_parameters_are_refused(settings, words):
    X, y, _ = ordered_rows()
    with pytest.raises(InvalidParameter, match=words):
        ProportionalOdds(**settings).fit(X, y)


def test_labels_outside_the_categories():
    X, y, _ = ordered_rows()
    with pytest.raises(InvalidData, match="labels out of"):
        ProportionalOdds(categories=[0, 1, 2]).fit(X, y)
    with pytest.raises(InvalidData, match=r"labels of the kind of|labels out of"):
        ProportionalOdds(categories=["a", "b"]).fit(X, y)
