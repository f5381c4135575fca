"""PRESTO: optimality, exact special cases, prediction where boundaries cross, scikit-learn, bad input."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.datasets import load_soup, make_funnel, make_presto
from mcstat.ordinal import PRESTOClassifier, ProportionalOdds, cumulative_logit_path, presto_path
from mcstat.ordinal._crossing import class_probabilities
from mcstat.ordinal._likelihood import CumulativeLikelihood
from mcstat.ordinal._structure import STRUCTURES, Structured
from tests.naive import ordinal as naive
from tests.ordinal.problems import ordered_rows

LINKS = ["logit", "probit", "cloglog"]


def sparse_problem(n=500, seed=0):
    problem = make_presto(n, 5, cuts=(0.0, 2.5, 4.5), random_state=seed)
    return problem.X * [1, 2, 3, 4, 5] + 7.0, problem.y


@pytest.fixture(scope="module")
def soup():
    data = load_soup()
    factors = data.drop(columns=["SURENESS", "RESP", "PRODID"])
    return pd.get_dummies(factors, drop_first=True).astype(float), data["SURENESS"]


# Against theory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
def test_no_penalised_fit_lies_above_a_quasi_newton_solution(link, l1_ratio):
    X, y = sparse_problem(300)
    path = presto_path(X, y, lambdas=[0.03, 0.01, 0.003], l1_ratio=l1_ratio, link=link)
    assert path.kkt.max() < 1e-7
    likelihood = CumulativeLikelihood(X, y, np.ones(300), 4, link=link, standardize=True)
    structure = STRUCTURES["differences"](3, 6)
    smooth, penalised = Structured(likelihood, structure), structure.penalties(np.ones(5), True)
    q = 18

    def penalty(theta, lam):
        return lam * penalised @ (l1_ratio * np.abs(theta) + 0.5 * (1 - l1_ratio) * theta**2)

    for lam, alpha, beta in zip(path.lambdas, path.alpha, path.beta, strict=True):
        slopes = beta * likelihood.scale
        ours = structure.parameters(np.column_stack([alpha + beta @ likelihood.mean, slopes]))

        def split(parts, lam=lam):
            theta = parts[:q] - parts[q:]
            here = smooth(theta)
            if not np.isfinite(here.value):
                return 1e10, np.zeros(2 * q)
            slope = here.gradient + lam * (1 - l1_ratio) * penalised * theta
            value = (
                here.value
                + lam * (1 - l1_ratio) / 2 * penalised @ theta**2
                + lam * l1_ratio * penalised @ (parts[:q] + parts[q:])
            )
            extra = lam * l1_ratio * penalised
            return value, np.concatenate([slope + extra, extra - slope])

        start = structure.parameters(likelihood.null_boundaries())
        parts = np.concatenate([np.maximum(start, 0), np.maximum(-start, 0)])
        options = {"ftol": 1e-16, "gtol": 1e-10, "maxiter": 20_000, "maxfun": 100_000}
        other = minimize(split, parts, jac=True, bounds=[(0, None)] * (2 * q), method="L-BFGS-B", options=options)
        objective = smooth(ours).value + penalty(ours, lam)
        assert objective <= other.fun + 1e-10
        assert objective == pytest.approx(other.fun, abs=1e-7)


def test_the_objective_is_that_of_the_paper():
    X, y = sparse_problem(200)
    lam = 0.01
    model = PRESTOClassifier(lam).fit(X, y)
    scale, ones = X.std(axis=0), np.ones(200)

    def objective(alpha, beta):
        return naive.mean_loss("logit", X, y, ones, alpha, beta) + lam * naive.fused_penalty(beta.tolist(), scale)

    best = objective(model.alpha_, model.beta_)
    rng = np.random.default_rng(0)
    for _ in range(50):
        step = rng.normal(size=(3, 6)) * rng.choice([1e-4, 1e-3, 1e-2])
        assert objective(model.alpha_ + step[:, 0], model.beta_ + step[:, 1:] / scale) > best


def test_at_the_top_of_the_path_there_are_only_frequencies():
    X, y = sparse_problem()
    path = presto_path(X, y)
    np.testing.assert_array_equal(path.beta[0], np.zeros((3, 5)))
    below = np.cumsum(np.bincount(y) / len(y))[:-1]
    np.testing.assert_allclose(path.alpha[0], np.log(below / (1 - below)), atol=1e-8)
    assert path.n_nonzero[0] == 0 < path.n_nonzero[1]
    assert path.lambdas[-1] == pytest.approx(0.01 * path.lambdas[0])


@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
def test_along_the_path(l1_ratio, soup):
    for X, y in [sparse_problem(), soup]:
        path = presto_path(X, y, l1_ratio=l1_ratio)
        assert path.kkt.max() < 1e-7
        assert np.all(np.diff(path.log_likelihood) > -1e-8)
        psi = np.diff(path.beta * np.asarray(X).std(axis=0), axis=1, prepend=0.0)
        total = l1_ratio * np.abs(psi).sum(axis=(1, 2)) + 0.5 * (1 - l1_ratio) * (psi**2).sum(axis=(1, 2))
        assert np.all(np.diff(total) > -1e-8)


def test_a_large_penalty_on_differences_alone_is_proportional_odds():
    X, y, _ = ordered_rows()
    tied, common = PRESTOClassifier(10.0, penalize_first=False).fit(X, y), ProportionalOdds().fit(X, y)
    np.testing.assert_allclose(tied.beta_, common.beta_, rtol=1e-5)
    np.testing.assert_array_equal(tied.psi_[1:], np.zeros((2, 3)))
    assert tied.loglik_ == pytest.approx(common.loglik_, rel=1e-10)
    grid = presto_path(X, y, penalize_first=False, n_lambdas=5)
    np.testing.assert_allclose(grid.beta[0], common.beta_, rtol=1e-5)
    assert np.ptp(grid.beta[1], axis=0).max() > 0


def test_two_classes_are_the_lasso_logit():
    from sklearn.linear_model import LogisticRegression

    X, y = sparse_problem()
    z, lam = (X - X.mean(axis=0)) / X.std(axis=0), 0.02
    with pytest.warns(ReliabilityWarning, match="2 classes.*lasso logit"):
        ours = PRESTOClassifier(lam).fit(X, y > 0)
    other = LogisticRegression(l1_ratio=1.0, C=1 / (lam * len(y)), solver="saga", tol=1e-10, max_iter=100_000).fit(
        z, y > 0
    )
    np.testing.assert_allclose(-ours.beta_[0] * X.std(axis=0), other.coef_[0], atol=1e-6)


def test_scaling_shifting_and_factors():
    X, y = sparse_problem()
    model, other = PRESTOClassifier(0.01).fit(X, y), PRESTOClassifier(0.01).fit(X * 10.0 - 3.0, y)
    np.testing.assert_allclose(other.beta_, model.beta_ / 10.0, atol=1e-8)
    np.testing.assert_allclose(other.predict_proba(X * 10.0 - 3.0), model.predict_proba(X), atol=1e-7)
    plain = PRESTOClassifier(0.01, standardize=False).fit(X, y)
    factors = PRESTOClassifier(0.01, penalty_factors=1.0 / X.std(axis=0)).fit(X, y)
    np.testing.assert_allclose(plain.beta_, factors.beta_, atol=1e-6)
    free = PRESTOClassifier(0.5, penalty_factors=[0, 1, 1, 1, 1]).fit(X, y)
    assert np.all(free.beta_[:, 0] != 0)
    np.testing.assert_array_equal(free.beta_[:, 1:], 0.0)


def test_repeating_all_rows_changes_nothing_and_weights_are_repeats():
    X, y = sparse_problem()
    weights = 1 + np.arange(500) % 3
    once = PRESTOClassifier(0.01).fit(X, y, sample_weight=weights)
    for other in [
        PRESTOClassifier(0.01).fit(X, y, sample_weight=0.37 * weights),
        PRESTOClassifier(0.01).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights)),
        PRESTOClassifier(0.01).fit(X, np.eye(4)[y] * weights[:, None]),
    ]:
        np.testing.assert_allclose(other.beta_, once.beta_, atol=1e-8)
    tuned = [
        PRESTOClassifier(random_state=3).fit(X, y, sample_weight=weights),
        PRESTOClassifier(random_state=3).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights)),
    ]
    np.testing.assert_allclose(tuned[0].cv_results_["fold_losses"], tuned[1].cv_results_["fold_losses"], rtol=1e-6)


def test_from_the_other_end():
    X, y = sparse_problem()
    reverse, flipped = PRESTOClassifier(0.01, reverse=True).fit(X, y), PRESTOClassifier(0.01).fit(X, 3 - y)
    np.testing.assert_allclose(reverse.beta_, -flipped.beta_[::-1], rtol=1e-12)
    np.testing.assert_allclose(reverse.predict_proba(X), flipped.predict_proba(X)[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(reverse.predict_rare_proba(X), flipped.predict_rare_proba(X), atol=1e-12)
    np.testing.assert_allclose(reverse.psi_, -flipped.psi_, atol=1e-12)
    assert np.abs(reverse.beta_ - PRESTOClassifier(0.01).fit(X, y).beta_).max() > 1e-3
    # Where only differences are penalised the two directions agree.
    settings = {"penalize_first": False, "tol": 1e-9}
    there, back = PRESTOClassifier(0.01, **settings), PRESTOClassifier(0.01, reverse=True, **settings)
    np.testing.assert_allclose(there.fit(X, y).beta_, back.fit(X, y).beta_, atol=1e-6)


def test_paths_of_the_ordinary_cumulative_logit():
    X, y = sparse_problem()
    common, free = cumulative_logit_path(X, y), cumulative_logit_path(X, y, parallel=False)
    assert max(common.kkt.max(), free.kkt.max()) < 1e-7
    assert np.ptp(common.beta, axis=1).max() == 0.0
    assert np.ptp(free.beta[-1], axis=0).max() > 0.0
    np.testing.assert_allclose(
        cumulative_logit_path(X, y, lambdas=[0.0]).beta[0], ProportionalOdds().fit(X, y).beta_, rtol=1e-5
    )


# Predictions --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crossing():
    """A fit whose boundaries cross far from the data."""
    X, y = sparse_problem()
    model = PRESTOClassifier(1e-3).fit(X, y)
    far = 7.0 + 40.0 * np.random.default_rng(0).normal(size=(200, 5))
    eta = far @ model.beta_.T + model.alpha_
    assert np.any(np.diff(eta, axis=1) < 0)
    return X, y, far, eta


@pytest.mark.parametrize("policy", ["rearrange", "clip", "raw"])
def test_crossing_policies(crossing, policy):
    X, y, far, eta = crossing
    model = PRESTOClassifier(1e-3, crossing=policy).fit(X, y)
    proba = model.predict_proba(far)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    assert (proba.min() >= 0) == (policy != "raw")
    bad = np.any(np.diff(eta, axis=1) < 0, axis=1)
    plain = [naive.probabilities("logit", x, model.alpha_, model.beta_) for x in far[~bad]]
    np.testing.assert_allclose(proba[~bad], plain, atol=1e-10)
    np.testing.assert_allclose(model.predict_rare_proba(far), 1 - model.predict_cumulative(far)[:, -1], atol=1e-12)
    if policy == "rearrange":
        ordered = np.sort(1 / (1 + np.exp(-eta)), axis=1)
        np.testing.assert_allclose(np.cumsum(proba, axis=1)[:, :-1], ordered, atol=1e-12)


def test_crossing_can_be_refused_and_is_counted(crossing):
    X, y, far, _ = crossing
    model = PRESTOClassifier(1e-3, crossing="raise").fit(X, y)
    eta = X @ model.beta_.T + model.alpha_
    assert model.crossing_fraction_ == np.mean(np.any(np.diff(eta, axis=1) < 0, axis=1))
    with pytest.raises(InvalidData, match=r"boundaries cross in .* of 200 rows"):
        model.predict_proba(far)
    model.predict_rare_proba(far)


def test_small_probabilities_keep_their_digits():
    for link, tail in [("logit", lambda t: np.exp(-t)), ("cloglog", lambda t: np.exp(-np.exp(t)))]:
        eta = np.array([[40.0, 50.0, 60.0]]) if link == "logit" else np.array([[3.0, 4.0, 5.0]])
        found = class_probabilities(link, eta, "rearrange")[0, 1:]
        below = tail(eta[0])
        np.testing.assert_allclose(found, below - np.r_[below[1:], 0.0], rtol=1e-12)


# scikit-learn -------------------------------------------------------------------------------------------------------


CHECKED = [PRESTOClassifier(0.01), PRESTOClassifier(n_lambdas=5, n_folds=3, random_state=0)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", CHECKED, ids=["fixed", "cv"])
def test_is_a_scikit_learn_classifier(estimator):
    check_estimator(estimator)


def test_in_a_pipeline_and_a_grid_search():
    problem = make_funnel(2000, random_state=0)
    columns = ColumnTransformer(
        [
            ("labels", OneHotEncoder(drop="first"), ["device", "source"]),
            ("numbers", StandardScaler(), ["price", "discount", "visits"]),
        ],
        sparse_threshold=0.0,
    )
    pipeline = make_pipeline(columns, PRESTOClassifier(0.01))
    search = GridSearchCV(pipeline, {"prestoclassifier__lam": [0.1, 0.003]}, scoring="neg_log_loss", cv=3)
    # Codes, since scikit-learn's probability scores sort the labels.
    search.fit(problem.X, problem.y.codes)
    assert search.best_params_["prestoclassifier__lam"] == 0.003
    named = clone(pipeline).fit(problem.X, problem.y)
    assert named[-1].classes_.tolist() == ["view", "click", "buy"]
    assert set(named.predict(problem.X)) <= {"view", "click", "buy"}
    truth = problem.rare_probability
    error = search.best_estimator_[-1].predict_rare_proba(columns.fit_transform(problem.X)) - truth
    assert np.mean(error**2) < 0.5 * np.var(truth)


def test_names_of_columns():
    X, y = sparse_problem()
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = PRESTOClassifier(0.01).fit(frame, y)
    assert model.estimate().names == ("rare probability", "2|3", *"abcde")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("edcba")])
    assert presto_path(frame, y, n_lambdas=2).names == tuple("abcde")
    assert clone(model).get_params() == model.get_params()


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lam": -0.1}, "lam must be a number"),
        ({"lam": "auto"}, "lam must be 'cv' or a number"),
        ({"lam": np.nan}, "lam must be a number"),
        ({"l1_ratio": 1.1}, "l1_ratio must be"),
        ({"n_lambdas": 1}, "n_lambdas must be"),
        ({"lambda_min_ratio": 1.0}, "lambda_min_ratio must be"),
        ({"n_folds": 1}, "n_folds must be"),
        ({"scoring": "accuracy"}, "scoring must be one of"),
        ({"select": "max"}, "select must be one of"),
        ({"link": "cauchit"}, "link must be one of"),
        ({"link": "cloglog", "reverse": True}, "reverse wants a symmetric link"),
        ({"crossing": "sort"}, "crossing must be one of"),
        ({"penalty_factors": [1.0, 1.0]}, "penalty_factors must be 5 numbers"),
        ({"penalty_factors": [1.0, 1.0, 1.0, 1.0, -1.0]}, "penalty_factors must be 5 numbers"),
        ({"n_draws": -1}, "n_draws must be"),
        ({"lam": 0.1, "retune": True}, "retune wants lam='cv'"),
        ({"tol": 0.0}, "tol must be"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"random_state": "x"}, "random_state must be"),
    ],
)
def test_bad_parameters_are_refused(settings, words):
    X, y = sparse_problem(200)
    model = PRESTOClassifier(**({"lam": 0.01} | settings))
    with pytest.raises(InvalidParameter, match=words):
        model.fit(X, y)
    assert not model.__sklearn_is_fitted__()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lambdas": [0.1, 0.2]}, "lambdas must be descending"),
        ({"lambdas": [0.1, -0.2]}, "lambdas must be descending"),
        ({"l1_ratio": -1.0}, "l1_ratio must be"),
        ({"n_lambdas": 0}, "n_lambdas must be"),
        ({"link": "cauchit"}, "link must be one of"),
        ({"tol": -1.0}, "tol must be"),
    ],
)
def test_bad_settings_of_paths_are_refused(settings, words):
    X, y = sparse_problem(200)
    for path in (presto_path, cumulative_logit_path):
        with pytest.raises(InvalidParameter, match=words):
            path(X, y, **settings)


def test_constant_columns_and_too_few_steps_are_told():
    X, y = sparse_problem()
    with pytest.warns(ReliabilityWarning, match="without variation"):
        model = PRESTOClassifier(0.01).fit(np.column_stack([X, np.ones(500)]), y)
    np.testing.assert_array_equal(model.beta_[:, 5], 0.0)
    with pytest.warns(ReliabilityWarning, match="no convergence"):
        model = PRESTOClassifier(0.001, max_iter=1).fit(X, y)
    assert any("no convergence" in words for words in model.estimate().warnings)
    with pytest.raises(InvalidData, match="varies with y"), pytest.warns(ReliabilityWarning):
        PRESTOClassifier().fit(np.ones((500, 2)), y)
