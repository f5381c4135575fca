"""The cantilever beam under many input laws: one function, one expectation a law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.core.checks import check_integer
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.datasets._sensitivity import cantilever_deflection, log_sd

__all__ = ["make_perturbed_beams"]

FloatArray = NDArray[np.float64]

# Means of F_X, F_Y, E, w, t, L, then the correlations (w, t), (w, L), (t, L).
_LOW = np.array([525.0, 425.0, 175.0, 0.06, 0.09, 4.0, -0.6, 0.0, 0.0])
_HIGH = np.array([575.0, 475.0, 225.0, 0.07, 0.10, 5.0, 0.0, 0.5, 0.5])
_LOG_SD = np.array([log_sd(0.08), log_sd(0.08), log_sd(0.06)])
_GEOMETRY_CV = 0.1


def make_perturbed_beams(
    n_laws: int = 100, random_state: RandomState = None
) -> tuple[Callable[[FloatArray], FloatArray], list[Any]]:
    """Deflection of the cantilever beam, and ``n_laws`` laws that its inputs may have.

    In the coordinates (ln F_X, ln F_Y, ln E, w, t, L) every law is Gaussian. Their means and the correlations of w, t
    and L come from a Latin hypercube; coefficients of variation are those of :func:`make_cantilever_beam`.

    Parameters
    ----------
    n_laws : int
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    func : callable
        (n, 6) transformed inputs to (n, 1) deflections.
    laws : list of frozen multivariate normal laws

    References
    ----------
    .. [1] Demange-Chryst, J., Bachoc, F. and Morio, J. (2023). Efficient estimation of multiple expectations with the
       same sample by adaptive importance sampling and control variates. Statistics and Computing 33. arXiv:2212.00568.
    """
    from scipy.stats import multivariate_normal

    n_laws = check_integer("n_laws", n_laws, 1)
    rng = stream(root_seed(random_state), "make_perturbed_beams", Purpose.DATA, 0)
    laws = []
    for row in _design(n_laws, rng):
        means, correlations = row[:6], row[6:]
        sd = np.concatenate([_LOG_SD, _GEOMETRY_CV * means[3:]])
        centre = np.concatenate([np.log(means[:3]) - _LOG_SD**2 / 2, means[3:]])
        laws.append(multivariate_normal(centre, _correlation(correlations) * np.outer(sd, sd)))
    return perturbed_deflection, laws


def perturbed_deflection(z: FloatArray) -> FloatArray:
    """(n, 6) rows (ln F_X, ln F_Y, ln E, w, t, L) to (n, 1) deflections."""
    x = np.concatenate([np.exp(z[:, :3]), z[:, 3:]], axis=1)
    return cantilever_deflection(x)[:, None]


def _design(n_laws: int, rng: Generator) -> FloatArray:
    """Latin hypercube over the nine parameters, drawn anew until every correlation matrix is positive definite.

    One law in 800 is not: at the corner (-0.6, 0.5, 0.5) the determinant is negative.
    """
    from scipy.stats import qmc

    while True:
        design = _LOW + (_HIGH - _LOW) * qmc.LatinHypercube(9, rng=rng).random(n_laws)
        if all(np.linalg.eigvalsh(_correlation(row[6:]))[0] > 1e-3 for row in design):
            return np.asarray(design)


def _correlation(pairs: FloatArray) -> FloatArray:
    """(6, 6) from the correlations (w, t), (w, L), (t, L)."""
    matrix = np.eye(6)
    for (i, j), value in zip(((3, 4), (3, 5), (4, 5)), pairs, strict=True):
        matrix[i, j] = matrix[j, i] = value
    return matrix
