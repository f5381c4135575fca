"""Laws of the built-in models, a batch of particles at a time; see :mod:`mcstat.state_space._model` for the arguments.

A missing observation is a row of NaN: log-weights are then 0.
"""

from math import lgamma

import numpy as np

from mcstat.kernels._jit import kernel, part
from mcstat.kernels.exponential import exp_shifted
from mcstat.kernels.linalg import cholesky

_HALF_LOG_2_PI = 0.9189385332046727
# Exponents of which the exponential is finite.
_LARGEST = 700.0


@kernel
def missing(y):
    """Whether every component of y (p,) is NaN."""
    seen = 0
    for k in range(len(y)):
        seen += not np.isnan(y[k])
    return seen == 0


def no_auxiliary(t, x_prev, y, theta, out):
    """Stands where a filter has no first-stage weights; never called."""


def no_transition(t, x_prev, sources, x, targets, theta, out):
    """Stands where a smoother has no transition density; never called."""


# A stationary first-order autoregression, theta = (mu, rho, sigma, ...).


def ar_move(rng, t, x_prev, ancestors, noise, y, theta, x):
    """x_0 ~ N(mu, sigma^2 / (1 - rho^2)), x_t = mu + rho (x_{t-1} - mu) + sigma e."""
    mu, rho, sigma = theta[0], theta[1], theta[2]
    x, x_prev, e = x.reshape(x.size), x_prev.reshape(x_prev.size), noise.reshape(noise.size)
    if t == 0:
        scale = sigma / np.sqrt(1.0 - rho * rho)
        for i in range(len(x)):
            x[i] = mu + scale * e[i]
    else:
        drift = mu - rho * mu
        for i in range(len(x)):
            x[i] = drift + rho * x_prev[ancestors[i]] + sigma * e[i]


def ar_log_transition(t, x_prev, sources, x, targets, theta, out):
    """Log density of each pair."""
    mu, rho, sigma = theta[0], theta[1], theta[2]
    x, x_prev = x.reshape(x.size), x_prev.reshape(x_prev.size)
    constant = -_HALF_LOG_2_PI - np.log(sigma)
    drift = mu - rho * mu
    inverse = 1.0 / sigma
    for k in range(len(out)):
        z = (x[targets[k]] - drift - rho * x_prev[sources[k]]) * inverse
        out[k] = constant - 0.5 * z * z


def ar_log_initial(x, theta, out):
    """Log density of the stationary law."""
    mu, rho, sigma = theta[0], theta[1], theta[2]
    x = x.reshape(x.size)
    scale = sigma / np.sqrt(1.0 - rho * rho)
    for i in range(len(x)):
        z = (x[i] - mu) / scale
        out[i] = -_HALF_LOG_2_PI - np.log(scale) - 0.5 * z * z


def gaussian_log_weight(t, x_prev, ancestors, x, y, theta, out):
    """Of y = x + sigma_y e, sigma_y = theta[3]."""
    x = x.reshape(x.size)
    known = not missing(y)
    constant = -_HALF_LOG_2_PI - np.log(theta[3])
    inverse = 1.0 / theta[3]
    for i in range(len(x)):
        z = (y[0] - x[i]) * inverse
        out[i] = constant - 0.5 * z * z if known else 0.0


@kernel
def _conditioned(t, theta):
    """Sd of x_t given x_{t-1} before y_t, and the gain with which y_t corrects its mean."""
    sigma = theta[2] if t > 0 else theta[2] / np.sqrt(1.0 - theta[1] * theta[1])
    return sigma, sigma * sigma / (sigma * sigma + theta[3] * theta[3])


def gaussian_guided_move(rng, t, x_prev, ancestors, noise, y, theta, x):
    """Draw from the law of x_t given x_{t-1} and y_t, the optimal proposal."""
    mu, rho = theta[0], theta[1]
    sigma, gain = _conditioned(t, theta)
    x, x_prev, e = x.reshape(x.size), x_prev.reshape(x_prev.size), noise.reshape(noise.size)
    known = not missing(y)
    scale = sigma * np.sqrt(1.0 - gain) if known else sigma
    for i in range(len(x)):
        mean = mu + rho * (x_prev[ancestors[i]] - mu) if t > 0 else mu
        x[i] = (mean + gain * (y[0] - mean) if known else mean) + scale * e[i]


def gaussian_guided_log_weight(t, x_prev, ancestors, x, y, theta, out):
    """Log p(y_t | x_{t-1}), which does not depend on x_t."""
    mu, rho = theta[0], theta[1]
    x_prev = x_prev.reshape(x_prev.size)
    sigma, _ = _conditioned(t, theta)
    scale = np.sqrt(sigma * sigma + theta[3] * theta[3])
    known = not missing(y)
    for i in range(len(out)):
        mean = mu + rho * (x_prev[ancestors[i]] - mu) if t > 0 else mu
        z = (y[0] - mean) / scale
        out[i] = -_HALF_LOG_2_PI - np.log(scale) - 0.5 * z * z if known else 0.0


def gaussian_log_auxiliary(t, x_prev, y, theta, out):
    """Log p(y_t | x_{t-1})."""
    mu, rho = theta[0], theta[1]
    x_prev = x_prev.reshape(x_prev.size)
    scale = np.sqrt(theta[2] * theta[2] + theta[3] * theta[3])
    known = not missing(y)
    for i in range(len(out)):
        z = (y[0] - mu - rho * (x_prev[i] - mu)) / scale
        out[i] = -_HALF_LOG_2_PI - np.log(scale) - 0.5 * z * z if known else 0.0


def volatility_log_weight(t, x_prev, ancestors, x, y, theta, out):
    """Of y = exp(x / 2) e."""
    x = x.reshape(x.size)
    square = y[0] * y[0]
    known = not missing(y)
    for i in range(len(x)):
        out[i] = min(-x[i], _LARGEST)
    exp_shifted(out, 0.0, out)
    for i in range(len(x)):
        out[i] = -_HALF_LOG_2_PI - 0.5 * (x[i] + square * out[i]) if known else 0.0


def poisson_log_weight(t, x_prev, ancestors, x, y, theta, out):
    """Of y ~ Poisson(exp(x))."""
    x = x.reshape(x.size)
    known = not missing(y)
    constant = -lgamma(y[0] + 1.0)
    for i in range(len(x)):
        out[i] = min(x[i], _LARGEST)
    exp_shifted(out, 0.0, out)
    for i in range(len(x)):
        out[i] = constant + y[0] * x[i] - out[i] if known else 0.0


# A finite chain with observations in 0, 1, ..., n_symbols - 1. theta = (n_states, n_symbols, cumulative initial law,
# cumulative rows of the transition matrix, log initial law, log transitions, log emissions).


@kernel
def _draw_state(theta, begin, n_states, uniform):
    """Inverse of a cumulative law at a uniform; never past the last state that has mass."""
    for j in range(n_states):
        if uniform < theta[begin + j]:
            return j
    last = n_states - 1
    while last > 0 and theta[begin + last] == theta[begin + last - 1]:
        last -= 1
    return last


def chain_move(rng, t, x_prev, ancestors, noise, y, theta, x):
    """Next states of the chain, from uniforms."""
    n_states = int(theta[0])
    for i in range(len(x)):
        row = 2 if t == 0 else 2 + n_states + n_states * int(x_prev[ancestors[i], 0])
        x[i, 0] = _draw_state(theta, row, n_states, noise[i, 0])


def chain_log_weight(t, x_prev, ancestors, x, y, theta, out):
    """Log probability of the symbol y in each state."""
    n_states, n_symbols = int(theta[0]), int(theta[1])
    known = not missing(y)
    begin = 2 + 2 * n_states + 2 * n_states * n_states
    for i in range(len(x)):
        out[i] = theta[begin + int(x[i, 0]) * n_symbols + int(y[0])] if known else 0.0


def chain_log_transition(t, x_prev, sources, x, targets, theta, out):
    """Log transition probability of each pair."""
    n_states = int(theta[0])
    begin = 2 + 2 * n_states + n_states * n_states
    for k in range(len(out)):
        out[k] = theta[begin + int(x_prev[sources[k], 0]) * n_states + int(x[targets[k], 0])]


def chain_log_initial(x, theta, out):
    """Log initial probability."""
    n_states = int(theta[0])
    begin = 2 + n_states + n_states * n_states
    for i in range(len(x)):
        out[i] = theta[begin + int(x[i, 0])]


# A linear Gaussian system. theta = (p, m0, L0, F, LQ, H, LR): sizes d, (d, d), (d, d), (d, d), (p, d), (p, p), all
# factors lower triangular.


@kernel
def _matrix(theta, begin, rows, columns):
    return theta[begin : begin + rows * columns].reshape((rows, columns))


@part
def _log_normal(residual, factor):
    """Log density at ``residual`` (m,), which is overwritten, of N(0, factor factor^T)."""
    m = len(residual)
    total = -m * _HALF_LOG_2_PI
    for i in range(m):
        for k in range(i):
            residual[i] -= factor[i, k] * residual[k]
        residual[i] /= factor[i, i]
        total -= 0.5 * residual[i] * residual[i] + np.log(factor[i, i])
    return total


def system_move(rng, t, x_prev, ancestors, noise, y, theta, x):
    """x_0 = m0 + L0 e, x_t = F x_{t-1} + LQ e."""
    n, d = x.shape
    begin = 1 + d
    factor = _matrix(theta, begin if t == 0 else begin + 2 * d * d, d, d)
    transition = _matrix(theta, begin + d * d, d, d)
    for i in range(n):
        for k in range(d):
            value = 0.0
            if t == 0:
                value = theta[1 + k]
            else:
                for m in range(d):
                    value += transition[k, m] * x_prev[ancestors[i], m]
            for m in range(k + 1):
                value += factor[k, m] * noise[i, m]
            x[i, k] = value


def system_log_weight(t, x_prev, ancestors, x, y, theta, out):
    """Of y = H x + LR e; of a vector with missing components, the density of the others."""
    n, d = x.shape
    p = len(y)
    begin = 1 + d + 3 * d * d
    observation = _matrix(theta, begin, p, d)
    factor = _matrix(theta, begin + p * d, p, p)
    seen = np.empty(p, np.int64)
    n_seen = 0
    for k in range(p):
        if not np.isnan(y[k]):
            seen[n_seen] = k
            n_seen += 1
    partial = seen_factor(factor, seen[:n_seen])
    residual = np.empty(n_seen)
    for i in range(n):
        for r in range(n_seen):
            residual[r] = y[seen[r]]
            for m in range(d):
                residual[r] -= observation[seen[r], m] * x[i, m]
        out[i] = _log_normal(residual, partial)


@kernel
def seen_factor(factor, seen):
    """Cholesky factor of those rows and columns of factor factor^T."""
    n = len(seen)
    cov = np.zeros((n, n))
    out = np.zeros((n, n))
    for r in range(n):
        for s in range(n):
            for m in range(min(seen[r], seen[s]) + 1):
                cov[r, s] += factor[seen[r], m] * factor[seen[s], m]
    cholesky(cov, out)
    return out


def system_log_transition(t, x_prev, sources, x, targets, theta, out):
    """Log density of each pair."""
    d = x.shape[1]
    begin = 1 + d + d * d
    transition = _matrix(theta, begin, d, d)
    factor = _matrix(theta, begin + d * d, d, d)
    residual = np.empty(d)
    for k in range(len(out)):
        for r in range(d):
            residual[r] = x[targets[k], r]
            for m in range(d):
                residual[r] -= transition[r, m] * x_prev[sources[k], m]
        out[k] = _log_normal(residual, factor)


def system_log_initial(x, theta, out):
    """Log density of N(m0, L0 L0^T)."""
    n, d = x.shape
    factor = _matrix(theta, 1 + d, d, d)
    residual = np.empty(d)
    for i in range(n):
        for r in range(d):
            residual[r] = x[i, r] - theta[1 + r]
        out[i] = _log_normal(residual, factor)
