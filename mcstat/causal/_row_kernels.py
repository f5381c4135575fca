"""Passes over the rows of a narrow table, where NumPy's inner loops of a few columns cost more than the arithmetic."""

import numpy as np

from mcstat.kernels._jit import kernel


@kernel
def gather_rows(Z, targets, shift, rows, out):
    """Rows [1, Z, targets], (k, 1 + p + m), of Z (n, p) and targets (n, m) less the shift (p + m,)."""
    p = Z.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        out[i, 0] = 1.0
        for j in range(p):
            out[i, 1 + j] = Z[row, j] - shift[j]
        for j in range(targets.shape[1]):
            out[i, 1 + p + j] = targets[row, j] - shift[p + j]


@kernel
def predict_linear(Z, fold, intercepts, slopes, out):
    """Fill out (n, m) by intercepts (K, m) and slopes (K, m, p) of each row's fold."""
    for i in range(len(Z)):
        k = fold[i]
        for target in range(out.shape[1]):
            total = intercepts[k, target]
            for j in range(Z.shape[1]):
                total += Z[i, j] * slopes[k, target, j]
            out[i, target] = total


@kernel
def average_groups(values, weights, codes, means):
    """Weighted means of the rows of values (n, k) in each group, into means (G, k) of zeros; 0 without weight."""
    totals = np.zeros(len(means))
    for i in range(len(values)):
        totals[codes[i]] += weights[i]
        for j in range(values.shape[1]):
            means[codes[i], j] += weights[i] * values[i, j]
    for group in range(len(means)):
        if totals[group] > 0.0:
            for j in range(means.shape[1]):
                means[group, j] /= totals[group]


@kernel
def expand_groups(values, codes, table, out):
    """Fill out (n, k + l) with the rows of values (n, k), each beside its group's row of table (G, l)."""
    k = values.shape[1]
    for i in range(len(values)):
        for j in range(k):
            out[i, j] = values[i, j]
        for j in range(table.shape[1]):
            out[i, k + j] = table[codes[i], j]


@kernel
def subtract_groups(values, codes, means, out):
    """Fill out (n, k) with values (n, k) less the means (G, k) of their groups."""
    for i in range(len(values)):
        for j in range(values.shape[1]):
            out[i, j] = values[i, j] - means[codes[i], j]
