"""Distances between samples against slow twins and known values."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion import mmd2, mode_coverage, ode_error, sliced_wasserstein
from tests.torch.problems import eight_modes, noise


def naive_mmd2(x, y, kernel):
    n, m = len(x), len(y)
    total = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    total += sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return total - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("rbf", lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * 0.7**2))),
        ("energy", lambda a, b: -np.linalg.norm(a - b)),
    ],
)
def test_mmd_against_the_naive_twin(name, kernel):
    x, y = noise(30, 3), noise(20, 3, seed=1) + 0.5
    est = mmd2(x, y, name, 0.7)
    assert float(est) == pytest.approx(naive_mmd2(x.numpy(), y.numpy(), kernel))


def test_mmds_standard_error_is_the_spread_of_replicates(seed):
    estimates = [mmd2(noise(100, 2, seed=2 * k), noise(80, 2, seed=2 * k + 1) + 1.0, bandwidth=1.0) for k in range(200)]
    values = np.array([float(est) for est in estimates])
    error = np.mean([float(est.std_error[0]) for est in estimates])
    # The spread of 200 replicates is known to 5 %; 1.3 is six of those.
    assert 1 / 1.3 < error / values.std(ddof=1) < 1.3
    # exp(-|x-y|^2/2) between normals: 3^-1 within, 3^-1 exp(-2 / 6) across in the plane.
    truth = 2 / 3 * (1 - np.exp(-2 / 6))
    assert abs(values.mean() - truth) < 6 * values.std(ddof=1) / np.sqrt(200)


def test_sliced_wasserstein():
    x = noise(200, 3)
    shift = torch.tensor([3.0, 0.0, 0.0])
    est = sliced_wasserstein(x, x + shift, n_projections=4000, n_draws=2, random_state=0)
    # A shift by s moves the projections by |cos| s, on average s / 2 in three dimensions.
    assert float(est) == pytest.approx(1.5, abs=0.1)
    assert est.std_error[0] > 0
    line = sliced_wasserstein(x[:, :1], 2.0 * x[:, :1] + 1.0, p=1.0, random_state=0)
    from scipy.stats import wasserstein_distance

    assert float(line) == pytest.approx(wasserstein_distance(x[:, 0].numpy(), (2.0 * x[:, 0] + 1.0).numpy()))
    # Unequal counts that divide: every point of the smaller sample counts twice.
    double = sliced_wasserstein(x[:, :1], x[:, :1].repeat(2, 1), random_state=0)
    assert float(double) == pytest.approx(0.0, abs=1e-12)
    again = sliced_wasserstein(x, x + shift, n_projections=4000, n_draws=2, random_state=0)
    assert float(again) == float(est)


def test_error_against_a_reference():
    x, y = noise(50, 4), noise(50, 4, seed=1)
    est = ode_error(x.reshape(50, 2, 2), y.reshape(50, 2, 2))
    assert float(est) == pytest.approx(np.sqrt(np.mean((x - y).numpy() ** 2)))
    squares = ((x - y) ** 2).mean(1).numpy()
    jackknife = np.array([np.sqrt(np.delete(squares, i).mean()) for i in range(50)])
    assert est.std_error[0] == pytest.approx(np.sqrt(49 * jackknife.var()), rel=0.05)
    assert float(ode_error(x, x)) == 0.0


def test_shares_of_the_modes():
    d = eight_modes()
    x = d.sample(5000, random_state=0)
    t = 1e-3
    est = mode_coverage(x, d.weights, d.responsibilities(x, t))
    # Eight figures within 5.5 standard errors: false alarms below 4e-7.
    assert (np.abs(est.value) < 5.5 * est.std_error).all()
    half = x[x[:, 1] > 0]
    missing = mode_coverage(half, d.weights, d.responsibilities(half, t))
    assert (missing.value[5:] < -0.05).all()


def test_bad_input():
    x = noise(5)
    with pytest.raises(InvalidData, match="2 coordinates"):
        mmd2(x, noise(5, 3))
    with pytest.raises(InvalidData, match="2 coordinates"):
        sliced_wasserstein(x, noise(5, 3))
    with pytest.raises(InvalidData, match="at least 2"):
        mmd2(x[:1], x)
    with pytest.raises(InvalidParameter, match="kernel"):
        mmd2(x, x, "poly")
    with pytest.raises(InvalidParameter, match="bandwidth"):
        mmd2(x, x, bandwidth=0.0)
    with pytest.raises(InvalidParameter, match="p must"):
        sliced_wasserstein(x, x, p=0.5)
    with pytest.raises(InvalidData, match="shape of samples"):
        ode_error(x, noise(6))
    with pytest.raises(InvalidData, match="responsibilities"):
        mode_coverage(x, [1, 1], torch.ones(5, 3))
