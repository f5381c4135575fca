"""The particle smoother against exact smoothing, slow twins, and its own promises."""

import itertools
import math
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone

from mcstat.core.errors import InvalidData, ReliabilityWarning
from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.state_space import (
    BoundViolationError,
    DiscreteHMM,
    ForwardBackward,
    KalmanFilter,
    LinearGaussian,
    LocalLinearTrend,
    MissingDensityError,
    ParticleDegeneracyError,
    ParticleFilter,
    ParticleSmoother,
    StateSpaceModel,
)
from mcstat.state_space import _smoother_kernels as kernels
from mcstat.state_space import _smoother_run as smoothing
from mcstat.state_space._paris_run import Backward, filter_settings, plan_of
from mcstat.state_space._run import FilterRun
from tests.naive import smoothing as naive
from tests.state_space import models

# Few particles on purpose: what is said of that is tested where it is tested.
pytestmark = pytest.mark.filterwarnings("ignore:effective sample size:mcstat.core.errors.ReliabilityWarning")

MODEL = LinearGaussian()
Y = MODEL.simulate(30, random_state=3)[1]
EXACT = KalmanFilter(MODEL).fit(Y)
METHODS = ["ffbsi", "ffbsm", "fixed_lag"]
# Student's t with 29 degrees of freedom: 4e-9 a number, below 1e-6 for the hundred of an assertion.
FAR = 8.2


def arrays(**changes):
    functions = {
        "initial": models.initial,
        "transition": models.transition,
        "observation_log_density": models.observation_log_density,
        "transition_log_density": models.transition_log_density,
        "transition_log_bound": models.transition_log_bound,
    }
    return StateSpaceModel(**(functions | changes), theta=models.THETA, vectorized=True)


def variance_of(replicates):
    """Mean and standard error over replicates of the smoothing variances."""
    values = np.array([run.var for run in replicates._runs])
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize("backward", ["hybrid", "exact", "mcmc"])
@pytest.mark.parametrize("filter_method", ["bootstrap", "guided", "auxiliary"])
def test_paths_against_kalman(backward, filter_method):
    found = ParticleSmoother(
        MODEL, "ffbsi", 600, 400, backward=backward, filter_method=filter_method, n_replicates=30, random_state=1
    ).fit(Y)
    est = found.estimate()
    # The bias is of order 1 / N.
    assert (np.abs(est.value - EXACT.smoothed_mean_[:, 0]) < FAR * est.std_error + 3.0 / 600).all()
    var, error = variance_of(found)
    assert (np.abs(var - EXACT.smoothed_cov_[:, :, 0]) < FAR * error + 3.0 / 600).all()
    # Joint law: products of neighbours.
    paths = found.paths_.reshape(30, 400, len(Y))
    products = (paths[:, :, 1:] * paths[:, :, :-1]).mean(axis=1)
    truth = EXACT.smoothed_cross_cov_[:, 0, 0] + EXACT.smoothed_mean_[1:, 0] * EXACT.smoothed_mean_[:-1, 0]
    spread = products.std(axis=0, ddof=1) / np.sqrt(30)
    assert (np.abs(products.mean(axis=0) - truth) < FAR * spread + 0.02 * (1.0 + np.abs(truth))).all()


@pytest.mark.parametrize(("method", "n"), [("ffbsm", 200), ("fixed_lag", 1000)])
def test_weights_against_kalman(method, n):
    found = ParticleSmoother(MODEL, method, n, lag=10, n_replicates=30, random_state=1).fit(Y)
    est = found.estimate()
    # Ten steps of a gain below 0.2 forget all but nothing.
    assert (np.abs(est.value - EXACT.smoothed_mean_[:, 0]) < FAR * est.std_error + 3.0 / n).all()
    var, error = variance_of(found)
    assert (np.abs(var - EXACT.smoothed_cov_[:, :, 0]) < FAR * error + 6.0 / n).all()


@pytest.mark.parametrize(("method", "n"), [("ffbsi", 2000), ("ffbsm", 400), ("fixed_lag", 2000)])
def test_quantiles_against_kalman(method, n):
    levels = (0.025, 0.5, 0.975)
    exact = EXACT.smoothed_mean_ + np.sqrt(EXACT.smoothed_cov_[:, :, 0]) * stats.norm.ppf(levels)
    found = ParticleSmoother(
        MODEL, method, n, filter_method="guided", lag=8, n_replicates=20, quantiles=levels, random_state=0
    ).fit(Y)
    assert found.quantiles_.shape == (len(Y), 3, 1)
    each = np.array([run.quantiles[:, :, 0] for run in found._runs])
    spread = each.std(axis=0, ddof=1) / np.sqrt(20)
    # A hundredth of the quantiles' distance is for the bias.
    assert (np.abs(each.mean(axis=0) - exact) < 9.0 * spread + 0.02).all()


def stored_pass(n, y):
    """Particles of one pass of a filter that resamples at every step."""
    settings = filter_settings(n, "bootstrap", "systematic", 1.0, store_history=True)
    run = FilterRun(MODEL, settings, stream(root_seed(2), "test", Purpose.DATA, 0)).advance(MODEL.clean(y))
    log_weights = run.trace("log_weights")
    return settings, kernels.Stored(run.trace("x"), log_weights, np.exp(log_weights), run.trace("ancestors"))


def log_transition(before, x):
    return -0.5 * (x - 0.9 * before) ** 2


def nothing():
    pass


def recipe_of(settings, method, plan=None, n_paths=1, lag=0):
    return smoothing.Recipe(MODEL, settings, method, plan, n_paths, lag, ())


def test_slow_twin_of_backward_weights():
    settings, stored = stored_pass(7, Y[:5])
    _, weights, _, _ = smoothing._backward_weights(recipe_of(settings, "ffbsm"), stored, None, nothing)
    twin = naive.smoothed_weights(stored.x[:, :, 0].tolist(), stored.log_weights.tolist(), log_transition)
    np.testing.assert_allclose(weights, twin, rtol=1e-11)


def test_slow_twin_of_a_fixed_lag():
    settings, stored = stored_pass(9, Y[:8])
    for lag in (0, 1, 3, 7, 20):
        _, weights, _, _ = smoothing._lagged_weights(recipe_of(settings, "fixed_lag", lag=lag), stored, None, nothing)
        twin = naive.lagged_weights(stored.ancestors.tolist(), stored.weights.tolist(), lag)
        np.testing.assert_allclose(weights / weights.sum(axis=1, keepdims=True), twin, rtol=1e-11)


@pytest.mark.parametrize("backward", ["hybrid", "exact"])
def test_paths_over_fixed_particles_have_the_law_of_the_slow_twin(backward):
    """Chi-square over the 125 paths through five particles of three times."""
    settings, stored = stored_pass(5, Y[:3])
    plan = plan_of(Backward(backward, 1, 2 if backward == "hybrid" else None), MODEL, 5)
    recipe = recipe_of(settings, "ffbsi", plan, 40_000)
    rng = stream(root_seed(0), "test", Purpose.DATA, 1)
    x, _, _, _ = smoothing._paths(recipe, stored, rng, nothing)
    which = [np.argmax(x[t] == stored.x[t].T, axis=1) for t in range(3)]
    counts = np.bincount(which[0] * 25 + which[1] * 5 + which[2], minlength=125)
    law = naive.path_probabilities(stored.x[:, :, 0].tolist(), stored.log_weights.tolist(), log_transition)
    expected = 40_000 * np.array([law[path] for path in itertools.product(range(5), repeat=3)])
    likely = expected > 5
    assert counts[~likely].sum() < expected[~likely].sum() + 50
    chi2 = np.sum((counts[likely] - expected[likely]) ** 2 / expected[likely])
    # Systematic draws of the last particle make it smaller than its law, if anything.
    assert stats.chi2.sf(chi2, likely.sum() - 1) > 1e-7


SYMBOLS = np.array([0.0, 0.0, 1.0, np.nan, 1.0, 0.0])


def posterior_of_paths(model, y):
    """Posterior of the paths of a chain of two states, by enumeration."""
    initial, transition, emission = model.tables()
    law = {}
    for path in itertools.product(range(2), repeat=len(y)):
        p = initial[path[0]]
        for before, after in itertools.pairwise(path):
            p *= transition[before, after]
        for state, symbol in zip(path, y, strict=True):
            p *= 1.0 if np.isnan(symbol) else emission[state, int(symbol)]
        law[path] = p
    total = math.fsum(law.values())
    return np.array([p / total for p in law.values()])


@pytest.mark.parametrize("backward", ["hybrid", "exact", "mcmc"])
def test_paths_of_a_chain_by_enumeration(backward):
    model = DiscreteHMM()
    found = ParticleSmoother(model, "ffbsi", 500, 500, backward=backward, n_replicates=30, random_state=0).fit(SYMBOLS)
    paths = found.paths_[:, :, 0].astype(int).reshape(30, 500, 6)
    codes = paths @ 2 ** np.arange(5, -1, -1)
    shares = np.array([np.bincount(row, minlength=64) for row in codes]) / 500
    exact = posterior_of_paths(model, SYMBOLS)
    spread = shares.std(axis=0, ddof=1) / np.sqrt(30)
    assert (np.abs(shares.mean(axis=0) - exact) < FAR * spread + 3.0 / 500).all()
    assert np.abs(shares.mean(axis=0) - exact).sum() < 0.08


@pytest.mark.parametrize("method", METHODS)
def test_marginals_of_a_chain(method):
    model = DiscreteHMM()
    exact = ForwardBackward(model).fit(SYMBOLS).smoothed_[:, 1]
    est = ParticleSmoother(model, method, 300, n_replicates=30, random_state=0).fit(SYMBOLS).estimate()
    assert (np.abs(est.value - exact) < FAR * est.std_error + 3.0 / 300).all()


def test_a_fixed_lag_of_zero_is_the_filter():
    smoother = ParticleSmoother(MODEL, "fixed_lag", 200, lag=0, random_state=0).fit(Y)
    stream_of = stream(root_seed(0), "ParticleSmoother", Purpose.REPLICATES, 0)
    run = FilterRun(MODEL, smoother._recipe.settings, stream_of).advance(MODEL.clean(Y))
    np.testing.assert_allclose(smoother.smoothed_mean_, run.trace("mean"), rtol=1e-12)
    assert smoother.loglik_ == pytest.approx(float(run.trace("increments").sum()), rel=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_missing_observations_leave_the_prior(method):
    found = ParticleSmoother(MODEL, method, 500, n_replicates=20, random_state=0).fit(np.full(5, np.nan))
    est = found.estimate()
    assert found.loglik_ == 0.0
    # Student's t with 19 degrees of freedom: false alarm 6e-8 a number.
    assert (np.abs(est.value) < 8.5 * est.std_error).all()
    assert found.smoothed_var_ == pytest.approx(1.0 / (1.0 - 0.9**2), rel=0.25)


def test_a_gap_is_bridged():
    y = Y.copy()
    y[10:16] = np.nan
    exact = KalmanFilter(MODEL).fit(y)
    est = ParticleSmoother(MODEL, n_particles=600, n_replicates=30, random_state=0).fit(y).estimate()
    assert (np.abs(est.value - exact.smoothed_mean_[:, 0]) < FAR * est.std_error + 5.0 / 600).all()


@pytest.mark.parametrize("method", METHODS)
def test_one_time_and_few_particles(method):
    found = ParticleSmoother(MODEL, method, 4000, n_replicates=10, random_state=0).fit([0.7])
    exact = KalmanFilter(MODEL).fit([0.7]).smoothed_mean_[0, 0]
    assert abs(found.estimate().value[0] - exact) < 0.1
    with pytest.warns(ReliabilityWarning, match="effective sample size"):
        two = ParticleSmoother(MODEL, method, 2, random_state=0).fit(Y)
    assert np.isfinite(two.smoothed_mean_).all()
    one = ParticleSmoother(MODEL, method, 1, random_state=0).fit(Y)
    assert (one.smoothed_var_ == 0.0).all()


@pytest.mark.parametrize("method", METHODS)
def test_vector_states(method):
    model = LocalLinearTrend()
    y = model.simulate(15, random_state=0)[1]
    exact = KalmanFilter(model).fit(y)
    n = 300 if method == "ffbsm" else 1000
    est = ParticleSmoother(model, method, n, lag=15, n_replicates=30, random_state=0).fit(y).estimate()
    assert est.names[:2] == ("x[0, 0]", "x[0, 1]")
    assert (np.abs(est.value - exact.smoothed_mean_.ravel()) < FAR * est.std_error + 0.05).all()


@pytest.mark.parametrize("method", METHODS)
def test_array_models_agree_with_compiled_ones(method):
    settings = {"n_particles": 200, "max_trials": 20, "random_state": 4}
    compiled = ParticleSmoother(MODEL, method, **settings).fit(Y)
    of_arrays = ParticleSmoother(arrays(), method, **settings).fit(Y)
    np.testing.assert_allclose(of_arrays.smoothed_mean_, compiled.smoothed_mean_, rtol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_same_bits_in_chunks_and_in_parallel(method, monkeypatch):
    smoother = ParticleSmoother(MODEL, method, 100, n_replicates=3, random_state=0)
    once = clone(smoother).fit(Y)
    parallel = clone(smoother).set_params(n_jobs=2).fit(Y)
    np.testing.assert_array_equal(once.smoothed_mean_, parallel.smoothed_mean_)
    monkeypatch.setattr("mcstat.state_space._smoother_run._CHUNK", 500)
    np.testing.assert_array_equal(once.smoothed_mean_, clone(smoother).fit(Y).smoothed_mean_)
    again = pickle.loads(pickle.dumps(once))  # noqa: S301
    np.testing.assert_array_equal(once.estimate().value, again.estimate().value)


def test_the_first_paths_are_as_good_as_any():
    """Paths are exchangeable: the first tenth has the law of all."""
    found = ParticleSmoother(MODEL, n_particles=1000, n_replicates=30, random_state=5).fit(Y)
    first = found.paths_.reshape(30, 1000, len(Y))[:, :100].mean(axis=1)
    spread = first.std(axis=0, ddof=1) / np.sqrt(30)
    assert (np.abs(first.mean(axis=0) - EXACT.smoothed_mean_[:, 0]) < FAR * spread + 3.0 / 1000).all()


def test_what_the_model_lacks_is_named():
    no_density = arrays(transition_log_density=None)
    for method in ("ffbsi", "ffbsm"):
        with pytest.raises(MissingDensityError, match="transition_log_density"):
            ParticleSmoother(no_density, method).fit(Y)
    found = ParticleSmoother(no_density, "fixed_lag", 200, random_state=0).fit(Y)
    assert found.smoothed_mean_.shape == (len(Y), 1)
    with pytest.raises(MissingDensityError, match="transition_log_bound"):
        ParticleSmoother(arrays(transition_log_bound=None), backward="hybrid").fit(Y)
    assert (
        ParticleSmoother(arrays(transition_log_bound=None), n_particles=200, random_state=0).fit(Y)._recipe.plan.is_mcmc
    )


def test_a_wrong_bound_is_found():
    model = arrays(transition_log_bound=lambda theta: models.transition_log_bound(theta) - 0.1)
    with pytest.raises(BoundViolationError, match="exceeds its bound at time"):
        ParticleSmoother(model, n_particles=200, random_state=0).fit(Y)


@pytest.mark.parametrize(("method", "backward"), [("ffbsi", "hybrid"), ("ffbsi", "mcmc"), ("ffbsm", "auto")])
def test_a_density_that_is_no_number_is_found(method, backward):
    model = arrays(transition_log_density=lambda t, x_prev, x, theta: np.where(x > 0, np.nan, -1.0))
    with pytest.raises(InvalidData, match="NaN or \\+inf"):
        ParticleSmoother(model, method, 100, backward=backward, random_state=0).fit(Y)


def test_impossible_observations_name_their_time():
    model = arrays(observation_log_density=lambda t, x, y, theta: np.where(y > 50, -np.inf, -0.5 * (y - x) ** 2))
    y = Y.copy()
    y[7] = 100.0
    with pytest.raises(ParticleDegeneracyError, match="time 7"):
        ParticleSmoother(model, n_particles=100, random_state=0).fit(y)


def test_what_only_some_methods_have():
    found = ParticleSmoother(MODEL, "ffbsm", 100, random_state=0).fit(Y)
    with pytest.raises(AttributeError, match="ffbsi"):
        _ = found.paths_
    with pytest.raises(AttributeError, match="quantiles"):
        _ = found.quantiles_
    assert math.isnan(found.n_trials_)
    one = ParticleSmoother(MODEL, n_particles=300, random_state=0).fit(Y)
    assert 1.0 < one.n_trials_ < 6.0
    assert "n_replicates" in one.estimate().warnings[0]


def test_few_effective_particles_warn():
    y = Y.copy()
    y[12] += 9.0
    smoother = ParticleSmoother(MODEL, n_particles=100, random_state=0)
    with pytest.warns(ReliabilityWarning, match="effective sample size .* at time 12 of y"):
        smoother.fit(y)
    assert any("at time 12" in note for note in smoother.estimate().warnings)


def test_a_loose_bound_warns():
    """A bound 8 too high: a try succeeds once in 3000, and N / 4 tries are too few."""
    model = arrays(transition_log_bound=lambda theta: models.transition_log_bound(theta) + 8.0)
    smoother = ParticleSmoother(model, n_particles=200, random_state=0)
    with pytest.warns(ReliabilityWarning, match="gave up .* of the backward draws after 30 tries"):
        smoother.fit(Y)
    assert smoother.exact_fraction_ > 0.9
    # Who asks for exact draws gets no warning.
    assert smoother.set_params(max_trials=0).fit(Y).exact_fraction_ == 1.0


def test_plot_and_arviz():
    pytest.importorskip("matplotlib").use("Agg")
    found = ParticleSmoother(
        MODEL, n_particles=200, n_paths=50, n_replicates=2, quantiles=(0.025, 0.975), random_state=0
    ).fit(Y)
    ax = found.plot()
    assert ax.get_legend_handles_labels()[1] == ["95% of the smoothing law", "smoothing mean"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.smoothed_mean_[:, 0])
    pytest.importorskip("arviz")
    data = found.to_arviz()
    assert data["posterior"]["x"].shape == (2, 50, len(Y), 1)
    np.testing.assert_array_equal(np.asarray(data["posterior"]["x"])[1, 0], found.paths_[50])


def test_filter_and_smoother_know_the_same_likelihood():
    loglik = ParticleFilter(MODEL, 2000, n_replicates=10, random_state=0).fit(Y).loglik_
    assert ParticleSmoother(MODEL, n_particles=2000, random_state=1).fit(Y).loglik_ == pytest.approx(loglik, abs=1.0)


INTERRUPT = """
import time
import numpy as np
from mcstat.state_space import LinearGaussian, ParticleSmoother
estimator = ParticleSmoother(LinearGaussian(), "ffbsm", n_particles=1000, n_replicates=100, random_state=0)
ParticleSmoother(LinearGaussian(), "ffbsm", n_particles=100, random_state=0).fit(np.zeros(5))
print("ready", flush=True)
try:
    estimator.fit(np.zeros(10))
except KeyboardInterrupt:
    print("interrupted", time.time(), flush=True)
    print("warnings", estimator.estimate().warnings[0], flush=True)
"""


def test_ctrl_c_keeps_finished_replicates():
    process = subprocess.Popen([sys.executable, "-c", INTERRUPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("ready")
    time.sleep(3.0)
    process.send_signal(signal.SIGINT)
    sent = time.time()
    output, _ = process.communicate(timeout=60)
    lines = dict(line.split(" ", 1) for line in output.splitlines())
    assert float(lines["interrupted"]) - sent < 0.5
    assert "of 100 replicates" in lines["warnings"]
