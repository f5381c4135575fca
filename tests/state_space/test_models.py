"""The ways to write a model are one model: compiled, arrays, built-in, noise or generator, one dimension or more."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidParameter
from mcstat.state_space import (
    DiscreteHMM,
    LinearGaussian,
    LinearGaussianSystem,
    LocalLevel,
    LocalLinearTrend,
    MissingDensityError,
    ParticleFilter,
    PoissonAR,
    StateSpaceModel,
    StochasticVolatility,
)
from tests.state_space import models

Y = np.array([0.3, 1.5, np.nan, 0.2, -1.0, 0.4, 2.0])
BUILT_IN = [
    LinearGaussian(),
    StochasticVolatility(),
    PoissonAR(),
    LocalLevel(),
    LocalLinearTrend(),
    DiscreteHMM(),
    LinearGaussianSystem([[0.5]], [[1.0]], [[1.0]], [[1.0]], [0.0], [[1.0]]),
]
METHODS = ["bootstrap", "guided", "auxiliary"]


def increments(model, method="bootstrap", y=Y, **settings):
    fitted = ParticleFilter(model, 100, method=method, random_state=0, **settings).fit(y)
    return fitted.loglik_increments_


@pytest.mark.parametrize("method", METHODS)
def test_compiled_and_arrays_are_the_same_filter(method):
    compiled = increments(models.linear_gaussian(), method)
    np.testing.assert_allclose(
        increments(models.linear_gaussian(vectorized=True), method), compiled, rtol=1e-10, atol=1e-14
    )


def test_a_users_model_is_the_built_in_one():
    np.testing.assert_allclose(increments(models.linear_gaussian()), increments(LinearGaussian()), rtol=1e-10)


def test_a_state_with_components():
    np.testing.assert_allclose(increments(models.plane()), increments(models.plane(vectorized=True)), rtol=1e-10)
    sigma = np.diag([1.0, 1.25])
    same = LinearGaussianSystem([[0.8, 0.3], [0.0, 0.5]], sigma, [[1.0, 1.0]], [[1.0]], [0.0, 0.0], sigma)
    pairs = [ParticleFilter(m, 20_000, random_state=1).fit(Y).loglik_ for m in (models.plane(), same)]
    # Both have sd 0.01.
    assert abs(pairs[0] - pairs[1]) < 0.1


def test_a_generator_instead_of_noise():
    compiled, arrays = (
        ParticleFilter(models.gamma(v), 4000, n_replicates=8, random_state=2, verbose=False).fit(Y + 3).estimate()
        for v in (False, True)
    )
    assert abs(float(compiled) - float(arrays)) < 10 * np.hypot(*compiled.std_error, *arrays.std_error)


def test_uniform_noise():
    def initial_uniform(noise, theta):
        return noise

    def transition_uniform(t, x_prev, noise, theta):
        return 0.5 * x_prev + noise

    model = StateSpaceModel(initial_uniform, transition_uniform, models.gamma_log_density, noise="uniform")
    x = ParticleFilter(model, 5000, random_state=0, store_history=True).fit([np.nan]).history_.x[0, :, 0]
    assert x.min() >= 0.0
    assert x.max() < 1.0
    # Kolmogorov-Smirnov distance below its quantile of order 1 - 1e-6: sqrt(log(2e6) / 2 / n) = 0.038.
    assert np.abs(np.sort(x) - (np.arange(5000) + 0.5) / 5000).max() < 0.039


@pytest.mark.parametrize("model", BUILT_IN, ids=lambda model: type(model).__name__)
def test_components_clone_print_and_pickle(model):
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301  (our own bytes)
    assert repr(clone(model)) == repr(model) == repr(copy)
    np.testing.assert_array_equal(copy.packed(), model.packed())
    assert not model.packed().flags.writeable
    x, y = model.simulate(5, random_state=3)
    np.testing.assert_array_equal(copy.simulate(5, random_state=3)[1], y)
    assert len(x) == len(y) == 5
    assert np.isfinite(increments(model, y=y)).all()
    changed = model.with_theta(0.5 * model.theta_values) if model.theta_names else model
    np.testing.assert_allclose(changed.theta_values, 0.5 * model.theta_values)


@pytest.mark.parametrize("model", [*BUILT_IN, models.linear_gaussian()], ids=lambda model: type(model).__name__)
def test_transition_density_belongs_to_the_transition(model):
    """Normal laws: the mean of log m(x) over draws is its top minus d / 2, z = 6. A chain: exact."""
    rng = np.random.default_rng(0)
    first = model.walk(rng, np.zeros((1, model.dims[0])), 0, 1)[0]
    n, d = 40_000, model.dims[0]
    start = np.repeat(first, n, axis=0)
    x = model.walk(rng, start, 1, 1)[0]
    out, pairs = np.empty(n), np.arange(n)
    model.function("log_transition")(1, start, pairs, x, pairs, model.packed(), out)
    assert out.max() <= model.log_bound() + 1e-9
    if isinstance(model, DiscreteHMM):
        share = (x[:, 0] == 1).mean()
        p = model.tables()[1][int(first[0, 0]), 1]
        assert abs(share - p) < 6 * np.sqrt(p * (1 - p) / n)
        np.testing.assert_allclose(np.exp(out), np.where(x[:, 0] == 1, p, 1 - p), rtol=1e-12)
        return
    assert abs(out.mean() - model.log_bound() + d / 2) < 6 * np.sqrt(d / 2 / n)


def test_log_initial_of_built_in_models():
    from scipy.stats import norm

    x, out = np.linspace(-3, 3, 7)[:, None], np.empty(7)
    for model in (LinearGaussian(), models.linear_gaussian(vectorized=True)):
        function = model.function("log_initial")
        function(x, model.packed(), out)
        np.testing.assert_allclose(out, norm.logpdf(x[:, 0], 0, 1 / np.sqrt(1 - 0.81)), rtol=1e-12)


def test_theta_changes_without_compiling():
    from mcstat.state_space import _wrap

    model = models.linear_gaussian()
    increments(model)
    before = _wrap.compiled.cache_info().misses
    other = model.with_theta([0.5, 1.0, 1.0])
    assert other.theta == {"rho": 0.5, "sigma_x": 1.0, "sigma_y": 1.0}
    np.testing.assert_allclose(increments(other), increments(LinearGaussian(0.5, 1.0, 1.0)), rtol=1e-10)
    assert _wrap.compiled.cache_info().misses == before


def _square(x):
    return x * x


def _normal_part(z):
    return -0.5 * _square(z)


def test_functions_call_other_functions():
    """By a global name, by one from around, and one through another; they stay plain Python outside."""

    def scaled(y, x, theta):
        return (y - x) / theta[2]

    def density(t, x, y, theta):
        return _normal_part(scaled(y, x, theta)) - np.log(theta[2]) - models.LOG_ROOT_2_PI

    model = models.linear_gaussian(observation_log_density=density)
    np.testing.assert_allclose(increments(model), increments(LinearGaussian()), rtol=1e-10)
    assert _normal_part(2.0) == -2.0
    assert model.observation_log_density is density


def test_what_numba_cannot_compile_is_named():
    def transition(t, x_prev, noise, theta):
        return open("somewhere")

    with pytest.raises(TypeError, match=r"transition \(transition\) cannot be compiled.*vectorized=True"):
        increments(models.linear_gaussian(transition=transition))

    def helper(x):
        return open("somewhere")

    def calling(t, x_prev, noise, theta):
        return helper(x_prev)

    with pytest.raises(TypeError, match=r"transition \(calling\) cannot be compiled.*vectorized=True"):
        increments(models.linear_gaussian(transition=calling))


@pytest.mark.parametrize(
    ("settings", "method", "words"),
    [
        ({"proposal": None}, "guided", "proposal"),
        ({"transition_log_density": None}, "guided", "transition_log_density"),
        ({"auxiliary_log_weight": None}, "auxiliary", "auxiliary_log_weight"),
    ],
)
def test_missing_functions_are_named(settings, method, words):
    with pytest.raises(MissingDensityError, match=words):
        increments(models.linear_gaussian(**settings), method)


def test_what_a_model_lacks_is_named():
    with pytest.raises(MissingDensityError, match="transition_log_bound"):
        models.linear_gaussian(transition_log_bound=None).log_bound()
    with pytest.raises(MissingDensityError, match="observation"):
        models.linear_gaussian(observation=None).simulate(3)
    with pytest.raises(MissingDensityError, match="singular"):
        LocalLinearTrend(sigma_slope=0.0).function("log_transition")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"state_dim": 0}, "state_dim"),
        ({"noise_dim": 1.5}, "noise_dim"),
        ({"observation_dim": True}, "observation_dim"),
        ({"noise": "cauchy"}, "noise"),
        ({"theta": [np.nan]}, "theta"),
        ({"transition": 3}, "transition"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises((InvalidParameter, TypeError, ValueError), match=words):
        increments(models.linear_gaussian(**settings))


def test_partly_missing_observations_keep_the_rest():
    model = LinearGaussianSystem(np.eye(2), np.eye(2), np.eye(2), [[1.0, 0.5], [0.5, 2.0]], [0, 0], np.eye(2))
    y = frozen_view(np.array([[0.3, np.nan], [np.nan, 1.0], [np.nan, np.nan]]))
    from mcstat.state_space import KalmanFilter

    est = ParticleFilter(model, 20_000, n_replicates=8, random_state=0, verbose=False).fit(y).estimate()
    assert abs(float(est) - KalmanFilter(model).fit(y).loglik_) < 12 * est.std_error[0]
