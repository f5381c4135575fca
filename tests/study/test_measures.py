"""The measures on tables worked by hand."""

from math import inf, nan, sqrt

import numpy as np
import pytest

from mcstat.study import StudyResult
from mcstat.study._measures import MEASURES

# Four replicates of an estimator of 2. Errors e: -1, 0, 1, 4, mean 1, squared deviations 4 + 1 + 0 + 9 = 14.
#              truth estimate se   low  high  cpu
TABLE = [
    (2.0, 1.0, 1.0, 0.0, 2.5, 0.1),
    (2.0, 2.0, 2.0, -2.0, 6.0, 0.2),
    (2.0, 3.0, 2.0, -1.0, 7.0, 0.3),
    (2.0, 6.0, 1.0, 4.0, 8.0, 0.4),
]
BY_HAND = {
    "bias": 1.0,
    "bias_mcse": sqrt(14 / (4 * 3)),
    "emp_se": sqrt(14 / 3),
    "emp_se_mcse": sqrt(14 / 3) / sqrt(2 * 3),
    # se^2: 1, 4, 4, 1, mean 2.5, variance (4 * 1.5^2) / 3 = 3
    "model_se": sqrt(2.5),
    "model_se_mcse": sqrt(3 / (4 * 4 * 2.5)),
    # ModSE / EmpSE = sqrt(2.5 / (14 / 3)) = sqrt(15 / 28)
    "rel_error_model_se": 100 * (sqrt(15 / 28) - 1),
    "rel_error_model_se_mcse": 100 * sqrt(15 / 28) * sqrt(3 / (4 * 4 * 2.5**2) + 1 / (2 * 3)),
    # e^2: 1, 0, 1, 16, mean 4.5, squared deviations 12.25 + 20.25 + 12.25 + 132.25 = 177
    "mse": 4.5,
    "mse_mcse": sqrt(177 / (4 * 3)),
    # 2 lies in the first three intervals
    "coverage": 0.75,
    "coverage_mcse": sqrt(0.75 * 0.25 / 4),
    # truth + bias = 3 lies in the second and third
    "be_coverage": 0.5,
    "be_coverage_mcse": sqrt(0.5 * 0.5 / 4),
    # widths 2.5, 8, 8, 4, mean 5.625, squared deviations 9.765625 + 2 * 5.640625 + 2.640625 = 23.6875
    "width": 5.625,
    "width_mcse": sqrt(23.6875 / (4 * 3)),
    # 0 is an end of the first, inside the second and third, outside the fourth
    "power": 0.25,
    "power_mcse": sqrt(0.25 * 0.75 / 4),
    # squared deviations 0.0225 + 0.0025 + 0.0025 + 0.0225 = 0.05
    "cpu_seconds": 0.25,
    "cpu_seconds_mcse": sqrt(0.05 / (4 * 3)),
}


def frame(table, failures=(), methods=("m",), null=0.0):
    rows = [(k, "m", "x", *line) for k, line in enumerate(table)]
    return StudyResult.from_rows(rows, failures, methods, len(table), 0.95, null, {}).to_frame()


def measures(table, **settings):
    return frame(table, **settings).iloc[0].drop(["method", "term", "n", "failures"]).to_dict()


def test_every_measure_by_hand():
    assert measures(TABLE) == pytest.approx(BY_HAND, rel=1e-14)


def test_columns_and_their_order():
    pairs = [name + end for name in MEASURES for end in ("", "_mcse")]
    assert list(frame(TABLE).columns) == ["method", "term", "n", "failures", *pairs]


def test_a_truth_that_varies_leaves_errors_and_measures_as_they_were():
    shift = np.array([10.0, -3.0, 0.5, 100.0])
    moved = [
        (truth + s, estimate + s, se, low + s, high + s, cpu)
        for s, (truth, estimate, se, low, high, cpu) in zip(shift, TABLE, strict=True)
    ]
    # Only the power is about the place of the interval: 0 lies in [-2 - 3, 6 - 3] and [-0.5, 7.5] alone.
    expected = BY_HAND | {"power": 0.5, "power_mcse": sqrt(0.5 * 0.5 / 4)}
    assert measures(moved) == pytest.approx(expected, rel=1e-12)


def test_null_moves_the_power_only():
    expected = BY_HAND | {"power": 0.5, "power_mcse": sqrt(0.5 * 0.5 / 4)}
    assert measures(TABLE, null=3.0) == pytest.approx(expected, rel=1e-14)


def test_without_truth_only_what_needs_none():
    found = measures([(nan, *line[1:]) for line in TABLE])
    need_truth = {name + end for name in ("bias", "mse", "coverage", "be_coverage") for end in ("", "_mcse")}
    assert {name for name, value in found.items() if np.isnan(value)} == need_truth
    # The truth is constant here, so the spread about the mean is the spread of the errors.
    assert {name: found[name] for name in found.keys() - need_truth} == pytest.approx(
        {name: BY_HAND[name] for name in found.keys() - need_truth}, rel=1e-14
    )


def test_nothing_unknown_is_dropped_silently():
    found = measures([(2.0, 1.0, nan, nan, nan, 0.1), *TABLE[1:]])
    unknown = {"model_se", "rel_error_model_se", "coverage", "be_coverage", "width", "power"}
    assert {name for name in MEASURES if np.isnan(found[name])} == unknown


def test_infinite_intervals_cover_and_have_infinite_width():
    found = measures([(2.0, 1.0, inf, -inf, inf, 0.1), *TABLE[1:]])
    assert (found["coverage"], found["width"], found["model_se"]) == (0.75, inf, inf)
    assert np.isnan(found["width_mcse"])


def test_one_replicate_has_no_spread():
    found = measures(TABLE[:1])
    assert (found["bias"], found["mse"], found["coverage"], found["model_se"]) == (-1.0, 1.0, 1.0, 1.0)
    assert all(np.isnan(found[name]) for name in ("emp_se", "bias_mcse", "emp_se_mcse", "model_se_mcse"))


def test_zero_spread_and_zero_errors_give_no_python_error():
    found = measures([(2.0, 2.0, 0.0, 2.0, 2.0, 0.0)] * 3)
    assert (found["emp_se"], found["model_se"], found["coverage"], found["power"]) == (0.0, 0.0, 1.0, 1.0)
    assert np.isnan(found["rel_error_model_se"])


def test_failures_are_counted_by_term_and_a_method_that_never_answered_has_a_row():
    failures = [
        (0, "m", "", "ValueError", "all terms"),
        (1, "m", "x", "NonFiniteEstimate", "the estimate is nan"),
        (1, "m", "y", "NonFiniteEstimate", "the estimate is inf"),
        (0, "dead", "", "ValueError", "no"),
        (1, "dead", "", "ValueError", "no"),
    ]
    table = frame(TABLE, failures, methods=("m", "dead"))
    found = [tuple(row) for row in table[["method", "term", "n", "failures"]].to_numpy()]
    assert found == [("m", "x", 4, 2), ("m", "y", 0, 2), ("dead", "", 0, 2)]
    assert table.loc[1:, MEASURES].isna().all(axis=None)
