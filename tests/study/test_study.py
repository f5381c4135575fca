"""The run: seeds, order, backends, failures, truths, resume."""

import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.random import SeedSequence

import mcstat
from mcstat import Estimate
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.study import SimulationStudy, StudyResult
from tests.stat_asserts import two_stage_coverage
from tests.study.methods import NoisyMean, Wrapper, normal_data, numbers, t_interval, two_moments


def same(a, b):
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def run(methods, n=20, dgm=normal_data, truth=2.0, **settings):
    return SimulationStudy(dgm, methods, truth=truth).run(n, **({"random_state": 5} | settings))


# What one replicate holds ------------------------------------------------------------------------------------


def test_replicates_hold_what_the_method_said():
    drawn = []

    def dgm(rng):
        drawn.append(rng.normal(2.0, 1.0, size=12))
        return {"x": drawn[-1]}

    result = run({"t": t_interval}, n=3, dgm=dgm)
    for k, x in enumerate(drawn):
        row = result.replicates.iloc[k]
        est = t_interval(x)
        ends = est.conf_int(0.95).loc["value"]
        assert (row["replicate"], row["method"], row["term"], row["truth"]) == (k, "t", "value", 2.0)
        assert (row["estimate"], row["std_error"]) == (est.value[0], est.std_error[0])
        assert (row["conf_low"], row["conf_high"]) == (ends["lower"], ends["upper"])
    assert len(result.failures) == 0


def test_cpu_seconds_are_those_of_the_method():
    def busy(x):
        for _ in range(3):
            np.sort(np.arange(200_000.0)[::-1])
        return t_interval(x)

    table = run({"busy": busy, "quick": t_interval}, n=5).to_frame().set_index("method")
    assert table.loc["busy", "cpu_seconds"] > 10 * table.loc["quick", "cpu_seconds"] > 0.0


def test_a_method_that_writes_into_its_data_changes_no_other_answer():
    def vandal(x):
        x[:] = 0.0
        return Estimate(value=0.0, std_error=1.0)

    both = numbers(run({"vandal": vandal, "t": t_interval}))
    same(both[both["method"] == "t"].reset_index(drop=True), numbers(run({"t": t_interval})))


# Streams -----------------------------------------------------------------------------------------------------


def test_same_seed_same_bits_and_the_entropy_repeats_a_run():
    first = run({"noisy": NoisyMean()}, random_state=None)
    assert not numbers(run({"noisy": NoisyMean()}, random_state=None)).equals(numbers(first))
    same(numbers(run({"noisy": NoisyMean()}, random_state=SeedSequence(**first.entropy))), numbers(first))


def test_a_longer_run_begins_with_the_shorter_one():
    long, short = numbers(run({"noisy": NoisyMean()}, n=30)), numbers(run({"noisy": NoisyMean()}, n=11))
    same(long.head(11), short)


def test_order_and_company_of_methods_change_no_number():
    a, b = NoisyMean(0.1), NoisyMean(0.2)
    one = numbers(run({"a": a, "b": b})).sort_values(["method", "replicate"], ignore_index=True)
    other = numbers(run({"b": b, "a": a})).sort_values(["method", "replicate"], ignore_index=True)
    same(one, other)
    same(one[one["method"] == "a"], numbers(run({"a": a})))


def test_each_replicate_and_method_has_its_own_noise():
    # Scale 0 would give the mean of x; the noise of the two methods is what is left.
    table = numbers(run({"a": NoisyMean(1.0), "b": NoisyMean(1.0), "mean": NoisyMean(0.0)}))
    wide = table.pivot(index="replicate", columns="method", values="estimate")
    noise = wide[["a", "b"]].sub(wide["mean"], axis=0).to_numpy().ravel()
    assert len(np.unique(noise.round(9))) == 40


def test_the_users_estimator_is_not_touched_and_nested_seeds_are_set():
    inner = NoisyMean(0.5, random_state=3)
    wrapped = Wrapper(inner)
    table = numbers(run({"wrapped": wrapped, "mean": NoisyMean(0.0)}))
    wide = table.pivot(index="replicate", columns="method", values="estimate")
    assert wrapped.inner is inner
    assert vars(inner) == {"scale": 0.5, "random_state": 3}
    assert len(np.unique((wide["wrapped"] - wide["mean"]).round(9))) == 20


class Plain:
    """No scikit-learn estimator: its ``fit`` returns nothing, and a second ``fit`` adds to the first."""

    def __init__(self):
        self.seen = []

    def fit(self, x):
        self.seen.append(x)

    def estimate(self):
        return t_interval(np.concatenate(self.seen))


def test_fit_and_estimate_are_all_an_object_needs_and_each_replicate_has_a_fresh_copy():
    plain = Plain()
    estimates = [numbers(run({"m": method})) for method in (plain, t_interval)]
    same(*estimates)
    assert plain.seen == []


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_every_backend_gives_the_same_bits(backend):
    methods = {"noisy": NoisyMean(), "t": t_interval}
    with joblib.parallel_config(backend, n_jobs=2):
        parallel = SimulationStudy(normal_data, methods, truth=2.0).run(20, random_state=5)
    same(numbers(parallel), numbers(run(methods, n_jobs=1)))


def test_nothing_touches_the_global_stream():
    before = np.random.get_state()  # noqa: NPY002
    run({"noisy": NoisyMean()})
    after = np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert np.array_equal(before[1], after[1])


SCRIPT = """
import numpy as np
from mcstat import Estimate
from mcstat.study import SimulationStudy

size = 15
dgm = lambda rng: {"x": rng.normal(2.0, 1.0, size=size)}

def method(x):
    return Estimate(value=x.mean(), std_error=x.std(ddof=1) / np.sqrt(size), df=size - 1)

if __name__ == "__main__":
    frame = SimulationStudy(dgm, {"name": method}, truth=2.0).run(n_replicates=800, n_jobs=2, random_state=5).to_frame()
    serial = SimulationStudy(dgm, {"name": method}, truth=2.0).run(n_replicates=800, random_state=5).to_frame()
    seconds = ["cpu_seconds", "cpu_seconds_mcse"]
    assert frame.drop(columns=seconds).equals(serial.drop(columns=seconds))
    print(int(frame["n"][0]), round(float(frame["coverage"][0]), 3))
"""


def test_a_script_with_a_lambda_runs_in_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-W", "error", str(script)]
    # The copy under test, also where another one is installed.
    environment = os.environ | {"PYTHONPATH": str(Path(mcstat.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    n, coverage = done.stdout.split()
    assert n == "800"
    # The seed is fixed; 0.95 +- 6 binomial standard errors.
    assert abs(float(coverage) - 0.95) < 6 * np.sqrt(0.95 * 0.05 / 800)


# Failures ----------------------------------------------------------------------------------------------------


def test_failures_are_recorded_and_the_others_go_on():
    def fragile(x):
        if x[0] > 2.0:
            raise ZeroDivisionError("x[0] is too large")
        return t_interval(x)

    result = run({"fragile": fragile, "t": t_interval}, n=40)
    failed = result.failures
    assert 0 < len(failed) < 40
    assert set(failed["method"]) == {"fragile"}
    assert set(failed["error"]) == {"ZeroDivisionError"}
    assert set(failed["message"]) == {"x[0] is too large"}
    answered = result.replicates.loc[result.replicates["method"] == "fragile", "replicate"]
    assert sorted([*failed["replicate"], *answered]) == list(range(40))
    table = result.to_frame().set_index("method")
    assert (table.loc["fragile", "failures"], table.loc["fragile", "n"]) == (len(failed), len(answered))
    assert (table.loc["t", "failures"], table.loc["t", "n"]) == (0, 40)
    assert f"fragile failed {len(failed)} time(s) with ZeroDivisionError" in str(result.summary())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_a_failure_of_its_term(bad):
    def half(x):
        return Estimate(value=[x.mean(), bad], std_error=[1.0, 1.0], names=["good", "bad"])

    result = run({"half": half}, n=3, truth={"good": 2.0, "bad": 1.0})
    assert set(result.replicates["term"]) == {"good"}
    assert list(result.failures["term"]) == ["bad"] * 3
    assert set(result.failures["error"]) == {"NonFiniteEstimate"}


def test_a_method_that_always_fails_warns():
    def dead(x):
        raise RuntimeError("out of order")

    with pytest.warns(ReliabilityWarning, match="'dead' failed in all 4 replicates; first RuntimeError: out of order"):
        result = run({"dead": dead, "t": t_interval}, n=4)
    assert result.to_frame()["failures"].tolist() == [4, 0]


def test_an_answer_that_is_no_estimate_is_a_failure():
    with pytest.warns(ReliabilityWarning, match="a method must answer with an Estimate, got float"):
        run({"bare": lambda x: 2.0}, n=2)


@pytest.mark.parametrize("backend", ["sequential", "loky"])
def test_an_error_of_the_mechanism_is_raised_with_the_replicate(backend):
    def dgm(rng):
        x = rng.normal(2.0, 1.0, size=12)
        if x[0] > 3.0:
            raise OverflowError(f"broken mechanism: {x[0]}")
        return {"x": x}

    first = numbers(run({"first": lambda x: Estimate(value=x[0], std_error=1.0)}, n=200))["estimate"]
    study = SimulationStudy(dgm, {"t": t_interval}, truth=2.0)
    with pytest.raises(OverflowError, match="broken mechanism") as caught, joblib.parallel_config(backend, n_jobs=2):
        study.run(200, random_state=5)
    (note,) = (note for note in caught.value.__notes__ if "mechanism" in note)
    k = int(note.removeprefix("in the data-generating mechanism, replicate "))
    assert str(caught.value) == f"broken mechanism: {first[k]}"
    if backend == "sequential":
        assert k == study.result_.n_replicates == np.flatnonzero(first > 3.0)[0]


def test_a_mechanism_must_return_a_mapping():
    with pytest.raises(InvalidData, match="dgm must return a mapping of arguments, got list"):
        run({"t": t_interval}, dgm=lambda rng: [1.0])


# Truth -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [{"mean": 2.0, "variance": 1.0}, [2.0, 1.0], np.array([2.0, 1.0])])
def test_forms_of_a_constant_truth(truth):
    result = run({"two": two_moments}, truth=truth)
    assert result.replicates.groupby("term")["truth"].unique().to_dict() == {"mean": [2.0], "variance": [1.0]}


@pytest.mark.parametrize("form", [lambda m: m, lambda m: {"value": m}, lambda m: [m], lambda m: np.array(m)])
def test_truth_of_each_replicate(form):
    def dgm(rng):
        m = rng.normal(0.0, 50.0)
        return {"x": rng.normal(m, 1.0, size=12), "truth": form(m)}

    result = run({"t": t_interval}, n=200, dgm=dgm, truth=None)
    assert result.replicates["truth"].nunique() == 200
    row = result.to_frame().iloc[0]
    # Error of a mean of 12: sd 0.289, within 6 of its Monte Carlo errors; the truths' own sd of 50 is not in it.
    assert abs(row["emp_se"] - 1 / np.sqrt(12)) < 6 * row["emp_se_mcse"]


def test_a_name_without_truth_is_nan():
    table = run({"two": two_moments}, truth={"mean": 2.0}).to_frame().set_index("term")
    assert table.loc["mean", ["bias", "coverage"]].notna().all()
    assert table.loc["variance", ["bias", "mse", "coverage", "be_coverage"]].isna().all()
    assert table.loc["variance", ["emp_se", "model_se", "width", "power", "cpu_seconds"]].notna().all()


def test_a_truth_that_no_estimate_has_is_refused_and_the_work_is_kept():
    study = SimulationStudy(normal_data, {"two": two_moments}, truth={"mean": 2.0, "varianse": 1.0})
    with pytest.raises(InvalidParameter, match=r"names of the Estimates \(mean, variance\), got varianse"):
        study.run(3, random_state=5)
    assert study.result_.n_replicates == 3


@pytest.mark.parametrize(("truth", "got"), [(2.0, 1), ([1.0, 2.0, 3.0], 3)])
def test_a_truth_of_the_wrong_length_is_refused(truth, got):
    with pytest.raises(InvalidParameter, match=rf"array of 2 numbers.*'two'; got {got} number"):
        run({"two": two_moments}, truth=truth)


def test_two_truths_are_refused():
    with pytest.raises(InvalidParameter, match="from the study or from dgm, got both"):
        run({"t": t_interval}, dgm=lambda rng: normal_data(rng) | {"truth": 2.0}, truth=2.0)


# Resume ------------------------------------------------------------------------------------------------------


class InterruptOnce:
    """The t interval, with Ctrl-C pressed in its eighth call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        if self.calls == 8:
            raise KeyboardInterrupt
        return t_interval(x)


@pytest.mark.parametrize("through_a_file", [False, True])
def test_resume_after_ctrl_c(tmp_path, through_a_file):
    method = InterruptOnce()
    study = SimulationStudy(normal_data, {"noisy": NoisyMean(), "t": method}, truth=2.0)
    with pytest.raises(KeyboardInterrupt):
        study.run(20)
    kept = study.result_
    assert kept.n_replicates == 7
    assert set(kept.replicates["replicate"]) == set(range(7))
    if through_a_file:
        kept.save(tmp_path / "kept.npz")
        kept = StudyResult.load(tmp_path / "kept.npz")
    result = study.run(20, resume=kept)
    assert method.calls == 8 + 13
    whole = run({"noisy": NoisyMean(), "t": t_interval}, random_state=SeedSequence(**kept.entropy))
    same(numbers(result), numbers(whole))
    assert result.n_replicates == whole.n_replicates == 20


def test_resume_extends_a_finished_run_and_takes_its_own_seed():
    study = SimulationStudy(normal_data, {"noisy": NoisyMean()}, truth=2.0)
    short = study.run(8, random_state=5)
    same(numbers(study.run(20, resume=short, random_state=5)), numbers(run({"noisy": NoisyMean()})))
    same(numbers(study.run(8, resume=short)), numbers(short))


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({}, {"random_state": 6}, "random_state must be left out or be the seed of resume"),
        ({}, {"n_replicates": 7}, "n_replicates must be at least the 8 that resume holds, got 7"),
        ({"level": 0.9}, {}, "its level is 0.95"),
        ({"null": 1.0}, {}, "its null is 0.0"),
        ({"methods": {"other": t_interval}}, {}, "its methods is"),
    ],
)
def test_resume_of_something_else_is_refused(settings, arguments, message):
    short = run({"t": t_interval}, n=8)
    settings = {"methods": {"t": t_interval}, "truth": 2.0} | settings
    with pytest.raises(InvalidParameter, match=message):
        SimulationStudy(normal_data, **settings).run(**({"n_replicates": 20, "resume": short} | arguments))


def test_resume_wants_a_result():
    with pytest.raises(InvalidParameter, match="resume must be a StudyResult, got str"):
        run({"t": t_interval}, resume="result.npz")


# Bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, -1, 2.5, True, None, "10"])
def test_bad_number_of_replicates(n):
    with pytest.raises(InvalidParameter, match="n_replicates must be an integer >= 1"):
        run({"t": t_interval}, n=n)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dgm": 3}, "dgm must be a callable"),
        ({"methods": {}}, "methods must be a mapping"),
        ({"methods": [t_interval]}, "methods must be a mapping"),
        ({"methods": {1: t_interval}}, "names of methods must be non-empty strings, got 1"),
        ({"methods": {"": t_interval}}, "names of methods must be non-empty strings, got ''"),
        ({"methods": {"t": 3.0}}, r"methods\['t'\] must be an object with fit and estimate"),
        ({"methods": {"t": NoisyMean}}, r"methods\['t'\] must be an object with fit and estimate"),
        ({"level": 1.0}, "level must be a number in"),
        ({"null": np.nan}, "null must be a number in"),
        ({"truth": np.nan}, "truth must be a number in"),
        ({"truth": {"value": "2"}}, "'value'.* must be a number in"),
        ({"truth": [1.0, np.inf]}, "truth must be finite"),
    ],
)
def test_bad_configuration(settings, message):
    good = {"dgm": normal_data, "methods": {"t": t_interval}, "truth": 2.0}
    with pytest.raises(InvalidParameter if "finite" not in message else InvalidData, match=message):
        SimulationStudy(**(good | settings))


# Coverage ----------------------------------------------------------------------------------------------------


def t_coverage(interval, seed):
    def count_covered(start, n):
        result = SimulationStudy(normal_data, {"t": interval}, truth=2.0).run(n, random_state=seed + start)
        return round(result.to_frame()["coverage"][0] * n)

    return count_covered


def test_the_t_interval_of_a_normal_mean_covers(seed):
    # Exact for normal data; false alarms below 1e-6 by the two-stage test.
    two_stage_coverage(t_coverage(t_interval, seed), 0.95)


def test_a_normal_interval_from_three_numbers_is_found_out(seed):
    # P(|t_2| <= 1.96) = 0.811, and 1 - alarm_rate(0.811, 0.95) = 7e-10.
    def normal_interval(x):
        return Estimate(value=x[:3].mean(), std_error=x[:3].std(ddof=1) / np.sqrt(3))

    with pytest.raises(AssertionError, match=r"coverage is not 0\.95"):
        two_stage_coverage(t_coverage(normal_interval, seed), 0.95)
