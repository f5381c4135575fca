"""Smooth convex functions with a lasso or elastic-net penalty: proximal Newton.

Each outer step minimises the quadratic expansion of the smooth part plus the penalty by coordinate descent, then goes
as far along that direction as Armijo's rule allows (Lee, Sun and Saunders 2014). Without a penalty it is Newton's
method. The answer is judged by its KKT residual, never by how little the objective still moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import frozen_view
from mcstat.kernels.coordinate import coordinate_descent, kkt_residual

__all__ = ["Expansion", "Minimum", "Smooth", "minimise"]

FloatArray = NDArray[np.float64]

# Armijo's share of the decrease that the model promises, and the rounding error of an objective of order one.
_ARMIJO, _ROUNDING = 1e-4, 1e-14
_MOST_HALVINGS = 40
_NO_CURVATURE = 1e-10
# Sweeps of coordinate descent before a step on the face, and how often both are tried.
_SWEEPS, _MOST_ROUNDS = 50, 200


Point = TypeVar("Point", bound="Expansion")
Point_co = TypeVar("Point_co", bound="Expansion", covariant=True)


class Expansion(Protocol):
    """A smooth function about one point."""

    value: float
    gradient: FloatArray

    def hessian(self) -> FloatArray:
        """(q, q); asked for only where a step is taken."""


class Smooth(Protocol[Point_co]):
    """A smooth convex function of q numbers; its value is +inf outside its domain."""

    def __call__(self, theta: FloatArray) -> Point_co:
        """Expand about theta (q,)."""


@dataclass(frozen=True)
class Minimum(Generic[Point]):
    """Where the search ended.

    Attributes
    ----------
    theta : ndarray, shape (q,)
    objective : float
        Smooth part plus penalty.
    expansion : Expansion
        Of the smooth part, without the penalty, about ``theta``.
    kkt : float
        Largest violation of the optimality conditions.
    n_iter : int
        Outer steps taken.
    converged : bool
        Whether ``kkt`` is below the tolerance.
    """

    theta: FloatArray
    objective: float
    expansion: Point
    kkt: float
    n_iter: int
    converged: bool


def minimise(
    smooth: Smooth[Point],
    start: FloatArray,
    l1: FloatArray,
    l2: FloatArray,
    *,
    tol: float = 1e-7,
    max_iter: int = 100,
    hopeless: Callable[[int, Point], bool] | None = None,
) -> Minimum[Point]:
    """Minimise smooth(theta) + sum_j l1_j |theta_j| + sum_j l2_j theta_j^2 / 2.

    Parameters
    ----------
    smooth : callable
        (q,) to an :class:`Expansion`.
    start : ndarray, shape (q,)
        A point where ``smooth`` is finite.
    l1, l2 : ndarray, shape (q,)
        Not negative; zero where a coordinate is not penalised.
    tol : float
        Bound on the KKT residual.
    max_iter : int
        Most outer steps.
    hopeless : callable, optional
        Of the number of steps and the expansion there; True ends the search, for functions that may have no minimum.

    Returns
    -------
    Minimum
        Also when ``max_iter`` steps were not enough or no step helps any more; ``converged`` then is False.

    Notes
    -----
    A step costs one Hessian and O(q^2) a sweep. Without l1 penalty the function need not be convex, and
    along directions without curvature the start is kept.
    """
    theta, here = start.copy(), smooth(start)
    objective = here.value + _penalty(theta, l1, l2)
    for n_iter in range(max_iter + 1):
        gradient = here.gradient + l2 * theta
        kkt = float(kkt_residual(gradient, l1, theta))
        if kkt < tol or n_iter == max_iter or (hopeless is not None and hopeless(n_iter, here)):
            break
        hessian = here.hessian()
        hessian[np.diag_indices_from(hessian)] += l2
        target = _model_minimum(hessian, gradient, l1, theta, min(0.1 * kkt, 0.1))
        promised = gradient @ (target - theta) + l1 @ (np.abs(target) - np.abs(theta))
        found = _line_search(smooth, theta, target, objective, promised, l1, l2)
        if found is None:
            break
        theta, here, objective = found
    return Minimum(theta, objective, here, kkt, n_iter, kkt < tol)


def _penalty(theta: FloatArray, l1: FloatArray, l2: FloatArray) -> float:
    return float(l1 @ np.abs(theta) + 0.5 * (l2 @ theta**2))


def _model_minimum(
    hessian: FloatArray, gradient: FloatArray, l1: FloatArray, theta: FloatArray, tol: float
) -> FloatArray:
    """Minimise the quadratic model plus l1 penalty, to a gradient of ``tol``."""
    if not l1.any():
        return theta + _newton_step(hessian, gradient)
    target, model_gradient = theta.copy(), gradient.copy()
    for _ in range(_MOST_ROUNDS):
        sweeps = coordinate_descent(frozen_view(hessian), l1, target, model_gradient, 0.1 * tol, _SWEEPS)
        if sweeps < _SWEEPS:
            break
        _step_on_the_face(hessian, l1, target, model_gradient)
    return target


def _step_on_the_face(hessian: FloatArray, l1: FloatArray, x: FloatArray, gradient: FloatArray) -> None:
    """Go to the minimum of the model among points of the same signs and zeros, or to where a sign would change.

    Descent for sure, and fast where coordinate descent creeps because columns are alike. In place.
    """
    face = (x != 0.0) | (l1 == 0.0)
    step = _newton_step(hessian[np.ix_(face, face)], gradient[face] + l1[face] * np.sign(x[face]))
    crossing = (l1[face] > 0) & (x[face] * step < 0)
    room = np.full(len(step), np.inf)
    room[crossing] = -x[face][crossing] / step[crossing]
    share = min(1.0, float(room.min(initial=np.inf)))
    moved = x[face] + share * step
    moved[room <= share] = 0.0
    gradient += hessian[:, face] @ (moved - x[face])
    x[face] = moved


def _newton_step(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """-H^-1 g, but never upwards and never along what the data do not determine.

    Eigenvalues (of H scaled to a unit diagonal) are taken without their signs, and those that are zero up to rounding
    give no step.
    """
    scale = np.sqrt(np.abs(np.diag(hessian)))
    scale = 1.0 / np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(hessian * scale[:, None] * scale)
    sizes = np.abs(values)
    inverse = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > _NO_CURVATURE * sizes.max())
    return np.asarray(-scale * (vectors @ (inverse * (vectors.T @ (scale * gradient)))))


def _line_search(
    smooth: Smooth[Point],
    theta: FloatArray,
    target: FloatArray,
    objective: float,
    promised: float,
    l1: FloatArray,
    l2: FloatArray,
) -> tuple[FloatArray, Point, float] | None:
    """Halve the step until the objective falls by Armijo's share; the full step keeps exact zeros."""
    slack = _ROUNDING * (1.0 + abs(objective))
    share = 1.0
    for _ in range(_MOST_HALVINGS):
        trial = target if share == 1.0 else theta + share * (target - theta)
        there = smooth(trial)
        reached = there.value + _penalty(trial, l1, l2)
        if reached <= objective + _ARMIJO * share * promised + slack:
            return trial, there, reached
        share *= 0.5
    return None
