"""ControlVariates against theory, slow twins and itself, and on bad input."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, uniform

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.importance import ControlVariates
from mcstat.importance._regression import SOLVERS, coefficients, cross_fitted, in_sample
from tests.naive import multiple as naive
from tests.stat_asserts import assert_mean_close, two_stage_coverage

SQUARE = [uniform(), uniform()]
labelled = pytest.mark.filterwarnings("ignore:control='regression'")


def polynomials(x):
    """Means 1/2, 1/3, 1/2, 1/3, 1/4 on the unit square."""
    return np.column_stack([x[:, 0], x[:, 0] ** 2, x[:, 1], x[:, 1] ** 2, x[:, 0] * x[:, 1]])


MEANS = [1 / 2, 1 / 3, 1 / 2, 1 / 3, 1 / 4]


def smooth(x):
    """exp(x + y) and |x - 0.3| y: (e - 1)^2 and (0.09 + 0.49) / 4."""
    return np.column_stack([np.exp(x.sum(axis=1)), np.abs(x[:, 0] - 0.3) * x[:, 1]])


TRUTH = np.array([(np.e - 1) ** 2, 0.145])


def controls(seed=0, **settings):
    settings = {"means": MEANS, "law": SQUARE, "budget": 4_096, "random_state": seed, "verbose": False} | settings
    return ControlVariates(settings.pop("regressors", polynomials), **settings)


every_way = pytest.mark.parametrize(
    ("sampler", "control"), [(a, b) for a in ("mc", "rqmc") for b in ("crossfit", "regression")]
)


# Against theory ---------------------------------------------------------------------------------------------------


@labelled
@every_way
@pytest.mark.parametrize("solver", SOLVERS)
def test_exact_in_the_span_of_the_regressors(sampler, control, solver):
    func = lambda x: np.column_stack([polynomials(x) @ [3.0, -2.0, 1.0, 0.5, -4.0] + 7.0, polynomials(x)[:, 4]])  # noqa: E731
    estimate = controls(solver=solver, sampler=sampler, control=control).fit(func).estimate()
    # Ridge regression keeps a penalty of 1e-12.
    tolerance = 1e-10 if solver == "ridge" else 2e-14
    np.testing.assert_allclose(estimate.value, [3 / 2 - 2 / 3 + 1 / 2 + 0.5 / 3 - 1 + 7, 1 / 4], atol=tolerance)
    assert np.all(estimate.std_error < tolerance)


@pytest.mark.parametrize(
    ("sampler", "control", "solver"),
    [
        ("mc", "crossfit", "lstsq"),
        ("mc", "regression", "lstsq"),
        ("rqmc", "crossfit", "lstsq"),
        pytest.param("rqmc", "regression", "lstsq", marks=pytest.mark.slow),
        pytest.param("rqmc", "crossfit", "ridge", marks=pytest.mark.slow),
    ],
)
@labelled
def test_unbiased_with_the_true_error(sampler, control, solver):
    # Card, check 5. Means over 200 seeds within six errors: false alarm 2e-9 a column. In-sample regression has a bias
    # of order 1 / rows, far below its error here. Errors over spreads: 5 % Monte Carlo error, six of it allowed.
    found = [
        controls(seed, sampler=sampler, control=control, solver=solver).fit(smooth).estimate() for seed in range(200)
    ]
    values = np.array([one.value for one in found])
    spread = values.std(axis=0, ddof=1)
    assert_mean_close(values.mean(axis=0), TRUTH, spread / np.sqrt(200))
    ratio = np.sqrt(np.mean([one.std_error**2 for one in found], axis=0)) / spread
    assert np.all((ratio > 0.7) & (ratio < 1.4)), ratio
    # The kink's variance is reduced little by polynomials where quasi-Monte Carlo has already dealt with the rest.
    gain = np.median([one.diagnostics["variance_reduction"] for one in found], axis=0)
    assert gain[0] > 5, gain
    assert gain[1] > 1, gain


def test_coverage_of_randomised_quasi_monte_carlo():
    # 16 scrambles for 5 regressors; false alarm below 1e-6 a column.
    @cache
    def hits(start, n):
        inside = []
        for seed in range(start, start + n):
            few = controls(seed, sampler="rqmc", n_randomisations=16, budget=512)
            ends = few.fit(smooth).estimate().conf_int()
            inside.append((ends["lower"] <= TRUTH) & (ends["upper"] >= TRUTH))
        return np.sum(inside, axis=0)

    for j in range(2):
        two_stage_coverage(lambda start, n, j=j: hits(start, n)[j], 0.95)


def test_the_reported_gain_is_the_gain():
    # For exp on (0, 1) with x as regressor: 1 - corr^2 = 0.01614. 2e4 points: 2 % off with probability far below 1e-6.
    law = uniform()
    estimate = controls(regressors=lambda x: x, means=0.5, law=law, budget=20_000).fit(np.exp).estimate()
    variance = (np.e**2 - 1) / 2 - (np.e - 1) ** 2
    unexplained = 1 - (1 - (np.e - 1) / 2) ** 2 * 12 / variance
    assert estimate.diagnostics["variance_reduction"][0] == pytest.approx(1 / unexplained, rel=0.1)
    assert estimate.std_error[0] == pytest.approx(np.sqrt(variance * unexplained / 20_000), rel=0.05)


def test_scrambles_are_far_better_than_independent_points():
    # On a smooth function errors fall like n^(-3/2).
    estimate = controls(sampler="rqmc").fit(smooth).estimate()
    assert estimate.diagnostics["variance_reduction_over_mc"][0] > 1e4
    assert (estimate.df, estimate.info["base_points"]) == (31, 128)
    coarse = controls(sampler="rqmc", budget=512).fit(smooth).estimate()
    assert estimate.std_error[0] < coarse.std_error[0] / 8


def test_lasso_finds_the_few_regressors_that_matter():
    rng = np.random.default_rng(0)
    C = rng.standard_normal((400, 60))
    Y = (C[:, [3, 40]] @ [2.0, -1.0] + 0.1 * rng.standard_normal(400))[:, None]
    found = coefficients(Y, C, "lasso", np.full(60, 5.0))[:, 0]
    assert found[3] == pytest.approx(2.0, abs=0.05)
    assert found[40] == pytest.approx(-1.0, abs=0.05)
    assert np.count_nonzero(found) < 40


@pytest.mark.parametrize("solver", ["ridge", "lasso"])
def test_more_regressors_than_scrambles(solver):
    powers = np.arange(1, 41)
    settings = {"regressors": lambda x: x**powers, "means": 1 / (powers + 1), "law": uniform(), "sampler": "rqmc"}
    estimate = controls(solver=solver, **settings).fit(np.exp).estimate()
    assert_mean_close(estimate.value, np.e - 1, 2 * estimate.std_error)


# Against slow twins ------------------------------------------------------------------------------------------------


@every_way
@labelled
def test_equals_the_naive_twin(sampler, control):
    fitted = controls(regressors=lambda x: x[:, 0], means=0.5, sampler=sampler, control=control, budget=256).fit(smooth)
    estimate = fitted.estimate()
    for j in range(2):
        y, c = fitted.values_[:, j].tolist(), fitted.regressors_[:, 0].tolist()
        if control == "crossfit":
            value, error = naive.cross_fitted_mean(y, c, 10)
        else:
            value, error = naive.one_control(y, c)[1], naive.intercept_error(y, c)
        assert estimate.value[j] == pytest.approx(value, rel=1e-12)
        assert estimate.std_error[j] == pytest.approx(error, rel=1e-8)


def test_ridge_minimises_its_criterion():
    rng = np.random.default_rng(1)
    C, n = rng.standard_normal((30, 8)), 30
    Y = C @ rng.standard_normal((8, 1)) + 3 * rng.standard_normal((n, 1))
    found = coefficients(Y, C, "ridge", np.full(8, 5.0))
    Z, centred = (C - C.mean(axis=0)) / C.std(axis=0), Y - Y.mean(axis=0)
    scores, candidates = [], []
    for penalty in 10.0 ** np.arange(-12, 3):
        gram = Z.T @ Z + n * penalty * np.eye(8)
        b = np.linalg.solve(gram, Z.T @ centred)
        freedom = n - 1 - np.trace(Z @ np.linalg.solve(gram, Z.T))
        scores.append(np.sum((centred - Z @ b) ** 2) / freedom**2)
        candidates.append(b / C.std(axis=0)[:, None])
    np.testing.assert_allclose(found, candidates[int(np.argmin(scores))], rtol=1e-8)


# Against itself ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["lstsq", "ridge"])
def test_dependent_and_constant_regressors_do_no_harm(solver):
    def doubled(x):
        return np.column_stack([polynomials(x), x[:, 0] + x[:, 1], np.full(len(x), 3.0)])

    plain = controls(solver=solver).fit(smooth).estimate()
    more = controls(solver=solver, regressors=doubled, means=[*MEANS, 1.0, 3.0]).fit(smooth).estimate()
    np.testing.assert_allclose(more.value, plain.value, rtol=1e-4)
    np.testing.assert_allclose(more.std_error, plain.std_error, rtol=1e-2)


@pytest.mark.parametrize("solver", SOLVERS)
def test_units_of_regressors_do_not_matter(solver):
    scale = np.array([1e6, 1e-6, 1.0, 1e3, 1e-3])
    plain = controls(solver=solver).fit(smooth).estimate()
    units = controls(solver=solver, regressors=lambda x: polynomials(x) * scale, means=MEANS * scale).fit(smooth)
    np.testing.assert_allclose(units.estimate().value, plain.value, rtol=1e-9)


def test_regressors_that_explain_nothing_cost_little():
    # Five of them in 32 scrambles: the variance grows by about 1 + 5 / 26.
    gains = [
        controls(seed, regressors=lambda x: np.sin(np.arange(20, 25) * np.pi * 2 * x[:, :1]), means=0.0, sampler="rqmc")
        .fit(lambda x: x[:, 1] ** 3)
        .estimate()
        .diagnostics["variance_reduction"][0]
        for seed in range(50)
    ]
    assert 0.5 < np.median(gains) < 1.1


def test_joint_laws_and_marginals():
    cov = np.array([[1.0, 0.8], [0.8, 1.0]])
    joint = multivariate_normal(np.zeros(2), cov)
    settings = {"regressors": lambda x: x, "means": 0.0, "law": joint}
    estimate = controls(**settings).fit(lambda x: np.column_stack([x[:, 0] * x[:, 1], x[:, 0] ** 3])).estimate()
    assert_mean_close(estimate.value, [0.8, 0.0], estimate.std_error)
    with pytest.raises(InvalidParameter, match="law must be a list of marginals"):
        controls(sampler="rqmc", **settings).fit(smooth)
    marginal = controls(law=norm(), regressors=lambda x: x, means=0.0, sampler="rqmc").fit(np.exp).estimate()
    assert_mean_close(marginal.value, np.exp(0.5), marginal.std_error)


@pytest.mark.parametrize(("sampler", "spent"), [("mc", 5_000), ("rqmc", 4_096)])
def test_budget_and_extend(sampler, spent):
    calls = []

    def counted(x):
        calls.append(len(x))
        return smooth(x)

    fitted = controls(sampler=sampler, budget=5_000).fit(counted)
    assert sum(calls) == spent == fitted.n_calls_ == fitted.estimate().info["model_calls"]
    before = fitted.values_
    fitted.extend(3_000)
    assert fitted.n_calls_ == sum(calls)
    assert spent < sum(calls) <= spent + 3_000
    np.testing.assert_array_equal(fitted.values_[: len(before)], before)
    with pytest.raises(InvalidParameter, match="extend\\(\\) wants budget"):
        fitted.extend()


def test_an_error_in_func_leaves_no_answer():
    calls = []

    def bad_later(x):
        calls.append(1)
        return smooth(x) if len(calls) < 3 else smooth(x) * np.nan

    sampler = controls(budget=20_000)
    with pytest.raises(InvalidData, match="func must be finite"):
        sampler.fit(bad_later)
    assert not sampler.__sklearn_is_fitted__()


# Warnings and bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["mc", "rqmc"])
def test_a_wrong_mean_is_flagged_and_a_right_one_is_not(sampler):
    with pytest.warns(ReliabilityWarning, match=r"means\[1\] is .* standard errors"):
        controls(sampler=sampler, means=[1 / 2, 0.4, 1 / 2, 1 / 3, 1 / 4]).fit(smooth)
    assert controls(sampler=sampler).fit(smooth).estimate().warnings == ()


def test_in_sample_regression_is_labelled():
    with pytest.warns(ReliabilityWarning, match="has a bias of order 1"):
        controls(control="regression").fit(smooth)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"solver": "ols"}, "solver must be one of"),
        ({"sampler": "sobol"}, "sampler must be one of"),
        ({"control": "none"}, "control must be one of"),
        ({"means": [0.5, 0.5]}, "means must hold 5"),
        ({"regressors": 3}, "regressors must be callable"),
        ({"law": 3}, "law must be a list of marginals"),
        ({"law": []}, "law must hold at least one"),
        ({"law": [uniform(), 3]}, r"law\[1\] must have ppf"),
        ({"budget": 7}, "budget must be at least 10 for 5 regressors"),
        ({"sampler": "rqmc", "budget": 255}, "budget must be at least 256"),
        ({"sampler": "rqmc", "n_randomisations": 8}, "n_randomisations must be at least 10 for 5 regressors"),
        ({"control": "regression", "budget": 6}, "budget must be at least 7 for 5 regressors"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(InvalidParameter, match=words):
        controls(**settings).fit(smooth)


@pytest.mark.parametrize(
    ("regressors", "error", "words"),
    [
        (lambda x: polynomials(x) * np.inf, InvalidData, "regressors must be finite"),
        (lambda x: polynomials(x)[:, : 5 if len(x) == 2 else 4], InvalidData, "regressors must give the same number"),
        (lambda x: polynomials(x).astype(str), TypeError, "regressors must give real numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_regressors(regressors, error, words):
    with pytest.raises(error, match=words):
        controls(regressors=regressors).fit(smooth)


def test_kernels_of_the_regression_agree_where_they_must():
    # Cross-fitting and in-sample fits differ by O(1/n) only.
    rng = np.random.default_rng(2)
    C = rng.standard_normal((5_000, 3))
    Y = C @ rng.standard_normal((3, 2)) + rng.standard_normal((5_000, 2))
    sizes = np.full(3, 5.0)
    crossed = cross_fitted(Y, C, "lstsq", 10, sizes)
    inside, cov, df = in_sample(Y, C, "lstsq", sizes)
    assert df == 4_996
    np.testing.assert_allclose(crossed.mean(axis=0), inside.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(np.cov(crossed, rowvar=False) / 5_000, cov, rtol=0.01, atol=2e-6)
