"""Sensitivity analysis: closed forms, their inverses, and a confounder that really was left out."""

import numpy as np
import pytest

from mcstat.causal import IRM, PLR, PanelDML
from mcstat.causal._cases import _draw_arms, _draw_rows
from mcstat.causal._sensitivity import robustness_value
from tests.causal.problems import linear_panel


def fitted(**settings):
    return PLR("ols", "ols", random_state=0, **settings).fit(**_draw_rows(np.random.default_rng(0)))


def test_robustness_value_in_closed_form():
    assert robustness_value(0.0) == 0.0
    assert robustness_value(1e6) == pytest.approx(1.0, abs=1e-11)
    assert robustness_value(0.5 / 0.8) == pytest.approx(0.4594943209, abs=1e-10)


@pytest.mark.parametrize("null", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("rho", [1.0, 0.5])
def test_the_bound_at_the_robustness_value_is_the_null(null, rho):
    model = fitted()
    value = float(model.robustness_value(null, rho=rho).iloc[0])
    bounds = model.sensitivity(value, value, rho).iloc[0]
    assert bounds["lower" if null < bounds["theta"] else "upper"] == pytest.approx(null, abs=1e-10)


def test_the_limit_at_the_robustness_value_of_the_interval_is_the_null():
    model = fitted()
    value = float(model.robustness_value(level=0.95).iloc[0])
    assert model.sensitivity(value, value, level=0.95)["conf_low"].iloc[0] == pytest.approx(0.0, abs=1e-9)
    assert value < float(model.robustness_value().iloc[0])
    # A null inside the interval needs no confounder.
    theta = float(model.estimate())
    assert float(model.robustness_value(theta - 0.01, level=0.95).iloc[0]) == 0.0


def test_no_confounding_gives_the_estimate_and_its_one_sided_limits():
    model = fitted()
    est = model.estimate()
    row = model.sensitivity(0.0, 0.0, level=0.975).iloc[0]
    assert row["lower"] == row["upper"] == float(est)
    np.testing.assert_allclose([row["conf_low"], row["conf_high"]], est.conf_int().to_numpy()[0], rtol=1e-10)


def test_terms_of_the_bound():
    model = fitted()
    v, e = model.residuals_d_[:, 0], model.residuals_y_
    sigma2, nu2 = np.mean((e - v * float(model.estimate())) ** 2), 1 / np.mean(v**2)
    row = model.sensitivity(0.1, 0.2, -0.5).iloc[0]
    assert row["upper"] - row["theta"] == pytest.approx(0.5 * np.sqrt(sigma2 * nu2 * 0.1 * 0.2 / 0.8), rel=1e-12)


def test_error_of_a_bound_by_bootstrap():
    # The deviation of 4000 resampled bounds has a relative error of 1.1 %; nuisances are held fixed in both.
    model = fitted()
    v, e = model.residuals_d_[:, 0], model.residuals_y_
    rng = np.random.default_rng(0)
    counts = rng.multinomial(300, np.full(300, 1 / 300), size=4000)
    a, b, c = counts @ v**2, counts @ (v * e), counts @ e**2
    theta = b / a
    sigma2, nu2 = (c - theta * b) / 300, 300 / a
    bound = theta + np.sqrt(sigma2 * nu2 * 0.04 / 0.8)
    row = model.sensitivity(0.2, 0.2, level=0.975).iloc[0]
    assert (row["conf_high"] - row["upper"]) / 1.96 == pytest.approx(bound.std(), rel=0.08)


def test_benchmarking_recovers_what_leaving_out_a_covariate_does():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(5000, 2))
    d = X @ [1.0, 0.5] + rng.normal(size=5000)
    y = 0.5 * d + X @ [1.0, 1.0] + rng.normal(size=5000)
    model = PLR("ols", "ols", random_state=0).fit(y, d, X)
    row = model.benchmark(["x2"]).iloc[0]
    # Var(d | x1) = 1.25, so 1/1.25 is left of nu2; Var(y | d, x1) = 1 + 1 - 0.5^2 / 1.25.
    assert row["cf_d"] == pytest.approx(0.2, abs=0.05)
    assert row["cf_y"] == pytest.approx(0.8, abs=0.12)
    assert row["change"] == pytest.approx(0.5 / 1.25, abs=0.08)
    assert row["rho"] == pytest.approx(1.0, abs=0.02)
    short = PLR("ols", "ols", random_state=0).fit(y, d, X[:, :1])
    bounds = short.sensitivity(row["cf_y"] / (1 + row["cf_y"]), row["cf_d"]).iloc[0]
    assert bounds["lower"] - 0.05 < 0.5 < bounds["upper"]


@pytest.mark.parametrize("estimand", ["ate", "att"])
def test_interactive_model(estimand):
    data = _draw_arms(np.random.default_rng(0))
    model = IRM("ols", "ols", estimand=estimand, random_state=0).fit(**data)
    value = float(model.robustness_value().iloc[0])
    assert model.sensitivity(value, value)["lower"].iloc[0] == pytest.approx(0.0, abs=1e-10)
    assert model.benchmark(["x1"]).shape == (1, 4)


def test_panels_groups_several_treatments_and_repetitions():
    data = linear_panel(n_units=60)
    data["d"] = np.column_stack([data["d"], np.random.default_rng(0).normal(size=360)])
    model = PanelDML("cre", "ols", "ols", n_rep=3, random_state=0).fit(**data)
    values = model.robustness_value()
    assert list(values.index) == ["d1", "d2"]
    bounds = model.sensitivity(0.1, 0.1)
    assert (bounds["lower"] < bounds["theta"]).all()
    assert (bounds["theta"] < bounds["upper"]).all()
    one = PanelDML("cre", "ols", "ols", random_state=0).fit(**(data | {"d": data["d"][:, 0]}), groups=data["unit"] % 2)
    assert len(one.sensitivity(0.1, 0.1)) == 2
