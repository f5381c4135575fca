"""Particle marginal Metropolis-Hastings: the exact posterior, whatever the noise of the likelihood."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.state_space import PMMH, LinearGaussian, LocalLevel
from mcstat.state_space._random_walk import first_walk
from tests.state_space import models
from tests.state_space.posteriors import LEVEL, LEVEL_Y, PRIOR, agrees, level_posterior, log_prior

quiet = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")


@quiet
@pytest.mark.parametrize(("n", "correlation"), [pytest.param(40, 0.0, marks=pytest.mark.slow), (8, 0.0), (20, 0.95)])
def test_posterior_mean(n, correlation):
    """With 8 particles the log-likelihood has a standard deviation above 1: the chains stick, but are not biased."""
    mean, sd, _ = level_posterior()
    found = PMMH(LEVEL, PRIOR, n, 800, 200, n_chains=8, correlation=correlation, random_state=1).fit(LEVEL_Y)
    assert agrees(found, mean)
    np.testing.assert_allclose(found.estimate().std_error, sd, rtol=0.25)


@quiet
def test_prior_as_laws_or_as_a_function():
    """The same bits from the same starts, and a walk that has not adapted yet."""
    starts = np.array([[0.5, 1.0], [0.7, 0.9]])
    one = PMMH(LEVEL, PRIOR, 20, 50, 0, n_chains=2, initial_theta=starts).fit(LEVEL_Y)
    other = clone(one).set_params(prior=log_prior).fit(LEVEL_Y)
    np.testing.assert_allclose(one.theta_, other.theta_, rtol=1e-12)


@quiet
def test_a_users_model_and_a_law_that_reaches_too_far():
    """rho has a prior on the real line, of which the model allows (-1, 1); other parameters keep their values."""
    y = LinearGaussian().simulate(30, random_state=0)[1]
    prior = {"rho": stats.norm(0.8, 0.5)}
    model = models.linear_gaussian(vectorized=True, theta_support=models.SUPPORT)
    for one, n_draws in ((LinearGaussian(), 800), (model, 60)):
        found = PMMH(one, prior, 30, n_draws, 100, n_chains=2, method="bootstrap").fit(y)
        assert found.theta_.shape == (2, n_draws, 1)
        assert (np.abs(found.theta_) < 1.0).all()
        assert found.estimate().names == ("rho",)


@quiet
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_same_bits_in_parallel_extended_and_in_blocks(correlation, monkeypatch):
    pmmh = PMMH(LEVEL, PRIOR, 10, 40, 30, n_chains=3, correlation=correlation)
    once = clone(pmmh).fit(LEVEL_Y)
    for other in (
        clone(pmmh).set_params(n_jobs=2).fit(LEVEL_Y),
        clone(pmmh).set_params(n_draws=15).fit(LEVEL_Y).extend(25),
    ):
        np.testing.assert_array_equal(once.theta_, other.theta_)
    monkeypatch.setattr("mcstat.state_space._mcmc._BLOCK", 30_000)
    np.testing.assert_array_equal(once.theta_, clone(pmmh).fit(LEVEL_Y).theta_)


@quiet
def test_warnings():
    y = LEVEL.simulate(100, random_state=1)[1]
    with pytest.warns(ReliabilityWarning, match="standard deviation"):
        found = PMMH(LEVEL, PRIOR, 3, 60, 20, n_chains=2).fit(y)
    assert found.loglik_sd_ > 1.7
    assert any("particles" in words for words in found.estimate().warnings)
    with pytest.warns(ReliabilityWarning, match="R-hat"):
        PMMH(LEVEL, PRIOR, 50, 10, 0, n_chains=2, initial_theta=[[0.1, 3.0], [3.0, 0.1]]).fit(LEVEL_Y)


def test_bad_input():
    def fit(**settings):
        return PMMH(**({"model": LEVEL, "prior": PRIOR, "n_particles": 5, "n_draws": 5, "n_warmup": 5} | settings)).fit(
            LEVEL_Y
        )

    with pytest.raises(InvalidParameter, match="prior must name parameters"):
        fit(prior={"rho": stats.norm()})
    with pytest.raises(InvalidParameter, match="prior of 'sigma_y' must have logpdf"):
        fit(prior={"sigma_y": 3.0})
    with pytest.raises(InvalidParameter, match="mass where the model allows it"):
        fit(prior={"sigma_y": stats.uniform(-3.0, 2.0)})
    with pytest.raises(InvalidParameter, match="prior must map names"):
        fit(prior={})
    with pytest.raises(InvalidParameter, match="initial_theta must have shape"):
        fit(initial_theta=[1.0])
    with pytest.raises(InvalidParameter, match=r"initial_theta must have sigma_level in \(0, inf\)"):
        fit(initial_theta=[1.0, -1.0])
    with pytest.raises(InvalidParameter, match="correlation"):
        fit(model=models.gamma(), prior={"theta[0]": stats.halfnorm()}, correlation=0.5)
    with pytest.raises(InvalidData, match="prior must have a log density"):
        fit(prior=lambda theta: np.nan)
    with pytest.raises(InvalidParameter, match="positive prior density"):
        fit(prior=lambda theta: -np.inf)
    with pytest.raises(InvalidParameter, match="theta_support must use names"):
        fit(model=models.linear_gaussian(theta_support={"sigma": (0, 1)}), prior={"rho": stats.norm()})


def test_the_walk_learns_a_covariance():
    """From draws of a known law its covariance, and a scale that keeps to the wanted acceptance."""
    rng = np.random.default_rng(0)
    factor = np.array([[1.0, 0.0], [0.8, 0.3]])
    walk = first_walk(np.zeros(2))
    for _ in range(20_000):
        walk = walk.adapted(factor @ rng.standard_normal(2), 0.3)
    np.testing.assert_allclose(walk.cov, factor @ factor.T, atol=0.12)
    assert walk.log_scale == pytest.approx(np.log(2.38 / np.sqrt(2)))
    steps = np.array([walk.propose(np.ones(2), rng) - 1.0 for _ in range(20_000)])
    np.testing.assert_allclose(np.cov(steps.T), np.exp(2 * walk.log_scale) * walk.cov, rtol=0.1, atol=0.02)
    assert walk.adapted(np.zeros(2), 1.0).log_scale > walk.log_scale > walk.adapted(np.zeros(2), 0.0).log_scale


@quiet
def test_arviz():
    pytest.importorskip("arviz")
    data = PMMH(LocalLevel(), PRIOR, 10, 12, 5, n_chains=2).fit(LEVEL_Y).to_arviz()
    assert set(data["posterior"].data_vars) == {"sigma_level", "sigma_y"}
    assert data["posterior"]["sigma_y"].shape == (2, 12)
    assert set(data["sample_stats"].data_vars) == {"loglik", "accepted"}


INTERRUPT = """
import sys, time, warnings
warnings.simplefilter("ignore")
from scipy.stats import halfnorm
from mcstat.state_space import LocalLevel, {name}
y = LocalLevel().simulate(300, random_state=0)[1]
prior = {{"sigma_level": halfnorm(), "sigma_y": halfnorm()}}
estimator = {call}
estimator.set_params(n_warmup=1, {length}=2).fit(y)
estimator.set_params(n_warmup=1, {length}=50_000, n_jobs=int(sys.argv[1]))
print("ready", flush=True)
try:
    estimator.fit(y)
except KeyboardInterrupt:
    print("interrupted", time.time(), flush=True)
    print("warnings", estimator.estimate().warnings[0], flush=True)
"""
CALLS = {
    "PMMH": ("PMMH(LocalLevel(), prior, 100, n_chains=2)", "n_draws"),
    "ParticleGibbs": ("ParticleGibbs(LocalLevel(), prior, 50, n_chains=2)", "n_draws"),
    "ParticleMLE": ("ParticleMLE(LocalLevel(), n_particles=30, n_chains=2, n_information=2)", "n_iter"),
}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_keeps_finished_draws(name, n_jobs):
    call, length = CALLS[name]
    script = INTERRUPT.format(name=name, call=call, length=length)
    process = subprocess.Popen([sys.executable, "-c", script, str(n_jobs)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("ready")
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    sent = time.time()
    output, _ = process.communicate(timeout=60)
    lines = dict(line.split(" ", 1) for line in output.splitlines())
    assert float(lines["interrupted"]) - sent < 0.5
    assert "of 50000" in lines["warnings"]
