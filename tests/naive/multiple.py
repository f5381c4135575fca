"""Slow, obvious versions of multiple importance sampling and of control variates, in plain Python."""

import math


def effective_density(h, counts, t, weighting, power, groups):
    """q such that a point of stratum t weighs f / q; ``h`` are the T densities at it."""
    n_t, own, total = counts[t], h[t], sum(counts)
    if weighting == "standard":
        part = n_t / total
    elif weighting == "balance":
        part = n_t * own / sum(n * density for n, density in zip(counts, h, strict=True))
    elif weighting == "power":
        part = (n_t * own) ** power / sum((n * density) ** power for n, density in zip(counts, h, strict=True))
    else:
        members = [s for s in range(len(h)) if groups[s] == groups[t]]
        part = sum(counts[s] for s in members) / total * n_t * own / sum(counts[s] * h[s] for s in members)
    # Veach's estimator sum_t 1/n_t sum_i part f phi / h_t, written as a mean over all points.
    return n_t * own / (total * part)


def stratified(values, weights, labels):
    """Mean of w phi and its standard error from the variances within the strata."""
    n = len(values)
    rows = [w * v for w, v in zip(weights, values, strict=True)]
    variance = 0.0
    for t in set(labels):
        mine = [row for row, label in zip(rows, labels, strict=True) if label == t]
        mean = sum(mine) / len(mine)
        variance += len(mine) * sum((row - mean) ** 2 for row in mine) / (len(mine) - 1)
    return sum(rows) / n, math.sqrt(variance) / n


def self_normalised(values, weights, labels):
    """Ratio of means and its delta-method standard error from the variances within the strata."""
    ratio = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    mean_weight = sum(weights) / len(weights)
    return ratio, stratified([v - ratio for v in values], weights, labels)[1] / mean_weight


def one_control(y, c):
    """Slope and intercept of the regression of y on c."""
    n = len(y)
    my, mc = sum(y) / n, sum(c) / n
    slope = sum((a - my) * (b - mc) for a, b in zip(y, c, strict=True)) / sum((b - mc) ** 2 for b in c)
    return slope, my - slope * mc


def cross_fitted_mean(y, c, n_folds):
    """Mean of y - b c and its standard error, b of each fold from the others."""
    rows = []
    for i in range(len(y)):
        others = [k for k in range(len(y)) if k % n_folds != i % n_folds]
        slope, _ = one_control([y[k] for k in others], [c[k] for k in others])
        rows.append(y[i] - slope * c[i])
    mean = sum(rows) / len(rows)
    return mean, math.sqrt(sum((row - mean) ** 2 for row in rows) / (len(rows) - 1) / len(rows))


def intercept_error(y, c):
    """Textbook standard error of the intercept of a regression on one regressor."""
    n = len(y)
    slope, intercept = one_control(y, c)
    residual = sum((a - intercept - slope * b) ** 2 for a, b in zip(y, c, strict=True)) / (n - 2)
    mc = sum(c) / n
    return math.sqrt(residual * (1 / n + mc**2 / sum((b - mc) ** 2 for b in c)))
