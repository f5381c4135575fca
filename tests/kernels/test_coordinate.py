"""Coordinate descent on quadratics with an l1 penalty: optimality, and special cases with known answers."""

import numpy as np
import pytest

from mcstat.kernels.coordinate import coordinate_descent, kkt_residual


def quadratic(q, seed, rank=None):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rank or 3 * q, q))
    return a.T @ a / len(a), rng.normal(size=q)


def solve(hessian, b, l1, start=None, tol=1e-12):
    x = np.zeros(len(b)) if start is None else start.copy()
    gradient = b + hessian @ x
    sweeps = coordinate_descent(hessian, l1, x, gradient, tol, 10_000)
    return x, gradient, sweeps


@pytest.mark.parametrize("q", [1, 3, 8])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_optimality_conditions_hold(q, strength):
    hessian, b = quadratic(q, q)
    l1 = np.full(q, strength)
    l1[0] = 0.0
    x, gradient, _ = solve(hessian, b, l1)
    np.testing.assert_allclose(gradient, b + hessian @ x, atol=1e-12)
    assert kkt_residual(gradient, l1, x) < 1e-10


def test_without_penalty_it_solves_the_linear_system():
    hessian, b = quadratic(5, 0)
    np.testing.assert_allclose(solve(hessian, b, np.zeros(5))[0], np.linalg.solve(hessian, -b), atol=1e-10)


def test_a_diagonal_quadratic_is_soft_thresholding():
    b, l1 = np.array([3.0, -3.0, 0.5, -0.5]), np.ones(4)
    x, _, sweeps = solve(np.diag([2.0, 2.0, 2.0, 2.0]), b, l1)
    np.testing.assert_array_equal(x, [-1.0, 1.0, 0.0, 0.0])
    assert sweeps == 3


def test_a_penalty_above_the_gradient_leaves_zero():
    hessian, b = quadratic(6, 1)
    x, _, sweeps = solve(hessian, b, np.full(6, np.abs(b).max()))
    np.testing.assert_array_equal(x, np.zeros(6))
    assert sweeps == 1


def test_a_coordinate_without_curvature_stays():
    hessian, b = np.diag([1.0, 0.0]), np.array([1.0, 1.0])
    x, _, _ = solve(hessian, b, np.zeros(2))
    np.testing.assert_array_equal(x, [-1.0, 0.0])


def test_the_start_does_not_matter_but_for_the_work():
    hessian, b = quadratic(8, 2)
    l1 = np.full(8, 0.2)
    cold, _, sweeps = solve(hessian, b, l1)
    warm, _, fewer = solve(hessian, b, l1, start=cold)
    np.testing.assert_allclose(warm, cold, atol=1e-10)
    assert fewer == 1 < sweeps


def test_kkt_residual_by_hand():
    gradient, l1 = np.array([-1.0, 1.2, 0.5, 2.5]), np.array([1.0, 1.0, 1.0, 2.0])
    assert kkt_residual(gradient, l1, np.array([1.0, -1.0, 0.0, 0.0])) == pytest.approx(0.5)
    assert kkt_residual(gradient[:3], l1[:3], np.array([1.0, -1.0, 0.0])) == pytest.approx(0.2)
