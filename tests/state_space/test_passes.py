"""Single passes of learning: conditional sweeps, likelihoods from given numbers, densities and scores of paths."""

import random

import numpy as np
import pytest
from scipy import stats

from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidParameter
from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.state_space import DiscreteHMM, KalmanFilter, LinearGaussian, LocalLinearTrend, StochasticVolatility
from mcstat.state_space._parameters import parameters_of
from mcstat.state_space._passes import Conditional, Likelihood, PathDensity
from mcstat.state_space._run import FilterSettings
from mcstat.state_space._score import PathScore, ScorePass
from tests.naive.state_space import chain_paths, conditional_sweep, gaussian_posterior, log_joint
from tests.state_space import models
from tests.state_space.test_particle_gibbs import CHAIN, SYMBOLS, alarms, posterior

MODEL = LinearGaussian()
Y = MODEL.simulate(40, random_state=3)[1]
HOLED = Y.copy()
HOLED[5] = np.nan


def generator(k=0):
    return stream(root_seed(1), "test", Purpose.DATA, k)


def score_by_kalman(parameters, free, y, step=1e-4):
    """Central differences of the exact log-likelihood."""

    def loglik(at):
        return KalmanFilter(parameters.model.with_theta(parameters.values(at))).fit(y).loglik_

    units = step * np.eye(len(free))
    return np.array([(loglik(free + unit) - loglik(free - unit)) / (2 * step) for unit in units])


# Densities of paths.


@pytest.mark.parametrize("kind", ["built-in", "compiled", "arrays"])
def test_path_density_against_naive(kind):
    model = MODEL if kind == "built-in" else models.linear_gaussian(vectorized=kind == "arrays")
    path = np.cumsum(generator().standard_normal(40))
    thetas = np.array([[0.9, 1.0, 0.5], [-0.3, 0.7, 2.0]])
    packed = frozen_view(np.array([model.packed_at(theta) for theta in thetas]))
    found = PathDensity(model, model.clean(HOLED))(packed, path[:, None])
    np.testing.assert_allclose(found, [log_joint(path, HOLED, *theta) for theta in thetas], rtol=1e-12)


def test_path_density_of_vectors():
    """Density of states and observations = that of the observations times that of the states given them."""
    model = LocalLinearTrend(0.5, 0.2, 0.7)
    y = model.simulate(6, random_state=0)[1]
    path = generator().standard_normal((6, 2))
    mean, cov, loglik = gaussian_posterior(model.matrices(), y)
    wanted = loglik + stats.multivariate_normal(np.ravel(mean), cov).logpdf(path.ravel())
    found = PathDensity(model, model.clean(y))(model.packed()[None], path)
    np.testing.assert_allclose(found, [wanted], rtol=1e-10)


# Conditional sweeps.


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("ancestor_sampling", [True, False])
def test_one_conditional_sweep_leaves_the_posterior_invariant(n, ancestor_sampling):
    """Check 5 of the card, by enumeration of all 64 paths."""
    paths, law = posterior()
    rng = generator()
    conditional = Conditional(CHAIN, n, "bootstrap", ancestor_sampling, CHAIN.clean(SYMBOLS))
    starts = paths[rng.choice(len(paths), size=6000, p=law)]
    packed = CHAIN.packed()
    ends = np.array([conditional.sweep(packed, start[:, None].astype(float), rng).path[:, 0] for start in starts])
    assert alarms(paths, ends, law) > 1e-7
    # The test would be empty if paths did not move.
    assert (starts != ends).any(axis=1).mean() > 0.1


def test_ancestor_sampling_moves_the_beginning():
    y = MODEL.simulate(200, random_state=0)[1]
    rates = []
    for ancestor_sampling in (True, False):
        conditional, rng = Conditional(MODEL, 10, "bootstrap", ancestor_sampling, MODEL.clean(y)), generator()
        path, moved = conditional.sweep(MODEL.packed(), None, rng).path, 0
        for _ in range(60):
            swept = conditional.sweep(MODEL.packed(), path, rng)
            moved += swept.path[0, 0] != path[0, 0]
            path = swept.path
        rates.append(moved / 60)
    assert rates[0] > 0.5 > 0.1 > rates[1]


@pytest.mark.parametrize("method", ["bootstrap", "guided"])
@pytest.mark.parametrize("vectorized", [False, True])
def test_paths_of_conditional_sweeps_have_the_smoothing_law(method, vectorized):
    """Guided moves: the weight of the frozen particle is that with its new ancestor."""
    y = Y[:12]
    model = models.linear_gaussian(vectorized=True) if vectorized else MODEL
    exact, packed = KalmanFilter(MODEL).fit(y), model.packed()
    means = []
    for k in range(16):
        conditional, rng = Conditional(model, 10, method, True, model.clean(y)), generator(k)
        path, kept = conditional.sweep(packed, None, rng).path, []
        for _ in range(110 if vectorized else 400):
            path = conditional.sweep(packed, path, rng).path
            kept.append(path[:, 0])
        means.append(np.mean(kept[10:], axis=0))
    error = np.std(means, axis=0, ddof=1) / 4.0
    # Student's t with 15 degrees of freedom, 12 times: false alarm 1e-7.
    assert (np.abs(np.mean(means, axis=0) - exact.smoothed_mean_[:, 0]) < 10.5 * error).all()


def test_conditional_sweep_against_naive():
    """Two chains of sweeps, ours and one in plain Python, visit the paths alike."""
    tables = CHAIN.tables()
    draws = random.Random(5)  # noqa: S311

    def log_of(table, i, j):
        return float(np.log(table[int(i)][int(j)]))

    paths, law = posterior()
    path, found = [0.0] * len(SYMBOLS), []
    for _ in range(8000):
        path = conditional_sweep(
            path,
            SYMBOLS,
            lambda: float(draws.choices(range(2), tables[0])[0]),
            lambda before: float(draws.choices(range(2), tables[1][int(before)])[0]),
            lambda before, after: log_of(tables[1], before, after),
            lambda state, symbol: log_of(tables[2], state, symbol),
            3,
            draws,
        )
        found.append(path)
    assert alarms(paths, np.array(found[50::10]), law) > 1e-7
    conditional, rng = Conditional(CHAIN, 3, "bootstrap", True, CHAIN.clean(SYMBOLS)), generator()
    current, ours = np.zeros((len(SYMBOLS), 1)), []
    for _ in range(8000):
        current = conditional.sweep(CHAIN.packed(), current, rng).path
        ours.append(current[:, 0])
    moves = [np.mean(np.diff(np.array(paths_), axis=0) != 0, axis=0) for paths_ in (found, ours)]
    # Rates of change of 8000 dependent sweeps.
    np.testing.assert_allclose(moves[0], moves[1], atol=0.06)


# Likelihoods as functions of given numbers.


def settings(n, method="bootstrap"):
    return FilterSettings(n, method, "systematic", 0.5, (), store_history=False)


def test_likelihood_from_given_numbers_is_unbiased():
    y = Y[:10]
    truth = KalmanFilter(MODEL).fit(y).loglik_
    likelihood, rng = Likelihood(MODEL, settings(50), MODEL.clean(y)), generator()
    ratios = np.array(
        [np.exp(likelihood.estimate_from(likelihood.normals(rng), MODEL.packed(), rng) - truth) for _ in range(1500)]
    )
    assert abs(ratios.mean() - 1.0) < 5.0 * ratios.std() / np.sqrt(1500)
    assert 5.0 * ratios.std() / np.sqrt(1500) < 0.2


def test_near_numbers_give_near_likelihoods():
    likelihood, rng = Likelihood(MODEL, settings(100), MODEL.clean(Y)), generator()
    packed, moved = MODEL.packed(), MODEL.packed_at([0.9, 1.001, 0.5])
    near, far = [], []
    for _ in range(100):
        noise, uniforms = likelihood.normals(rng)
        fresh = likelihood.normals(rng)
        again = tuple(0.999 * a + np.sqrt(1 - 0.999**2) * b for a, b in zip((noise, uniforms), fresh, strict=True))
        first = likelihood.estimate_from((noise, uniforms), packed, rng)
        assert likelihood.estimate_from((noise, uniforms), packed, generator(7)) == first
        near.append(likelihood.estimate_from(again, moved, rng) - first)
        far.append(likelihood.estimate(moved, rng) - likelihood.estimate(packed, rng))
    assert np.std(near) < 0.4 * np.std(far)


@pytest.mark.parametrize("noise", ["normal", "uniform"])
def test_given_numbers_in_arrays_and_compiled(noise):
    """A user's model for arrays and a built-in one, from the same numbers."""
    if noise == "normal":
        ours, other, y = MODEL, models.linear_gaussian(vectorized=True), HOLED
        found = [Likelihood(m, settings(30), m.clean(y)) for m in (ours, other)]
        normals = found[0].normals(generator())
        values = [one.estimate_from(normals, one.model.packed(), generator()) for one in found]
        np.testing.assert_allclose(values[0], values[1], rtol=1e-10)
    else:
        likelihood = Likelihood(CHAIN, settings(200), CHAIN.clean(SYMBOLS))
        truth = sum(chain_paths(*CHAIN.tables(), SYMBOLS).values())
        rng = generator()
        values = [
            np.exp(likelihood.estimate_from(likelihood.normals(rng), CHAIN.packed(), rng)) / truth for _ in range(500)
        ]
        assert abs(np.mean(values) - 1.0) < 5.0 * np.std(values) / np.sqrt(500) < 0.1


# Scores.


def test_derivatives_at_a_path_against_naive():
    parameters = parameters_of(MODEL, MODEL.theta_names)
    free = parameters.free(np.array([0.7, 1.3, 0.6]))
    path = np.cumsum(generator().standard_normal(40))

    def log_density(at):
        return log_joint(path, Y, *parameters.values(np.asarray(at)))

    found = PathScore(parameters, PathDensity(MODEL, MODEL.clean(Y)), free)(path[:, None])
    step, units = 1e-3, np.eye(3)
    slope = [(log_density(free + step * u) - log_density(free - step * u)) / (2 * step) for u in units]
    bend = [
        [
            -(
                log_density(free + step * (u + v))
                - log_density(free + step * (u - v))
                - log_density(free - step * (u - v))
                + log_density(free - step * (u + v))
            )
            / (4 * step**2)
            for u in units
        ]
        for v in units
    ]
    np.testing.assert_allclose(found.gradient, slope, rtol=1e-4)
    np.testing.assert_allclose(found.information, bend, rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("kind", ["built-in", "arrays"])
def test_score_of_particle_gibbs_has_no_bias(kind):
    """Check 7 of the card, against the Kalman filter, with few particles."""
    n_chains, n_sweeps = (12, 150) if kind == "built-in" else (8, 40)
    model = MODEL if kind == "built-in" else models.linear_gaussian(vectorized=True, theta_support=models.SUPPORT)
    y = Y[:25]
    parameters = parameters_of(model, model.theta_names)
    free = parameters.free(np.array([0.8, 1.2, 0.6]))
    exact = score_by_kalman(parameters_of(MODEL, MODEL.theta_names), free, y)
    score_pass, means = ScorePass(parameters, 10, 2, model.clean(y)), []
    for k in range(n_chains):
        rng = generator(k)
        path, scores = score_pass(free, None, rng).path, []
        for _ in range(n_sweeps):
            scored = score_pass(free, path, rng)
            path = scored.path
            scores.append(scored.score)
        means.append(np.mean(scores[10:], axis=0))
    error = np.std(means, axis=0, ddof=1) / np.sqrt(n_chains)
    # Student's t with 11 and 7 degrees of freedom, 3 times: false alarm below 1e-6.
    limit = 10.5 if kind == "built-in" else 18.0
    assert (np.abs(np.mean(means, axis=0) - exact) < limit * error).all()


def test_score_of_many_particles():
    parameters = parameters_of(MODEL, MODEL.theta_names)
    free = parameters.free(np.array([0.8, 1.2, 0.6]))
    score_pass = ScorePass(parameters, 2000, 2, MODEL.clean(HOLED))
    scores = np.array([score_pass(free, None, generator(k)).score for k in range(12)])
    error = scores.std(axis=0, ddof=1) / np.sqrt(12)
    exact = score_by_kalman(parameters, free, HOLED)
    # Student's t with 11 degrees of freedom: false alarm below 1e-6.
    assert (np.abs(scores.mean(axis=0) - exact) < 10.5 * error).all()
    assert (error < 0.5).all()


def test_parameters_and_their_free_scale():
    model = StochasticVolatility()
    parameters = parameters_of(model, ("sigma", "rho"))._replace(
        low=np.array([-np.inf, -1.0]), high=np.array([2.0, 1.0])
    )
    values = np.array([0.3, 0.95])
    free = parameters.free(values)
    np.testing.assert_allclose(parameters.values(free), values, rtol=1e-12)
    step = 1e-6
    slopes = [
        (parameters.values(free + step * unit) - parameters.values(free - step * unit))[k] / (2 * step)
        for k, unit in enumerate(np.eye(2))
    ]
    np.testing.assert_allclose(parameters.slopes(values), slopes, rtol=1e-6)
    assert parameters.inside(values)
    assert not parameters.inside(np.array([2.0, 0.0]))
    np.testing.assert_array_equal(parameters.full(values), [-1.0, 0.95, 0.3])
    with pytest.raises(InvalidParameter, match="has none"):
        parameters_of(DiscreteHMM(), ())
