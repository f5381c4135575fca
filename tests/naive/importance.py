"""Slow, obvious versions of what the importance room computes, in plain Python."""

import math


def log_normal(x, mean, sd):
    return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd) - 0.5 * math.log(2 * math.pi)


def family_estimate(phi, log_f, log_parts, shares, betas):
    """I_j = b_j + mean_n [phi_j f_j - b_j g_j] / h, one column j a part; lists of lists, one row a point."""
    n, n_columns = len(phi), len(phi[0])
    estimates = []
    for j in range(n_columns):
        total = 0.0
        for i in range(n):
            h = sum(share * math.exp(part) for share, part in zip(shares, log_parts[i], strict=True))
            numerator = phi[i][j] * math.exp(log_f[i]) - betas[j] * math.exp(log_parts[i][j + 1])
            total += numerator / h
        estimates.append(betas[j] + total / n)
    return estimates


def shares_objective(ratios, numerators, shares):
    """F(a) = mean_n c_n / sum_k a_k G_nk, and its gradient."""
    n, n_parts = len(ratios), len(shares)
    value, gradient = 0.0, [0.0] * n_parts
    for row, c in zip(ratios, numerators, strict=True):
        density = sum(a * g for a, g in zip(shares, row, strict=True))
        value += c / density / n
        for k in range(n_parts):
            gradient[k] -= c * row[k] / density**2 / n
    return value, gradient
