"""Exact posteriors of the tests: quadrature of the Kalman filter's likelihood."""

from functools import cache

import numpy as np

from mcstat.state_space import KalmanFilter, LocalLevel


class HalfNormal:
    """As SciPy's, without what its checks cost."""

    def logpdf(self, x):
        return -0.5 * x * x + 0.5 * np.log(2.0 / np.pi)

    def rvs(self, random_state):
        return abs(random_state.standard_normal())

    def support(self):
        return 0.0, np.inf


LEVEL = LocalLevel(0.5, 1.0)
LEVEL_Y = LEVEL.simulate(20, random_state=0)[1]
PRIOR = {"sigma_level": HalfNormal(), "sigma_y": HalfNormal()}


@cache
def level_posterior(n_points=50):
    """Mean and sd of (sigma_level, sigma_y) under half-normal priors, and the mean of the sum of states."""
    y = LEVEL_Y
    grid = np.linspace(0.0, 4.0, n_points + 1)[:-1] + 2.0 / n_points
    log_density, sums = np.empty((n_points, n_points)), np.empty((n_points, n_points))
    for i, a in enumerate(grid):
        for j, b in enumerate(grid):
            found = KalmanFilter(LocalLevel(a, b)).fit(y)
            log_density[i, j] = found.loglik_ - 0.5 * (a**2 + b**2)
            sums[i, j] = found.sum_x_[0]
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    each = weights.sum(axis=1), weights.sum(axis=0)
    mean = np.array([w @ grid for w in each])
    sd = np.array([np.sqrt(w @ grid**2 - m**2) for w, m in zip(each, mean, strict=True)])
    return mean, sd, float(np.sum(weights * sums))


def log_prior(theta):
    """The same prior as a function."""
    return -0.5 * (theta["sigma_level"] ** 2 + theta["sigma_y"] ** 2)


def agrees(estimator, mean):
    """Whether the posterior mean is right, by the spread of the chains' means; Student's t, false alarm below 1e-6."""
    from scipy.stats import t

    means = estimator.theta_.mean(axis=1)
    error = means.std(axis=0, ddof=1) / np.sqrt(len(means))
    return (np.abs(means.mean(axis=0) - mean) < t.isf(2e-7, len(means) - 1) * error).all() and (error < 0.12).all()
