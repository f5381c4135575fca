"""What PanelDML refuses, drops or warns of: traps that other packages walk into."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mcstat.causal import PanelDML
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from tests.causal.problems import linear_panel

quiet = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")


def ols(approach="cre", **settings):
    return PanelDML(approach, "ols", "ols", random_state=0, **settings)


def without(data, rows):
    return {name: values[~rows] for name, values in data.items()}


@quiet
def test_a_gap_that_all_share_is_not_straddled():
    # Nobody is observed in period 3: differences between 4 and 2 must not be formed.
    data = linear_panel(n_units=50, n_periods=8)
    data = without(data, data["time"] == 3)
    model = ols("fd").fit(**data)
    assert model.n_obs_ == 50 * 5
    assert set(data["time"][np.isnan(model.residuals_y_)]) == {0, 4}
    assert model.dropped_.set_index("reason")["rows"].to_dict() == {"no observation one period before": 100}


@quiet
def test_time_step_says_what_consecutive_means():
    data = linear_panel(n_periods=4)
    data["time"] = 2 * data["time"]
    assert ols("fd").fit(**data).n_obs_ == 120
    with pytest.raises(InvalidData, match="time must have consecutive periods"):
        ols("fd", time_step=1.0).fit(**data)


def test_repeated_unit_time_rows_are_refused():
    data = linear_panel()
    again = {name: np.concatenate([values, values[7:8]]) for name, values in data.items()}
    with pytest.raises(InvalidData, match=r"1 repeated pair\(s\), the first in rows 7 and 240"):
        ols().fit(**again)


@quiet
def test_nan_in_any_covariate_is_named_or_dropped():
    data = linear_panel()
    data["X"] = data["X"].copy()
    data["X"][5, 1] = np.nan
    with pytest.raises(InvalidData, match=r"X\['x2'\] must be finite"):
        ols().fit(**data)
    frame = data | {"X": pd.DataFrame(data["X"], columns=["age", "size"])}
    with pytest.raises(InvalidData, match=r"X\['size'\] must be finite"):
        ols().fit(**frame)
    model = ols(missing="drop").fit(**data)
    wanted = ols().fit(**without(data, np.arange(240) == 5)).estimate()
    assert float(model.estimate()) == pytest.approx(float(wanted), abs=1e-12)
    assert model.dropped_["rows"].tolist() == [1]
    assert np.flatnonzero(np.isnan(model.residuals_y_)).tolist() == [5]


def test_treatments_that_tell_nothing():
    data = linear_panel()
    fixed = data["unit"].astype(float)
    for approach in ("cre", "fd", "within", "late"):
        with pytest.raises(InvalidData, match="treatment does not vary within units"):
            ols(approach).fit(**(data | {"d": fixed}))
    with pytest.raises(InvalidData, match="d must vary given the covariates"):
        ols("pooled").fit(**(data | {"d": data["X"][:, 0]}))
    with pytest.raises(InvalidData, match="several periods a unit"):
        ols().fit(**without(data, data["time"] > 0))


def test_settings_that_do_not_go_together():
    data = linear_panel()
    for settings, word in (
        ({"approach": "dummies"}, "splitter"),
        ({"n_folds": 41}, "n_folds"),
        ({"splitter": "period", "n_folds": 7}, "n_folds"),
        ({"splitter": "nlo"}, "n_folds"),
        ({"time_step": 0.0}, "time_step"),
        ({"learner_g": 3}, "learner_g"),
        ({"aggregate": "mode"}, "aggregate"),
    ):
        with pytest.raises((InvalidParameter, TypeError), match=word):
            ols(**settings).fit(**data)


def test_columns_that_do_not_fit():
    data = linear_panel()
    for change, word in (
        ({"weights": -np.ones(240)}, "weights"),
        ({"weights": np.zeros(240)}, "weights"),
        ({"weights": np.ones(3)}, "weights"),
        ({"folds": np.zeros(240)}, "folds"),
        ({"folds": np.arange(5)}, "folds"),
        ({"folds": [(np.arange(240), np.arange(0))]}, "folds"),
        ({"folds": [(np.arange(240), np.arange(239))]}, "folds"),
        ({"X": np.ones((3, 2))}, "X"),
        ({"unit": None}, "unit"),
        ({"unit": np.where(np.arange(240) == 0, np.nan, 1.0)}, "unit"),
        ({"time": np.arange(3)}, "time"),
        ({"z": np.ones((240, 2))}, "z"),
        ({"predictions": {"y": np.ones(3)}}, "predictions"),
        ({"predictions": {"q": np.ones(240)}}, "predictions"),
    ):
        with pytest.raises((InvalidData, InvalidParameter), match=word):
            ols().fit(**(data | change))
    with pytest.raises(InvalidData, match="time must hold numbers or dates"):
        ols("fd").fit(**(data | {"time": data["time"].astype(str)}))
    frame = pd.DataFrame({name: data[name] for name in ("y", "d", "unit", "time")})
    with pytest.raises(InvalidParameter, match="wage"):
        ols().fit(data=frame, outcome="wage", treatment="d", unit="unit", time="time")


def test_warnings_say_what_was_done():
    data = linear_panel(n_units=60)
    single = (data["unit"] < 3) & (data["time"] > 0)
    with pytest.warns(ReliabilityWarning, match=r"3 unit\(s\) observed once"):
        ols().fit(**without(data, single))
    with pytest.warns(ReliabilityWarning, match="only 20 clusters"):
        ols().fit(**linear_panel(n_units=20))
    constant = np.column_stack([data["X"], data["unit"] % 5])
    with pytest.warns(ReliabilityWarning, match=r"do not vary within units were dropped: \['x3'\]"):
        ols("within").fit(**(data | {"X": constant}))
    with pytest.warns(ReliabilityWarning, match=r"enter once, not with their lag: \['x3'\]"):
        ols("fd").fit(**(data | {"X": constant}))
    with pytest.warns(ReliabilityWarning, match="more than a tenth"):
        ols().fit(**(data | {"X": np.random.default_rng(0).normal(size=(360, 25))}))
    with pytest.warns(ReliabilityWarning, match="rows a feature"):
        PanelDML("cre", "hgb", "hgb", n_folds=2, random_state=0).fit(**data)
    binary = (data["X"][:, 0] + 0.2 * np.random.default_rng(0).normal(size=360) > 0).astype(float)
    with pytest.warns(ReliabilityWarning, match=r"outside \[0.01, 0.99\]"):
        PanelDML("pooled", "ols", LogisticRegression(C=1e4), random_state=0).fit(**(data | {"d": binary}))
