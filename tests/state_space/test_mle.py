"""Maximum likelihood by particles ends where the Kalman filter's likelihood has its maximum."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import clone

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.state_space import KalmanFilter, LinearGaussian, LocalLevel, MissingDensityError, ParticleMLE
from mcstat.state_space._ascent import Steps
from mcstat.state_space._information import Information, inverse_square_root, mean_score, points_around, products_of
from mcstat.state_space._parameters import parameters_of
from tests.state_space import models

quiet = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
MODEL = LinearGaussian(0.8, 1.0, 1.0)
Y = MODEL.simulate(80, random_state=2)[1]
LEVEL = LocalLevel(1.0, 1.0)
LEVEL_Y = LocalLevel(0.7, 1.0).simulate(80, random_state=1)[1]


def exact(model, y):
    """Maximum and its standard errors, by optimisation and second differences."""
    parameters = parameters_of(model, model.theta_names)

    def loss(free):
        return -KalmanFilter(model.with_theta(parameters.values(free))).fit(y).loglik_

    best = minimize(loss, parameters.free(parameters.at_model), tol=1e-8).x
    step, units = 1e-3, np.eye(len(best))
    bend = np.array(
        [
            [
                loss(best + step * (u + v))
                - loss(best + step * (u - v))
                - loss(best - step * (u - v))
                + loss(best - step * (u + v))
                for u in units
            ]
            for v in units
        ]
    ) / (4 * step**2)
    values = parameters.values(best)
    return values, np.sqrt(np.diag(np.linalg.inv(bend))) * parameters.slopes(values)


def near(est, values, errors, within):
    """Off by less than that share of a standard error: at least twice the Monte Carlo error, with fixed seeds."""
    return (np.abs(est.value - values) < within * errors).all()


@quiet
@pytest.mark.parametrize("method", ["gradient", "msc"])
def test_reaches_the_maximum_with_its_standard_errors(method):
    values, errors = exact(MODEL, Y)
    start = LinearGaussian(0.3, 2.0, 0.5)
    n_iter = 80 if method == "gradient" else 200
    found = ParticleMLE(start, None, method, 30, n_iter, 40, n_information=15, random_state=0).fit(Y)
    est = found.estimate()
    assert near(est, values, errors, 0.5)
    assert (est.mcse < (0.3 if method == "gradient" else 0.6) * errors).all()
    np.testing.assert_allclose(est.std_error, errors, rtol=0.3)
    np.testing.assert_allclose(np.linalg.inv(found.information_), est.cov, rtol=1e-6)
    np.testing.assert_allclose(found.model_.theta_values, est.value)


def level_move(t, x_prev, x, y, theta):
    return (x - x_prev) ** 2 if t > 0 else 0.0


def error_square(t, x_prev, x, y, theta):
    return (y - x) ** 2


def maximise_level(statistics, theta):
    n = len(LEVEL_Y)
    return {
        "sigma_level": np.sqrt(statistics["level_move"] / (n - 1)),
        "sigma_y": np.sqrt(statistics["error_square"] / n),
    }


@quiet
def test_saem_reaches_the_maximum():
    values, errors = exact(LEVEL, LEVEL_Y)
    terms = [level_move, error_square]
    mle = ParticleMLE(LEVEL, None, "saem", 20, 100, 40, statistics=terms, m_step=maximise_level, n_information=0)
    assert near(mle.fit(LEVEL_Y).estimate(), values, errors, 0.5)


@quiet
def test_one_of_the_parameters_and_several_sweeps():
    """Parameters that are not named keep their values; burn-in of an iteration does not count."""
    y = Y[:60]
    settings = {"n_particles": 15, "n_iter": 40, "n_warmup": 15, "n_information": 5, "random_state": 0}
    mle = ParticleMLE(MODEL, ["sigma_y"], n_sweeps=3, burn_in=1, **settings)
    est = mle.fit(y).estimate()
    grid = np.linspace(0.3, 3.0, 500)
    loglik = [KalmanFilter(LinearGaussian(0.8, 1.0, s)).fit(y).loglik_ for s in grid]
    assert est.names == ("sigma_y",)
    assert abs(float(est) - grid[np.argmax(loglik)]) < 0.5 * est.std_error[0]
    assert mle.model_.rho == 0.8
    assert mle.iterates_.shape == (4, 40, 1)


@quiet
def test_users_model_for_arrays_against_the_built_in_one():
    """Different backward draws; the same maximum."""
    y, model = Y[:20], models.linear_gaussian(vectorized=True, theta_support=models.SUPPORT)
    settings = {"n_particles": 10, "n_iter": 24, "n_warmup": 8, "n_chains": 2, "n_information": 2, "random_state": 0}
    found = ParticleMLE(model, ["sigma_x"], **settings).fit(y).estimate()
    ours = ParticleMLE(LinearGaussian(), ["sigma_x"], **settings).fit(y).estimate()
    assert abs(float(found) - float(ours)) < 0.5 * ours.std_error[0]


@quiet
@pytest.mark.parametrize("method", ["gradient", "msc"])
def test_same_bits_in_parallel_extended_and_in_blocks(method, monkeypatch):
    mle = ParticleMLE(MODEL, None, method, 8, 16, 6, 3, n_information=2)
    once = clone(mle).fit(Y[:30])
    for other in (clone(mle).set_params(n_jobs=2).fit(Y[:30]), clone(mle).set_params(n_iter=6).fit(Y[:30]).extend(10)):
        np.testing.assert_array_equal(once.iterates_, other.iterates_)
        np.testing.assert_array_equal(once.estimate().std_error, other.estimate().std_error)
    monkeypatch.setattr("mcstat.state_space._mcmc._BLOCK", 30_000)
    np.testing.assert_array_equal(once.iterates_, clone(mle).fit(Y[:30]).iterates_)


def test_steps_and_the_length_of_directions():
    assert [Steps(2, 1.0).size(k) for k in range(5)] == [1.0, 1.0, 1 / 3, 1 / 4, 1 / 5]
    complete = np.array([[4.0, 1.0], [1.0, 2.0]])
    observed = np.array([[3.0, 0.5], [0.5, 1.0]])
    information = Information(complete, np.zeros(2), complete - observed)
    for wanted, found in ((complete, False), (observed, True)):
        root = information.inverse_root(observed=found)
        np.testing.assert_allclose(root @ root.T, np.linalg.inv(wanted), rtol=1e-10)
    # Nothing observed in one direction, and a curvature that is negative: both get a finite length.
    odd = Information(np.diag([4.0, -1.0]), np.zeros(2), np.diag([4.0, -1.0]))
    assert np.isfinite(odd.inverse_root(observed=True)).all()


def test_information_by_differences_of_an_exact_score():
    """A quadratic log-likelihood: R^T I R whatever the directions."""
    information, root = np.array([[3.0, 0.5], [0.5, 1.0]]), np.array([[0.6, 0.1], [0.0, 1.2]])

    class Found:
        def __init__(self, score, path):
            self.score, self.path = score, path

    def score_pass(free, path, rng):
        return Found(-information @ (free - 1.0), path)

    points, seed = points_around(np.array([0.7, 1.1]), root), np.random.SeedSequence(0)
    scores = np.array([mean_score((score_pass, at, None, 3, seed, k)) for k, at in enumerate(points)])
    products = products_of(scores, root)
    np.testing.assert_allclose(products, root.T @ information @ root, rtol=1e-10)
    better = root @ inverse_square_root(products)
    np.testing.assert_allclose(better.T @ information @ better, np.eye(2), atol=1e-10)


@quiet
def test_what_is_not_known_is_said():
    est = ParticleMLE(MODEL, None, "msc", 8, 5, 5, 1, n_information=0).fit(Y[:20]).estimate()
    assert np.isnan(est.std_error).all()
    assert np.isnan(est.mcse).all()
    assert any("one chain" in words for words in est.warnings)
    assert any("n_information" in words for words in est.warnings)
    starts = [[3.0, 0.3], [0.3, 3.0]]
    mle = ParticleMLE(LEVEL, None, "gradient", 10, 4, 0, 2, n_information=2, initial_theta=starts)
    with pytest.warns(ReliabilityWarning, match="Monte Carlo error|relative error|not positive definite"):
        mle.fit(LEVEL_Y[:30])


def test_bad_input():
    def fit(**settings):
        return ParticleMLE(MODEL, **({"n_particles": 5, "n_iter": 3, "n_warmup": 0, "n_chains": 1} | settings)).fit(
            Y[:9]
        )

    with pytest.raises(InvalidParameter, match="burn_in must be below n_sweeps"):
        fit(n_sweeps=2, burn_in=2)
    with pytest.raises(InvalidParameter, match="n_backward must be at least 2"):
        ParticleMLE(models.linear_gaussian(transition_log_bound=None, vectorized=True), n_backward=1).fit(Y[:9])
    with pytest.raises(InvalidParameter, match="statistics"):
        fit(method="saem")
    with pytest.raises(InvalidData, match="m_step must return"):
        fit(method="saem", statistics="sum_x", m_step=lambda *_: 3)
    with pytest.raises(InvalidParameter, match="what m_step returns must have"):
        fit(method="saem", statistics="sum_x", m_step=lambda *_: {"rho": 2.0})
    with pytest.raises(InvalidParameter, match=r"initial_theta must have rho in \(-1, 1\)"):
        fit(initial_theta=[1.5, 1.0, 1.0])
    with pytest.raises(MissingDensityError, match="initial_log_density"):
        ParticleMLE(models.linear_gaussian(initial_log_density=None, vectorized=True)).fit(Y[:9])
