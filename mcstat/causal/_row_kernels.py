"""Passes over the rows of a narrow table, where NumPy's inner loops of a few columns cost more than the arithmetic."""

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
    """out (n, m) by intercepts (K, m) and slopes (K, m, p) of each row's fold."""
    for i in range(len(Z)):
        k = fold[i]
        for target in range(out.shape[1]):
            total = intercepts[k, target]
            for j in range(Z.shape[1]):
                total += Z[i, j] * slopes[k, target, j]
            out[i, target] = total


@kernel
def add_by_group(values, weights, codes, sums):
    """Add weighted rows of values (n, k) to the row of sums (G, k) that codes (n,) say."""
    for i in range(len(values)):
        for j in range(values.shape[1]):
            sums[codes[i], j] += weights[i] * values[i, j]
