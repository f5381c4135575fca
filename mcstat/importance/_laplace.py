"""Where to start with an unnormalised target: the Gaussian at its mode with its curvature (Laplace)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData
from mcstat.importance._laws import checked_log_density

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianLaw:
    """Multivariate normal by mean (d,) and lower Cholesky factor (d, d) of its covariance."""

    mean: FloatArray
    factor: FloatArray

    def rvs(self, size: int, random_state: Generator) -> FloatArray:
        """(size, d) draws."""
        return np.asarray(self.mean + random_state.standard_normal((size, len(self.mean))) @ self.factor.T)

    def logpdf(self, x: FloatArray) -> FloatArray:
        """(n,) log densities."""
        from scipy.linalg import solve_triangular

        whitened = solve_triangular(self.factor, (x - self.mean).T, lower=True, check_finite=False)
        constant = np.log(np.diag(self.factor)).sum() + 0.5 * len(self.mean) * np.log(2 * np.pi)
        return np.asarray(-0.5 * np.sum(whitened**2, axis=0) - constant)


def laplace_law(target: Callable[[FloatArray], Any], start: FloatArray) -> tuple[GaussianLaw, int]:
    """Gaussian at the mode of ``target`` (vectorised log density), and how many points were evaluated.

    The mode is found by BFGS, gradient and Hessian by central differences; each takes one vectorised call.
    """
    from scipy.optimize import minimize

    d, calls = len(start), 0
    step = np.cbrt(np.finfo(float).eps) * np.maximum(1.0, np.abs(start))

    def values(points: FloatArray) -> FloatArray:
        nonlocal calls
        calls += len(points)
        return -checked_log_density("target", target, points)

    def gradient(point: FloatArray) -> FloatArray:
        moves = np.diag(step)
        both = values(np.concatenate([point + moves, point - moves]))
        return np.asarray((both[:d] - both[d:]) / (2 * step))

    def objective(point: FloatArray) -> tuple[float, FloatArray]:
        return float(values(point[None])[0]), gradient(point)

    if not np.isfinite(values(start[None])[0]):
        raise InvalidData(f"target must be finite at start, got -inf at {start.tolist()}")
    mode = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-4}).x
    # A second difference wants a longer step than a first one.
    wide = np.diag(np.finfo(float).eps ** 0.25 * np.maximum(1.0, np.abs(mode)))
    hessian = _hessian(values, mode, wide)
    eigenvalues, vectors = np.linalg.eigh(hessian)
    if not np.all(np.isfinite(eigenvalues)) or eigenvalues[-1] <= 0:
        raise InvalidData("target has no curvature at its mode; give initial= a law instead of 'laplace'")
    # Flat directions get a wide but proper Gaussian.
    eigenvalues = np.maximum(eigenvalues, 1e-6 * eigenvalues[-1])
    covariance = (vectors / eigenvalues) @ vectors.T
    return GaussianLaw(mode, np.linalg.cholesky((covariance + covariance.T) / 2)), calls


def _hessian(values: Callable[[FloatArray], FloatArray], mode: FloatArray, moves: FloatArray) -> FloatArray:
    d = len(mode)
    pairs = [(i, j) for i in range(d) for j in range(i + 1)]
    up = np.array([mode + moves[i] + moves[j] for i, j in pairs])
    across = np.array([mode + moves[i] - moves[j] for i, j in pairs])
    back = np.array([mode - moves[i] + moves[j] for i, j in pairs])
    down = np.array([mode - moves[i] - moves[j] for i, j in pairs])
    f = values(np.concatenate([up, across, back, down])).reshape(4, -1)
    hessian = np.empty((d, d))
    for (i, j), slope in zip(pairs, (f[0] - f[1] - f[2] + f[3]) / 4.0, strict=True):
        hessian[i, j] = hessian[j, i] = slope / (moves[i, i] * moves[j, j])
    return hessian
