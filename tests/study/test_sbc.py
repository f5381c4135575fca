"""Simulation-based calibration: right posteriors pass, wrong ones are flagged, ties are broken at random."""

from dataclasses import dataclass

import joblib
import numpy as np
import pytest
from numpy.random import SeedSequence

from mcstat import Estimate
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.laws import Law
from mcstat.study import SbcResult, sbc
from mcstat.study._sbc import flat, posterior_draws, ranks_among
from tests.stat_asserts import assert_proportion
from tests.study.methods import NoisyMean

RIGHT, WRONG = 1e-6, 1e-6  # p-value of a right posterior is above, of a wrong one below


def prior(rng):
    return {"mu": rng.normal()}


def simulate(rng, theta):
    return {"x": rng.normal(theta["mu"], 1.0, size=4)}


@dataclass(frozen=True)
class Conjugate:
    """Posterior of a normal mean under its prior; ``scale`` spoils its standard deviation, ``shift`` its mean."""

    scale: float = 1.0
    shift: float = 0.0
    form: str = "normal"

    def __call__(self, x):
        mean, sd = x.sum() / 5 + self.shift, self.scale / np.sqrt(5)
        if self.form == "normal":
            return Estimate(value=mean, std_error=sd, names=["mu"], kind="posterior")
        rng = np.random.default_rng(int(1e6 * abs(x[0])))
        if self.form == "draws":
            return Estimate.from_draws(rng.normal(mean, sd, size=(2, 300, 1)), names=["mu"])
        broad = rng.normal(mean, 2 * sd, size=4000)
        log_weights = -0.5 * ((broad - mean) / sd) ** 2 * (1 - 0.25)
        return Estimate.from_draws(broad, log_weights=log_weights, names=["mu"])


@pytest.mark.parametrize("form", ["normal", "draws", "weighted"])
def test_the_exact_posterior_passes(form):
    result = sbc(prior, simulate, Conjugate(form=form), 1000, random_state=1)
    assert result.ranks.shape == (1000, 1)
    assert result.p_values()[0] > RIGHT
    assert result.passed(0.999999)


@pytest.mark.parametrize("form", ["normal", "draws", "weighted"])
def test_a_standard_deviation_20_percent_too_small_is_flagged(form):
    result = sbc(prior, simulate, Conjugate(scale=0.8, form=form), 1000, random_state=1)
    assert result.p_values()[0] < WRONG
    assert not result.passed()
    frame = result.to_frame()
    assert frame["spread"][0] > 1 + 5 * frame["spread_mcse"][0]


def test_a_shifted_posterior_is_flagged_and_its_ranks_are_low():
    result = sbc(prior, simulate, Conjugate(shift=0.2), 1000, random_state=1)
    assert result.p_values()[0] < WRONG
    frame = result.to_frame()
    assert frame["mean"][0] < 0.5 - 5 * frame["mean_mcse"][0]


# Atoms -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Spike(Law):
    """Zero with probability ``atom``, else uniform on [0, 1]."""

    atom: np.ndarray

    def interval(self, level=0.95, sides="two"):
        raise NotImplementedError

    def ppf(self, u):
        return np.maximum(0.0, (u - self.atom) / (1.0 - self.atom))


def spiked_prior(rng):
    return {"effect": max(0.0, (rng.random() - 0.4) / 0.6)}


@dataclass(frozen=True)
class Atomic:
    atom: float

    def __call__(self):
        return Estimate(value=0.3, std_error=0.3, law=Spike(self.atom), names=["effect"], kind="posterior")


def test_a_law_with_an_atom_passes_when_right_and_not_when_the_atom_is_too_heavy():
    # Without data the posterior is the prior: 40 % of the truths tie with about 40 of the 99 draws.
    right = sbc(spiked_prior, lambda rng, theta: {}, Atomic(0.4), 1000, random_state=2)
    wrong = sbc(spiked_prior, lambda rng, theta: {}, Atomic(0.55), 1000, random_state=2)
    assert right.p_values()[0] > RIGHT
    assert wrong.p_values()[0] < WRONG


def test_ties_are_broken_uniformly():
    rng = np.random.default_rng(5)
    draws = np.array([[0.0], [1.0], [1.0], [1.0], [2.0]])
    ranks = [int(ranks_among(np.array([1.0]), draws, rng)[0]) for _ in range(4000)]
    for rank in (1, 2, 3, 4):
        assert_proportion(ranks.count(rank), 4000, 0.25)


# Draws -------------------------------------------------------------------------------------------------------


def test_stored_draws_are_taken_at_equal_distances():
    draws = np.arange(600.0).reshape(2, 300, 1)
    taken, ess = posterior_draws(Estimate.from_draws(draws), 6, np.random.default_rng(0))
    np.testing.assert_array_equal(taken[:, 0], [0, 100, 200, 300, 400, 500])
    assert ess < 60


def test_too_few_draws_are_a_failure_that_is_counted():
    with pytest.warns(ReliabilityWarning, match="failed in all 5 replicates.*at least n_draws = 999 draws, got 600"):
        result = sbc(prior, simulate, Conjugate(form="draws"), 5, 999, random_state=1)
    assert [error for _, error, _ in result.failures] == ["InvalidData"] * 5
    assert not result.passed()
    assert "failed 5 time(s) with InvalidData" in str(result)
    with pytest.raises(InvalidData, match="no ranks"):
        result.plot()


def sticky(x):
    """A chain that moves every 50th step only: 1000 draws are worth 20."""
    rng = np.random.default_rng(int(1e6 * abs(x[0])))
    return Estimate.from_draws(np.repeat(rng.normal(x.sum() / 5, 5**-0.5, size=20), 50), names=["mu"])


def test_dependent_draws_warn():
    with pytest.warns(ReliabilityWarning, match=r"effective draws \(median\) for n_draws = 99"):
        result = sbc(prior, simulate, sticky, 20, random_state=1)
    assert 5 < np.median(result.ess) < 60


def test_a_constant_column_is_no_dependence():
    est = Estimate.from_draws(np.ones((100, 1)), names=["mu"])
    assert posterior_draws(est, 10, np.random.default_rng(0))[1] == 100


def test_student_t_has_its_degrees_of_freedom():
    est = Estimate(value=0.0, std_error=1.0, df=3.0, names=["mu"])
    draws, ess = posterior_draws(est, 20_000, np.random.default_rng(0))
    # P(|t_3| > 3.182) = 0.05, while the normal law has 0.0015.
    assert_proportion(int(np.sum(np.abs(draws) > 3.1824463)), 20_000, 0.05)
    assert np.isinf(ess)


# Streams, failures, names ------------------------------------------------------------------------------------


def sometimes(x):
    if x[0] > 0.5:
        raise ValueError("too large")
    return Conjugate()(x)


def test_failures_are_counted_and_the_rest_is_kept():
    result = sbc(prior, simulate, sometimes, 100, random_state=3)
    assert 10 < len(result.failures) == 100 - len(result.ranks)
    assert result.failures[0][1:] == ("ValueError", "too large")
    assert f"failed {len(result.failures)} time(s) with ValueError" in str(result)
    assert len(result.ess) == len(result.ranks)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_same_bits_on_any_backend_and_from_its_entropy(backend):
    one = sbc(prior, simulate, Conjugate(), 30, random_state=None)
    seed = SeedSequence(**one.entropy)
    with joblib.parallel_config(backend=backend):
        two = sbc(prior, simulate, Conjugate(), 30, random_state=seed, n_jobs=2)
    np.testing.assert_array_equal(one.ranks, two.ranks)
    assert not np.array_equal(one.ranks, sbc(prior, simulate, Conjugate(), 30).ranks)


def test_a_longer_run_begins_with_the_shorter_one():
    long, short = (sbc(prior, simulate, Conjugate(), n, random_state=8).ranks for n in (30, 12))
    np.testing.assert_array_equal(long[:12], short)


def test_an_estimator_is_seeded_in_each_replicate():
    def many(rng):
        return {"value": 0.0}

    result = sbc(many, lambda rng, theta: {"x": np.zeros(3)}, NoisyMean(scale=1.0), 40, random_state=1)
    assert len(np.unique(result.ranks)) > 10


def test_arrays_are_named_by_index_and_only_shared_names_are_ranked():
    assert flat({"a": 1, "b": [2.0, 3.0]}) == {"a": 1.0, "b[0]": 2.0, "b[1]": 3.0}
    assert flat({"c": np.zeros((1, 2))}) == {"c[0,0]": 0.0, "c[0,1]": 0.0}

    def method(y):
        return Estimate(value=[0, 0, 0], std_error=[1, 1, 1], names=["b[1]", "other", "b[0]"], kind="posterior")

    def vector_prior(rng):
        return {"nuisance": 5.0, "b": rng.normal(size=2)}

    result = sbc(vector_prior, lambda rng, theta: {"y": theta["b"]}, method, 300, random_state=1)
    assert result.names == ("b[1]", "b[0]")
    assert np.all(result.p_values() > RIGHT)


def test_passed_shares_the_level_among_quantities():
    rng = np.random.default_rng(1)
    one = SbcResult((100 * rng.beta(1.15, 1.0, (500, 1))).astype(int), ("a",), 99, 500, (), np.full(500, np.inf), {})
    p = one.p_values()[0]
    assert 1e-9 < p < 0.2
    four = SbcResult(np.repeat(one.ranks, 4, axis=1), tuple("abcd"), 99, 500, (), one.ess, {})
    assert not one.passed(1 - 1.01 * p)
    assert four.passed(1 - 1.01 * p)
    assert not four.passed(1 - 4.04 * p)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prior": None}, InvalidParameter, "prior must be a callable"),
        ({"simulate": 3}, InvalidParameter, "simulate must be a callable"),
        ({"method": "mean"}, InvalidParameter, "method must be an object with fit and estimate"),
        ({"n_replicates": 0}, InvalidParameter, "n_replicates"),
        ({"n_draws": 0}, InvalidParameter, "n_draws"),
        ({"prior": lambda rng: 3.0}, InvalidData, "prior must return a mapping"),
        ({"prior": lambda rng: {}}, InvalidData, "prior must return a mapping"),
        ({"simulate": lambda rng, theta: 3.0}, InvalidData, "simulate must return a mapping"),
        ({"prior": lambda rng: {"nu": 1.0}, "simulate": lambda rng, theta: {"x": np.ones(4)}}, InvalidParameter,
         r"prior must use names of the Estimate \(mu\), got nu"),
    ],
)  # fmt: skip
def test_bad_input(changes, error, words):
    given = {"prior": prior, "simulate": simulate, "method": Conjugate(), "n_replicates": 3} | changes
    with pytest.raises(error, match=words):
        sbc(**given, random_state=1)


def test_an_error_of_the_prior_names_its_replicate():
    def bad(rng):
        raise RuntimeError("no prior")

    with pytest.raises(RuntimeError, match="no prior") as caught:
        sbc(bad, simulate, Conjugate(), 3)
    assert caught.value.__notes__ == ["in prior or simulate, replicate 0"]


@dataclass(frozen=True, eq=False)
class Mute(Law):
    """A law that cannot be drawn from."""

    at: np.ndarray

    def interval(self, level=0.95, sides="two"):
        raise NotImplementedError


def test_a_law_must_be_drawable_and_draws_must_be_numbers():
    for law, words in ((Mute(0.0), "rvs or ppf"), (Spike(np.nan), "got NaN")):
        est = Estimate(value=0.0, std_error=1.0, law=law, names=["mu"])
        with pytest.warns(ReliabilityWarning, match=words):
            sbc(prior, simulate, lambda x, est=est: est, 2)


def test_plot_has_a_row_a_quantity():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    result = sbc(prior, simulate, Conjugate(), 60, 9, random_state=1)
    axs = result.plot()
    assert axs.shape == (1, 2)
    heights = [patch.get_height() for patch in axs[0, 0].patches if hasattr(patch, "get_height")]
    assert sum(heights) == pytest.approx(len(heights))
    line = axs[0, 1].lines[0].get_ydata()
    assert line[0] == line[-1] == 0.0
    _, given = plt.subplots(1, 2)
    assert result.plot(given)[0, 0] is given[0]
    plt.close("all")
