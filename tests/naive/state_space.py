"""Slow, obvious twins: a particle filter in plain Python, a grid filter, and brute force over paths of a chain."""

import itertools
import math

import numpy as np


def bootstrap_filter(y, draw_initial, draw_next, log_density, n, rng):
    """Log-likelihood by resampling multinomially at every step."""
    x, weights, loglik = [draw_initial() for _ in range(n)], [], 0.0
    for t, value in enumerate(y):
        if t > 0:
            x = [draw_next(t, parent) for parent in rng.choices(x, weights, k=n)]
        weights = [1.0 if math.isnan(value) else math.exp(log_density(t, point, value)) for point in x]
        loglik += math.log(math.fsum(weights) / n)
    return loglik


def grid_filter(y, mu, rho, sigma, log_density, n_points=1200, width=8.0):
    """Log-likelihood and filtering means of a stationary autoregression on a grid: the trapezoid rule."""
    sd = sigma / math.sqrt(1.0 - rho**2)
    x = np.linspace(mu - width * sd, mu + width * sd, n_points)
    step = x[1] - x[0]

    def normal(z, scale):
        return np.exp(-0.5 * (z / scale) ** 2) / (scale * math.sqrt(2.0 * math.pi))

    law = normal(x - mu, sd)
    moves = normal(x[None, :] - mu - rho * (x[:, None] - mu), sigma)
    loglik, means = 0.0, []
    for t, value in enumerate(y):
        if t > 0:
            law = law @ moves * step
        if not math.isnan(value):
            law = law * np.exp(log_density(x, value))
        total = law.sum() * step
        loglik += math.log(total)
        law = law / total
        means.append(float(law @ x * step))
    return loglik, np.array(means)


def chain_paths(initial, transition, emission, y):
    """Probability of each path of states together with y; an impossible path has 0."""
    found = {}
    for path in itertools.product(range(len(initial)), repeat=len(y)):
        p = initial[path[0]]
        for before, after in itertools.pairwise(path):
            p *= transition[before][after]
        for state, symbol in zip(path, y, strict=True):
            p *= 1.0 if math.isnan(symbol) else emission[state][int(symbol)]
        found[path] = p
    return found


def gaussian_posterior(matrices, y):
    """Mean, covariance of all states given y, and log p(y), from the joint normal law of everything."""
    mean0, cov0, f, q, h, r = matrices
    n, d, p = len(y), len(mean0), h.shape[0]
    means, covs = [mean0], [cov0]
    for _ in range(n - 1):
        means.append(f @ means[-1])
        covs.append(f @ covs[-1] @ f.T + q)
    prior = np.zeros((n * d, n * d))
    for s in range(n):
        block = covs[s]
        for t in range(s, n):
            prior[t * d : (t + 1) * d, s * d : (s + 1) * d] = block
            prior[s * d : (s + 1) * d, t * d : (t + 1) * d] = block.T
            block = f @ block
    mean = np.concatenate(means)
    rows = np.kron(np.eye(n), h)
    noise = np.kron(np.eye(n), r)
    values = np.asarray(y, dtype=float).reshape(n * p)
    seen = ~np.isnan(values)
    rows, noise, values = rows[seen], noise[np.ix_(seen, seen)], values[seen]
    s = rows @ prior @ rows.T + noise
    gain = np.linalg.solve(s, rows @ prior).T
    residual = values - rows @ mean
    logdet = np.linalg.slogdet(s)[1]
    loglik = -0.5 * (len(values) * math.log(2 * math.pi) + logdet + residual @ np.linalg.solve(s, residual))
    return mean + gain @ residual, prior - gain @ rows @ prior, loglik


def log_joint(path, y, rho, sigma_x, sigma_y):
    """Log density of a path of a stationary autoregression and what is seen of it through noise, term by term."""

    def normal(value, mean, sd):
        return -0.5 * ((value - mean) / sd) ** 2 - math.log(sd) - 0.5 * math.log(2.0 * math.pi)

    total = normal(path[0], 0.0, sigma_x / math.sqrt(1.0 - rho**2))
    total += sum(normal(after, rho * before, sigma_x) for before, after in itertools.pairwise(path))
    return total + sum(normal(b, a, sigma_y) for a, b in zip(path, y, strict=True) if not math.isnan(b))


def conditional_sweep(path, y, draw_initial, draw_next, log_transition, log_density, n, rng):
    """Particle Gibbs with ancestor sampling in plain Python: a path given a path."""
    x, ancestors, weights = [], [], []
    for t, value in enumerate(y):
        if t == 0:
            now, parents = [path[0]] + [draw_initial() for _ in range(n - 1)], [0] * n
        else:
            back = [w * math.exp(log_transition(point, path[t])) for w, point in zip(weights, x[-1], strict=True)]
            parents = rng.choices(range(n), back, k=1) + rng.choices(range(n), weights, k=n - 1)
            now = [path[t]] + [draw_next(x[-1][parent]) for parent in parents[1:]]
        x.append(now)
        ancestors.append(parents)
        weights = [1.0 if math.isnan(value) else math.exp(log_density(point, value)) for point in now]
    place = rng.choices(range(n), weights, k=1)[0]
    found = []
    for now, parents in zip(reversed(x), reversed(ancestors), strict=True):
        found.append(now[place])
        place = parents[place]
    return found[::-1]
