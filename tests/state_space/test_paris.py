"""PaRIS against exact smoothing, a slow twin, and its own promises."""

import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.state_space import (
    BoundViolationError,
    KalmanFilter,
    LinearGaussian,
    LocalLinearTrend,
    MissingDensityError,
    ParisSmoother,
    StateSpaceModel,
    StochasticVolatility,
)
from mcstat.state_space import _paris_kernels as kernels
from mcstat.state_space._additive import additive
from mcstat.state_space._paris_run import Backward, ParisRun, draw_buffers, empty_past, filter_settings, plan_of
from tests.naive.paris import forward_smoothing
from tests.state_space import models

# Few particles on purpose: what is said of that is tested where it is tested.
pytestmark = pytest.mark.filterwarnings("ignore:effective sample size:mcstat.core.errors.ReliabilityWarning")

MODEL = LinearGaussian()
Y = MODEL.simulate(40, random_state=3)[1]
EXACT = KalmanFilter(MODEL).fit(Y)
# 5.6 standard errors: false alarm 2e-8 an assertion.
FAR = 5.6


def square(t, x_prev, x, y, theta):
    return x * x


def moves(t, x_prev, x, y, theta):
    return x_prev * x if t > 0 else 0.0


def moves_of_arrays(t, x_prev, x, y, theta):
    return x_prev * x if t > 0 else np.zeros(len(x))


def arrays(**changes):
    functions = {
        "initial": models.initial,
        "transition": models.transition,
        "observation_log_density": models.observation_log_density,
        "transition_log_density": models.transition_log_density,
        "transition_log_bound": models.transition_log_bound,
    }
    return StateSpaceModel(**(functions | changes), theta=models.THETA, vectorized=True)


@pytest.mark.parametrize("backward", ["hybrid", "exact", "mcmc", "forward", "marginal"])
def test_exact_smoothing_of_a_linear_gaussian_model(backward):
    n = 300 if backward in ("exact", "marginal") else 2000
    found = ParisSmoother(
        MODEL, ["sum_x", "sum_xx", "sum_cross"], n, backward=backward, n_replicates=30, random_state=1
    ).fit(Y)
    est = found.estimate()
    truth = [EXACT.sum_x_[0], EXACT.sum_xx_[0, 0], EXACT.sum_cross_[0, 0]]
    # Student's t with 29 degrees of freedom has heavier tails; bias is of order T / N.
    assert (np.abs(est.value - truth) < 7.5 * est.std_error + 0.2 * len(Y) / n).all()
    assert est.names == ("sum_x", "sum_xx", "sum_cross")


def test_slow_twin_of_all_pairs():
    y = MODEL.clean(Y[:6])
    settings = filter_settings(8, "bootstrap", "systematic", 1.0, store_history=True)
    rng = stream(root_seed(0), "test", Purpose.DATA, 0)
    plan = plan_of(Backward("marginal", 2, None), MODEL, 8)
    run = ParisRun(MODEL, settings, additive("sum_cross", MODEL), plan, rng).advance(y)
    particles = run.trace("x")[:, :, 0].tolist()
    # Resampled at every step, a weight is the density of the observation.
    log_weights = [[-0.5 * ((float(v) - x) / 0.5) ** 2 for x in row] for v, row in zip(y[:, 0], particles, strict=True)]
    twin = forward_smoothing(
        particles, log_weights, lambda a, b: -0.5 * (b - 0.9 * a) ** 2, lambda t, a, b: a * b if t > 0 else 0.0
    )
    assert run.value[0] == pytest.approx(twin, rel=1e-11)


@pytest.mark.parametrize("spread", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("method", ["hybrid", "exact", "mcmc"])
def test_backward_draws_have_the_backward_law(method, spread):
    """Check 4 of the card: chi-square of draws from five particles, log-weights as far apart as -1e4 and 0."""
    rng = stream(root_seed(5), "test", Purpose.DATA, 0)
    n, n_targets, target = 5, 20_000, 0.7
    x_prev = np.array([[-1.5], [0.2], [0.9], [1.4], [6.0]])
    log_weights = spread * np.array([-0.4, 0.0, -0.2, -0.1, -1.0])
    n_draws = 40 if method == "mcmc" else 1
    plan = plan_of(Backward(method, n_draws, 3 if method == "hybrid" else None), MODEL, n)
    past, draws = empty_past(n), draw_buffers(n_targets, n_draws, n)
    kernels.remember(log_weights, np.exp(log_weights - log_weights.max()), *past)
    x = np.full((n_targets, 1), target)
    density = arrays().function("log_transition")
    theta = arrays().packed()
    start = np.full(n_targets, 1)
    status, _, _ = kernels.DRAW_BACK[plan.mode](rng, density, theta, 1, x_prev, x, start, plan, past, draws)
    assert status == kernels.OK
    law = np.exp(log_weights - log_weights.max() - 0.5 * (target - 0.9 * x_prev[:, 0]) ** 2)
    law /= law.sum()
    counts = np.bincount(draws.sources[n_draws - 1 :: n_draws], minlength=n)
    likely = law * n_targets > 5
    assert counts[~likely].sum() < 30
    observed, expected = counts[likely], law[likely] / law[likely].sum() * counts[likely].sum()
    assert stats.chi2.sf(np.sum((observed - expected) ** 2 / expected), max(likely.sum() - 1, 1)) > 1e-7


def test_no_trials_is_exact():
    settings = {"n_particles": 50, "random_state": 2}
    exact = ParisSmoother(MODEL, backward="exact", **settings).fit(Y)
    hybrid = ParisSmoother(MODEL, backward="hybrid", max_trials=0, **settings).fit(Y)
    assert hybrid.estimate().value == exact.estimate().value
    assert (hybrid.exact_fraction_, hybrid.n_trials_) == (1.0, 0.0)


def test_a_constant_term_is_counted_exactly():
    for backward in ("hybrid", "mcmc", "forward", "marginal"):
        found = ParisSmoother(MODEL, lambda t, x_prev, x, y, theta: 2.5, 20, backward=backward, random_state=0).fit(Y)
        np.testing.assert_allclose(found.running_estimate_[:, 0], 2.5 * np.arange(1, len(Y) + 1), rtol=1e-12)


def test_users_functionals_are_the_named_ones():
    found = ParisSmoother(MODEL, ["sum_xx", square, "sum_cross", moves], 50, random_state=0).fit(Y).estimate()
    assert found.names == ("sum_xx", "square", "sum_cross", "moves")
    assert found.value[0] == found.value[1]
    assert found.value[2] == found.value[3]
    assert found.value[2] == ParisSmoother(MODEL, "sum_cross", 50, random_state=0).fit(Y).estimate().value


def test_array_models_agree_with_compiled_ones():
    settings = {"n_particles": 60, "max_trials": 20, "random_state": 4}
    compiled = ParisSmoother(MODEL, ["sum_cross", moves], **settings).fit(Y).estimate().value
    of_arrays = ParisSmoother(arrays(), ["sum_cross", moves_of_arrays], **settings).fit(Y).estimate().value
    np.testing.assert_allclose(of_arrays, compiled, rtol=1e-9)


def test_vector_states():
    model = LocalLinearTrend()
    y = model.simulate(15, random_state=0)[1]
    exact = KalmanFilter(model).fit(y)
    est = ParisSmoother(model, ["sum_x", "sum_xx"], 1000, n_replicates=20, random_state=0).fit(y).estimate()
    assert est.names == ("sum_x[0]", "sum_x[1]", "sum_xx[0]", "sum_xx[1]")
    truth = np.concatenate([exact.sum_x_, np.diag(exact.sum_xx_)])
    # Student's t with 19 degrees of freedom: false alarm 1e-7 an assertion; the rest is for the bias.
    assert (np.abs(est.value - truth) < 8.2 * est.std_error + 0.02 * np.abs(truth)).all()


def test_missing_observations_leave_the_prior():
    y = np.full(5, np.nan)
    est = ParisSmoother(MODEL, ["sum_x", "sum_xx"], 2000, n_replicates=20, random_state=0).fit(y)
    variance = 1.0 / (1.0 - 0.9**2)
    assert est.loglik_ == 0.0
    assert (np.abs(est.estimate().value - [0.0, 5 * variance]) < 8.2 * est.estimate().std_error).all()


def test_same_bits_in_chunks_in_pieces_and_in_parallel(monkeypatch):
    smoother = ParisSmoother(MODEL, "sum_cross", 30, n_replicates=3, random_state=0)
    once = clone(smoother).fit(Y)
    pieces = clone(smoother).partial_fit(Y[0]).partial_fit(Y[1:17]).partial_fit(Y[17:])
    np.testing.assert_array_equal(once.running_estimate_, pieces.running_estimate_)
    parallel = clone(smoother).set_params(n_jobs=2).fit(Y)
    np.testing.assert_array_equal(once.running_estimate_, parallel.running_estimate_)
    monkeypatch.setattr("mcstat.state_space._paris_run._CHUNK", 100)
    np.testing.assert_array_equal(once.running_estimate_, clone(smoother).fit(Y).running_estimate_)
    assert once.n_times_ == len(Y)


def test_memory_does_not_grow_with_time():
    smoother = ParisSmoother(MODEL, "sum_x", 20, random_state=0).fit(Y[:5])
    shapes = [array.shape for array in (*smoother._runs[0].cloud, smoother._runs[0].beta)]
    smoother.partial_fit(np.zeros(3000))
    assert [array.shape for array in (*smoother._runs[0].cloud, smoother._runs[0].beta)] == shapes
    assert set(smoother._runs[0].chunks[0]).isdisjoint({"x", "parents"})


def test_auto_takes_what_the_model_has():
    assert not np.isnan(ParisSmoother(arrays(), n_particles=20, random_state=0).fit(Y).n_trials_)
    mcmc = ParisSmoother(arrays(transition_log_bound=None), n_particles=20, random_state=0).fit(Y)
    assert np.isnan(mcmc.n_trials_)
    assert mcmc._runs[0].plan.is_mcmc
    assert mcmc._runs[0].settings.resampling == "multinomial_iid"
    with pytest.warns(ReliabilityWarning, match="transition_log_density"):
        ParisSmoother(arrays(transition_log_density=None), n_particles=20, random_state=0).fit(Y)


def test_what_the_model_lacks_is_named():
    with pytest.raises(MissingDensityError, match="transition_log_bound"):
        ParisSmoother(arrays(transition_log_bound=None), backward="hybrid").fit(Y)
    with pytest.raises(MissingDensityError, match="transition_log_density"):
        ParisSmoother(arrays(transition_log_density=None), backward="exact").fit(Y)


def test_a_wrong_bound_is_found():
    model = arrays(transition_log_bound=lambda theta: models.transition_log_bound(theta) - 0.1)
    with pytest.raises(BoundViolationError, match="exceeds its bound at time"):
        ParisSmoother(model, n_particles=50, random_state=0).fit(Y)


@pytest.mark.parametrize("backward", ["hybrid", "exact", "mcmc", "marginal"])
def test_a_density_that_is_no_number_is_found(backward):
    model = arrays(transition_log_density=lambda t, x_prev, x, theta: np.where(x > 0, np.nan, -1.0))
    with pytest.raises(InvalidData, match="NaN or \\+inf"):
        ParisSmoother(model, n_particles=50, backward=backward, random_state=0).fit(Y)


def test_a_term_that_reads_the_state_before_the_first_is_found():
    with pytest.raises(InvalidData, match="at time 0"):
        ParisSmoother(MODEL, lambda t, x_prev, x, y, theta: x_prev, 20, random_state=0).fit(Y)


def test_a_functional_that_cannot_be_compiled_is_named():
    with pytest.raises(TypeError, match="functional"):
        ParisSmoother(MODEL, lambda t, x_prev, x, y, theta: str.casefold("x"), 20).fit(Y)
    with pytest.raises(InvalidParameter, match="functional"):
        ParisSmoother(MODEL, "sum_y", 20).fit(Y)


def test_tries_are_as_few_as_the_card_says():
    """Bands of the card's claims: 2.5 to 5 tries a draw for the linear model, 5 to 10 for volatility, up to 15 here."""
    y = MODEL.simulate(200, random_state=0)[1]
    assert 2.5 < ParisSmoother(MODEL, random_state=0).fit(y).n_trials_ < 5.0
    y = StochasticVolatility().simulate(200, random_state=0)[1]
    assert 5.0 < ParisSmoother(StochasticVolatility(), random_state=0).fit(y).n_trials_ < 15.0


def test_one_pass_says_that_it_does_not_know_its_error():
    est = ParisSmoother(MODEL, "sum_cross", 100, random_state=0).fit(Y).estimate()
    assert math.isnan(est.std_error[0])
    assert "n_replicates" in est.warnings[0]


def test_few_effective_particles_warn():
    y = Y.copy()
    y[12] += 9.0
    smoother = ParisSmoother(MODEL, "sum_x", 100, random_state=0)
    with pytest.warns(ReliabilityWarning, match="effective sample size .* at time 12 of y"):
        smoother.fit(y)
    assert any("at time 12" in note for note in smoother.estimate().warnings)


def test_a_loose_bound_warns():
    """A bound 8 too high: a try succeeds once in 3000, and 30 tries are too few."""
    model = arrays(transition_log_bound=lambda theta: models.transition_log_bound(theta) + 8.0)
    smoother = ParisSmoother(model, "sum_x", 200, random_state=0)
    with pytest.warns(ReliabilityWarning, match="gave up .* of the backward draws after 30 tries"):
        smoother.fit(Y)
    assert any("gave up" in note for note in smoother.estimate().warnings)
    # Who asks for exact draws gets no warning.
    assert smoother.set_params(max_trials=0).fit(Y).exact_fraction_ == 1.0


INTERRUPT = """
import time, warnings
import numpy as np
from mcstat.state_space import LinearGaussian, ParisSmoother
estimator = ParisSmoother(LinearGaussian(), n_particles=1000, n_replicates=500, random_state=0)
clone = ParisSmoother(LinearGaussian(), n_particles=10, random_state=0).fit(np.zeros(5))
print("ready", flush=True)
try:
    estimator.fit(np.zeros(500))
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
    assert "of 500 replicates" in lines["warnings"]
