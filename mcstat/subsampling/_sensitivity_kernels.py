"""Compiled loops of the lp sensitivities."""

import numpy as np

from mcstat.kernels._jit import kernel
from mcstat.kernels.linalg import cholesky


@kernel
def _solve(factor, a, out):
    """Solve L L' out = a for lower triangular L (r, r)."""
    r = a.shape[0]
    for i in range(r):
        total = a[i]
        for k in range(i):
            total -= factor[i, k] * out[k]
        out[i] = total / factor[i, i]
    for i in range(r - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, r):
            total -= factor[k, i] * out[k]
        out[i] = total / factor[i, i]


@kernel
def _weighted_gram(matrix, weights, out):
    """Lower triangle of C' diag(weights) C, C (m, r), into out (r, r)."""
    m, r = matrix.shape
    out[:, :] = 0.0
    for i in range(m):
        for j in range(r):
            scaled = weights[i] * matrix[i, j]
            for k in range(j + 1):
                out[j, k] += scaled * matrix[i, k]
    for j in range(r):
        for k in range(j + 1, r):
            out[j, k] = out[k, j]


@kernel
def sensitivity_bounds(targets, matrix, p, tol, max_iter, lower, upper):
    """Bounds of max_x |a'x|^p / |C x|_p^p for every target row a (k, r), C (m, r), into lower and upper (k,).

    Iteratively reweighted least squares on min |C x|_p subject to a'x = 1. Each step has a point that is feasible for
    this problem and one, Omega C z, that is feasible for its dual, so both bounds hold whenever it is stopped.
    """
    m, r = matrix.shape
    weights = np.empty(m)
    product = np.empty((r, r))
    factor = np.empty((r, r))
    z = np.empty(r)
    u = np.empty(m)
    dual_power = p / (p - 1.0) if p > 1.0 else np.inf
    damping = 1.0 / (p - 1.0) if p > 2.0 else 1.0
    for t in range(targets.shape[0]):
        a = targets[t]
        lower[t] = 0.0
        upper[t] = np.inf
        weights[:] = 1.0
        smoothing = 1e-3
        idle = 0
        size = 0.0
        for k in range(r):
            size += a[k] * a[k]
        if size == 0.0:
            upper[t] = 0.0
            continue
        for _ in range(max_iter):
            _weighted_gram(matrix, weights, product)
            if cholesky(product, factor) != 0:
                break
            _solve(factor, a, z)
            along = 0.0
            for k in range(r):
                along += a[k] * z[k]
            largest = 0.0
            dual_largest = 0.0
            for i in range(m):
                total = 0.0
                for k in range(r):
                    total += matrix[i, k] * z[k]
                u[i] = abs(total)
                largest = max(largest, u[i])
                dual_largest = max(dual_largest, weights[i] * u[i])
            primal = 0.0
            dual = 0.0
            for i in range(m):
                primal += (u[i] / largest) ** p
                if p > 1.0 and dual_largest > 0.0:
                    dual += (weights[i] * u[i] / dual_largest) ** dual_power
            # along is a'z, so x = z / along; |C x|_p^p = primal (largest / along)^p.
            found = (along / largest) ** p / primal
            idle = idle + 1 if found <= lower[t] * (1.0 + 0.01 * tol) else 0
            lower[t] = max(lower[t], found)
            upper[t] = min(upper[t], dual_largest**p * (dual ** (p - 1.0) if p > 1.0 else 1.0))
            # For p = 1 the dual converges slowly: there the primal's standstill ends the search.
            if upper[t] <= lower[t] * (1.0 + tol) or (p == 1.0 and idle == 3):
                break
            for i in range(m):
                scaled = u[i] / largest
                target = (scaled * scaled + smoothing * smoothing) ** (0.5 * (p - 2.0))
                weights[i] = weights[i] ** (1.0 - damping) * target**damping
            smoothing *= 0.7
