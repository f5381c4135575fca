"""GroupTimeATT on repeated cross sections: a loop, panels taken for cross sections, regression, theory, bad input."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from mcstat.causal import GroupTimeATT
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.datasets import make_did
from tests.naive.group_time import effect_of_sections as naive_effect

OLS = {"learner_outcome": "ols", "learner_propensity": "ols"}


def sections(n, periods, seed, confounding=0.0):
    """One row each of n units, in a period drawn at random."""
    data = make_did(n, periods, confounding=confounding, random_state=seed)
    rows = np.arange(n) * periods + np.random.default_rng(seed).integers(periods, size=n)
    return {name: data[name][rows] for name in ("y", "X", "time", "first_treated")}


def fit(data, X=None, **settings):
    columns = {name: data[name] for name in ("unit", "time", "first_treated", "weights", "cluster") if name in data}
    return GroupTimeATT(**{"panel": False, "random_state": 0} | settings).fit(data["y"], X, **columns)


@pytest.mark.parametrize("control", ["never", "not_yet"])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_a_loop_over_rows(control, weighted):
    data = sections(300, 4, 3)
    w = np.random.default_rng(0).uniform(0.5, 2.0, 300) if weighted else np.ones(300)
    did = fit(data | {"weights": w}, control=control)
    first, time = data["first_treated"], data["time"]
    kept = first > 1
    for k, row in did.cells_.iterrows():
        t, base, group = float(row["time"]), float(row["base"]), float(row["group"])

        def is_control(g, t=t, base=base, group=group):
            return np.isinf(g) if control == "never" else g > max(t, base) and g != group

        columns = data["y"][kept], first[kept], time[kept]
        wanted, influence = naive_effect(*columns, group, t, base, is_control, w[kept])
        assert abs(row["effect"] - wanted) < 1e-12
        np.testing.assert_allclose(did.influence_.to_numpy()[:, k], influence, atol=1e-10)


def test_two_periods_and_groups_are_the_regression_on_treated_times_post():
    data = sections(400, 2, 1)
    w = np.random.default_rng(1).uniform(0.5, 2.0, 400)
    d, post = np.isfinite(data["first_treated"]), data["time"] == 2
    design = np.column_stack([np.ones(400), d, post, d * post])
    bread = np.linalg.inv(design.T @ (w[:, None] * design))
    slopes = bread @ (design.T @ (w * data["y"]))
    meat = design * (w * (data["y"] - design @ slopes))[:, None]
    did = fit(data | {"weights": w})
    assert abs(float(did.estimate()) - slopes[3]) < 1e-12
    # White's covariance without a factor.
    np.testing.assert_allclose(did.estimate().std_error, np.sqrt((bread @ meat.T @ meat @ bread)[3, 3]), rtol=1e-10)
    table = did.compare()
    np.testing.assert_allclose(table["estimate"], slopes[3], rtol=1e-9)
    np.testing.assert_allclose(table["std_error"], table["std_error"].iloc[0], rtol=1e-9)


@pytest.mark.parametrize("method", ["means", "reg", "ipw", "dr", "experimental"])
def test_a_balanced_panel_taken_for_cross_sections_of_known_persons(method):
    # Covariates are constant, linear learners linear in y, and units keep their folds: everything is equal, with the
    # factor G / (G - 1) of the clusters that persons are.
    data = make_did(200, 4, random_state=2)
    settings = OLS | {"method": "dr" if method == "means" else method}
    X = None if method == "means" else data["X"]
    panel, rows = fit(data, X, panel=True, **settings), fit(data, X, **settings)
    factor = np.sqrt(200 / 199)
    for kind in (None, "simple", "dynamic", "group", "calendar"):
        a, b = (did.estimate() if kind is None else did.aggregate(kind) for did in (panel, rows))
        assert a.names == b.names
        np.testing.assert_allclose(b.value, a.value, atol=1e-8)
        np.testing.assert_allclose(b.std_error, factor * a.std_error, rtol=1e-6)
    np.testing.assert_allclose(rows.pretrend_test().p_value, panel.pretrend_test().p_value, rtol=0.05)
    # Not told who is who, the same values with other errors.
    nobody = fit({name: data[name] for name in ("y", "time", "first_treated")}, X, **settings)
    if method in ("means", "reg", "ipw"):
        np.testing.assert_allclose(nobody.estimate().value, panel.estimate().value, atol=1e-8)
    assert (nobody.estimate().std_error > panel.estimate().std_error).all()


def test_saturated_covariates_make_all_methods_one():
    data = sections(3000, 3, 4, confounding=1.0)
    X = (data["X"][:, :1] > 0).astype(float)
    reg, ipw = (fit(data, X, method=method).estimate() for method in ("reg", "ipw"))
    np.testing.assert_allclose(reg.value, ipw.value, atol=1e-7)
    np.testing.assert_allclose(reg.std_error, ipw.std_error, rtol=1e-6)
    dr = fit(data, X, n_folds=10, **OLS).estimate()
    np.testing.assert_allclose(dr.value, reg.value, atol=0.3 * reg.std_error.min())


@pytest.mark.parametrize(
    ("method", "learner"), [("dr", "ols"), ("dr", "series"), ("reg", None), ("ipw", None)]
)  # fmt: skip
def test_covariates_remove_what_they_cause(method, learner):
    # Six standard errors (false alarm 2e-9 each); without covariates the bias is several times that.
    data = sections(12000, 4, 11, confounding=2.0)
    settings = {} if learner is None else {"learner_outcome": learner, "learner_propensity": learner}
    event = fit(data, data["X"], method=method, **settings).aggregate("dynamic")
    for e in (0, 1, 2):
        one = event[f"e={e}"]
        assert abs(one.value[0] - (e + 1)) < 6 * one.std_error[0]
    plain = fit(data).aggregate("dynamic")["e=2"]
    assert abs(plain.value[0] - 3) > 6 * plain.std_error[0]


def test_either_nuisance_may_be_wrong():
    # Logistic treatment, trend 2 x; six standard errors for the estimators that are right (2e-9 each).
    rng = np.random.default_rng(5)
    n = 8000
    x, time = rng.normal(size=(n, 1)), rng.integers(1, 3, size=n).astype(float)
    d = rng.random(n) < 1 / (1 + np.exp(-x[:, 0]))
    y = x[:, 0] * (1 + 2 * (time == 2)) + d * (1 + (time == 2)) + rng.normal(size=n)
    data = {"y": y, "time": time, "first_treated": np.where(d, 2.0, np.inf)}
    outcome, propensity = (
        (LinearRegression(), DummyRegressor()),
        (LogisticRegression(), DummyClassifier(strategy="prior")),
    )
    for i, j in ((0, 0), (0, 1), (1, 0)):
        est = fit(data, x, learner_outcome=outcome[i], learner_propensity=propensity[j]).estimate()
        assert abs(float(est) - 1) < 6 * est.std_error[0]
    est = fit(data, x, learner_outcome=outcome[1], learner_propensity=propensity[1]).estimate()
    assert float(est) > 1 + 6 * est.std_error[0]


def one_study(seed, covariates, n=1500):
    data = sections(n, 3, seed, confounding=float(covariates))
    data = {name: column[data["first_treated"] > 1] for name, column in data.items()}
    est = fit(data, data["X"] if covariates else None, **OLS).aggregate("dynamic")
    est = est[[name for name in est.names if name.startswith("e=")]]
    truth = np.array([max(float(name[2:]) + 1, 0.0) for name in est.names])
    ends = est.conf_int(0.9, joint=True).to_numpy()
    return bool(np.all((ends[:, 0] <= truth) & (truth <= ends[:, 1])))


@pytest.mark.slow
@pytest.mark.parametrize("covariates", [False, True])
def test_joint_bands_cover(covariates):
    # Two stages: 400 runs at 1e-3, then 3000 at 1e-4 (house rule); right bands fail with a probability below 1e-6.
    from scipy.stats import binomtest

    hits = sum(one_study(seed, covariates) for seed in range(400))
    if binomtest(hits, 400, 0.9).pvalue < 1e-3:
        more = sum(one_study(seed, covariates) for seed in range(1000, 4000))
        assert binomtest(more, 3000, 0.9).pvalue > 1e-4


def test_pre_trends_have_the_law_of_the_test():
    # 200 p-values: uniform; Kolmogorov's distance at 1e-6 is 0.186.
    p = np.sort([fit(sections(600, 4, seed)).pretrend_test().p_value for seed in range(200)])
    assert np.max(np.abs(p - np.arange(1, 201) / 200)) < 0.186


def test_clusters_replace_rows():
    data = sections(300, 3, 6)
    twice = {name: np.concatenate([column, column]) for name, column in data.items()}
    once, doubled = fit(data).aggregate(), fit(twice | {"cluster": np.tile(np.arange(300), 2)}).aggregate()
    np.testing.assert_allclose(doubled.value, once.value, rtol=1e-10)
    np.testing.assert_allclose(doubled.std_error, once.std_error * np.sqrt(300 / 299), rtol=1e-10)


def test_data_frame_without_units_and_persons_that_share_a_fold():
    data = sections(300, 3, 7)
    frame = pd.DataFrame({name: data[name] for name in ("y", "time", "first_treated")})
    named = GroupTimeATT(panel=False).fit(data=frame, outcome="y", time="time", first_treated="first_treated")
    np.testing.assert_array_equal(named.estimate().value, fit(data).estimate().value)
    assert named.influence_.index.isin(frame.index).all()


class TestBadInput:
    data = sections(200, 3, 0)

    def test_panel_needs_units_and_a_truth_value(self):
        with pytest.raises(InvalidData, match="unit must be given"):
            fit(self.data, panel=True)
        with pytest.raises(InvalidParameter, match="panel must be True or False"):
            fit(self.data, panel="no")

    def test_nobody_treated_in_sight(self):
        with pytest.raises(InvalidData, match="got none"):
            fit(self.data | {"first_treated": np.full(200, np.inf)})
        with pytest.raises(InvalidData, match="got none"):
            fit(self.data | {"first_treated": np.where(np.arange(200) < 50, 1.0, np.inf)})

    def test_a_cohort_without_rows_in_the_base_period(self):
        gone = (self.data["first_treated"] == 3) & (self.data["time"] == 2)
        data = {name: column[~gone] for name, column in self.data.items()}
        with pytest.warns(ReliabilityWarning, match="cannot be estimated, the first: no treated units"):
            did = fit(data, data["X"], **OLS)
        assert set(did.cells_["group"][did.cells_["effect"].isna()]) == {"3"}

    def test_cohorts_treated_from_the_start_are_dropped(self):
        first = np.where(np.arange(200) < 7, 1.0, self.data["first_treated"])
        with pytest.warns(ReliabilityWarning, match=r"7 unit\(s\) dropped"):
            assert fit(self.data | {"first_treated": first}).n_units_ == 193

    def test_more_folds_than_persons(self):
        data = {name: column[self.data["first_treated"] > 1] for name, column in self.data.items()}
        with pytest.raises(InvalidParameter, match="n_folds must be at most the number of units, 3, got 5"):
            fit(data | {"unit": data["first_treated"].astype(str)}, data["X"], **OLS)

    def test_persons_of_two_cohorts(self):
        with pytest.raises(InvalidData, match="first_treated must not change within a unit"):
            fit(self.data | {"unit": np.arange(200) % 20})


class TestEfficient:
    """The second doubly robust estimator, which uses that covariates do not change between the periods."""

    def test_persons_seen_in_both_periods_leave_nothing_to_add(self):
        # The treated of both periods are those of each: the added terms are 0, and the panel's values come out.
        data = make_did(200, 4, random_state=2)
        panel = fit(data, data["X"], panel=True, **OLS)
        rows = fit(data, data["X"], method="dr_efficient", **OLS)
        np.testing.assert_allclose(rows.estimate().value, panel.estimate().value, atol=1e-8)

    def test_equals_its_formula(self):
        rng = np.random.default_rng(0)
        n = 300
        x, time, d = rng.normal(size=(n, 1)), rng.integers(1, 3, size=n).astype(float), rng.random(n) < 0.5
        level = np.select([d & (time == 1), d & (time == 2), time == 2], [10.0, 20.0, 5.0])
        y = level + 0.1 * rng.normal(size=n)
        data = {"y": y, "time": time, "first_treated": np.where(d, 2.0, np.inf)}
        did = fit(data, x, method="dr_efficient", learner_outcome=Rounded(), learner_propensity=Rounded(0.3))
        effect, influence = 0.0, np.zeros(n)
        for period, sign, treated, control in ((2, 1.0, 20.0, 5.0), (1, -1.0, 10.0, 0.0)):
            seen, rest, gap = time == period, y - control * x[:, 0], (treated - control) * x[:, 0]
            for values, rows, side in (
                (rest, seen & d, 1), (rest, seen & ~d, -1), (gap, d, 1), (gap, seen & d, -1)
            ):  # fmt: skip
                effect += sign * side * values[rows].mean()
                influence[rows] += sign * side * n / rows.sum() * (values[rows] - values[rows].mean())
        assert abs(float(did.estimate()) - effect) < 1e-10
        np.testing.assert_allclose(did.influence_.to_numpy()[:, 0], influence, atol=1e-9)

    def test_errors_are_smaller_and_right_where_effects_differ(self):
        # 60 data sets; the bounds on the mean squared z-score are crossed with a probability of 1e-6 by right errors.
        truth = 1 + 4 * 0.413242  # 4 E[x | treated] by quadrature
        z, errors = [], []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            x, time = rng.normal(size=(1000, 1)), rng.integers(1, 3, size=1000).astype(float)
            d = rng.random(1000) < 1 / (1 + np.exp(-x[:, 0]))
            y = x[:, 0] * (1 + 2 * (time == 2)) + d * (1 + (time == 2) * (1 + 4 * x[:, 0])) + rng.normal(size=1000)
            data = {"y": y, "time": time, "first_treated": np.where(d, 2.0, np.inf)}
            learners = {"learner_outcome": "ols", "learner_propensity": LogisticRegression()}
            one, two = (fit(data, x, method=method, **learners).estimate() for method in ("dr", "dr_efficient"))
            z.append((float(two) - truth) / two.std_error[0])
            errors.append([one.std_error[0], two.std_error[0]])
        low, high = chi2.ppf([5e-7, 1 - 5e-7], 60) / 60
        assert low < np.mean(np.square(z)) < high
        assert all(two < 0.95 * one for one, two in errors)

    def test_a_panel_has_no_use_for_it(self):
        data = make_did(100, 3, random_state=0)
        with pytest.raises(InvalidParameter, match="'dr_efficient' is for panel=False"):
            fit(data, data["X"], panel=True, method="dr_efficient")


class Rounded:
    """Predicts the first column times the rounded mean of what it learnt from, or always the same."""

    def __init__(self, always=None):
        self.always = always

    def fit(self, X, y):
        self.slope = np.round(np.mean(y))
        return self

    def predict(self, X):
        return self.slope * X[:, 0] if self.always is None else np.full(len(X), self.always)
