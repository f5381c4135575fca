"""lp and quantile regression against other solvers, with bounds that hold."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LinearRegression, QuantileRegressor
from sklearn.utils.estimator_checks import check_estimator

from mcstat.core.errors import InvalidData, InvalidParameter, RankWarning, ReliabilityWarning
from mcstat.subsampling import LpRegressor, LpSampler

RNG = np.random.default_rng(3)
X = RNG.normal(size=(400, 3))
Y = 1 + X @ [2.0, 0.0, -1.0] + RNG.standard_t(3, size=400)


def loss(p, intercept, coef):
    return (np.abs(Y - intercept - X @ coef) ** p).sum()


@pytest.mark.parametrize("p", [1, 1.2, 1.5, 2, 3, 4, 8])
def test_gap_closes_and_holds(p):
    model = LpRegressor(p).fit(X, Y)
    assert model.gap_ <= 1e-9
    np.testing.assert_allclose(model.objective_, loss(p, model.intercept_, model.coef_), rtol=1e-9)
    for shift in RNG.normal(size=(50, 4)) * 0.05:
        assert loss(p, model.intercept_ + shift[0], model.coef_ + shift[1:]) >= model.lower_bound_


@pytest.mark.parametrize("p", [1.5, 3])
def test_equals_a_general_optimiser(p):
    model = LpRegressor(p).fit(X, Y)
    found = minimize(lambda b: loss(p, b[0], b[1:]), np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(np.r_[model.intercept_, model.coef_], found.x, atol=2e-4)
    assert found.fun * (1 - 1e-6) < model.objective_ <= found.fun * (1 + 1e-12)


def test_order_two_is_least_squares():
    model, wanted = LpRegressor(2).fit(X, Y), LinearRegression().fit(X, Y)
    np.testing.assert_allclose(model.coef_, wanted.coef_, rtol=1e-10)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantiles_equal_a_linear_programme(quantile):
    model = LpRegressor(1, quantile=quantile).fit(X, Y)
    wanted = QuantileRegressor(quantile=quantile, alpha=0, solver="highs").fit(X, Y)
    np.testing.assert_allclose(model.coef_, wanted.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, wanted.intercept_, atol=1e-6)
    assert abs(np.mean(model.predict(X) > Y) - quantile) < 0.02


@pytest.mark.parametrize("p", [1, 1.5])
def test_weights_repeat_rows(p):
    weight = RNG.integers(0, 3, size=400)
    weighted = LpRegressor(p).fit(X, Y, sample_weight=weight)
    repeated = LpRegressor(p).fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)


def test_scale_of_columns_and_response():
    plain, scaled = LpRegressor(1.5).fit(X, Y), LpRegressor(1.5).fit(X * [1e8, 1, 1e-8], Y * 1e6)
    np.testing.assert_allclose(scaled.coef_ * [1e8, 1, 1e-8] / 1e6, plain.coef_, rtol=1e-6)


@pytest.mark.parametrize("p", [1, 1.5, 4])
def test_sampled_fit_is_near_and_its_bound_holds(p):
    rng = np.random.default_rng(0)
    tall = rng.normal(size=(20_000, 3))
    y = tall @ [1.0, 2.0, 3.0] + rng.standard_t(6, size=20_000)
    full = LpRegressor(p).fit(tall, y)
    sampler = LpSampler(score="lewis", n_samples=2_000, random_state=0)
    sampled = LpRegressor(p, sampler=sampler).fit(tall, y)
    assert full.objective_ * (1 - 1e-9) <= sampled.objective_ < 1.03 * full.objective_
    assert sampled.lower_bound_ <= full.objective_


def test_covariance_of_least_squares_is_the_sandwich_and_intervals_cover():
    model = LpRegressor(2).fit(X, Y)
    design = np.column_stack([np.ones(400), X])
    residual = Y - model.predict(X)
    bread = np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(model.estimate().cov, bread @ (design.T * residual**2 @ design) @ bread, rtol=1e-8)


@pytest.mark.parametrize(("p", "quantile"), [(1, 0.5), (1, 0.8), (1.5, 0.5), (3, 0.5)])
def test_intervals_cover(p, quantile):
    rng, runs, hits = np.random.default_rng(0), 300, 0
    for _ in range(runs):
        x = rng.normal(size=(200, 2))
        y = x @ [1.0, -1.0] + rng.normal(size=200)
        ends = LpRegressor(p, quantile=quantile, tol=1e-7).fit(x, y).estimate().conf_int()
        hits += bool(ends.loc["x1", "lower"] < 1.0 < ends.loc["x1", "upper"])
    # 0.95 has a standard error of 0.0126; below 0.87 is 6.3 of them.
    assert hits / runs > 0.87


def test_exact_fit_has_loss_zero():
    model = LpRegressor(1.5).fit(X, X @ [1.0, 2.0, 3.0])
    np.testing.assert_allclose(model.coef_, [1, 2, 3], atol=1e-9)
    assert model.objective_ < 1e-12


def test_dependent_columns_and_too_few_steps_warn():
    with pytest.warns(RankWarning, match="rank"):
        LpRegressor(1.5).fit(np.column_stack([X, X[:, 0]]), Y)
    with pytest.warns(ReliabilityWarning, match="max_iter"):
        LpRegressor(4, max_iter=2).fit(X, Y)


def test_bad_input():
    with pytest.raises(InvalidParameter, match="quantile"):
        LpRegressor(2, quantile=0.3).fit(X, Y)
    with pytest.raises(InvalidParameter, match="quantile"):
        LpRegressor(1, quantile=1.0).fit(X, Y)
    with pytest.raises(ValueError, match="inconsistent"):
        LpRegressor(1).fit(X, Y[:-1])
    with pytest.raises(InvalidData, match="sample_weight"):
        LpRegressor(1).fit(X, Y, sample_weight=-np.ones(400))


NOT_UNIQUE = "least absolute deviations has many minimisers on these few rows, and the two fits may take two of them"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("p", [1, 1.5])
def test_is_a_scikit_learn_regressor(p):
    expected = {"check_sample_weight_equivalence_on_dense_data": NOT_UNIQUE} if p == 1 else None
    check_estimator(LpRegressor(p), expected_failed_checks=expected)
