"""Observed information of an unpenalised fit, carried to reported quantities by the delta method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mcstat.core.proximal import Minimum
from mcstat.ordinal._likelihood import CumulativeLikelihood
from mcstat.ordinal._links import density, survival
from mcstat.ordinal._structure import Pulled, Structure, Structured

__all__ = ["Quantities", "Separation", "doubts", "observed_covariance", "rare_probability"]

FloatArray = NDArray[np.float64]

# A normal column with a slope of s standard deviations leaves a share of about 5 / s^3: this is s = 37.
_VANISHED, _USUAL_STEPS = 1e-4, 7
# Smallest eigenvalue, after scaling to a unit diagonal, of an information matrix that has an inverse.
_SINGULAR = 1e-10


@dataclass
class Quantities:
    """Values with their gradients in the boundaries, (n_cuts, 1 + p) each."""

    names: list[str]
    values: list[float]
    gradients: list[FloatArray]

    @classmethod
    def empty(cls) -> Quantities:
        """None yet."""
        return cls([], [], [])

    def add(self, name: str, value: float, gradient: FloatArray) -> None:
        """One more."""
        self.names.append(name)
        self.values.append(value)
        self.gradients.append(gradient)

    def add_cut(self, name: str, likelihood: CumulativeLikelihood, boundaries: FloatArray, k: int, sign: float) -> None:
        """Intercept of boundary k on the scale of X, times ``sign``."""
        gradient = np.zeros_like(boundaries)
        gradient[k, 0] = sign
        gradient[k, 1:] = -sign * likelihood.mean / likelihood.scale
        self.add(name, sign * float(likelihood.to_raw(boundaries)[0][k]), gradient)

    def add_slopes(
        self, names: tuple[str, ...], likelihood: CumulativeLikelihood, boundaries: FloatArray, k: int, sign: float
    ) -> None:
        """Slopes of boundary k on the scale of X, times ``sign``."""
        slopes = likelihood.to_raw(boundaries)[1][k]
        for j, name in enumerate(names):
            gradient = np.zeros_like(boundaries)
            gradient[k, 1 + j] = sign / likelihood.scale[j]
            self.add(name, sign * float(slopes[j]), gradient)

    def covariance(self, parameters: FloatArray, structure: Structure) -> FloatArray:
        """Delta method from the covariance of a structure's parameters, (q, q)."""
        pulled = np.array([structure.gradient(gradient) for gradient in self.gradients])
        cov = np.asarray(pulled @ parameters @ pulled.T)
        # What depends on fixed parameters alone was not estimated, which is another thing than known without error.
        not_estimated = np.diag(cov) == 0.0
        cov[not_estimated] = cov[:, not_estimated] = np.nan
        return cov


def rare_probability(likelihood: CumulativeLikelihood, link: str, boundaries: FloatArray) -> tuple[float, FloatArray]:
    """Mean over the rows of 1 - F(last boundary), and its gradient in the boundaries."""
    value, gradient = 0.0, np.zeros_like(boundaries)
    for _, rows in likelihood.blocks():
        z, weights = likelihood.z[rows], likelihood.weights[rows]
        eta = z @ boundaries[-1]
        value += float(weights @ survival(link, eta))
        gradient[-1] -= (weights * density(link, eta)) @ z
    return value, gradient


def observed_covariance(hessian: FloatArray, total: float, fixed: NDArray[np.bool_]) -> FloatArray:
    """Inverse of the observed information, ``total`` times the Hessian of the mean loss.

    Parameters ``fixed`` at zero (columns without variation) have none; all get NaN if the matrix has no inverse.
    """
    free = ~fixed
    cov = np.zeros(hessian.shape)
    information = total * hessian[np.ix_(free, free)]
    diagonal = np.diag(information)
    if not np.all(diagonal > 0):
        return np.full(hessian.shape, np.nan)
    scale = 1.0 / np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(information * scale[:, None] * scale)
    if values[0] < _SINGULAR:
        return np.full(hessian.shape, np.nan)
    half = scale[:, None] * vectors / np.sqrt(values)
    cov[np.ix_(free, free)] = half @ half.T
    return cov


class Separation:
    """Watches a maximum-likelihood search for classes that the columns separate: the likelihood has no maximum then.

    Along such a direction nearly all curvature that there was without slopes vanishes. It is looked at once the search
    takes more steps than a likelihood with a maximum needs.
    """

    def __init__(self, smooth: Structured, start: FloatArray) -> None:
        self.smooth, self.start = smooth, start
        self.found = False

    def __call__(self, n_iter: int, here: Pulled) -> bool:
        """Whether it is there; remembered in ``found``."""
        if n_iter > _USUAL_STEPS:
            self.found = _vanished(here.hessian(), self._without_slopes)
        return self.found

    @cached_property
    def _without_slopes(self) -> FloatArray:
        return self.smooth(self.start).hessian()


def _vanished(hessian: FloatArray, null_hessian: FloatArray) -> bool:
    from scipy.linalg import eigh

    alive = np.diag(null_hessian) > 0
    start, end = null_hessian[np.ix_(alive, alive)], hessian[np.ix_(alive, alive)]
    # Columns that depend on each other have lost nothing: there was no curvature to lose.
    start = start + 1e-10 * np.diag(np.diag(start))
    end = end + 1e-10 * np.diag(np.diag(start))
    return bool(eigh(end, start, eigvals_only=True)[0] < _VANISHED)


def doubts(found: Minimum[Pulled], separated: bool, cov: FloatArray) -> tuple[str, ...]:
    """Reasons not to believe a maximum-likelihood fit."""
    if separated:
        return (
            "the columns separate the classes (or nearly do): the likelihood has no maximum; stopped after "
            f"{found.n_iter} steps, slopes mean nothing; use PRESTOClassifier with lam > 0, or fewer columns",
        )
    if not found.converged:
        return (f"no convergence: gradient {found.kkt:.2g} after {found.n_iter} steps; raise max_iter or tol",)
    if np.isnan(cov).all():
        return (
            "columns of X depend linearly on each other: slopes are one choice among many, without standard errors",
        )
    return ()
