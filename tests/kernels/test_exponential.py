"""The exponential of arrays against exact values, and at the ends of floating point."""

import math
from fractions import Fraction

import numpy as np
import pytest

from mcstat.kernels.exponential import exp_shifted

# Without compiling, NumPy tells of inf - inf.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def exps(values, shift=0.0):
    out = np.empty(len(values))
    exp_shifted(np.array(values, dtype=float), shift, out)
    return out


def test_error():
    x = np.random.default_rng(0).uniform(-708, 709, 20_000)
    x = np.concatenate([x, np.random.default_rng(1).uniform(-1, 1, 5_000), np.log(2.0) * (np.arange(-900, 900) + 0.5)])
    np.testing.assert_allclose(exps(x[np.abs(x) < 708]), np.exp(x[np.abs(x) < 708]), rtol=4e-16)


def test_against_an_exact_sum():
    for value in (-0.3, -0.01, 0.2, 0.34):
        exact = sum(Fraction(value) ** k / math.factorial(k) for k in range(30))
        assert abs(Fraction(float(exps([value])[0])) / exact - 1) < 2.3e-16


def test_ends():
    found = exps([0.0, -np.inf, -708.5, -1e300, -745.0, np.nan, np.inf])
    np.testing.assert_array_equal(found[:5], [1.0, 0.0, 0.0, 0.0, 0.0])
    assert np.all(np.isnan(found[5:]))


def test_shift_and_in_place():
    x = np.array([-1000.0, -999.0, -np.inf])
    exp_shifted(x, -999.0, x)
    np.testing.assert_allclose(x, [math.exp(-1.0), 1.0, 0.0], rtol=4e-16)
    # All dead: -inf - -inf is no number.
    assert np.all(np.isnan(exps([-np.inf, -np.inf], -np.inf)))
