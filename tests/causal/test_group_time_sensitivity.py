"""Bounds of GroupTimeATT: closed forms, a confounder that was left out, panels and cross sections."""

import numpy as np
import pytest

from mcstat.causal import IRM, GroupTimeATT
from mcstat.causal._group_time_cells import Compared, doubly_robust
from mcstat.core.errors import InvalidParameter
from mcstat.datasets import make_did

OLS = {"learner_outcome": "ols", "learner_propensity": "ols"}


def fit(data, X=None, **settings):
    columns = {name: data[name] for name in ("unit", "time", "first_treated", "weights", "cluster") if name in data}
    return GroupTimeATT(**{"random_state": 0} | settings).fit(data["y"], X, **columns)


def models():
    data = make_did(300, 4, random_state=1)
    rows = {name: data[name] for name in ("y", "time", "first_treated")}
    return {
        "means": fit(data),
        "dr": fit(data, data["X"], n_rep=2, **OLS),
        "reg": fit(data, data["X"], method="reg", base_period="universal"),
        "experimental": fit(data, data["X"], method="experimental", **OLS),
        "clusters": fit(data | {"cluster": data["unit"] // 2}),
        "sections": fit(rows, data["X"], panel=False, **OLS),
    }


@pytest.fixture(scope="module")
def fitted():
    return models()


@pytest.mark.parametrize("name", ["means", "dr", "reg", "experimental", "clusters", "sections"])
def test_no_confounding_gives_the_estimate_and_its_one_sided_limits(fitted, name):
    table = fitted[name].sensitivity(0.0, 0.3, level=0.975)
    est, overall = fitted[name].estimate(), fitted[name].aggregate()
    cells = [label for label in table.index if label != "overall"]
    # With the universal base those cells that are 0 by definition have no bounds.
    assert cells == [label for label, error in zip(est.names, est.std_error, strict=True) if error > 0]
    for one, rows in ((est[cells], table.loc[cells]), (overall, table.loc[["overall"]])):
        np.testing.assert_allclose(rows[["theta", "lower", "upper"]], np.tile(one.value[:, None], 3), rtol=1e-12)
        np.testing.assert_allclose(rows[["conf_low", "conf_high"]], one.conf_int().to_numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["means", "dr", "reg", "experimental", "clusters", "sections"])
@pytest.mark.parametrize("null", [0.0, 1.5])
def test_bounds_at_the_robustness_value_are_the_null(fitted, name, null):
    model = fitted[name]
    for level, ends in ((None, ("lower", "upper")), (0.9, ("conf_low", "conf_high"))):
        values = model.robustness_value(null, level=level, rho=0.7)
        for label in (values.index[0], values.index[-2], "overall"):
            row = model.sensitivity(values[label], values[label], 0.7, level=0.9).loc[label]
            if values[label] > 0:
                assert row[ends[0] if row["theta"] > null else ends[1]] == pytest.approx(null, abs=1e-7)
            else:
                assert row[ends[0]] <= null <= row[ends[1]]


def test_terms_without_covariates():
    data = make_did(200, 2, confounding=0.0, random_state=2)
    y, treated = data["y"].reshape(200, 2), np.isfinite(data["first_treated"].reshape(200, 2)[:, 0])
    change = y[:, 1] - y[:, 0]
    spread = np.mean((change - np.where(treated, change[treated].mean(), change[~treated].mean())) ** 2)
    p = treated.mean()
    row = fit(data).sensitivity(0.1, 0.2, -0.5).iloc[0]
    wanted = 0.5 * np.sqrt(spread * (1 / p + 1 / (1 - p)) * 0.1 * 0.2 / 0.8)
    assert row["upper"] - row["theta"] == pytest.approx(wanted, rel=1e-12)
    assert row["theta"] - row["lower"] == pytest.approx(wanted, rel=1e-12)


def test_two_periods_are_a_cross_section_of_changes():
    # The same quantities by IRM with its own folds and a regression of the treated.
    data = make_did(2000, 2, random_state=3)
    y, d = data["y"].reshape(2000, 2), np.isfinite(data["first_treated"].reshape(2000, 2)[:, 0]).astype(float)
    change, X = y[:, 1] - y[:, 0], data["X"].reshape(2000, 2, 2)[:, 0]
    irm = IRM("ols", "ols", estimand="att", normalize=True, random_state=0).fit(change, d, X)
    ours, theirs = (
        model.sensitivity(0.1, 0.1).iloc[0] for model in (fit(data, X=data["X"], **OLS), irm)
    )  # fmt: skip
    for end in ("lower", "upper", "conf_low", "conf_high"):
        assert ours[end] - ours["theta"] == pytest.approx(theirs[end] - theirs["theta"], rel=0.03)


def left_out(values, d, u, periods, signs):
    """cf_y, cf_d and |rho| of a binary confounder in the sample at hand: saturated regressions, exact weights."""
    n = len(values)
    g, g_short, alpha, alpha_short = np.zeros((4, n))
    for period, sign in signs:
        here = periods == period
        for arm in (0, 1):
            group = here & (d == arm)
            g_short[group] = values[group].mean()
            for level in (0, 1):
                g[group & (u == level)] = values[group & (u == level)].mean()
            side = sign * (2 * arm - 1) * n / group.sum()
            alpha_short[group] = side
            for level in (0, 1):
                share_treated = np.mean(u[here & (d == 1)] == level)
                alpha[group & (u == level)] = side * share_treated / np.mean(u[group] == level)
    theta = np.mean(alpha * values)
    sigma2, nu2, nu2_short = np.mean((values - g_short) ** 2), np.mean(alpha**2), np.mean(alpha_short**2)
    dg, da = g - g_short, alpha - alpha_short
    cf_y, cf_d = np.mean(dg**2) / sigma2, 1 - nu2_short / nu2
    return theta, cf_y, cf_d, np.mean(dg * da) / np.sqrt(np.mean(dg**2) * np.mean(da**2))


@pytest.mark.parametrize("panel", [True, False])
def test_a_confounder_left_out_moves_the_effect_to_its_bound(panel):
    rng = np.random.default_rng(4)
    n = 400
    u = rng.integers(2, size=n)
    d = (rng.random(n) < 0.3 + 0.4 * u).astype(int)
    trend = 1.5 * u + d + rng.normal(size=n)
    first = np.where(d == 1, 2.0, np.inf)
    if panel:
        before = rng.normal(size=n)
        data = {"y": np.column_stack([before, before + trend]).ravel(), "unit": np.repeat(np.arange(n), 2)}
        data |= {"time": np.tile([1.0, 2.0], n), "first_treated": np.repeat(first, 2)}
        theta, *strength = left_out(trend, d, u, np.zeros(n), ((0, 1.0),))
        X = np.repeat(u, 2).astype(float)[:, None]
    else:
        time = rng.integers(1, 3, size=n).astype(float)
        data = {"y": u + trend * (time == 2), "time": time, "first_treated": first}
        theta, *strength = left_out(data["y"], d, u, time, ((2.0, 1.0), (1.0, -1.0)))
        X = u.astype(float)[:, None]
    long = float(fit(data, X, panel=panel, method="reg").estimate())
    assert long == pytest.approx(theta, abs=1e-10)
    row = fit(data, panel=panel).sensitivity(*strength).iloc[0]
    assert row["lower"] == pytest.approx(long, abs=1e-10)


def test_error_of_a_bound_by_bootstrap():
    # The deviation of 4000 resampled bounds has a relative error of 1.1 %; what 400 units leave out is of order 1/20.
    data = make_did(400, 2, confounding=0.0, random_state=5)
    y, d = data["y"].reshape(400, 2), np.isfinite(data["first_treated"].reshape(400, 2)[:, 0])
    # Skewed changes of the treated: effect and S go together, so the upper bound moves more than the lower.
    y[d, 1] += np.random.default_rng(1).exponential(3.0, size=d.sum())
    change = y[:, 1] - y[:, 0]
    counts = np.random.default_rng(0).multinomial(400, np.full(400, 1 / 400), size=4000)
    sums = [[counts @ (side * change**k) for k in range(3)] for side in (d, ~d)]
    (n1, s1, q1), (n0, s0, q0) = sums
    spread = (q1 - s1**2 / n1 + q0 - s0**2 / n0) / 400
    theta, shift = s1 / n1 - s0 / n0, np.sqrt(spread * (400 / n1 + 400 / n0) * 0.4 * 0.4 / 0.6)
    row = fit(data | {"y": y.ravel()}).sensitivity(0.4, 0.4, level=0.975).iloc[0]
    assert (row["conf_high"] - row["upper"]) / 1.96 == pytest.approx((theta + shift).std(), rel=0.08)
    assert (row["lower"] - row["conf_low"]) / 1.96 == pytest.approx((theta - shift).std(), rel=0.08)
    assert (theta + shift).std() > 1.3 * (theta - shift).std()


@pytest.mark.parametrize("normalize", [True, False])
def test_both_second_moments_of_the_representer(normalize):
    # With the shares of the treated in strata as propensity they are equal, whatever the weights.
    rng = np.random.default_rng(6)
    stratum, d, w = rng.integers(3, size=200), rng.integers(2, size=200).astype(float), rng.uniform(0.5, 2.0, 200)
    share = np.bincount(stratum, w * d) / np.bincount(stratum, w)
    c = Compared(rng.normal(size=200), d, w, np.ones((200, 1)))
    found = doubly_robust(c, np.zeros(200), share[stratum], 0.01, normalize)
    assert np.mean(w * found.moment) == pytest.approx(np.mean(w * found.riesz**2), rel=1e-12)
    assert np.mean(w * found.riesz * c.y) == pytest.approx(found.effect, rel=1e-12)


def test_overall_is_the_average_of_the_cells_bounds():
    data = make_did(200, 4, random_state=6)
    did = fit(data, data["X"], **OLS)
    table, cells = did.sensitivity(0.1, 0.1), did.cells_
    post = cells["time"].astype(float) >= cells["group"].astype(float)
    share = cells["n_treated"][post] / cells["n_treated"][post].sum()
    inner = table.iloc[:-1][post.to_numpy()]
    for end in ("theta", "lower", "upper"):
        assert table.loc["overall", end] == pytest.approx(share.to_numpy() @ inner[end].to_numpy(), rel=1e-12)


@pytest.mark.parametrize("method", ["dr", "reg"])
def test_weights_count_units(method):
    data = make_did(100, 3, random_state=7)
    names, more = ("y", "time", "first_treated"), data["unit"] < 40
    twice = {name: np.concatenate([data[name], data[name][more]]) for name in names}
    twice["unit"] = np.concatenate([data["unit"], 100 + data["unit"][more]])
    X = np.concatenate([data["X"], data["X"][more]])
    if method == "dr":
        X, data["X"] = None, None
    weighted = fit(data | {"weights": np.where(more, 2.0, 1.0)}, data["X"], method=method)
    repeated = fit(twice, X, method=method)
    np.testing.assert_allclose(
        weighted.sensitivity(0.2, 0.1)[["lower", "upper"]], repeated.sensitivity(0.2, 0.1)[["lower", "upper"]]
    )


class TestBadInput:
    data = make_did(60, 3, random_state=0)

    def test_weights_alone_have_no_model_of_the_outcome(self):
        model = fit(self.data, self.data["X"], method="ipw")
        with pytest.raises(InvalidParameter, match="method must model the outcome"):
            model.sensitivity(0.1, 0.1)
        with pytest.raises(InvalidParameter, match="method must model the outcome"):
            model.robustness_value()
        assert len(fit(self.data, method="ipw").robustness_value()) > 0

    def test_strengths(self):
        model = fit(self.data)
        with pytest.raises(InvalidParameter, match="cf_y"):
            model.sensitivity(1.0, 0.1)
        with pytest.raises(InvalidParameter, match="cf_d"):
            model.sensitivity(0.1, -0.1)
        with pytest.raises(InvalidParameter, match="rho"):
            model.robustness_value(rho=0.0)
