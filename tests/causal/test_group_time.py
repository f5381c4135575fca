"""GroupTimeATT against published values of R's did, a loop, theory, and bad input."""

import io
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from mcstat.causal import GroupTimeATT
from mcstat.causal._group_time_bands import spread_of
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.datasets import make_did
from tests.naive.group_time import effect as naive_effect

REFERENCE = Path(__file__).parents[1] / "reference" / "mpdta.csv.xz"
# Teen employment and minimum wages in 500 counties, 2003 to 2007 (data mpdta of the R package did): printed by its
# vignette and by summary(att_gt(...)) without covariates, never-treated controls, to four digits.
PUBLISHED = {
    (2004, 2004): -0.0105, (2004, 2005): -0.0704, (2004, 2006): -0.1373, (2004, 2007): -0.1008,
    (2006, 2004): 0.0065, (2006, 2005): -0.0028, (2006, 2006): -0.0046, (2006, 2007): -0.0412,
    (2007, 2004): 0.0305, (2007, 2005): -0.0027, (2007, 2006): -0.0311, (2007, 2007): -0.0261,
}  # fmt: skip


def counties():
    table = pd.read_csv(io.BytesIO(lzma.decompress(REFERENCE.read_bytes())))
    return table.rename(columns={"countyreal": "unit", "year": "time", "first.treat": "first_treated", "lemp": "y"})


def fit(data, X=None, **settings):
    columns = {name: data[name] for name in ("unit", "time", "first_treated")}
    return GroupTimeATT(**{"random_state": 0} | settings).fit(data["y"], X, **columns)


def test_counties_have_the_published_effects():
    did = fit(counties())
    found = dict(zip(zip(did.cells_["group"], did.cells_["time"], strict=True), did.cells_["effect"], strict=True))
    assert len(found) == len(PUBLISHED)
    for (group, time), wanted in PUBLISHED.items():
        assert abs(found[str(group), str(time)] - wanted) < 5.1e-5
    assert abs(did.pretrend_test().p_value - 0.16812) < 5.1e-6
    overall = {kind: float(did.aggregate(kind)["overall"]) for kind in ("simple", "dynamic", "group")}
    for kind, wanted in (("simple", -0.0400), ("dynamic", -0.0772), ("group", -0.0310)):
        assert abs(overall[kind] - wanted) < 5.1e-5


def test_equals_a_loop_over_units():
    data = make_did(40, 4, confounding=0.0, random_state=3)
    y, first = data["y"].reshape(40, 4), data["first_treated"].reshape(40, 4)[:, 0]
    for control in ("never", "not_yet"):
        did = fit(data, control=control)
        for k, row in did.cells_.iterrows():
            t, base, group = int(row["time"][0]) - 1, int(row["base"][0]) - 1, float(row["group"])
            latest = max(t, base) + 1
            free = np.isinf(first) if control == "never" else (first > latest) & (first != group)
            wanted, influence = naive_effect(y, first, group, t, base, list(np.flatnonzero(free)))
            assert abs(row["effect"] - wanted) < 1e-12
            np.testing.assert_allclose(did.influence_.to_numpy()[:, k], influence, atol=1e-10)
            assert abs(row["std_error"] - np.sqrt(np.mean(influence**2) / 40)) < 1e-12


def test_two_periods_and_groups_are_the_plain_difference_in_differences():
    data = make_did(60, 2, random_state=1)
    y, treated = data["y"].reshape(60, 2), np.isfinite(data["first_treated"].reshape(60, 2)[:, 0])
    change = y[:, 1] - y[:, 0]
    did = fit(data)
    assert abs(float(did.estimate()) - (change[treated].mean() - change[~treated].mean())) < 1e-12
    table = did.compare()
    np.testing.assert_allclose(table["estimate"], table["estimate"].iloc[0], rtol=1e-10)
    # Of two periods the regression on changes has the same residuals, up to its degrees of freedom.
    np.testing.assert_allclose(table["std_error"], table["std_error"].iloc[0], rtol=1e-10)


@pytest.mark.parametrize("method", ["dr", "reg", "ipw"])
def test_constants_of_units_and_periods_do_not_matter(method):
    data = make_did(120, 4, random_state=2)
    X = data["X"]
    settings = {"method": method, "learner_outcome": "ols", "learner_propensity": "ols"}
    plain = fit(data, X, **settings).estimate()
    rng = np.random.default_rng(0)
    moved = data | {"y": data["y"] + np.repeat(rng.normal(size=120), 4) * 50 + np.tile(rng.normal(size=4) * 50, 120)}
    np.testing.assert_allclose(fit(moved, X, **settings).estimate().value, plain.value, atol=1e-9)


def test_saturated_covariates_make_all_methods_one():
    data = make_did(400, 3, random_state=4)
    X = np.column_stack([data["X"][:, 0] > 0]).astype(float)
    reg, ipw = (fit(data, X, method=method).estimate() for method in ("reg", "ipw"))
    np.testing.assert_allclose(reg.value, ipw.value, atol=1e-7)
    np.testing.assert_allclose(reg.std_error, ipw.std_error, rtol=1e-6)
    dr = fit(data, X, learner_outcome="ols", learner_propensity="ols", n_folds=10).estimate()
    np.testing.assert_allclose(dr.value, reg.value, atol=0.3 * reg.std_error.min())


def test_the_universal_base_is_exactly_zero_and_varying_ones_sum_to_it():
    data = make_did(80, 5, confounding=0.0, random_state=5)
    universal, varying = fit(data, base_period="universal"), fit(data)
    event = universal.aggregate("dynamic")
    assert event["e=-1"].value[0] == 0.0
    assert event["e=-1"].std_error[0] == 0.0
    post = [name for name in varying.estimate().names if name.split("(")[1][0] <= name.split(", ")[1][0]]
    np.testing.assert_allclose(universal.estimate()[post].value, varying.estimate()[post].value, rtol=1e-12)


def test_never_treated_has_several_names_and_dates_are_times():
    data = make_did(60, 4, confounding=0.0, random_state=6)
    wanted = fit(data).estimate()
    for never in (0.0, np.nan, 99.0):
        first = np.where(np.isinf(data["first_treated"]), never, data["first_treated"])
        np.testing.assert_array_equal(fit(data | {"first_treated": first}).estimate().value, wanted.value)
    years = np.array([f"200{int(t)}-01-01" for t in data["time"]], dtype="datetime64[ns]")
    first = np.array(
        [f"200{int(t)}-01-01" if np.isfinite(t) else "NaT" for t in data["first_treated"]], dtype="datetime64[ns]"
    )
    dated = fit(data | {"time": years, "first_treated": first})
    np.testing.assert_array_equal(dated.estimate().value, wanted.value)
    assert dated.cells_["group"].iloc[0].startswith("2002-01-01")


def test_averages_by_hand():
    data = make_did(90, 4, confounding=0.0, random_state=7)
    did = fit(data)
    table, first = did.cells_, data["first_treated"].reshape(90, 4)[:, 0]
    group, time = table["group"].astype(float), table["time"].astype(float)
    share = np.array([np.mean(first == g) for g in group])
    post = (time >= group).to_numpy()
    effects = table["effect"].to_numpy()
    simple = (share[post] @ effects[post]) / share[post].sum()
    assert abs(float(did.aggregate()) - simple) < 1e-12
    dynamic = did.aggregate("dynamic")
    at_one = post & (time - group == 1).to_numpy()
    assert abs(dynamic["e=1"].value[0] - share[at_one] @ effects[at_one] / share[at_one].sum()) < 1e-12
    after = [name for name in dynamic.names if name.startswith("e=") and float(name[2:]) >= 0]
    assert abs(dynamic["overall"].value[0] - dynamic[after].value.mean()) < 1e-12
    cohort = did.aggregate("group")
    assert abs(cohort["3"].value[0] - effects[post & (group == 3)].mean()) < 1e-12
    calendar = did.aggregate("calendar")
    in_four = post & (time == 4).to_numpy()
    assert abs(calendar["4"].value[0] - share[in_four] @ effects[in_four] / share[in_four].sum()) < 1e-12
    balanced = did.aggregate("dynamic", balance_e=1)
    assert [name for name in balanced.names if name.startswith("e=")][-1] == "e=1"


def test_influence_of_averages_is_a_jackknife():
    data = make_did(60, 3, confounding=0.0, random_state=8)
    did = fit(data)
    for kind in ("simple", "dynamic", "group", "calendar"):
        est = did.aggregate(kind)
        left_out = []
        for i in range(60):
            kept = np.repeat(np.arange(60), 3) != i
            part = {name: data[name][kept] for name in ("y", "unit", "time", "first_treated")}
            left_out.append(fit(part).aggregate(kind)["overall"].value[0])
        pseudo = 59 * (np.mean(left_out) - np.array(left_out))
        influence = est.influence[:, 0]
        # The jackknife's own terms of second order are of relative size 1 / (size of a cohort).
        assert np.corrcoef(pseudo, influence)[0, 1] > 0.99
        assert abs(np.std(pseudo) / np.std(influence) - 1) < 0.1


def test_unbalanced_panels_use_the_units_seen_in_both_periods():
    data = make_did(60, 3, confounding=0.0, random_state=9)
    gone = (data["unit"] == 3) & (data["time"] == 3)
    part = {name: data[name][~gone] for name in ("y", "unit", "time", "first_treated")}
    without = {name: data[name][data["unit"] != 3] for name in part}
    holed, dropped, whole = fit(part).cells_, fit(without).cells_, fit(data).cells_
    at_three = holed["time"] == holed["time"].max()
    np.testing.assert_allclose(holed["effect"][at_three], dropped["effect"][at_three])
    np.testing.assert_allclose(holed["effect"][~at_three], whole["effect"][~at_three])


def test_weights_count_units_and_clusters_replace_them():
    data = make_did(50, 3, confounding=0.0, random_state=10)
    names = ("y", "unit", "time", "first_treated")
    twice = {name: np.concatenate([data[name], data[name][data["unit"] < 20]]) for name in names}
    twice["unit"] = np.concatenate([data["unit"], 100 + data["unit"][data["unit"] < 20]])
    weighted = GroupTimeATT().fit(
        data["y"], unit=data["unit"], time=data["time"], first_treated=data["first_treated"],
        weights=np.where(data["unit"] < 20, 2.0, 1.0),
    )  # fmt: skip
    repeated = GroupTimeATT().fit(
        twice["y"], unit=twice["unit"], time=twice["time"], first_treated=twice["first_treated"],
        cluster=twice["unit"] % 100,
    )  # fmt: skip
    np.testing.assert_allclose(weighted.estimate().value, repeated.estimate().value, rtol=1e-10)
    np.testing.assert_allclose(weighted.aggregate().value, repeated.aggregate().value, rtol=1e-10)
    # Clusters of the same units, with the factor G / (G - 1).
    ratio = repeated.estimate().std_error / weighted.estimate().std_error
    np.testing.assert_allclose(ratio, np.sqrt(50 / 49), rtol=1e-10)


@pytest.mark.parametrize(
    ("method", "learner"),
    [
        ("dr", "ols"),
        ("reg", None),
        ("ipw", None),
        ("dr", "series"),
        pytest.param("dr", "auto", marks=pytest.mark.slow),
    ],
)
def test_covariates_remove_what_they_cause(method, learner):
    # 1500 units: standard errors near 0.1; six of them. Without covariates the bias is several times that.
    data = make_did(1500, 4, confounding=2.0, random_state=11)
    settings = {} if learner is None else {"learner_outcome": learner, "learner_propensity": learner}
    event = fit(data, data["X"], method=method, **settings).aggregate("dynamic")
    for e in (0, 1, 2):
        one = event[f"e={e}"]
        assert abs(one.value[0] - (e + 1)) < 6 * one.std_error[0]
    plain = fit(data).aggregate("dynamic")["e=2"]
    assert abs(plain.value[0] - 3) > 6 * plain.std_error[0]


def test_experimental_without_confounding():
    data = make_did(1500, 3, confounding=0.0, random_state=12)
    event = fit(data, data["X"], method="experimental", learner_outcome="ols").aggregate("dynamic")
    assert abs(event["e=1"].value[0] - 2) < 6 * event["e=1"].std_error[0]


def test_two_way_regression_is_wrong_where_effects_grow():
    data = make_did(800, 8, confounding=0.0, random_state=13)
    table = fit(data).compare()
    truth = data["effect"][data["effect"] > 0].mean()
    simple, two_way = table.loc["group-time, simple"], table.loc["two-way fixed effects"]
    assert abs(simple["estimate"] - truth) < 6 * simple["std_error"]
    assert two_way["estimate"] < truth - 6 * two_way["std_error"]


def one_study(seed):
    data = make_did(100, 4, confounding=0.0, random_state=seed)
    est = fit(data).aggregate("dynamic")
    est = est[[name for name in est.names if name.startswith("e=")]]
    truth = np.array([max(float(name[2:]) + 1, 0.0) for name in est.names])
    ends = est.conf_int(0.9, joint=True).to_numpy()
    return bool(np.all((ends[:, 0] <= truth) & (truth <= ends[:, 1])))


@pytest.mark.slow
def test_joint_bands_cover():
    # Two stages: 400 runs at 1e-3, then 3000 at 1e-4 (house rule); right bands fail with a probability below 1e-6.
    from scipy.stats import binomtest

    hits = sum(one_study(seed) for seed in range(400))
    if binomtest(hits, 400, 0.9).pvalue < 1e-3:
        more = sum(one_study(seed) for seed in range(1000, 4000))
        assert binomtest(more, 3000, 0.9).pvalue > 1e-4


def test_pre_trends_have_the_law_of_the_test():
    # 200 p-values: uniform; Kolmogorov's distance at 1e-6 is 0.186. Six pre-treatment cells of 120 units.
    p = [fit(make_did(120, 4, confounding=0.0, random_state=seed)).pretrend_test().p_value for seed in range(200)]
    grid = np.sort(p)
    assert np.max(np.abs(grid - np.arange(1, 201) / 200)) < 0.186


def test_event_study_plot():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="the plot extra is not installed")
    did = fit(make_did(80, 4, confounding=0.0, random_state=5), base_period="universal")
    ax = did.plot_event_study()
    assert len(ax.lines) >= 4
    assert "band" in ax.get_ylabel()
    pyplot.close("all")


def test_data_frame_and_its_column_names():
    table = counties()
    by_name = GroupTimeATT(method="reg").fit(
        data=table, outcome="y", covariates=["lpop"], unit="unit", time="time", first_treated="first_treated"
    )
    np.testing.assert_array_equal(by_name.estimate().value, fit(table, table[["lpop"]], method="reg").estimate().value)


def test_small_cohorts_and_units_treated_from_the_start():
    data = make_did(60, 3, confounding=0.0, random_state=14)
    first = data["first_treated"].copy()
    first[data["unit"] < 3] = 1.0
    cohort = np.flatnonzero(first.reshape(60, 3)[:, 0] == 2)
    first[np.isin(data["unit"], cohort[4:])] = np.inf
    with pytest.warns(ReliabilityWarning, match=r"3 unit\(s\) dropped|fewer than") as told:
        did = fit(data | {"first_treated": first}, data["X"], learner_outcome="ols", learner_propensity="ols")
    assert {warning.filename for warning in told} == {__file__}
    assert set(did.cells_["method"][did.cells_["group"].str.startswith("2")]) == {"reg"}
    assert did.n_units_ == 57


def test_a_cohort_of_one_is_warned_of():
    data = make_did(60, 3, confounding=0.0, random_state=16)
    first = data["first_treated"].copy()
    late = np.flatnonzero(first.reshape(60, 3)[:, 0] == 3)
    first[np.isin(data["unit"], late[1:])] = np.inf
    with pytest.warns(ReliabilityWarning, match=r"cohort\(s\) 3 have fewer than 5"):
        fit(data | {"first_treated": first})


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("scale", ["sd", "iqr"])
def test_bootstrap_has_the_errors_of_the_influence(scale, clustered):
    # 20 000 draws: relative errors of an sd of 0.5 %, of an IQR 0.8 %; bounds of six of them for 13 quantities.
    data = make_did(300, random_state=0)
    cluster = {"cluster": data["unit"] // 3} if clustered else {}
    columns = {name: data[name] for name in ("unit", "time", "first_treated")}
    did = GroupTimeATT(method="reg", random_state=0).fit(data["y"], data["X"], **columns, **cluster)
    for kind, est in ((None, did.estimate()), ("dynamic", did.aggregate("dynamic"))):
        drawn = did.bootstrap(kind, n_draws=20_000, multiplier="rademacher", scale=scale)
        assert drawn.names == est.names
        np.testing.assert_allclose(drawn.std_error, est.std_error, rtol=0.05)
        band, other = (one.conf_int(joint=True).to_numpy() for one in (drawn, est))
        np.testing.assert_allclose(np.diff(band), np.diff(other), rtol=0.06)
    again = did.bootstrap("dynamic", n_draws=20_000, multiplier="rademacher", scale=scale)
    np.testing.assert_array_equal(again.draws, drawn.draws)


def test_iqr_scale_does_not_mind_wild_draws():
    draws = np.random.default_rng(0).normal(size=(10_001, 1))
    draws[:100] *= 100
    assert spread_of(draws, "sd")[0] > 5
    assert abs(spread_of(draws, "iqr")[0] - 1) < 0.06


def test_a_universal_base_has_no_draws_about_its_zero():
    data = make_did(200, random_state=0)
    drawn = fit(data, base_period="universal").bootstrap("dynamic", scale="iqr")
    assert drawn["e=-1"].std_error[0] == 0
    assert (drawn["e=-1"].conf_int(joint=True).to_numpy() == 0).all()


class TestBadInput:
    data = make_did(30, 3, confounding=0.0, random_state=0)

    def test_treatment_must_not_change_within_a_unit(self):
        first = self.data["first_treated"].copy()
        first[0] = 2.0 if first[0] != 2.0 else 3.0
        with pytest.raises(InvalidData, match="first_treated must not change"):
            fit(self.data | {"first_treated": first})

    def test_repeated_rows_and_clusters_that_change(self):
        unit = self.data["unit"].copy()
        unit[3] = 0
        with pytest.raises(InvalidData, match="name each row once"):
            fit(self.data | {"unit": unit})
        with pytest.raises(InvalidData, match="cluster must not change"):
            GroupTimeATT().fit(
                self.data["y"], unit=self.data["unit"], time=self.data["time"],
                first_treated=self.data["first_treated"], cluster=np.arange(90),
            )  # fmt: skip

    def test_nobody_treated_or_nobody_to_compare_with(self):
        with pytest.raises(InvalidData, match="got none"):
            fit(self.data | {"first_treated": np.full(90, np.inf)})
        with pytest.raises(InvalidData, match="no control units"):
            fit(self.data | {"first_treated": np.full(90, 2.0)})

    def test_not_finite(self):
        y = self.data["y"].copy()
        y[5] = np.nan
        with pytest.raises(InvalidData, match="y must be finite"):
            fit(self.data | {"y": y})
        X = self.data["X"].copy()
        X[4, 0] = np.inf
        with pytest.raises(InvalidData, match="X must be finite"):
            fit(self.data, X)

    @pytest.mark.parametrize(
        ("settings", "name"),
        [
            ({"control": "all"}, "control"),
            ({"anticipation": -1}, "anticipation"),
            ({"base_period": "first"}, "base_period"),
            ({"method": "twfe"}, "method"),
            ({"n_folds": 1}, "n_folds"),
            ({"clip": 0.5}, "clip"),
            ({"learner_outcome": "boost"}, "learner_outcome"),
        ],
    )
    def test_settings(self, settings, name):
        with pytest.raises(InvalidParameter, match=name):
            fit(self.data, **settings)

    def test_unknown_average(self):
        with pytest.raises(InvalidParameter, match="kind"):
            fit(self.data).aggregate("mean")


def test_anticipation_moves_the_base_back():
    data = make_did(200, 5, confounding=0.0, random_state=15)
    early = data["y"] + 5.0 * (data["time"] == data["first_treated"] - 1)
    moved = fit(data | {"y": early}, anticipation=1).aggregate("dynamic")
    assert abs(moved["e=0"].value[0] - 1) < norm.isf(1e-7) * moved["e=0"].std_error[0]
    naive = fit(data | {"y": early}).aggregate("dynamic")
    assert naive["e=0"].value[0] < -2
