"""Functions of one point: compiled through a pointer, or in Python with a warning that says why."""

import pickle

import numba
import numpy as np
import pytest

from mcstat.core.errors import PerformanceWarning
from mcstat.core.jit import Pointwise, _driver

X = np.random.default_rng(0).normal(size=(50, 3))


def norm_squared(point):
    total = 0.0
    for k in range(len(point)):
        total += point[k] ** 2
    return total


@pytest.mark.parametrize("func", [norm_squared, numba.njit(norm_squared), lambda p: p[0] ** 2 + p[1] ** 2 + p[2] ** 2])  # noqa: TID251  (a user's)
def test_compiled(func):
    np.testing.assert_allclose(Pointwise(func)(X), np.sum(X**2, axis=1), rtol=1e-14)


def test_one_driver_for_all():
    Pointwise(norm_squared)(X)
    Pointwise(lambda p: p[0])(np.asfortranarray(X))
    assert len(_driver().signatures) == 1


def test_what_numba_cannot_compile_runs_in_python():
    table = {True: 1.0, False: -1.0}

    def func(point):
        return [table[bool(point[0] > 0)], float(f"{point[1]:.3f}")]

    with pytest.warns(PerformanceWarning, match="func runs point by point in Python: Numba says"):
        values = Pointwise(func)(X)
    np.testing.assert_allclose(values[:, 1], X[:, 1], atol=5e-4)


def test_the_points_cannot_be_written():
    def func(point):
        point[0] = 99.0
        return point[0]

    x = X.copy()
    assert np.all(Pointwise(func)(x) == 99.0)
    np.testing.assert_array_equal(x, X)


def test_pickle_leaves_the_compiled_code_behind():
    one = Pointwise(norm_squared)
    one(X)
    copy = pickle.loads(pickle.dumps(one))  # noqa: S301  (our own bytes)
    np.testing.assert_array_equal(copy(X), one(X))
