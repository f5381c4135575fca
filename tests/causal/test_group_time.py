"""GroupTimeATT: exact checks of the card, plain twin, aggregation, bad input."""

import numpy as np
import pandas as pd
import pytest

from mcstat.causal import GroupTimeATT
from mcstat.core.errors import InvalidData, ReliabilityWarning
from mcstat.datasets import make_did
from tests.naive import did as naive
from tests.stat_asserts import assert_mean_close, seed_for, two_stage_coverage


def staggered(seed=0, n=200, periods=6):
    """Arguments of ``fit`` without covariates."""
    data = make_did(n, periods, random_state=seed)
    return {name: data[name] for name in ("y", "unit", "time", "first_treated")}


def table(data):
    units, times = np.unique(data["unit"]), np.unique(data["time"])
    frame = pd.DataFrame(data).pivot(index="unit", columns="time", values="y").to_numpy()
    first = pd.DataFrame(data).groupby("unit")["first_treated"].first().to_numpy().astype(float)
    assert len(frame) == len(units)
    return frame, np.where(first == 0, np.inf, first), times


@pytest.mark.parametrize("control", ["never", "not_yet"])
@pytest.mark.parametrize("base_period", ["varying", "universal"])
@pytest.mark.parametrize("anticipation", [0, 1])
def test_plain_twin(control, base_period, anticipation):
    data = staggered()
    keep = np.random.default_rng(0).random(len(data["y"])) < 0.9
    data = {name: values[keep] for name, values in data.items()}
    model = GroupTimeATT(control, base_period=base_period, anticipation=anticipation).fit(**data)
    Y, first, times = table(data)
    est = model.estimate()
    assert len(est) == len(model.cells_)
    for row in model.cells_.itertuples():
        before = row.time < row.group - anticipation and base_period == "varying"
        latest = (row.time if before else row.group) - 1 - anticipation
        assert row.base == max(t for t in times if t <= latest)
        bound = max(row.time, row.base) + anticipation

        def is_control(g, bound=bound):
            return np.isinf(g) if control == "never" else g > bound

        one = est[f"ATT({row.group:g}, {row.time:g})"]
        theta, error = naive.cell(Y, first, times, row.group, row.time, row.base, is_control)
        assert float(one) == pytest.approx(theta, abs=1e-12)
        assert one.std_error[0] == pytest.approx(error, rel=1e-10) or (theta == 0.0 and one.std_error[0] == 0.0)


def test_two_periods_and_two_groups_are_the_textbook_difference():
    data = staggered(1)
    keep = np.isin(data["time"], [2, 3]) & np.isin(data["first_treated"], [0, 3])
    data = {name: values[keep] for name, values in data.items()}
    est = GroupTimeATT().fit(**data).estimate()
    post, treated = (data["time"] == 3) * 1.0, (data["first_treated"] == 3) * 1.0
    dummies = (data["unit"][:, None] == np.unique(data["unit"])).astype(float)
    design = np.column_stack([post * treated, post, dummies])
    assert float(est) == pytest.approx(np.linalg.lstsq(design, data["y"], rcond=None)[0][0], abs=1e-10)


@pytest.mark.parametrize("control", ["never", "not_yet"])
def test_unit_constants_and_common_shocks_change_nothing(control):
    data = staggered(2)
    one = GroupTimeATT(control).fit(**data).estimate()
    rng = np.random.default_rng(0)
    moved = data["y"] + rng.normal(size=200)[data["unit"]] * 10 + rng.normal(size=7)[data["time"]] * 10
    other = GroupTimeATT(control).fit(**(data | {"y": moved})).estimate()
    np.testing.assert_allclose(one.value, other.value, atol=1e-11)
    np.testing.assert_allclose(one.cov, other.cov, atol=1e-11)


def test_names_of_never_and_clusters_of_single_units_change_nothing():
    data = staggered(3)
    one = GroupTimeATT().fit(**data).estimate()
    for never in (np.inf, np.nan):
        first = np.where(data["first_treated"] == 0, never, data["first_treated"])
        other = GroupTimeATT().fit(**(data | {"first_treated": first})).estimate()
        assert one.value.tobytes() == other.value.tobytes()
    other = GroupTimeATT().fit(**data, cluster=data["unit"] + 7).estimate()
    np.testing.assert_allclose(one.cov, other.cov, atol=1e-15)
    frame = pd.DataFrame(data)
    names = {"outcome": "y", "unit": "unit", "time": "time", "first_treated": "first_treated"}
    assert GroupTimeATT().fit(data=frame, **names).estimate().value.tobytes() == one.value.tobytes()


def test_universal_base_is_exactly_zero_before_treatment():
    est = GroupTimeATT(base_period="universal").fit(**staggered(4)).estimate()
    at_base = est.coords["time"] == est.coords["group"] - 1
    assert at_base.sum() == 3
    assert np.all(est.value[at_base] == 0.0)
    assert np.all(est.std_error[at_base] == 0.0)


def test_doubly_robust_equals_regression_where_covariates_are_saturated():
    data = make_did(600, 5, random_state=5)
    data.pop("effect")
    cell = (data["X"][:, :1] > 0).astype(float)
    everything = {name: data[name] for name in ("y", "unit", "time", "first_treated")} | {"X": cell}
    reg = GroupTimeATT(method="reg").fit(**everything).estimate()
    Y, first, times = table({name: data[name] for name in ("y", "unit", "time", "first_treated")})
    x = cell[:: len(times), 0]
    treated, control = first == 4, np.isinf(first)
    gain = Y[:, 3] - Y[:, 2]
    share = x[treated].mean()
    wanted = gain[treated].mean() - sum(
        p * gain[control & (x == v)].mean() for v, p in ((1.0, share), (0.0, 1 - share))
    )
    assert float(reg["ATT(4, 4)"]) == pytest.approx(wanted, abs=1e-12)
    # Cross-fitting moves it by a small part of its error.
    dr = GroupTimeATT(learner_y="ols", learner_d="ols", random_state=0).fit(**everything).estimate()
    assert np.all(np.abs(dr.value - reg.value) < 0.2 * reg.std_error)
    np.testing.assert_allclose(dr.std_error, reg.std_error, rtol=0.05)


def test_error_of_regression_by_bootstrap():
    # 500 resamples: the deviation has a relative error of 3.2 %; 20 % is six of them.
    data = make_did(300, 5, random_state=6)
    data.pop("effect")
    model = GroupTimeATT(method="reg").fit(**data)
    Y, first, _ = table({name: data[name] for name in ("y", "unit", "time", "first_treated")})
    X = data["X"][::5]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(500):
        rows = rng.integers(0, 300, 300)
        gain, f = (Y[:, 3] - Y[:, 1])[rows], first[rows]
        design = np.column_stack([np.ones(300), X[rows]])
        coef = np.linalg.lstsq(design[np.isinf(f)], gain[np.isinf(f)], rcond=None)[0]
        drawn.append((gain - design @ coef)[f == 3].mean())
    assert model.estimate()["ATT(3, 4)"].std_error[0] == pytest.approx(np.std(drawn), rel=0.2)


def test_covariates_take_away_trends_that_are_not_parallel():
    data = make_did(4000, 5, random_state=seed_for("trends"))
    data.pop("effect")
    est = GroupTimeATT(learner_y="ols", learner_d="series", random_state=0).fit(**data)
    one = est.aggregate("dynamic")
    after = [name for name in one.names if name.startswith("e = ") and float(name[4:]) >= 0]
    part = one[after]
    assert_mean_close(part.value, part.coords["event_time"] + 1.0, part.std_error)
    assert est.pretrend_test()["p_value"] > 1e-6
    without = GroupTimeATT().fit(**{k: v for k, v in data.items() if k != "X"})
    assert without.pretrend_test()["p_value"] < 1e-6


def test_aggregates_are_weighted_means_of_cells():
    data = staggered(7)
    model = GroupTimeATT().fit(**data)
    est, first = model.estimate(), table(data)[1]
    group, time = est.coords["group"], est.coords["time"]
    size = {g: np.mean(first == g) for g in np.unique(group)}
    weights = np.array([size[g] for g in group])
    after = time >= group
    simple = model.aggregate("simple")
    assert float(simple) == pytest.approx(weights[after] @ est.value[after] / weights[after].sum(), rel=1e-12)
    dynamic = model.aggregate("dynamic")
    at = (time - group) == 1
    assert float(dynamic["e = 1"]) == pytest.approx(weights[at] @ est.value[at] / weights[at].sum(), rel=1e-12)
    events = [name for name in dynamic.names if name.startswith("e = ") and float(name[4:]) >= 0]
    assert float(dynamic["overall"]) == pytest.approx(dynamic[events].value.mean(), rel=1e-12)
    by_group = model.aggregate("group")
    means = [est.value[after & (group == g)].mean() for g in (3, 4, 5)]
    np.testing.assert_allclose(by_group.value[:3], means, rtol=1e-12)
    share = np.array([size[g] for g in (3, 4, 5)])
    assert float(by_group["overall"]) == pytest.approx(share @ means / share.sum(), rel=1e-12)
    by_time = model.aggregate("calendar")
    at = after & (time == 4)
    assert float(by_time["time 4"]) == pytest.approx(weights[at] @ est.value[at] / weights[at].sum(), rel=1e-12)
    balanced = model.aggregate("dynamic", balance_e=2)
    assert max(balanced.coords["event_time"][:-1]) == 2


def test_error_of_an_aggregate_by_bootstrap():
    # 500 resamples of units: relative error 3.2 %. Weights are resampled too.
    data = staggered(8)
    model = GroupTimeATT().fit(**data)
    Y, first, _ = table(data)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(500):
        rows = rng.integers(0, 200, 200)
        again = {
            "y": Y[rows].ravel(),
            "unit": np.repeat(np.arange(200), 6),
            "time": np.tile(np.arange(1, 7), 200),
            "first_treated": np.repeat(first[rows], 6),
        }
        drawn.append(GroupTimeATT().fit(**again).aggregate("dynamic").value)
    est = model.aggregate("dynamic")
    np.testing.assert_allclose(est.std_error, np.std(drawn, axis=0), rtol=0.2)


@pytest.mark.slow
def test_joint_bands_cover_all_event_times():
    # Right bands fail with probability below 1e-6.
    def covered(start, n):
        count = 0
        for k in range(start, start + n):
            data = make_did(400, 5, random_state=seed_for(f"did {k}"))
            data["y"] = data["y"] - np.repeat(data["X"][:, 0][::5], 5) * data["time"]
            rows = {name: data[name] for name in ("y", "unit", "time", "first_treated")}
            est = GroupTimeATT().fit(**rows).aggregate("dynamic")
            event = est.coords["event_time"][:-1]
            band = est[list(est.names[:-1])].conf_int(joint=True)
            truth = np.maximum(event + 1.0, 0.0)
            count += bool(((band["lower"] <= truth) & (truth <= band["upper"])).all())
        return count

    two_stage_coverage(covered, stages=((400, 1e-2), (1500, 1e-4)))


def test_plot_event_study():
    ax = GroupTimeATT().fit(**staggered(9)).plot_event_study()
    assert ax.get_xlabel() == "periods since treatment"


def test_bad_input():
    data = staggered(10)
    off = np.where(data["time"] > 4, 0, data["first_treated"])
    for change, word in (
        ({"first_treated": off}, "first_treated must not change"),
        ({"first_treated": np.zeros(1200)}, "first_treated must name"),
        ({"first_treated": data["first_treated"].astype(str)}, "first_treated"),
        ({"first_treated": np.full(1200, 3)}, "first_treated must leave"),
        ({"cluster": np.arange(1200)}, "cluster must not change"),
        ({"time": np.ones(1200)}, "repeated pair"),
        ({"time": data["time"].astype(str)}, "time must hold numbers"),
    ):
        with pytest.raises(InvalidData, match=word):
            GroupTimeATT().fit(**(data | change))
    early = data | {"first_treated": np.where(data["unit"] < 5, 1, data["first_treated"])}
    with pytest.warns(ReliabilityWarning, match=r"5 unit\(s\) treated from the first period"):
        GroupTimeATT().fit(**early)
    few = make_did(40, 5, random_state=0)
    few.pop("effect")
    with pytest.warns(ReliabilityWarning, match="few treated units were estimated by regression"):
        GroupTimeATT(learner_y="ols", learner_d="ols", random_state=0).fit(**few)
    later = data | {"first_treated": np.where(data["first_treated"] == 0, 6, data["first_treated"])}
    with pytest.warns(ReliabilityWarning, match="no treated or no control units"):
        GroupTimeATT("not_yet").fit(**later)
