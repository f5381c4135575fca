"""Simulated panels: their equations, read back from what they return."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidParameter
from mcstat.datasets import make_panel_cp, make_panel_fp, make_plr
from tests.stat_asserts import assert_mean_close, seed_for


def _within(values, n_periods):
    table = np.asarray(values).reshape(-1, n_periods)
    return (table - table.mean(axis=1, keepdims=True)).ravel()


@pytest.mark.parametrize("form", ["u", "linear", "step", "abs"])
@pytest.mark.parametrize("structure", ["A", "B", "C"])
def test_fp_effect_given_the_true_form(form, structure):
    # Within units, y - theta d - gamma f(x) is noise, and the same gamma moves d.
    data = make_panel_fp(400, 10, form=form, structure=structure, theta=2.0, random_state=seed_for(form + structure))
    x = data["X"][:, 0]
    f = {"u": x**2, "linear": x, "step": 1.0 * (x > 0), "abs": np.abs(x)}[form]
    d, y, f = (_within(v, 10) for v in (data["d"], data["y"], f))
    design = np.column_stack([d, f])
    theta, gamma = np.linalg.lstsq(design, y, rcond=None)[0]
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    assert_mean_close(theta, 2.0, errors[0])
    from_treatment = f @ d / (f @ f)
    assert_mean_close(gamma, from_treatment, np.hypot(errors[1], 1 / np.sqrt(f @ f)))
    residual = y - design @ [theta, gamma]
    # Variance of the noise: 1, less the unit means; its mean over 400 units has an error below 0.03.
    assert residual @ residual / (400 * 9) == pytest.approx(1.0, abs=0.18)


def test_fp_structures_differ_in_whom_the_unit_moves():
    for structure, moved in (("A", (False, False)), ("B", (False, True)), ("C", (True, True))):
        data = make_panel_fp(2000, 5, structure=structure, form="linear", random_state=1)
        between = [np.var(data[k].reshape(2000, -1)[:, :5].mean(axis=1)) for k in ("X", "y")]
        within = [np.var(_within(data[k].ravel(), 5)) for k in ("X", "y")]
        # Without a unit effect the variance of unit means is a quarter of that within (5 periods).
        assert [b / w > 0.35 for b, w in zip(between, within, strict=True)] == list(moved)


def test_fp_two_way_autocorrelation_and_several_confounders():
    data = make_panel_fp(300, 12, 4, rho=0.9, two_way=True, random_state=1)
    assert data["X"].shape == (3600, 4)
    assert data["unit"].tolist()[:13] == [0] * 12 + [1]
    assert data["time"].tolist()[:13] == [*range(12), 0]


def test_cp_unit_effect_follows_the_mean_treatment():
    data = make_panel_cp(3000, 4, 3, design=1, random_state=2)
    x = data["X"]
    rest = (data["y"] - 0.5 * data["d"] - 0.25 * x[:, 0] - x[:, 2]).reshape(3000, 4).mean(axis=1)
    d_mean = data["d"].reshape(3000, 4).mean(axis=1)
    x_mean = (x[:, 0] + x[:, 2]).reshape(3000, 4).mean(axis=1)
    design = np.column_stack([np.ones(3000), d_mean, x_mean])
    coef = np.linalg.lstsq(design, rest, rcond=None)[0]
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * (0.95 + 0.25))
    assert_mean_close(coef[1:], 0.25, errors[1:])


@pytest.mark.parametrize("design", [2, 3])
def test_cp_designs_run_and_are_theirs(design):
    data = make_panel_cp(500, 10, 30, design=design, random_state=0)
    x1, x3 = data["X"][:, 0], data["X"][:, 2]
    s = 1 / (1 + np.exp(-x3))
    m = np.cos(x1) + s / 4 if design == 2 else 0.25 * x1 * (x1 > 0) + 0.5 * x1 * x3
    slope = _within(m, 10) @ _within(data["d"], 10) / (_within(m, 10) @ _within(m, 10))
    assert_mean_close(slope, 1.0, 1 / np.sqrt(_within(m, 10) @ _within(m, 10)))


def test_plr_coefficients():
    data = make_plr(20_000, 5, random_state=0)
    X, s = data["X"], 1 / (1 + np.exp(-data["X"]))
    design = np.column_stack([data["d"], s[:, 0], X[:, 2], np.ones(20_000)])
    coef = np.linalg.lstsq(design, data["y"], rcond=None)[0]
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    assert_mean_close(coef, [0.5, 1.0, 0.25, 0.0], errors)
    correlation = np.corrcoef(X, rowvar=False)
    wanted = 0.7 ** np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    assert_mean_close(correlation, wanted, 1 / np.sqrt(20_000))


def test_seeds_and_bad_input():
    for make in (make_panel_fp, make_panel_cp, make_plr):
        one, same, other = (make(random_state=seed) for seed in (1, 1, 2))
        assert np.array_equal(one["y"], same["y"])
        assert not np.array_equal(one["y"], other["y"])
    for call, word in (
        (lambda: make_panel_fp(form="cubic"), "form"),
        (lambda: make_panel_fp(structure="D"), "structure"),
        (lambda: make_panel_fp(rho=1.0), "rho"),
        (lambda: make_panel_cp(design=4), "design"),
        (lambda: make_panel_cp(n_covariates=2), "n_covariates"),
        (lambda: make_plr(n_features=1), "n_features"),
    ):
        with pytest.raises(InvalidParameter, match=word):
            call()
