"""Parisian particle Gibbs: the smoothing law is invariant, and the estimate has no bias there."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone

from mcstat.core.errors import InvalidParameter
from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.state_space import (
    DiscreteHMM,
    KalmanFilter,
    LinearGaussian,
    MissingDensityError,
    ParisianParticleGibbs,
    ParisSmoother,
)
from mcstat.state_space._additive import additive
from mcstat.state_space._paris_run import Backward, filter_settings, plan_of
from mcstat.state_space._sweep import Setup, sweep
from tests.naive.state_space import chain_paths
from tests.state_space import models

CHAIN = DiscreteHMM()
SYMBOLS = np.array([0.0, 1.0, 1.0, 0.0, np.nan, 1.0])
MODEL = LinearGaussian()
Y = MODEL.simulate(40, random_state=3)[1]


def posterior():
    found = chain_paths(*CHAIN.tables(), SYMBOLS)
    total = sum(found.values())
    return np.array(list(found)), np.array(list(found.values())) / total


def chain_setup(backward, n):
    settings = filter_settings(n, "bootstrap", "multinomial_iid", 1.0, store_history=True)
    plan = plan_of(Backward(backward, 2, None), CHAIN, n)
    return Setup(CHAIN, settings, additive(["sum_x", "sum_cross"], CHAIN), plan, CHAIN.clean(SYMBOLS))


def alarms(paths, observed, law):
    """Chi-square p-value of paths against their law; paths expected fewer than five times are counted together."""
    index = {tuple(path): k for k, path in enumerate(paths)}
    counts = np.bincount([index[tuple(int(v) for v in path)] for path in observed], minlength=len(paths))
    expected = law * len(observed)
    rare = expected < 5
    counts, expected = np.append(counts[~rare], counts[rare].sum()), np.append(expected[~rare], expected[rare].sum())
    return stats.chi2.sf(np.sum((counts - expected) ** 2 / expected), len(counts) - 1)


def one_sweep_each(backward, n, n_starts):
    """From exact draws of the posterior, one sweep each: starts, paths and estimates."""
    paths, law = posterior()
    setup, rng = chain_setup(backward, n), stream(root_seed(1), "test", Purpose.DATA, 0)
    starts = paths[rng.choice(len(paths), size=n_starts, p=law)]
    found = [sweep(setup, np.ascontiguousarray(start[:, None], dtype=float), rng) for start in starts]
    return starts, np.array([one.path[:, 0] for one in found]), np.array([one.estimate for one in found])


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("backward", ["hybrid", "exact", "mcmc"])
def test_one_sweep_leaves_the_posterior_invariant(backward, n):
    """Check 5 of the card, by enumeration of all 64 paths: the law of the path, and the mean of the estimate."""
    paths, law = posterior()
    starts, ends, estimates = one_sweep_each(backward, n, 4000)
    assert alarms(paths, ends, law) > 1e-7
    terms = np.stack([paths.sum(axis=1), (paths[:, 1:] * paths[:, :-1]).sum(axis=1)], axis=1)
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(axis=0) - law @ terms) < 5.6 * error).all()
    # The test would be empty if paths did not move.
    assert (starts != ends).any(axis=1).mean() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("backward", ["hybrid", "exact", "mcmc"])
def test_one_sweep_leaves_the_posterior_invariant_at_length(backward):
    paths, law = posterior()
    _, ends, _ = one_sweep_each(backward, 2, 100_000)
    assert alarms(paths, ends, law) > 1e-7


@pytest.mark.parametrize("backward", ["hybrid", "mcmc"])
def test_path_frequencies_of_a_long_chain(backward):
    """From a first path that is nearly impossible; thinned by 10, so that draws are close to independent."""
    paths, law = posterior()
    worst = paths[np.argmin(law)].astype(float)
    gibbs = ParisianParticleGibbs(
        CHAIN, "sum_x", 3, 2050, n_chains=4, backward=backward, initial_path=worst, random_state=0
    ).fit(SYMBOLS)
    kept = gibbs.paths_[:, 50::10, :, 0].reshape(-1, len(SYMBOLS))
    assert alarms(paths, kept, law) > 1e-7


# Ten particles are too few for PaRIS, and it says so.
@pytest.mark.filterwarnings("ignore:effective sample size:mcstat.core.errors.ReliabilityWarning")
@pytest.mark.parametrize("backward", ["hybrid", "mcmc"])
def test_no_bias_where_paris_has_one(backward):
    """Check 6 of the card."""
    y = MODEL.simulate(100, random_state=0)[1]
    truth = KalmanFilter(MODEL).fit(y).sum_cross_[0, 0]
    paris = ParisSmoother(
        MODEL, "sum_cross", 10, resampling="multinomial_iid", ess_threshold=1.0, n_replicates=400, random_state=0
    )
    biased = paris.fit(y).estimate()
    assert abs(biased.value[0] - truth) > 10 * biased.std_error[0]
    gibbs = ParisianParticleGibbs(MODEL, "sum_cross", 10, 150, 50, n_chains=30, backward=backward, random_state=0)
    est = gibbs.fit(y).estimate()
    # Student's t with 29 degrees of freedom: false alarm 3e-8.
    assert abs(est.value[0] - truth) < 7.5 * est.std_error[0]
    assert 7.5 * est.std_error[0] < 0.5 * abs(biased.value[0] - truth)


def test_guided_moves():
    truth = KalmanFilter(MODEL).fit(Y).sum_x_[0]
    for model in (MODEL, models.linear_gaussian(vectorized=True)):
        n_iter = 100 if model is MODEL else 30
        gibbs = ParisianParticleGibbs(model, "sum_x", 15, n_iter, n_chains=20, method="guided", random_state=0)
        est = gibbs.fit(Y).estimate()
        # Student's t with 19 degrees of freedom: false alarm 1e-7.
        assert abs(est.value[0] - truth) < 8.2 * est.std_error[0]


def test_paths_have_the_smoothing_law():
    exact = KalmanFilter(MODEL).fit(Y)
    gibbs = ParisianParticleGibbs(MODEL, "sum_x", 20, 300, 50, n_chains=16, random_state=0).fit(Y)
    means = gibbs.paths_[:, 50:, :, 0].mean(axis=1)
    error = means.std(axis=0, ddof=1) / 4.0
    # Student's t with 15 degrees of freedom, 40 times: false alarm 4e-7.
    assert (np.abs(means.mean(axis=0) - exact.smoothed_mean_[:, 0]) < 10.5 * error).all()
    ratio = gibbs.paths_[:, 50:, :, 0].var(axis=(0, 1)) / exact.smoothed_cov_[:, 0, 0]
    assert (np.abs(ratio - 1.0) < 0.25).all()


def test_same_bits_in_parallel_extended_and_in_chunks(monkeypatch):
    gibbs = ParisianParticleGibbs(MODEL, ["sum_x", "sum_cross"], 10, 12, n_chains=3)
    once = clone(gibbs).fit(Y)
    for other in (
        clone(gibbs).set_params(n_jobs=2).fit(Y),
        clone(gibbs).set_params(n_iter=5).fit(Y).extend(7),
    ):
        np.testing.assert_array_equal(once.paths_, other.paths_)
        np.testing.assert_array_equal(once.estimate().value, other.estimate().value)
    monkeypatch.setattr("mcstat.state_space._particle_gibbs._BLOCK", 100)
    monkeypatch.setattr("mcstat.state_space._paris_run._CHUNK", 70)
    np.testing.assert_array_equal(once.paths_, clone(gibbs).fit(Y).paths_)


def test_estimate_is_the_mean_after_burn_in():
    gibbs = ParisianParticleGibbs(MODEL, ["sum_x", "sum_cross"], 10, 12, n_chains=3).fit(Y)
    est = gibbs.estimate()
    chains = gibbs.sweep_estimates_[:, 3:].mean(axis=1)
    np.testing.assert_allclose(est.value, chains.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(est.std_error, chains.std(axis=0, ddof=1) / np.sqrt(3), rtol=1e-12)
    assert est.names == ("sum_x", "sum_cross")


def test_short_series():
    est = ParisianParticleGibbs(MODEL, ["sum_x", "sum_cross"], 20, 40, n_chains=20).fit([1.0]).estimate()
    truth = KalmanFilter(MODEL).fit([1.0]).sum_x_[0]
    assert abs(est.value[0] - truth) < 8.2 * est.std_error[0]
    assert est.value[1] == 0.0


def test_bad_input():
    with pytest.raises(InvalidParameter, match="n_particles"):
        ParisianParticleGibbs(MODEL, n_particles=1).fit(Y)
    with pytest.raises(InvalidParameter, match="burn_in"):
        ParisianParticleGibbs(MODEL, n_iter=5, burn_in=5).fit(Y)
    with pytest.raises(InvalidParameter, match="n_backward"):
        ParisianParticleGibbs(MODEL, n_backward=1, backward="mcmc").fit(Y)
    with pytest.raises(InvalidParameter, match="initial_path"):
        ParisianParticleGibbs(MODEL, initial_path=np.zeros(3)).fit(Y)
    with pytest.raises(MissingDensityError, match="transition_log_density"):
        ParisianParticleGibbs(models.linear_gaussian(transition_log_density=None, vectorized=True)).fit(Y)


def test_arviz_gets_paths_and_statistics():
    pytest.importorskip("arviz")
    data = ParisianParticleGibbs(MODEL, "sum_x", 10, 12, n_chains=2).fit(Y).to_arviz()
    assert data["posterior"]["x"].dims == ("chain", "draw", "time", "state")
    assert data["posterior"]["x"].shape == (2, 9, len(Y), 1)
    assert set(data["sample_stats"].data_vars) == {"loglik", "ess_min", "exact_fraction"}
    assert data["constant_data"]["path_update_rate"].shape == (len(Y),)


INTERRUPT = """
import sys, time, warnings
import numpy as np
from mcstat.state_space import LinearGaussian, ParisianParticleGibbs
y = LinearGaussian().simulate(2000, random_state=0)[1]
estimator = ParisianParticleGibbs(LinearGaussian(), n_iter=5000, n_chains=2, n_jobs=int(sys.argv[1]))
ParisianParticleGibbs(LinearGaussian(), n_iter=1, n_chains=1).fit(y[:5])
print("ready", flush=True)
try:
    estimator.fit(y)
except KeyboardInterrupt:
    print("interrupted", time.time(), flush=True)
    print("warnings", estimator.estimate().warnings[0], flush=True)
"""


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_keeps_finished_sweeps(n_jobs):
    process = subprocess.Popen([sys.executable, "-c", INTERRUPT, str(n_jobs)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("ready")
    time.sleep(3.0)
    process.send_signal(signal.SIGINT)
    sent = time.time()
    output, _ = process.communicate(timeout=60)
    lines = dict(line.split(" ", 1) for line in output.splitlines())
    assert float(lines["interrupted"]) - sent < 0.5
    assert "of 5000 sweeps" in lines["warnings"]
