"""The loop that calls a user's function pointer at every point."""

import numba
import numpy as np

from mcstat.kernels._jit import kernel


def apply_pointwise(function, x, out):
    """Call ``function`` (d,) -> float at each row of x (n, d), into out (n,)."""
    # A row of its own: function pointers take writeable arrays, and must not reach x.
    point = np.empty(x.shape[1])
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            point[k] = x[i, k]
        out[i] = function(point)


def make_driver():
    """Compile :func:`apply_pointwise` for function pointers: the one kernel with an explicit signature."""
    t = numba.types
    function = t.FunctionType(t.float64(t.Array(t.float64, 1, "C")))
    points = t.Array(t.float64, 2, "C", readonly=True)
    return kernel(apply_pointwise, t.void(function, points, t.Array(t.float64, 1, "C")))
