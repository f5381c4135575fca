"""Particle Gibbs: the exact joint posterior of parameters and states, with few particles."""

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.state_space import (
    DiscreteHMM,
    KalmanFilter,
    LinearGaussian,
    LocalLevel,
    MissingDensityError,
    ParticleGibbs,
)
from tests.state_space import models
from tests.state_space.posteriors import LEVEL, LEVEL_Y, PRIOR, agrees, level_posterior
from tests.state_space.test_particle_gibbs import SYMBOLS

quiet = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")


@quiet
def test_posterior_means_of_parameters_and_states():
    mean, sd, total = level_posterior()
    found = ParticleGibbs(LEVEL, PRIOR, 10, 400, 120, n_chains=8, n_steps=3, random_state=2).fit(LEVEL_Y)
    assert agrees(found, mean)
    np.testing.assert_allclose(found.estimate().std_error, sd, rtol=0.25)
    sums = found.paths_[..., 0].sum(axis=2).mean(axis=1)
    # Student's t with 7 degrees of freedom: false alarm below 1e-6.
    assert abs(sums.mean() - total) < 16.0 * sums.std(ddof=1) / np.sqrt(8) < 16.0 * 0.5


def draw_spreads(path, y, theta, rng):
    """Conjugate: precisions of a local level have Gamma(2, 1) priors."""
    moves, errors = np.diff(path), y - path
    return {
        "sigma_level": rng.gamma(2.0 + len(moves) / 2, 1.0 / (1.0 + moves @ moves / 2)) ** -0.5,
        "sigma_y": rng.gamma(2.0 + len(errors) / 2, 1.0 / (1.0 + errors @ errors / 2)) ** -0.5,
    }


@quiet
def test_a_users_conditional_draw():
    """Against quadrature under the same prior of the precisions."""
    grid = np.linspace(0.05, 4.0, 40)
    log_density = np.empty((40, 40))

    def log_law(sd):
        return -5.0 * np.log(sd) - sd**-2.0

    for i, a in enumerate(grid):
        for j, b in enumerate(grid):
            log_density[i, j] = KalmanFilter(LocalLevel(a, b)).fit(LEVEL_Y).loglik_ + log_law(a) + log_law(b)
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    mean = np.array([weights.sum(axis=1) @ grid, weights.sum(axis=0) @ grid])
    found = ParticleGibbs(LEVEL, None, 10, 400, 50, n_chains=8, update_theta=draw_spreads, random_state=0)
    assert agrees(found.fit(LEVEL_Y), mean)
    assert found.acceptance_ == 1.0


@quiet
def test_a_users_model_with_parameters_that_stay():
    y = LinearGaussian().simulate(25, random_state=0)[1]
    y[3] = np.nan
    model = models.linear_gaussian(vectorized=True, theta_support=models.SUPPORT)
    found = ParticleGibbs(model, {"rho": stats.uniform(-1, 2)}, 8, 30, 20, n_chains=2).fit(y)
    assert found.theta_.shape == (2, 30, 1)
    compiled = ParticleGibbs(models.linear_gaussian(), {"rho": stats.uniform(-1, 2)}, 8, 30, 20, n_chains=2).fit(y)
    built_in = ParticleGibbs(LinearGaussian(), {"rho": stats.uniform(-1, 2)}, 8, 30, 20, n_chains=2).fit(y)
    np.testing.assert_allclose(compiled.theta_, built_in.theta_, rtol=1e-9)
    np.testing.assert_allclose(compiled.paths_, built_in.paths_, rtol=1e-7, atol=1e-9)


@quiet
def test_same_bits_in_parallel_extended_and_in_blocks(monkeypatch):
    gibbs = ParticleGibbs(LEVEL, PRIOR, 6, 30, 20, n_chains=3)
    once = clone(gibbs).fit(LEVEL_Y)
    for other in (
        clone(gibbs).set_params(n_jobs=2).fit(LEVEL_Y),
        clone(gibbs).set_params(n_draws=7).fit(LEVEL_Y).extend(23),
    ):
        np.testing.assert_array_equal(once.theta_, other.theta_)
        np.testing.assert_array_equal(once.paths_, other.paths_)
    monkeypatch.setattr("mcstat.state_space._mcmc._BLOCK", 30_000)
    np.testing.assert_array_equal(once.paths_, clone(gibbs).fit(LEVEL_Y).paths_)


@quiet
def test_sluggish_paths_warn():
    y = LinearGaussian().simulate(300, random_state=0)[1]
    gibbs = ParticleGibbs(LinearGaussian(), None, 5, 100, 0, 2, update_theta=lambda *_: {}, ancestor_sampling=False)
    with pytest.warns(ReliabilityWarning, match="changed the path at time 0"):
        gibbs.fit(y)
    assert gibbs.path_update_rate_[0] < 0.05 < gibbs.path_update_rate_[-1]


def test_bad_input():
    with pytest.raises(InvalidParameter, match="prior must map names"):
        ParticleGibbs(LEVEL).fit(LEVEL_Y)
    with pytest.raises(InvalidParameter, match="prior must be None"):
        ParticleGibbs(LEVEL, PRIOR, update_theta=draw_spreads).fit(LEVEL_Y)
    with pytest.raises(InvalidParameter, match="update_theta must be a function"):
        ParticleGibbs(LEVEL, update_theta=3).fit(LEVEL_Y)
    with pytest.raises(InvalidParameter, match="n_particles"):
        ParticleGibbs(LEVEL, PRIOR, 1).fit(LEVEL_Y)
    with pytest.raises(InvalidData, match="update_theta must return"):
        ParticleGibbs(LEVEL, None, 5, 5, update_theta=lambda *_: {"rho": 1.0}).fit(LEVEL_Y)
    with pytest.raises(InvalidParameter, match="what update_theta returns must have"):
        ParticleGibbs(LEVEL, None, 5, 5, update_theta=lambda *_: {"sigma_y": -1.0}).fit(LEVEL_Y)
    with pytest.raises(InvalidParameter, match="has none"):
        ParticleGibbs(DiscreteHMM(), lambda theta: 0.0).fit(SYMBOLS)
    lacking = models.linear_gaussian(initial_log_density=None, vectorized=True)
    with pytest.raises(MissingDensityError, match="initial_log_density"):
        ParticleGibbs(lacking, {"rho": stats.uniform()}).fit(LEVEL_Y)
    blind = models.linear_gaussian(transition_log_density=None, vectorized=True)
    with pytest.raises(MissingDensityError, match="transition_log_density"):
        ParticleGibbs(blind, update_theta=draw_spreads, ancestor_sampling=True).fit(LEVEL_Y)


@quiet
def test_arviz_gets_paths_and_statistics():
    pytest.importorskip("arviz")
    data = ParticleGibbs(LEVEL, PRIOR, 10, 12, 5, n_chains=2).fit(LEVEL_Y).to_arviz()
    assert data["posterior"]["x"].dims == ("chain", "draw", "time", "state")
    assert data["posterior"]["x"].shape == (2, 12, len(LEVEL_Y), 1)
    assert data["posterior"]["sigma_level"].shape == (2, 12)
    assert set(data["sample_stats"].data_vars) == {"loglik", "ess_min", "accepted"}
