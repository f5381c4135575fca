"""Lewis weights are the fixed point they are defined by, for every order."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.subsampling import leverage_scores, lewis_weights

X = np.random.default_rng(1).normal(size=(600, 4))
X[:5] *= 40
ORDERS = [0.5, 1, 1.5, 2, 3, 4, 8]


@pytest.mark.parametrize("p", ORDERS)
def test_fixed_point_and_sum(p):
    weights = lewis_weights(X, p, tol=1e-10)
    again = leverage_scores(X * weights[:, None] ** (0.5 - 1 / p))
    np.testing.assert_allclose(again, weights, rtol=2e-9 * max(1, p))
    assert abs(weights.sum() - 4) < 1e-8


@pytest.mark.parametrize("p", ORDERS)
def test_one_column_has_a_formula(p):
    column = X[:, :1]
    wanted = np.abs(column[:, 0]) ** p / (np.abs(column) ** p).sum()
    np.testing.assert_allclose(lewis_weights(column, p, tol=1e-10), wanted, rtol=1e-8)


def test_blocks_of_columns_are_weighed_apart():
    a, b = X[:300, :2], X[300:, 2:]
    whole = np.block([[a, np.zeros((300, 2))], [np.zeros((300, 2)), b]])
    wanted = np.concatenate([lewis_weights(a, 1, tol=1e-9), lewis_weights(b, 1, tol=1e-9)])
    np.testing.assert_allclose(lewis_weights(whole, 1, tol=1e-9), wanted, rtol=1e-7)


@pytest.mark.parametrize("p", [1, 3])
def test_splitting_a_row_splits_its_weight(p):
    copies = 5
    split = np.vstack([np.tile(X[7] * copies ** (-1 / p), (copies, 1)), np.delete(X, 7, axis=0)])
    whole, parts = lewis_weights(X, p, tol=1e-9), lewis_weights(split, p, tol=1e-9)
    np.testing.assert_allclose(parts[:copies], whole[7] / copies, rtol=1e-7)
    np.testing.assert_allclose(parts[copies:], np.delete(whole, 7), rtol=1e-7)


def test_order_two_is_leverage_and_scale_does_not_matter():
    np.testing.assert_allclose(lewis_weights(X, 2), leverage_scores(X), rtol=1e-12)
    np.testing.assert_allclose(lewis_weights(X * 1e100, 1), lewis_weights(X, 1), rtol=1e-9)


def test_rows_of_zeros_have_none():
    with_zeros = np.vstack([np.zeros((2, 4)), X])
    weights = lewis_weights(with_zeros, 1, tol=1e-9)
    assert (weights[:2] == 0).all()
    np.testing.assert_allclose(weights[2:], lewis_weights(X, 1, tol=1e-9), rtol=1e-7)


def test_info_and_the_warning_without_convergence():
    _, info = lewis_weights(X, 1.5, tol=1e-6, return_info=True)
    assert info.converged
    assert info.n_iter <= 15
    with pytest.warns(ReliabilityWarning, match="max_iter"):
        lewis_weights(X, 8, max_iter=2)


@pytest.mark.parametrize("p", [0, -1, np.nan, np.inf, "1"])
def test_bad_order(p):
    with pytest.raises(InvalidParameter, match="p must be"):
        lewis_weights(X, p)
