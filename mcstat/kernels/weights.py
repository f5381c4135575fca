"""Importance weights given by their logarithms."""

import numpy as np

from mcstat.kernels._jit import kernel


@kernel
def logsumexp(x):
    """Log sum exp(x_i) of a (n,) array; -inf when every entry is."""
    top = -np.inf
    for i in range(len(x)):
        top = max(top, x[i])
    if not np.isfinite(top):
        return top
    total = 0.0
    for i in range(len(x)):
        total += np.exp(x[i] - top)
    return top + np.log(total)


@kernel
def effective_sample_size(log_weights):
    """(sum w)^2 / sum w^2 of a (n,) array of log-weights; nan when every weight is zero."""
    top = -np.inf
    for i in range(len(log_weights)):
        top = max(top, log_weights[i])
    total = 0.0
    squares = 0.0
    for i in range(len(log_weights)):
        weight = np.exp(log_weights[i] - top)
        total += weight
        squares += weight * weight
    return total * total / squares


@kernel
def fit_generalised_pareto(x):
    """Shape and scale of a generalised Pareto law, from exceedances x (n,) > 0 in ascending order.

    Zhang and Stephens (2009), an empirical Bayes estimate by quadrature over a grid, with the shape shrunk towards 0.5
    by ten pseudo-observations (Vehtari, Simpson, Gelman, Yao and Gabry 2024, appendix C). O(n^1.5).
    """
    n = len(x)
    mean = 0.0
    for i in range(n):
        mean += x[i] / n
    n_grid = 30 + int(np.sqrt(n))
    quartile = x[int(n / 4.0 + 0.5) - 1]
    grid = np.empty(n_grid)
    likelihood = np.empty(n_grid)
    for j in range(n_grid):
        grid[j] = (1.0 - np.sqrt(n_grid / (j + 0.5))) / (3.0 * quartile) + 1.0 / x[n - 1]
        shape = 0.0
        for i in range(n):
            shape += np.log1p(-grid[j] * x[i])
        shape /= n
        # At grid[j] = 0 (exponential law; equal exceedances do meet it) the ratio is 0/0, with limit 1/mean.
        rate = -grid[j] / shape if grid[j] != 0.0 else 1.0 / mean
        likelihood[j] = n * (np.log(rate) - shape - 1.0)
    top = likelihood.max()
    mass = 0.0
    theta = 0.0
    for j in range(n_grid):
        weight = np.exp(likelihood[j] - top)
        mass += weight
        theta += weight * grid[j]
    theta /= mass
    shape = 0.0
    for i in range(n):
        shape += np.log1p(-theta * x[i])
    shape /= n
    scale = -shape / theta
    return (n * shape + 5.0) / (n + 10.0), scale
