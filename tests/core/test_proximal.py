"""Proximal Newton on functions whose minimum is known."""

from dataclasses import dataclass

import numpy as np
import pytest

from mcstat.core.proximal import minimise
from mcstat.kernels.coordinate import kkt_residual


@dataclass
class Logistic:
    """Mean logistic loss of labels +-1."""

    x: np.ndarray
    y: np.ndarray

    def __call__(self, theta):
        margin = self.y * (self.x @ theta)
        p = 1 / (1 + np.exp(margin))
        hessian = (self.x * (p * (1 - p))[:, None]).T @ self.x / len(self.y)
        return Point(np.mean(np.logaddexp(0.0, -margin)), -(self.x.T @ (self.y * p)) / len(self.y), hessian)


@dataclass
class Point:
    value: float
    gradient: np.ndarray
    matrix: np.ndarray

    def hessian(self):
        return self.matrix.copy()


def problem(n=200, q=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, q))
    return Logistic(x, np.where(x[:, 0] - x[:, 1] + rng.logistic(size=n) > 0, 1.0, -1.0))


@pytest.mark.parametrize("l1", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_optimal_and_never_above_a_split_quasi_newton_solution(l1, l2):
    from scipy.optimize import minimize

    smooth, q = problem(), 6
    found = minimise(smooth, np.zeros(q), np.full(q, l1), np.full(q, l2), tol=1e-9)
    gradient = found.expansion.gradient + l2 * found.theta
    assert found.converged
    assert found.kkt == pytest.approx(kkt_residual(gradient, np.full(q, l1), found.theta))
    assert found.kkt < 1e-9

    def split(parts):
        theta = parts[:q] - parts[q:]
        here = smooth(theta)
        slope = here.gradient + l2 * theta
        return here.value + l1 * parts.sum() + l2 / 2 * theta @ theta, np.concatenate([slope + l1, l1 - slope])

    other = minimize(
        split, np.zeros(2 * q), jac=True, bounds=[(0, None)] * (2 * q), options={"ftol": 1e-15, "gtol": 1e-9}
    )
    assert found.objective <= other.fun + 1e-10
    np.testing.assert_allclose(found.theta, other.x[:q] - other.x[q:], atol=1e-4)


def test_columns_that_are_nearly_alike():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1)) + 1e-3 * rng.normal(size=(300, 8))
    smooth = Logistic(x, np.where(x[:, 0] + rng.logistic(size=300) > 0, 1.0, -1.0))
    l1 = np.full(8, 1e-5)
    found = minimise(smooth, np.zeros(8), l1, np.zeros(8), tol=1e-10)
    assert found.converged
    assert found.n_iter < 20
    assert kkt_residual(found.expansion.gradient, l1, found.theta) < 1e-10


def test_above_the_largest_gradient_nothing_enters():
    smooth = problem()
    top = np.abs(smooth(np.zeros(6)).gradient).max()
    found = minimise(smooth, np.zeros(6), np.full(6, 1.0001 * top), np.zeros(6))
    assert (found.n_iter, found.converged) == (0, True)
    np.testing.assert_array_equal(found.theta, np.zeros(6))


def test_an_indefinite_hessian_still_gives_descent():
    def double_well(theta):
        x = theta[0]
        return Point((x**2 - 1) ** 2, np.array([4 * x * (x**2 - 1)]), np.array([[12 * x**2 - 4]]))

    found = minimise(double_well, np.array([0.3]), np.zeros(1), np.zeros(1))
    assert found.converged
    assert found.theta[0] == pytest.approx(1.0, abs=1e-7)


def test_outside_the_domain_the_step_is_halved():
    def barrier(theta):
        x = theta[0]
        if x <= 0:
            return Point(np.inf, np.zeros(1), np.eye(1))
        return Point(x - np.log(x), np.array([1 - 1 / x]), np.array([[1 / x**2]]))

    found = minimise(barrier, np.array([3.0]), np.zeros(1), np.zeros(1))
    assert found.theta[0] == pytest.approx(1.0, abs=1e-7)


def test_too_few_steps_are_told():
    found = minimise(problem(), np.zeros(6), np.zeros(6), np.zeros(6), max_iter=1)
    assert (found.n_iter, found.converged) == (1, False)
    assert found.kkt > 1e-7
