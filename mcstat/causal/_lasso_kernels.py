"""The lasso's path on a Gram matrix."""

import numpy as np

from mcstat.kernels._jit import kernel
from mcstat.kernels.coordinate import coordinate_descent


@kernel
def lasso_path(gram, penalties, tol, max_sweeps, x, gradient, coefficients):
    """Minimise b'Gb/2 - c'b + lam |b|_1 for each of the penalties (L,), from the one before.

    Starts at x (p,), whose gradient G x - c is ``gradient`` (p,); both follow in place, so that the path can be gone on
    with. gram (p, p); fills coefficients (L, p). Gradients are right to tol.
    """
    p = len(x)
    l1 = gradient.copy()
    for i in range(len(penalties)):
        for j in range(p):
            l1[j] = penalties[i]
        coordinate_descent(gram, l1, x, gradient, tol, max_sweeps)
        for j in range(p):
            coefficients[i, j] = x[j]


@kernel
def add_errors(total, target, models, first, stop, errors):
    """Add the sums of squared errors of models first..stop-1 to ``errors`` (L,), from second moments alone.

    total (1 + p + m, 1 + p + m) holds sums of products of [1, columns, targets]; models (L, 1 + p) intercepts and
    slopes for the column ``target`` of it. O(number of slopes that are not zero, squared) a model.
    """
    width = models.shape[1]
    used = np.empty(width, dtype=np.int64)
    for i in range(first, stop):
        count = 0
        for j in range(width):
            if models[i, j] != 0.0:
                used[count] = j
                count += 1
        error = total[target, target]
        for a in range(count):
            j = used[a]
            inner = 0.0
            for b in range(count):
                inner += total[j, used[b]] * models[i, used[b]]
            error += models[i, j] * (inner - 2.0 * total[target, j])
        errors[i] += error
