"""Kalman filter and smoother against the joint normal law of all states and observations."""

import numpy as np
import pytest

from mcstat.core.errors import MCStatError
from mcstat.state_space import (
    KalmanFilter,
    LinearGaussian,
    LinearGaussianSystem,
    LocalLevel,
    LocalLinearTrend,
    StochasticVolatility,
)
from tests.naive.state_space import gaussian_posterior

SYSTEM = LinearGaussianSystem(
    transition=[[0.9, 0.2], [0.0, 0.7]],
    transition_cov=[[1.0, 0.3], [0.3, 0.5]],
    observation=[[1.0, 0.0], [0.5, 1.0], [0.0, 2.0]],
    observation_cov=[[0.5, 0.2, 0.0], [0.2, 1.0, 0.1], [0.0, 0.1, 0.3]],
    initial_mean=[0.5, -1.0],
    initial_cov=[[1.0, 0.2], [0.2, 2.0]],
)
MODELS = [
    LinearGaussian(),
    LinearGaussian(rho=-0.5, sigma_x=2.0, sigma_y=0.1),
    LocalLevel(0.5, 2.0, initial_level=3.0, initial_sd=4.0),
    LocalLinearTrend(),
    LocalLinearTrend(sigma_level=0.0, sigma_slope=0.0),
    SYSTEM,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("gaps", [False, True])
def test_against_the_joint_law(model, gaps):
    n, (d, _, p) = 7, model.dims
    y = np.array(model.simulate(n, random_state=1)[1]).reshape(n, p)
    if gaps:
        y[[0, 3, 4]] = np.nan
        y[5, 0] = np.nan
    mean, cov, loglik = gaussian_posterior(model.matrices(), y)
    found = KalmanFilter(model).fit(y)
    assert found.loglik_ == pytest.approx(loglik, rel=1e-11)
    np.testing.assert_allclose(found.smoothed_mean_.ravel(), mean, rtol=1e-9, atol=1e-10)
    blocks = cov.reshape(n, d, n, d)
    for t in range(n):
        np.testing.assert_allclose(found.smoothed_cov_[t], blocks[t, :, t], rtol=1e-8, atol=1e-10)
        if t > 0:
            np.testing.assert_allclose(found.smoothed_cross_cov_[t - 1], blocks[t - 1, :, t], rtol=1e-8, atol=1e-10)
    states = mean.reshape(n, d)
    second = blocks + states[:, :, None, None] * states[None, None]
    np.testing.assert_allclose(found.sum_x_, states.sum(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.sum_xx_, sum(second[t, :, t] for t in range(n)), rtol=1e-8)
    np.testing.assert_allclose(found.sum_cross_, sum(second[t - 1, :, t] for t in range(1, n)), rtol=1e-8, atol=1e-9)
    last = gaussian_posterior(model.matrices(), y[:4])
    np.testing.assert_allclose(found.filtered_mean_[3], last[0][-d:], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.filtered_cov_[3], last[1][-d:, -d:], rtol=1e-8, atol=1e-10)


def test_nothing_observed_is_the_prior():
    found = KalmanFilter(LinearGaussian()).fit(np.full(5, np.nan))
    assert found.loglik_ == 0.0
    np.testing.assert_allclose(found.smoothed_cov_[:, 0, 0], 1 / (1 - 0.81), rtol=1e-12)
    np.testing.assert_allclose(found.smoothed_mean_, 0.0, atol=1e-14)


def test_independent_components_add():
    alone = [LinearGaussian(rho, 1.0, 0.5) for rho in (0.9, 0.5, -0.3)]
    y = np.column_stack([model.simulate(40, random_state=k)[1] for k, model in enumerate(alone)])
    parts = list(zip(*(model.matrices() for model in alone), strict=True))
    joint = LinearGaussianSystem(
        *(np.diag([float(m.item()) for m in parts[k]]) for k in (2, 3, 4, 5)),
        np.zeros(3),
        np.diag([m.item() for m in parts[1]]),
    )
    together = KalmanFilter(joint).fit(y).loglik_
    assert together == pytest.approx(sum(KalmanFilter(m).fit(c).loglik_ for m, c in zip(alone, y.T, strict=True)))


def test_covariances_stay_covariances_where_numbers_are_extreme():
    model = LocalLinearTrend(1e-6, 1e-9, 1e-2, initial_level_sd=1e3, initial_slope_sd=1e3)
    found = KalmanFilter(model).fit(np.linspace(0, 1, 500))
    for cov in (found.filtered_cov_, found.smoothed_cov_):
        np.testing.assert_array_equal(cov[:, 0, 1], cov[:, 1, 0])
        assert np.all(np.linalg.eigvalsh(cov) >= -1e-18 * np.abs(cov).max(axis=(1, 2))[:, None])


@pytest.mark.parametrize(
    ("model", "y", "words"),
    [
        (StochasticVolatility(), [0.0], "model must be linear"),
        (LinearGaussian(rho=1.0), [0.0], "rho"),
        (LinearGaussian(sigma_y=0.0), [0.0], "sigma_y"),
        (LinearGaussian(), [np.inf], "finite"),
        (LinearGaussian(), [[0.0, 1.0]], "shape"),
        (LinearGaussian(), [], "T >= 1"),
        (LinearGaussianSystem([[1.0]], [[-1.0]], [[1.0]], [[1.0]], [0.0], [[1.0]]), [0.0], "semidefinite"),
        (LinearGaussianSystem([[1.0]], [[1.0]], [[1.0]], [[0.0]], [0.0], [[1.0]]), [0.0], "observation_cov"),
        (LinearGaussianSystem([[1.0]], np.eye(2), [[1.0]], [[0.0]], [0.0], [[1.0]]), [0.0], "transition_cov"),
    ],
)
def test_bad_input(model, y, words):
    with pytest.raises(MCStatError, match=words):
        KalmanFilter(model).fit(y)
