"""Covariance of lp regression's coefficients: the sandwich of an M-estimator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["sandwich"]

FloatArray = NDArray[np.float64]


def sandwich(design: FloatArray, residual: FloatArray, weight: FloatArray, p: float, quantile: float) -> FloatArray:
    """J^{-1} V J^{-1} with V = X' diag((w psi)^2) X and J = X' diag(w psi') X, (d, d).

    psi is the derivative of the loss; where the loss has a kink (p = 1) psi' is a kernel estimate of the residuals'
    density at zero (Powell 1991), with the bandwidth of Hall and Sheather (1988).
    """
    if p == 1:
        score = np.where(residual > 0, quantile, quantile - 1.0)
        width = _bandwidth(residual, quantile)
        # Epanechnikov's kernel, that of the bandwidth's literature.
        curvature = 0.75 * np.maximum(1 - (residual / width) ** 2, 0.0) / width
    else:
        size = np.abs(residual)
        score = np.sign(residual) * size ** (p - 1)
        # For p < 2 the second derivative has a pole at zero that the exact fit of a few rows would hit.
        size = np.maximum(size, 1e-6 * size.mean() + np.finfo(float).tiny)
        curvature = (p - 1) * size ** (p - 2)
    bread = np.linalg.pinv((design * (weight * curvature)[:, None]).T @ design)
    meat = design * (weight * score)[:, None]
    return np.asarray(bread @ (meat.T @ meat) @ bread)


def _bandwidth(residual: FloatArray, quantile: float) -> float:
    """Hall and Sheather's span of quantiles, turned into a width by the residuals' spread."""
    from scipy.stats import norm

    n = len(residual)
    z = norm.ppf(quantile)
    span = n ** (-1 / 3) * norm.ppf(0.975) ** (2 / 3) * (1.5 * norm.pdf(z) ** 2 / (2 * z**2 + 1)) ** (1 / 3)
    low, high = np.clip([quantile - span, quantile + span], 0.5 / n, 1 - 0.5 / n)
    quartiles = np.subtract(*np.quantile(residual, [0.75, 0.25]))
    spread = min(residual.std(), quartiles / 1.349) or residual.std() or 1.0
    return float(spread * (norm.ppf(high) - norm.ppf(low)))
