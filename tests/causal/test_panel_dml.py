"""PanelDML: the card's exact checks, the plain twin, another package's numbers, limits of large samples."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from mcstat.causal import PanelDML
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.datasets import make_panel_fp
from tests.causal.problems import linear_panel, unit_folds
from tests.naive import panel_dml as naive
from tests.stat_asserts import assert_mean_close

pytestmark = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
ALL = ["cre", "cre_normal", "cre_mundlak", "fd", "within", "late", "pooled"]


def ols(approach="cre", **settings):
    return PanelDML(approach, "ols", "ols", random_state=0, **settings)


def everything(n):
    """One fold that tests the rows it learns from."""
    return [(np.arange(n), np.arange(n))]


@pytest.mark.parametrize("approach", ["cre", "cre_normal", "cre_mundlak", "within"])
@pytest.mark.parametrize("unbalanced", [False, True])
def test_without_cross_fitting_least_squares_is_fixed_effects(approach, unbalanced):
    data = linear_panel(unbalanced=unbalanced)
    est = ols(approach).fit(**data, folds=everything(len(data["y"]))).estimate()
    wanted = naive.fixed_effects(data["y"], data["d"], data["X"], data["unit"])
    assert float(est) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("unbalanced", [False, True])
def test_with_unit_folds_they_agree_with_each_other(unbalanced):
    data = linear_panel(unbalanced=unbalanced)
    folds = unit_folds(data["unit"])
    found = [ols(a).fit(**data, folds=folds).estimate() for a in ("cre", "cre_normal", "cre_mundlak")]
    for est in found[1:]:
        assert float(est) == pytest.approx(float(found[0]), abs=1e-12)
        assert est.std_error[0] == pytest.approx(found[0].std_error[0], abs=1e-12)


def test_within_agrees_with_cre_under_unit_folds():
    data = linear_panel()
    folds = unit_folds(data["unit"])
    cre, within = (ols(a).fit(**data, folds=folds).estimate() for a in ("cre", "within"))
    assert float(cre) == pytest.approx(float(within), abs=1e-12)
    assert cre.std_error[0] == pytest.approx(within.std_error[0], abs=1e-12)


@pytest.mark.parametrize("approach", ALL)
@pytest.mark.parametrize("score", ["partialling_out", "iv"])
def test_plain_twin(approach, score):
    data = linear_panel(seed=3)
    folds = unit_folds(data["unit"])
    est = ols(approach, score=score).fit(**data, folds=folds).estimate()
    theta, error = naive.panel_dml(approach, **data, folds=folds, score=score)
    assert float(est) == pytest.approx(theta, abs=1e-11)
    assert est.std_error[0] == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("approach", [*ALL, "dummies"])
def test_iv_type_score_equals_partialling_out_for_linear_smoothers(approach):
    data = linear_panel(seed=4)
    folds = np.arange(len(data["y"])) % 5 if approach == "dummies" else unit_folds(data["unit"])
    splitter = "row" if approach == "dummies" else "unit"
    one, other = (
        ols(approach, score=score, splitter=splitter).fit(**data, folds=folds).estimate()
        for score in ("partialling_out", "iv")
    )
    if approach in ("cre_normal", "dummies"):
        # Other features for y than for d, or intercepts shrunken by what the target is: close, not equal.
        assert abs(float(one) - float(other)) < 0.3 * one.std_error[0]
    else:
        assert float(one) == pytest.approx(float(other), abs=1e-12)


def test_two_periods_first_differences_are_fixed_effects():
    data = linear_panel(n_periods=2, n_units=80)
    moved = {k: np.asarray(v).reshape(80, 2, -1) for k, v in data.items()}
    dy, dd, dx = (moved[k][:, 1] - moved[k][:, 0] for k in ("y", "d", "X"))
    theta = np.linalg.lstsq(np.column_stack([dd, dx]), dy.ravel(), rcond=None)[0][0]
    assert theta == pytest.approx(naive.fixed_effects(data["y"], data["d"], data["X"], data["unit"]), abs=1e-12)

    class Differences(LinearRegression):
        """Least squares without intercept on x_it - x_i,t-1."""

        def __init__(self):
            super().__init__(fit_intercept=False)

        def fit(self, Z, y):
            return super().fit(Z[:, :2] - Z[:, 2:], y)

        def predict(self, Z):
            return super().predict(Z[:, :2] - Z[:, 2:])

    est = PanelDML("fd", Differences(), Differences()).fit(**data, folds=everything(160)).estimate()
    assert float(est) == pytest.approx(theta, abs=1e-12)


def test_unit_constants_in_y_change_nothing():
    data = linear_panel(seed=5)
    folds = unit_folds(data["unit"])
    shifted = data | {"y": data["y"] + 100.0 * np.random.default_rng(0).normal(size=40)[data["unit"]]}
    for approach in ("fd", "within"):
        one, other = (ols(approach).fit(**rows, folds=folds).estimate() for rows in (data, shifted))
        assert float(one) == pytest.approx(float(other), abs=1e-11)
    rng = np.random.default_rng(1)
    predictions = {"y": rng.normal(size=240), "d": data["d"] - rng.normal(size=240)}
    one, other = (PanelDML().fit(**rows, folds=folds, predictions=predictions).estimate() for rows in (data, shifted))
    assert float(one) == pytest.approx(float(other), abs=1e-12)


@pytest.mark.parametrize("approach", ALL)
def test_scales_carry_over(approach):
    data = linear_panel(seed=6)
    folds = unit_folds(data["unit"])
    one = ols(approach).fit(**data, folds=folds).estimate()
    other = ols(approach).fit(**(data | {"y": 5.0 * data["y"], "d": -2.0 * data["d"]}), folds=folds).estimate()
    assert float(other) == pytest.approx(-2.5 * float(one), rel=1e-10)


@pytest.mark.parametrize("learner", ["ols", "series", "lasso"])
@pytest.mark.parametrize("approach", ["cre", "fd"])
def test_order_labels_and_shifts_of_time_do_not_matter(approach, learner):
    data = linear_panel(seed=7)
    folds = unit_folds(data["unit"])
    order = np.random.default_rng(0).permutation(240)
    model = PanelDML(approach, learner, learner, random_state=0)
    one = model.fit(**data, folds=folds).estimate()
    moved = {k: v[order] for k, v in data.items()}
    moved["unit"], moved["time"] = np.array([f"u{99 - i}" for i in moved["unit"]]), moved["time"] + 1990
    other = model.fit(**moved, folds=folds[order]).estimate()
    tolerance = 1e-12 if learner == "ols" else 1e-6
    assert float(one) == pytest.approx(float(other), abs=tolerance)
    assert one.std_error[0] == pytest.approx(other.std_error[0], abs=tolerance)
    back = model.residuals_y_[np.argsort(order)]
    np.testing.assert_allclose(back, model.fit(**data, folds=folds).residuals_y_, atol=1e-5)


@pytest.mark.parametrize("approach", ["pooled", "cre"])
def test_errors_agree_with_statsmodels(approach):
    sm = pytest.importorskip("statsmodels.api")
    data = linear_panel(seed=8, unbalanced=True)
    for vcov, keywords in (
        ("cluster", {"groups": data["unit"], "use_correction": False}),
        ("two_way", {"groups": np.column_stack([data["unit"], data["time"]]), "use_correction": False}),
    ):
        model = ols(approach, vcov=vcov, small_sample=False).fit(**data)
        fit = sm.OLS(model.residuals_y_, model.residuals_d_).fit(cov_type="cluster", cov_kwds=keywords)
        est = model.estimate()
        assert float(est) == pytest.approx(fit.params[0], abs=1e-12)
        if vcov == "cluster" or not est.warnings or "two-way" not in " ".join(est.warnings):
            assert est.std_error[0] == pytest.approx(fit.bse[0], abs=1e-14)
    model = ols(approach, vcov="hc1").fit(**data)
    fit = sm.OLS(model.residuals_y_, model.residuals_d_).fit(cov_type="HC1")
    assert model.estimate().std_error[0] == pytest.approx(fit.bse[0], rel=1e-12)


def test_driscoll_kraay_agrees_with_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    data = linear_panel(seed=9, n_periods=30)
    model = ols("pooled", vcov="dkraay", small_sample=False).fit(**data)
    order = np.lexsort((data["unit"], data["time"]))
    keywords = {"time": data["time"][order], "maxlags": int(4 * (30 / 100) ** (2 / 9)), "use_correction": False}
    fit = sm.OLS(model.residuals_y_[order], model.residuals_d_[order]).fit(cov_type="hac-groupsum", cov_kwds=keywords)
    assert model.estimate().std_error[0] == pytest.approx(fit.bse[0], rel=1e-10)


def test_whole_weights_are_repeated_rows():
    data = linear_panel(seed=10)
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 4, size=240)
    predictions = {"y": data["y"] - rng.normal(size=240), "d": data["d"] - rng.normal(size=240)}
    folds = unit_folds(data["unit"])
    est = PanelDML(small_sample=False).fit(**data, weights=weights, folds=folds, predictions=predictions).estimate()
    e, v = (data[k] - predictions[k] for k in ("y", "d"))
    again = np.repeat(np.arange(240), weights)
    e, v, unit = e[again], v[again], data["unit"][again]
    e, v = e - naive.unit_means(e, unit), v - naive.unit_means(v, unit)
    theta = v @ e / (v @ v)
    sums = np.bincount(unit, v * (e - theta * v))
    assert float(est) == pytest.approx(theta, abs=1e-12)
    assert est.std_error[0] == pytest.approx(np.sqrt(sums @ sums) / (v @ v), abs=1e-12)


def test_dml1_equals_dml2_where_folds_weigh_the_same():
    data = linear_panel(seed=11)
    folds = unit_folds(data["unit"])
    rng = np.random.default_rng(0)
    v = rng.normal(size=240)
    v /= np.sqrt(np.bincount(folds, v**2))[folds]
    predictions = {"y": data["y"] - rng.normal(size=240), "d": data["d"] - v}
    one, two = (
        PanelDML("pooled", dml=dml).fit(**data, folds=folds, predictions=predictions).estimate()
        for dml in ("dml1", "dml2")
    )
    assert float(one) == pytest.approx(float(two), abs=1e-12)
    assert one.std_error[0] == pytest.approx(two.std_error[0], rel=1e-12)


@pytest.mark.parametrize("aggregate", ["median", "mean", "doubleml"])
def test_repetitions_of_one_split_are_that_split(aggregate):
    data = linear_panel(seed=12)
    folds = unit_folds(data["unit"])
    one = ols(aggregate=aggregate).fit(**data, folds=folds).estimate()
    five = ols(aggregate=aggregate, n_rep=5).fit(**data, folds=folds).estimate()
    assert float(one) == pytest.approx(float(five), abs=1e-14)
    assert one.std_error[0] == pytest.approx(five.std_error[0], rel=1e-12)


def test_median_of_repetitions():
    data = linear_panel(seed=13)
    model = ols(n_rep=5).fit(**data)
    est, thetas, errors = model.estimate(), model.theta_reps_[:, 0], model.se_reps_[:, 0]
    assert float(est) == np.median(thetas)
    assert len(set(thetas)) == 5
    assert est.std_error[0] ** 2 == pytest.approx(np.median(errors**2 + (thetas - np.median(thetas)) ** 2), rel=1e-12)


@pytest.mark.parametrize("multiplier", ["normal", "wild", "rademacher", "webb", "bayes"])
def test_bootstrap_comes_to_the_analytic_error(multiplier):
    # 10 000 draws: a deviation of nearly normal draws has a relative error of 0.7 %; 5 % is 7 of them.
    data = linear_panel(seed=14, n_units=200)
    model = ols().fit(**data)
    est, drawn = model.estimate(), model.bootstrap(multiplier, n_draws=10_000)
    assert drawn.std_error[0] == pytest.approx(est.std_error[0], rel=0.05)
    assert_mean_close(drawn.draws.mean(), float(est), est.std_error[0] / 100)
    assert np.array_equal(model.bootstrap(multiplier, 10_000).draws, drawn.draws)


def test_joint_bands_are_wider_and_cover_all():
    data = linear_panel(seed=15)
    data["d"] = np.column_stack([data["d"], np.random.default_rng(0).normal(size=240)])
    drawn = ols().fit(**data).bootstrap(n_draws=4000)
    joint, single = drawn.conf_int(joint=True), drawn.conf_int()
    assert ((joint["upper"] - joint["lower"]) > (single["upper"] - single["lower"])).all()
    inside = ((drawn.draws[0] >= joint["lower"].to_numpy()) & (drawn.draws[0] <= joint["upper"].to_numpy())).all(axis=1)
    assert inside.mean() == pytest.approx(0.95, abs=0.002)


def test_large_sample_limits_of_the_wrong_approaches():
    # Exact conditional means as predictions: what is left is the approach. Limits of the card, check 8, at delta = 1.
    rng = np.random.default_rng(0)
    N, T, r = 4000, 10, 0.5
    U = np.repeat(rng.normal(size=N), T)
    eps, eta, mu = rng.normal(size=(3, N * T))
    x = U + eps
    d, unit, time = x**2 + U + eta, np.repeat(np.arange(N), T), np.tile(np.arange(T), N)
    y = d + x**2 + U + mu
    given_x = {"d": x**2 + r * x, "y": 2 * x**2 + 2 * r * x}
    x_mean = naive_means(x, N, T)
    at = T / (T + 1) * x_mean
    given_both = {"d": x**2 + at, "y": 2 * x**2 + 2 * at}
    data = {"y": y, "d": d, "X": x[:, None], "unit": unit, "time": time}
    for approach, given, limit in (
        ("pooled", given_x, r / (1 + r)),
        ("late", given_x, r**2 / (1 + r**2)),
        ("cre", given_both, 0.0),
    ):
        est = PanelDML(approach, random_state=0).fit(**data, predictions=given).estimate()
        assert_mean_close(float(est) - 1.0, limit, est.std_error[0])


def naive_means(x, N, T):
    return np.repeat(x.reshape(N, T).mean(axis=1), T)


def test_one_call_for_arrays_frames_and_indices():
    data = linear_panel(seed=16)
    wanted = ols().fit(**data).estimate()
    frame = pd.DataFrame({"y": data["y"], "d": data["d"], "id": data["unit"], "t": data["time"]})
    frame[["a", "b"]] = data["X"]
    names = {"outcome": "y", "treatment": "d", "covariates": ["a", "b"], "unit": "id", "time": "t"}
    indexed = frame.set_index(["id", "t"])
    for est in (
        ols().fit(data=frame, **names).estimate(),
        ols().fit(data=pl.from_pandas(frame), **names).estimate(),
        ols().fit(indexed["y"], indexed["d"], indexed[["a", "b"]]).estimate(),
    ):
        assert est.value.tobytes() == wanted.value.tobytes()
    assert ols().fit(data=frame, **names).estimate().names == ("d",)


def test_dates_know_their_months_and_days():
    data = linear_panel(seed=17)
    wanted = ols("fd").fit(**data).estimate()
    months = pd.Timestamp("2020-01-01") + data["time"] * pd.offsets.MonthBegin(1)
    days = pd.Timestamp("2020-01-30") + pd.to_timedelta(data["time"], unit="D")
    for time in (months, days, pd.PeriodIndex(months, freq="M")):
        est = ols("fd").fit(**(data | {"time": pd.Series(time)})).estimate()
        assert float(est) == pytest.approx(float(wanted), abs=1e-12)


def test_binary_treatment_with_a_classifier():
    data = linear_panel(seed=18)
    data["d"] = (data["d"] > 0).astype(float)
    model = PanelDML("cre", "ols", LogisticRegression(), random_state=0).fit(**data)
    assert np.all((model.predictions_d_ > 0) & (model.predictions_d_ < 1))


def test_feature_names_reach_learners():
    class Named(LinearRegression):
        def fit(self, Z, y):
            assert list(Z.columns) == ["a", "b", "a (mean)", "b (mean)"]
            return super().fit(Z, y)

    data = linear_panel(seed=19)
    data["X"] = pd.DataFrame(data["X"], columns=["a", "b"])
    one = PanelDML("cre", Named(), Named(), random_state=0).fit(**data).estimate()
    assert float(one) == pytest.approx(float(ols().fit(**data).estimate()), abs=1e-10)


def test_two_way_effects_of_a_balanced_panel():
    data = linear_panel(seed=20)
    data["y"] = data["y"] + 3.0 * data["time"] ** 2
    data["d"] = data["d"] + np.sin(data["time"])
    dummies = (data["time"][:, None] == np.arange(1, 6)).astype(float)
    wanted = naive.fixed_effects(data["y"], data["d"], np.column_stack([data["X"], dummies]), data["unit"])
    for approach in ("cre", "within"):
        est = ols(approach, time_effects="dummies").fit(**data, folds=everything(240)).estimate()
        assert float(est) == pytest.approx(wanted, abs=1e-9)


def test_effects_by_group_and_their_difference():
    data = linear_panel(seed=21, n_units=80)
    group = np.where(data["unit"] < 40, "low", "high")
    data["y"] = data["y"] + 0.5 * data["d"] * (group == "high")
    est = ols().fit(**data, groups=group).estimate()
    assert est.names == ("d[high]", "d[low]")
    assert_mean_close(est.value, [1.2, 0.7], est.std_error + 0.05)


def test_separate_treatments_are_each_among_the_others_covariates():
    data = linear_panel(seed=22)
    other = np.random.default_rng(1).normal(size=240) + 0.5 * data["d"]
    folds = unit_folds(data["unit"])
    both = ols(treatments="separate").fit(**(data | {"d": np.column_stack([data["d"], other])}), folds=folds).estimate()
    alone = ols().fit(**(data | {"X": np.column_stack([data["X"], other])}), folds=folds).estimate()
    assert both.value[0] == pytest.approx(float(alone), abs=1e-12)
    assert both.cov[0, 1] != 0.0


def test_approaches_on_one_sample_can_be_compared():
    data = linear_panel(seed=23)
    cre, pooled = (ols(a).fit(**data).estimate() for a in ("cre", "pooled"))
    gap = pooled - cre
    assert gap.std_error[0] < cre.std_error[0] + pooled.std_error[0]
    by_time = cre.recluster(data["time"])
    assert by_time.std_error[0] != cre.std_error[0]
    assert cre.recluster(data["unit"]).std_error[0] == pytest.approx(cre.std_error[0], rel=1e-12)


@pytest.mark.parametrize("splitter", ["unit", "row", "period", "time_block", "nlo", "two_way"])
def test_splitters_keep_apart_what_they_promise(splitter):
    data = linear_panel(seed=24, n_periods=12, n_units=60)
    K = 10 if splitter == "nlo" else 3
    model = ols(splitter=splitter, n_folds=K).fit(**data)
    folds = model.folds_[0]
    assert folds.min() == 0
    together = {"unit": "unit", "period": "time", "time_block": "time", "nlo": "time"}.get(splitter)
    if together:
        for label in np.unique(data[together]):
            assert len(set(folds[data[together] == label])) == 1
    assert abs(float(model.estimate()) - 0.7) < 0.3


@pytest.mark.parametrize("learner", ["auto", "series", "splines", "lasso", "hgb", "forest"])
@pytest.mark.parametrize("approach", ["cre", "dummies"])
def test_every_learner_with_and_without_unit_intercepts(approach, learner):
    if learner == "forest" and approach == "dummies":
        learner = "hgb"
    data = make_panel_fp(60, 6, form="linear", random_state=5)
    theta = data.pop("theta")
    splitter = "row" if approach == "dummies" else "unit"
    model = PanelDML(approach, learner, learner, n_folds=2, splitter=splitter, random_state=0).fit(**data)
    assert abs(float(model.estimate()) - theta) < 0.5
    if learner == "auto":
        assert set(model.stack_weights_["y"]) == {"series", "lasso", "hgb"}
        assert all(w >= 0 for w in model.stack_weights_["y"].values())


def test_a_cluster_of_units_stays_in_one_fold():
    data = linear_panel(seed=25)
    cluster = data["unit"] // 4
    model = ols(n_folds=3).fit(**data, cluster=cluster)
    assert all(len(set(model.folds_[0][cluster == c])) == 1 for c in range(10))
    with pytest.warns(ReliabilityWarning, match="splits units"):
        ols().fit(**data, cluster=np.arange(240) % 7)


def test_compare_sets_approaches_and_linear_fixed_effects_side_by_side():
    data = linear_panel(seed=26)
    model = ols().fit(**data)
    table = model.compare(["cre", "fd", "dummies"])
    assert table.loc["cre", "estimate"] == float(model.estimate())
    assert list(table.index) == ["cre", "fd", "dummies", "linear FE"]
    wanted = naive.fixed_effects(data["y"], data["d"], data["X"], data["unit"])
    assert table.loc["linear FE", "estimate"] == pytest.approx(wanted, abs=1e-12)
    several = ols().fit(**data, groups=data["unit"] % 2).compare(["cre"])
    assert list(several.index) == [(name, f"d[{k}]") for name in ("cre", "linear FE") for k in (0, 1)]


def test_formula():
    data = linear_panel(seed=27)
    frame = pd.DataFrame({name: data[name] for name in ("y", "d", "unit", "time")})
    frame["a"], frame["kind"] = data["X"][:, 0], np.where(data["X"][:, 1] > 0, "high", "low")
    est = ols().fit_formula("y ~ d | a + I(a**2) + C(kind) | unit + time", frame, cluster="unit").estimate()
    X = np.column_stack([data["X"][:, 0], data["X"][:, 0] ** 2, data["X"][:, 1] <= 0])
    assert float(est) == pytest.approx(float(ols().fit(**(data | {"X": X})).estimate()), abs=1e-12)
    for bad in ("y ~ d + a", "y ~ d | a | unit", "y ~ wage | a | unit + time"):
        with pytest.raises(InvalidParameter, match="formula"):
            ols().fit_formula(bad, frame)


def test_panel_instrument_without_cross_fitting_is_two_stage_least_squares_with_unit_dummies():
    data = linear_panel(seed=28)
    rng = np.random.default_rng(2)
    z, hidden = rng.normal(size=240) + data["X"][:, 0], rng.normal(size=240)
    data["d"] = data["d"] + z + hidden
    data["y"] = data["y"] + 0.7 * (z + hidden) + hidden
    dummies = (data["unit"][:, None] == np.arange(40)).astype(float)
    R = np.column_stack([data["d"], data["X"], dummies])
    Z = np.column_stack([z, data["X"], dummies])
    wanted = np.linalg.solve(Z.T @ R, Z.T @ data["y"])[0]
    for approach in ("cre", "within"):
        model = ols(approach).fit(**data, z=z, folds=everything(240))
        assert float(model.estimate()) == pytest.approx(wanted, abs=1e-10)
        assert model.first_stage_f_ > 10
        pieces = model.anderson_rubin()
        assert pieces["lower"].iloc[0] < wanted < pieces["upper"].iloc[0]
