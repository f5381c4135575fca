"""Fits along a grid of penalties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.frames import as_matrix
from mcstat.core.parallel import single_threaded
from mcstat.core.proximal import minimise
from mcstat.ordinal._data import OrdinalData, read_data
from mcstat.ordinal._likelihood import CumulativeLikelihood
from mcstat.ordinal._structure import STRUCTURES, Structure, Structured

__all__ = ["Fits", "OrdinalPath", "Penalty", "cumulative_logit_path", "fit_path", "lambda_grid", "presto_path"]

FloatArray = NDArray[np.float64]

# Links whose density is log-concave: only there is the likelihood convex, and a penalised optimum the optimum.
CONVEX = ("logit", "probit", "cloglog")


@dataclass(frozen=True)
class Penalty:
    """What is penalised, and how.

    Attributes
    ----------
    structure : {"differences", "free", "common"}
    l1_ratio : float
        Share of the lasso; the rest is ridge.
    factors : ndarray, shape (p,), or None
        Multiply the penalty of each column; None is ones.
    first : bool
        Whether the first boundary's slopes are penalised too.
    """

    structure: str = "differences"
    l1_ratio: float = 1.0
    factors: FloatArray | None = None
    first: bool = True

    def scales(self, structure: Structure, n_columns: int) -> FloatArray:
        """(q,) multiples of lambda."""
        factors = np.ones(n_columns) if self.factors is None else self.factors
        return structure.penalties(factors, self.first)


@dataclass(frozen=True)
class Fits:
    """Boundaries on the standardised scale (L, K - 1, 1 + p), and how each fit ended."""

    boundaries: FloatArray
    losses: FloatArray
    kkt: FloatArray
    n_iter: NDArray[np.int64]
    converged: NDArray[np.bool_]


def fit_path(
    likelihood: CumulativeLikelihood, lambdas: FloatArray, penalty: Penalty, *, tol: float, max_iter: int
) -> Fits:
    """Fit every lambda, each from the answer before it."""
    n_columns = likelihood.z.shape[1] - 1
    structure = STRUCTURES[penalty.structure](likelihood.n_classes - 1, n_columns + 1)
    smooth, scales = Structured(likelihood, structure), penalty.scales(structure, n_columns)
    theta = structure.parameters(likelihood.null_boundaries())
    count = len(lambdas)
    fits = Fits(
        np.empty((count, structure.n_cuts, structure.r)),
        np.empty(count),
        np.empty(count),
        np.empty(count, dtype=np.int64),
        np.empty(count, dtype=bool),
    )
    for i, lam in enumerate(lambdas):
        l1, l2 = lam * penalty.l1_ratio * scales, lam * (1.0 - penalty.l1_ratio) * scales
        found = minimise(smooth, theta, l1, l2, tol=tol, max_iter=max_iter)
        theta = found.theta
        fits.boundaries[i], fits.losses[i] = structure.boundaries(theta), found.expansion.value
        fits.kkt[i], fits.n_iter[i], fits.converged[i] = found.kkt, found.n_iter, found.converged
    return fits


def lambda_grid(
    likelihood: CumulativeLikelihood, penalty: Penalty, n_lambdas: int, ratio: float, *, tol: float, max_iter: int
) -> FloatArray:
    """Geometric grid from the smallest lambda that leaves every penalised parameter at zero, down to its ``ratio``-th.

    Where slopes are free of penalty the null model is fitted first; otherwise it is the intercepts.
    """
    n_columns = likelihood.z.shape[1] - 1
    structure = STRUCTURES[penalty.structure](likelihood.n_classes - 1, n_columns + 1)
    smooth, scales = Structured(likelihood, structure), penalty.scales(structure, n_columns)
    here = smooth(structure.parameters(likelihood.null_boundaries()))
    penalised = scales > 0
    if not penalised.any():
        return np.zeros(1)
    if np.sum(~penalised) > likelihood.n_classes - 1:
        # A penalty far above every gradient holds the penalised ones at zero.
        wall = np.where(penalised, 1e3 * (1.0 + np.abs(here.gradient).max()), 0.0)
        start = structure.parameters(likelihood.null_boundaries())
        here = minimise(smooth, start, wall, np.zeros(len(wall)), tol=tol, max_iter=max_iter).expansion
    top = np.max(np.abs(here.gradient[penalised]) / scales[penalised]) / max(penalty.l1_ratio, 0.01)
    if not top > 0:
        raise InvalidData("X must hold at least one column that varies with y: no penalty has anything to hold back")
    return top * np.geomspace(1.0, ratio, n_lambdas)


@dataclass(frozen=True, eq=False)
class OrdinalPath:
    """Fits of one model along a grid of penalties.

    Attributes
    ----------
    lambdas : ndarray, shape (L,)
        Descending.
    alpha : ndarray, shape (L, K - 1)
        Intercepts of P(y <= k) = F(alpha_k + x' beta_k).
    beta : ndarray, shape (L, K - 1, p)
        Slopes on the scale of X.
    n_nonzero : ndarray of int, shape (L,)
        Penalised parameters (slopes, or differences of slopes) that are not zero.
    log_likelihood : ndarray, shape (L,)
    kkt : ndarray, shape (L,)
        Largest violation of the optimality conditions, on the standardised scale.
    n_iter : ndarray of int, shape (L,)
        Newton steps.
    classes : ndarray, shape (K,)
    names : tuple of str
        Columns of X.
    """

    lambdas: FloatArray
    alpha: FloatArray
    beta: FloatArray
    n_nonzero: NDArray[np.int64]
    log_likelihood: FloatArray
    kkt: FloatArray
    n_iter: NDArray[np.int64]
    classes: NDArray[Any]
    names: tuple[str, ...]

    def plot(self, ax: Any = None) -> Any:
        """Slopes of the last boundary, that of the rarest class, against lambda (extra ``plot``).

        Returns
        -------
        matplotlib Axes
        """
        from mcstat.ordinal._views import plot_path

        return plot_path(self.lambdas, self.beta[:, -1], self.names, ax)


def presto_path(
    X: ArrayLike,
    y: ArrayLike,
    *,
    lambdas: ArrayLike | None = None,
    n_lambdas: int = 20,
    lambda_min_ratio: float = 0.01,
    l1_ratio: float = 1.0,
    link: str = "logit",
    categories: Sequence[Any] | None = None,
    sample_weight: ArrayLike | None = None,
    standardize: bool = True,
    penalize_first: bool = True,
    penalty_factors: ArrayLike | None = None,
    tol: float = 1e-7,
    max_iter: int = 100,
) -> OrdinalPath:
    """PRESTO along a grid of penalties: slopes of neighbouring boundaries are shrunk towards each other.

    Parameters
    ----------
    X : array_like or data frame, shape (n, p)
    y : array_like, shape (n,), or counts, shape (n, K)
    lambdas : array_like, shape (L,), optional
        Default: ``n_lambdas`` from the smallest that leaves no slope, geometrically down to ``lambda_min_ratio`` of it.
    n_lambdas : int
    lambda_min_ratio : float
    l1_ratio : float
        1 is the lasso, 0 is ridge, between is elastic net.
    link : {"logit", "probit", "cloglog"}
    categories : sequence, optional
        Labels from the lowest to the highest.
    sample_weight : array_like, shape (n,), optional
    standardize : bool
        Penalise slopes of columns divided by their standard deviation.
    penalize_first : bool
        False leaves the first boundary's slopes free, so that a large lambda gives proportional odds.
    penalty_factors : array_like, shape (p,), optional
        Multiply the penalty of each column; 0 leaves it free.
    tol : float
        Bound on the KKT residual.
    max_iter : int
        Most Newton steps a lambda.

    Returns
    -------
    OrdinalPath

    Raises
    ------
    InvalidParameter, InvalidData
        Naming the argument, what it wants and what it got.

    Notes
    -----
    O(n p^2) a Newton step, two or three a lambda; memory is one copy of X and 7 numbers a row.

    References
    ----------
    .. [1] Faletto, G. and Bien, J. (2023). Predicting rare events by shrinking towards proportional odds. ICML, PMLR
       202:9547-9602. arXiv:2305.18700.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.ordinal import presto_path
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=300), [0, 2])
    >>> path = presto_path(X, y, n_lambdas=5)
    >>> path.beta.shape
    (5, 2, 2)
    >>> bool(path.kkt.max() < 1e-7)
    True
    """
    data = read_data(*as_matrix("X", X), y, categories, sample_weight)
    factors = check_factors(penalty_factors, data.X.shape[1])
    penalty = Penalty("differences", check_real("l1_ratio", l1_ratio, 0.0, 1.0), factors, bool(penalize_first))
    return _path(data, penalty, link, lambdas, n_lambdas, lambda_min_ratio, standardize, tol, max_iter)


def cumulative_logit_path(
    X: ArrayLike,
    y: ArrayLike,
    *,
    parallel: bool = True,
    lambdas: ArrayLike | None = None,
    n_lambdas: int = 20,
    lambda_min_ratio: float = 0.01,
    l1_ratio: float = 1.0,
    link: str = "logit",
    categories: Sequence[Any] | None = None,
    sample_weight: ArrayLike | None = None,
    standardize: bool = True,
    penalty_factors: ArrayLike | None = None,
    tol: float = 1e-7,
    max_iter: int = 100,
) -> OrdinalPath:
    """Lasso path of the ordinary cumulative model, for comparison with PRESTO: slopes are shrunk towards zero.

    Parameters
    ----------
    parallel : bool
        True: one slope a column for all boundaries (penalised proportional odds). False: each boundary has its own,
        and nothing ties them together.
    X, y, lambdas, n_lambdas, lambda_min_ratio, l1_ratio, link, categories, sample_weight, standardize, \
penalty_factors, tol, max_iter
        As for :func:`presto_path`.

    Returns
    -------
    OrdinalPath

    Raises
    ------
    InvalidParameter, InvalidData
        Naming the argument, what it wants and what it got.

    Notes
    -----
    O(n p^2) a Newton step.

    References
    ----------
    .. [1] Wurm, M. J., Rathouz, P. J. and Hanlon, B. M. (2021). Regularized ordinal regression and the ordinalNet R
       package. Journal of Statistical Software 99(6). doi:10.18637/jss.v099.i06.
    """
    data = read_data(*as_matrix("X", X), y, categories, sample_weight)
    factors = check_factors(penalty_factors, data.X.shape[1])
    structure = "common" if parallel else "free"
    penalty = Penalty(structure, check_real("l1_ratio", l1_ratio, 0.0, 1.0), factors)
    return _path(data, penalty, link, lambdas, n_lambdas, lambda_min_ratio, standardize, tol, max_iter)


def _path(
    data: OrdinalData,
    penalty: Penalty,
    link: str,
    lambdas: ArrayLike | None,
    n_lambdas: int,
    lambda_min_ratio: float,
    standardize: bool,
    tol: float,
    max_iter: int,
) -> OrdinalPath:
    link = check_option("link", link, CONVEX)
    tol, max_iter = check_real("tol", tol, 0.0, closed="neither"), check_integer("max_iter", max_iter, 1)
    with single_threaded():
        likelihood = data.likelihood(link, standardize)
        if lambdas is None:
            n_lambdas = check_integer("n_lambdas", n_lambdas, 1)
            ratio = check_real("lambda_min_ratio", lambda_min_ratio, 0.0, 1.0, closed="neither")
            grid = lambda_grid(likelihood, penalty, n_lambdas, ratio, tol=tol, max_iter=max_iter)
        else:
            grid = check_lambdas(lambdas)
        fits = fit_path(likelihood, grid, penalty, tol=tol, max_iter=max_iter)
    alpha, beta = likelihood.to_raw(fits.boundaries)
    return OrdinalPath(
        lambdas=grid,
        alpha=alpha,
        beta=beta,
        n_nonzero=count_nonzero(beta, penalty.structure),
        log_likelihood=-fits.losses * likelihood.total,
        kkt=fits.kkt,
        n_iter=fits.n_iter,
        classes=data.classes,
        names=data.names,
    )


def check_lambdas(lambdas: ArrayLike) -> FloatArray:
    """Penalties of a path, in descending order."""
    grid = check_array("lambdas", lambdas, 1)
    if len(grid) == 0 or np.any(grid < 0) or np.any(np.diff(grid) >= 0):
        raise InvalidParameter(f"lambdas must be descending and not negative, got {grid.tolist()}")
    return grid


def check_factors(penalty_factors: ArrayLike | None, wanted: int) -> FloatArray | None:
    """One factor a column, not negative."""
    if penalty_factors is None:
        return None
    factors = check_array("penalty_factors", penalty_factors, 1)
    if np.any(factors < 0) or len(factors) != wanted:
        raise InvalidParameter(f"penalty_factors must be {wanted} numbers >= 0, one a column, got {factors.tolist()}")
    return factors


def count_nonzero(beta: FloatArray, structure: str) -> NDArray[np.int64]:
    """Penalised parameters that are not zero, from slopes (L, K - 1, p)."""
    if structure == "common":
        return np.asarray(np.count_nonzero(beta[:, 0], axis=-1))
    parameters = np.diff(beta, axis=1, prepend=0.0) if structure == "differences" else beta
    return np.asarray(np.count_nonzero(parameters, axis=(1, 2)))
