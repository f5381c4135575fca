"""GaussianCanaryAudit: known laws, coverage, its point estimate, and bad input."""

from functools import cache

import numpy as np
import pytest

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.privacy import GaussianCanaryAudit, gdp_to_eps
from mcstat.privacy._gdp import gaussian_eps
from tests.stat_asserts import assert_mean_close, two_stage_coverage


def test_many_canaries_find_the_two_laws():
    rng = np.random.default_rng(1)
    audit = GaussianCanaryAudit(delta=1e-3, spread="separate", random_state=0).fit(
        rng.normal(3, 1.2, 50_000), rng.normal(2, 1, 50_000)
    )
    est = audit.estimate()
    assert_mean_close(est.value, gaussian_eps(3.0, 1.2, 2.0, 1.0, 1e-3), est.std_error)
    assert_mean_close(audit.plug_in_, est.value, est.std_error)
    assert est.std_error[0] < 0.1
    assert est.kind == "posterior"


def test_dimension_stands_for_unused_canaries():
    dim, rng = 10_000, np.random.default_rng(2)
    scores = rng.normal(0.02, 0.01, 2000)
    est = GaussianCanaryAudit(dim=dim, random_state=0).fit(scores).estimate()
    assert_mean_close(est.value, gdp_to_eps(2.0, 1e-5), est.std_error)


def test_known_spread_and_observed_unused_canaries_agree():
    rng = np.random.default_rng(4)
    inside, outside = rng.normal(0.1, 0.1, 4000), rng.normal(0, 0.1, 4000)
    known = GaussianCanaryAudit(dim=100, random_state=0).fit(inside).estimate()
    seen = GaussianCanaryAudit(random_state=0).fit(inside, outside).estimate()
    assert abs(known.value - seen.value) < 6 * seen.std_error
    assert known.std_error < seen.std_error


def test_scale_and_shift_change_nothing():
    rng = np.random.default_rng(3)
    inside, outside = rng.normal(1, 1, 300), rng.normal(0, 1, 300)
    one = GaussianCanaryAudit(random_state=0).fit(inside, outside).estimate()
    other = GaussianCanaryAudit(random_state=0).fit(5 - 2 * inside, 5 - 2 * outside).estimate()
    # The draws of the means are mirrored, so they agree in law only; the plug-in is the same number.
    assert one.diagnostics["plug_in"] == pytest.approx(other.diagnostics["plug_in"], rel=1e-9)
    assert abs(one.value - other.value) < 0.2 * one.std_error


def test_intervals_cover():
    truth = float(gdp_to_eps(1.0, 1e-5))

    @cache
    def covered(start, n):
        inside = 0
        for seed in range(start, start + n):
            rng = np.random.default_rng(seed)
            audit = GaussianCanaryAudit(n_draws=200, random_state=seed)
            ends = audit.fit(rng.normal(1, 1, 200), rng.normal(0, 1, 200)).estimate().conf_int(0.9).iloc[0]
            inside += ends["lower"] <= truth <= ends["upper"]
        return inside

    two_stage_coverage(covered, 0.9)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([1.0, np.nan, 2.0],), "scores_in must be finite"),
        (([1.0],), "scores_in must hold at least 2"),
        (([1.0, 1.0],), "scores_in must hold at least 2"),
        (([1.0, 2.0],), "dim must be given"),
        (([1.0, 2.0], [3.0]), "scores_out"),
        (([[1.0, 2.0]],), "scores_in must have 1 dimension"),
    ],
)
def test_bad_scores_are_refused(arguments, match):
    with pytest.raises((InvalidData, InvalidParameter), match=match):
        GaussianCanaryAudit().fit(*arguments)


@pytest.mark.parametrize(
    ("name", "value"), [("delta", 0.0), ("delta", 1.0), ("dim", 0), ("dim", 2.5), ("n_draws", 10), ("spread", "both")]
)
def test_bad_settings_are_refused(name, value):
    audit = GaussianCanaryAudit(**({"dim": 5} | {name: value}))
    with pytest.raises(InvalidParameter, match=name):
        audit.fit([1.0, 2.0, 4.0])
