"""Small dense linear algebra as plain loops: no ``np.linalg`` and no ``@``, which cost 10 s of compile time each."""

import numpy as np

from mcstat.kernels._jit import kernel

# Points that log_gaussian treats side by side: 64 rows of d <= 50 numbers stay in a processor's first cache.
BLOCK = 64


@kernel
def cholesky(a, out):
    """Lower factor of a symmetric (d, d) matrix into ``out``; 0, or 1 + index of the first pivot that is not > 0."""
    d = a.shape[0]
    for i in range(d):
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= out[i, k] * out[j, k]
            if i == j:
                if not total > 0.0:
                    return i + 1
                out[i, i] = np.sqrt(total)
            else:
                out[i, j] = total / out[j, j]
        for j in range(i + 1, d):
            out[i, j] = 0.0
    return 0


@kernel
def log_gaussian(x, mean, factor, out):
    """Log density at x (n, d) of the normal law with mean (d,) and lower Cholesky factor (d, d), into out (n,)."""
    n, d = x.shape
    constant = 0.5 * d * np.log(2.0 * np.pi)
    # Rows over their pivot: forward substitution then divides by nothing.
    rows = np.empty((d, d))
    inverse = np.empty(d)
    for i in range(d):
        constant += np.log(factor[i, i])
        inverse[i] = 1.0 / factor[i, i]
        for k in range(i):
            rows[i, k] = factor[i, k] * inverse[i]
    # The innermost loops run over points: no sum is reordered, so they vectorise and every point keeps its bits.
    whitened = np.empty((d, BLOCK))
    for start in range(0, n, BLOCK):
        width = min(BLOCK, n - start)
        for b in range(width):
            out[start + b] = 0.0
        for k in range(d):
            for b in range(width):
                whitened[k, b] = (x[start + b, k] - mean[k]) * inverse[k]
            for m in range(k):
                row = rows[k, m]
                for b in range(width):
                    whitened[k, b] -= row * whitened[m, b]
            for b in range(width):
                out[start + b] += whitened[k, b] * whitened[k, b]
        for b in range(width):
            out[start + b] = -0.5 * out[start + b] - constant


@kernel
def weighted_moments(x, weights, mean, cov):
    """Weighted mean (d,) and covariance (d, d), divisor the sum of weights, in two passes over x (n, d)."""
    n, d = x.shape
    mass = 0.0
    mean[:] = 0.0
    cov[:, :] = 0.0
    for i in range(n):
        mass += weights[i]
        for k in range(d):
            mean[k] += weights[i] * x[i, k]
    for k in range(d):
        mean[k] /= mass
    centred = np.empty(d)
    for i in range(n):
        for k in range(d):
            centred[k] = x[i, k] - mean[k]
        for k in range(d):
            scaled = weights[i] * centred[k]
            for m in range(k + 1):
                cov[k, m] += scaled * centred[m]
    for k in range(d):
        for m in range(k + 1):
            cov[k, m] /= mass
            cov[m, k] = cov[k, m]
