"""The cantilever beam under many input laws: one function, one expectation a law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
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

# One law in 800 has no correlation matrix: at the corner (-0.6, 0.5, 0.5) the determinant is negative. Its three
# correlations are shrunk together until the least eigenvalue is this. (Drawing the whole hypercube anew would keep
# thousands of laws waiting for ever.)
_LEAST_EIGENVALUE = 1e-3


def make_perturbed_beams(
    n_laws: int = 100, random_state: RandomState = 0
) -> tuple[Callable[[FloatArray], FloatArray], list[Any]]:
    """Deflection of the cantilever beam, and ``n_laws`` laws that its inputs may have.

    In the coordinates (ln F_X, ln F_Y, ln E, w, t, L) every law is Gaussian. Their means and the correlations of w, t
    and L come from a Latin hypercube: means U(525, 575), U(425, 475), U(175, 225), U(.06, .07), U(.09, .1), U(4, 5),
    corr(w, t) U(-.6, 0), corr(w, L) and corr(t, L) U(0, .5), shrunk where no law has all three (one in 800).
    Coefficients of variation are those of :func:`make_cantilever_beam`.

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
    from scipy.stats import multivariate_normal, qmc

    n_laws = check_integer("n_laws", n_laws, 1)
    rng = stream(root_seed(random_state), "make_perturbed_beams", Purpose.DATA, 0)
    laws = []
    for row in qmc.scale(qmc.LatinHypercube(len(_LOW), rng=rng).random(n_laws), _LOW, _HIGH):
        means, correlations = row[:6], row[6:]
        sd = np.concatenate([_LOG_SD, _GEOMETRY_CV * means[3:]])
        centre = np.concatenate([np.log(means[:3]) - _LOG_SD**2 / 2, means[3:]])
        laws.append(multivariate_normal(centre, _correlation(correlations) * np.outer(sd, sd)))
    return perturbed_deflection, laws


def perturbed_deflection(z: FloatArray) -> FloatArray:
    """(n, 6) rows (ln F_X, ln F_Y, ln E, w, t, L) to (n, 1) deflections."""
    x = np.concatenate([np.exp(z[:, :3]), z[:, 3:]], axis=1)
    return cantilever_deflection(x)[:, None]


def _correlation(pairs: FloatArray) -> FloatArray:
    """(6, 6) from the correlations (w, t), (w, L), (t, L), shrunk where no law has them."""
    off_diagonal = np.zeros((6, 6))
    for (i, j), value in zip(((3, 4), (3, 5), (4, 5)), pairs, strict=True):
        off_diagonal[i, j] = off_diagonal[j, i] = value
    least = np.linalg.eigvalsh(off_diagonal)[0]
    shrink = 1.0 if least > _LEAST_EIGENVALUE - 1 else (1 - _LEAST_EIGENVALUE) / -least
    return np.asarray(np.eye(6) + shrink * off_diagonal)
