"""The particle filter against exact answers, against a slow twin, and itself in other orders."""

import math
import pickle
import random

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mcstat.core.errors import InvalidParameter, MCStatError, ReliabilityWarning
from mcstat.kernels.resampling import SCHEMES
from mcstat.state_space import (
    KalmanFilter,
    LinearGaussian,
    LinearGaussianSystem,
    LocalLinearTrend,
    ParticleDegeneracyError,
    ParticleFilter,
    PoissonAR,
    StateSpaceModel,
    StochasticVolatility,
)
from tests.naive import state_space as naive
from tests.stat_asserts import assert_mean_close
from tests.state_space import models

pytestmark = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
MODEL = LinearGaussian()
Y10 = MODEL.simulate(10, random_state=1)[1]
Y = MODEL.simulate(60, random_state=2)[1]


def ratios(model, y, truth, **settings):
    """exp(loglik - truth) of many independent passes."""
    fitted = ParticleFilter(model, verbose=False, **settings).fit(y)
    return np.exp([run.trace("increments").sum() - truth for run in fitted._runs])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_likelihood_is_unbiased_with_every_scheme(scheme, threshold, seed):
    # 14 tests and 5 more below at z = 6 of nearly normal means: false-alarm rate < 1e-6.
    found = ratios(
        MODEL, Y10, KalmanFilter(MODEL).fit(Y10).loglik_, n_particles=100, n_replicates=1000, resampling=scheme,
        ess_threshold=threshold, random_state=seed,
    )  # fmt: skip
    assert_mean_close(found.mean(), 1.0, found.std() / np.sqrt(len(found)))
    assert found.std() > 0.01


@pytest.mark.parametrize("method", ["guided", "auxiliary"])
@pytest.mark.parametrize("model", [MODEL, models.linear_gaussian()], ids=["optimal", "user's"])
def test_likelihood_is_unbiased_with_every_method(method, model, seed):
    y = Y10.copy()
    y[[0, 4]] = np.nan
    truth = KalmanFilter(MODEL).fit(y).loglik_
    found = ratios(model, y, truth, n_particles=100, n_replicates=1000, method=method, random_state=seed)
    assert_mean_close(found.mean(), 1.0, found.std() / np.sqrt(len(found)))


def test_likelihood_of_a_vector_model_is_unbiased(seed):
    model = LocalLinearTrend()
    y = model.simulate(10, random_state=3)[1]
    found = ratios(model, y, KalmanFilter(model).fit(y).loglik_, n_particles=200, n_replicates=1000, random_state=seed)
    assert_mean_close(found.mean(), 1.0, found.std() / np.sqrt(len(found)))


@pytest.mark.parametrize("method", ["bootstrap", "guided", "auxiliary"])
def test_filtering_moments_are_kalmans(method, seed):
    exact = KalmanFilter(MODEL).fit(Y)
    fitted = ParticleFilter(MODEL, 4000, method=method, n_replicates=16, random_state=seed, verbose=False).fit(Y)
    est = fitted.estimate("filter_mean")
    # Student's t with 15 degrees of freedom: beyond 14 errors with probability 1e-9; the bias is of order 1 / 4000.
    assert_mean_close(est.value, exact.filtered_mean_[:, 0], est.std_error + 1e-4, z=14)
    np.testing.assert_allclose(fitted.filter_var_[:, 0], exact.filtered_cov_[:, 0, 0], rtol=0.1)


def test_against_a_slow_twin(seed):
    # Means of 200 likelihoods each, z = 6.
    draw = random.Random(seed)  # noqa: S311
    sd = 1 / math.sqrt(1 - 0.81)

    def log_density(t, x, y):
        return -0.5 * ((y - x) / 0.5) ** 2 - math.log(0.5) - models.LOG_ROOT_2_PI

    slow = np.exp([
        naive.bootstrap_filter(
            Y10, lambda: draw.gauss(0, sd), lambda t, x: 0.9 * x + draw.gauss(0, 1), log_density, 50, draw
        )
        for _ in range(200)
    ])  # fmt: skip
    settings = {"n_particles": 50, "n_replicates": 200, "resampling": "multinomial", "ess_threshold": 1.0}
    fast = ratios(MODEL, Y10, 0.0, random_state=seed, **settings)
    assert_mean_close(slow.mean(), fast.mean(), math.hypot(slow.std(), fast.std()) / math.sqrt(200))
    # Spread too: a ratio of variances of 200 has sd 0.15 for normal laws, and these are skewed.
    assert 0.3 < slow.std() / fast.std() < 3.0


def test_stochastic_volatility_against_a_grid(seed):
    model = StochasticVolatility()
    y = model.simulate(50, random_state=4)[1]
    y[7] = np.nan
    fitted = ParticleFilter(model, 4000, n_replicates=16, random_state=seed, verbose=False).fit(y)
    loglik, means = naive.grid_filter(
        y, -1.0, 0.95, 0.2, lambda x, v: -models.LOG_ROOT_2_PI - 0.5 * x - 0.5 * v**2 * np.exp(-x)
    )
    est = fitted.estimate()
    assert abs(float(est) - loglik) < 14 * est.std_error[0]
    mean = fitted.estimate("filter_mean")
    assert_mean_close(mean.value, means, mean.std_error + 1e-4, z=14)


def test_counts_against_a_grid(seed):
    from scipy.special import gammaln

    model = PoissonAR()
    y = model.simulate(50, random_state=4)[1]
    loglik, _ = naive.grid_filter(y, 1.0, 0.9, 0.3, lambda x, v: v * x - np.exp(x) - gammaln(v + 1))
    est = ParticleFilter(model, 4000, n_replicates=16, random_state=seed, verbose=False).fit(y).estimate()
    assert abs(float(est) - loglik) < 14 * est.std_error[0]


def test_optimal_proposal_is_exact_at_one_time():
    fitted = ParticleFilter(MODEL, 10, method="guided", random_state=0, store_history=True).fit([0.7])
    assert fitted.loglik_ == pytest.approx(KalmanFilter(MODEL).fit([0.7]).loglik_, rel=1e-13)
    np.testing.assert_allclose(fitted.history_.log_weights, 0.0, atol=1e-14)


def test_fully_adapted_filter_keeps_all_particles():
    fitted = ParticleFilter(MODEL, 300, method="auxiliary", ess_threshold=1.0, random_state=0).fit(Y)
    np.testing.assert_allclose(fitted.ess_, 300, rtol=1e-10)
    assert fitted.resampled_[1:].all()


@pytest.mark.parametrize("method", ["bootstrap", "guided", "auxiliary"])
def test_nothing_observed(method):
    fitted = ParticleFilter(MODEL, 1000, method=method, random_state=0).fit(np.full(8, np.nan))
    np.testing.assert_allclose(fitted.loglik_increments_, 0.0, atol=1e-14)
    assert method == "auxiliary" or fitted.loglik_ == 0.0
    np.testing.assert_allclose(fitted.ess_, 1000)


@pytest.mark.parametrize("n", [1, 2])
def test_few_particles_and_one_time(n):
    fitted = ParticleFilter(MODEL, n, random_state=0).fit([0.5])
    assert np.isfinite(fitted.loglik_)
    assert fitted.filter_mean_.shape == (1, 1)


def test_independent_components_add(seed):
    y = np.column_stack([MODEL.simulate(8, random_state=k)[1] for k in range(3)])
    eye = np.eye(3)
    joint = LinearGaussianSystem(0.9 * eye, eye, eye, 0.25 * eye, np.zeros(3), eye / 0.19)
    truth = sum(KalmanFilter(MODEL).fit(column).loglik_ for column in y.T)
    assert KalmanFilter(joint).fit(y).loglik_ == pytest.approx(truth, rel=1e-12)
    found = ratios(joint, y, truth, n_particles=2000, n_replicates=300, random_state=seed)
    assert_mean_close(found.mean(), 1.0, found.std() / np.sqrt(len(found)))


# The same bits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [MODEL, models.gamma(), models.gamma(vectorized=True)], ids=["built-in", "rng", "np"])
def test_streaming_and_chunks_give_the_same_bits(model, monkeypatch):
    settings = {"n_particles": 300, "n_replicates": 2, "random_state": 5, "verbose": False}
    whole = ParticleFilter(model, **settings).fit(Y)
    streamed = ParticleFilter(model, **settings).partial_fit(Y[0])
    for value in Y[1:5]:
        streamed.partial_fit(value)
    streamed.partial_fit(Y[5:])
    monkeypatch.setattr("mcstat.state_space._run._CHUNK", 7 * 300)
    chunked = ParticleFilter(model, **settings).fit(Y)
    for other in (streamed, chunked):
        assert other.loglik_increments_.tobytes() == whole.loglik_increments_.tobytes()
        assert other.filter_mean_.tobytes() == whole.filter_mean_.tobytes()
    assert streamed.n_times_ == 60


def test_one_and_two_jobs_give_the_same_bits():
    one, two = (
        ParticleFilter(MODEL, 200, n_replicates=4, n_jobs=n, random_state=1, verbose=False).fit([Y, Y[:20]])
        for n in (1, 2)
    )
    assert one.loglik_ == two.loglik_
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one.filter_mean_, two.filter_mean_, strict=True))


def test_a_pickled_filter_goes_on():
    first = ParticleFilter(models.linear_gaussian(), 200, random_state=1).fit(Y[:30])
    copy = pickle.loads(pickle.dumps(first))  # noqa: S301  (our own bytes)
    assert copy.partial_fit(Y[30:]).loglik_ == first.partial_fit(Y[30:]).loglik_


# Series -------------------------------------------------------------------------------------------------------


def test_several_series_add():
    fitted = ParticleFilter(MODEL, 500, random_state=0).fit({"a": Y, "b": Y[:20]})
    assert fitted.names_ == ("a", "b")
    assert fitted.loglik_ == pytest.approx(sum(part.sum() for part in fitted.loglik_increments_))
    table = {"who": ["a"] * 60 + ["b"] * 20, "y": np.r_[Y, Y[:20]]}
    for frame in (pd.DataFrame(table), pl.DataFrame(table)):
        assert ParticleFilter(MODEL, 500, random_state=0).fit(frame, group="who").loglik_ == fitted.loglik_
    with pytest.raises(InvalidParameter, match="one series"):
        fitted.partial_fit(0.0)
    assert len(fitted.estimate("filter_mean")) == 80
    assert fitted.estimate("filter_mean").names[0] == "a x[0]"


# What is reported ---------------------------------------------------------------------------------------------


def test_quantiles_and_history():
    levels = (0.1, 0.5, 0.9)
    fitted = ParticleFilter(MODEL, 2000, quantiles=levels, store_history=True, random_state=0).fit(Y)
    x, logs, _ = fitted.history_
    assert x.shape == (60, 2000, 1)
    for t in (0, 30, 59):
        order = np.argsort(x[t, :, 0])
        cdf = np.cumsum(np.exp(logs[t])[order]) / 2000
        wanted = [x[t, order, 0][np.searchsorted(cdf, level)] for level in levels]
        np.testing.assert_allclose(fitted.quantiles_[t, :, 0], wanted)
    with pytest.raises(AttributeError, match="store_history=True"):
        _ = ParticleFilter(MODEL, 20, random_state=0).fit(Y).history_
    with pytest.raises(AttributeError, match="quantiles"):
        _ = ParticleFilter(MODEL, 20, random_state=0).fit(Y).quantiles_


def test_replicates_give_the_error_and_one_pass_has_none():
    y = Y[:20]
    est = ParticleFilter(MODEL, 500, n_replicates=64, random_state=0, verbose=False).fit(y).estimate()
    singles = [ParticleFilter(MODEL, 500, random_state=k).fit(y).loglik_ for k in range(64)]
    assert 0.6 < est.std_error[0] / (np.std(singles, ddof=1) / 8) < 1.6
    assert est.df == 63
    alone = ParticleFilter(MODEL, 500, random_state=0).fit(y).estimate()
    assert np.isnan(alone.std_error[0])
    assert "n_replicates" in alone.warnings[0]


@pytest.mark.parametrize("h", [1, 3])
def test_predictions_are_kalmans(h):
    exact = KalmanFilter(MODEL).fit(np.r_[Y, np.full(h, np.nan)])
    fitted = ParticleFilter(MODEL, 20_000, n_replicates=4, random_state=0, verbose=False).fit(Y)
    state, seen = fitted.predict(h), fitted.predict(h, of="observation")
    assert state.names == tuple(f"x[{60 + k}]" for k in range(h))
    assert seen.names[0] == "y[60]"
    # 80 000 draws of sd about 1.5, fewer effective: sd of the means about 0.02.
    np.testing.assert_allclose(state.value, exact.predicted_mean_[60:, 0], atol=0.1)
    np.testing.assert_allclose(seen.value, state.value, atol=0.1)
    np.testing.assert_allclose(state.std_error**2, exact.predicted_cov_[60:, 0, 0], rtol=0.1)
    np.testing.assert_allclose(seen.std_error**2, exact.predicted_cov_[60:, 0, 0] + 0.25, rtol=0.1)
    assert fitted.predict(h).value.tobytes() == state.value.tobytes()


@pytest.mark.parametrize("method", ["bootstrap", "guided", "auxiliary"])
def test_pit_is_kalmans(method):
    from scipy.special import ndtr

    y = Y.copy()
    y[10] = np.nan
    exact = KalmanFilter(MODEL).fit(y)
    truth = ndtr((y - exact.predicted_mean_[:, 0]) / np.sqrt(exact.predicted_cov_[:, 0, 0] + 0.25))
    fitted = ParticleFilter(MODEL, 20_000, method=method, store_history=True, random_state=0).fit(y)
    np.testing.assert_allclose(fitted.pit(), truth, atol=0.05)
    assert np.isnan(fitted.pit()[10])


def test_score_is_the_loglik_of_other_data():
    fitted = ParticleFilter(MODEL, 200, random_state=0).fit(Y)
    assert fitted.score(Y[:10]) == ParticleFilter(MODEL, 200, random_state=0).fit(Y[:10]).loglik_


def test_plot_and_arviz():
    fitted = ParticleFilter(MODEL, 200, quantiles=(0.025, 0.975), store_history=True, random_state=0).fit(Y)
    ax = fitted.plot()
    assert "of the filtering law" in ax.get_legend_handles_labels()[1][0]
    assert "normal" in ParticleFilter(MODEL, 200, random_state=0).fit(Y).plot().get_legend_handles_labels()[1][0]
    data = fitted.to_arviz()
    assert data["posterior"]["x"].dims == ("chain", "draw", "time", "state")
    assert abs(float(data["posterior"]["x"].mean()) - fitted.filter_mean_.mean()) < 0.05
    np.testing.assert_array_equal(data["observed_data"]["y"].to_numpy()[:, 0], Y)


# What goes wrong ----------------------------------------------------------------------------------------------


def test_all_dead_names_the_time():
    y = Y10.copy()
    y[6] = 1e6
    with pytest.raises(ParticleDegeneracyError, match="at time 6 of y") as caught:
        ParticleFilter(models.linear_gaussian(observation_log_density=box), 100, random_state=0).fit(y)
    assert caught.value.time == 6
    assert pickle.loads(pickle.dumps(caught.value)).time == 6  # noqa: S301  (our own bytes)
    # Far, but not dead: weights in logarithms.
    assert np.isfinite(ParticleFilter(MODEL, 100, random_state=0).fit(y).loglik_)


def box(t, x, y, theta):
    return 0.0 if abs(x - y) < 20.0 else -np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("vectorized", [False, True])
def test_a_density_that_is_no_number_is_named(value, vectorized):
    def broken(t, x, y, theta):
        return 0.0 * x + (value if t == 3 else 0.0)

    model = models.linear_gaussian(observation_log_density=broken, vectorized=vectorized)
    with pytest.raises(MCStatError, match=r"NaN or \+inf at time 3 of y.*observation_log_density"):
        ParticleFilter(model, 50, random_state=0).fit(Y10)


@pytest.mark.filterwarnings("default::mcstat.core.errors.ReliabilityWarning")
def test_few_effective_particles_warn():
    y = Y10.copy()
    y[4] = 50.0
    with pytest.warns(ReliabilityWarning, match="effective sample size .* at time 4 of y"):
        ParticleFilter(MODEL, 100, random_state=0).fit(y)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([], "T >= 1"),
        ([0.0, np.inf], "finite"),
        (np.zeros((3, 2)), "shape"),
        ({}, "at least one series"),
        ([np.zeros(3), np.array([-np.inf])], r"y\[1\]"),
        ("words", "numbers"),
    ],
)
def test_bad_observations(y, words):
    with pytest.raises((MCStatError, TypeError), match=words):
        ParticleFilter(MODEL, 10).fit(y)


def test_bad_questions():
    fitted = ParticleFilter(MODEL, 20, random_state=0, store_history=True).fit(Y10)
    for question, words in (
        (lambda: fitted.estimate("median"), "target"),
        (lambda: fitted.predict(0), "h must"),
        (lambda: fitted.predict(1, of="weather"), "of must"),
        (lambda: fitted.plot(component=1), "component"),
        (lambda: fitted.fit(pd.DataFrame({"y": Y10}), group="who"), "who"),
        (lambda: ParticleFilter(3).fit(Y10), "model"),
    ):
        with pytest.raises(MCStatError, match=words):
            question()


def test_a_model_of_arrays_needs_no_compiler():
    calls = []

    def transition(t, x_prev, noise, theta):
        calls.append(type(x_prev))
        return np.array([float(str(v)) for v in 0.9 * x_prev + noise])

    functions = (models.initial, transition, models.observation_log_density)
    model = StateSpaceModel(*functions, theta=[0.9, 1, 0.5], vectorized=True)
    assert np.isfinite(ParticleFilter(model, 30, random_state=0).fit(Y10).loglik_)
    assert calls == [np.ndarray] * 9
