"""Lewis weights of any order, by a fixed-point iteration in logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_real
from mcstat.core.errors import ReliabilityWarning
from mcstat.core.gram import whiten
from mcstat.core.parallel import single_threaded
from mcstat.core.rows import RowBlocks
from mcstat.subsampling._leverage import warn_rank

__all__ = ["LewisInfo", "lewis_weights"]

FloatArray = NDArray[np.float64]

# Rows of less weight than this take no part in the judgement whether the iteration has converged.
_NEGLIGIBLE = np.log(1e-12)


@dataclass(frozen=True)
class LewisInfo:
    """How the iteration went: steps taken, whether it converged, its residual and the rank of the matrix."""

    n_iter: int
    converged: bool
    residual: float
    rank: int


def lewis_weights(
    X: Any, p: float, *, tol: float = 1e-6, max_iter: int = 300, return_info: bool = False
) -> FloatArray | tuple[FloatArray, LewisInfo]:
    """The lp Lewis weights of the rows: the w for which w[i] is the leverage score of row i of W^(1/2 - 1/p) A.

    Parameters
    ----------
    X : array_like, data frame, CSR matrix, memory map or Dask array, shape (n, d)
    p : float
        Order, > 0. For p = 2 the weights are the leverage scores.
    tol : float
        The iteration stops when the weights differ from those leverage scores by at most this factor less one. For
        sampling 0.1 is plenty.
    max_iter : int
    return_info : bool
        Also return a ``LewisInfo``.

    Returns
    -------
    ndarray, shape (n,)
        Their sum is the rank. A row of zeros has weight 0.

    Raises
    ------
    InvalidData, InvalidParameter

    Warns
    -----
    RankWarning
        The columns are linearly dependent.
    ReliabilityWarning
        No convergence within ``max_iter``.

    Notes
    -----
    One pass and O(n d^2) a step. log w <- (1 - eta) log w + eta (p/2) log(a_i' (A' W^(1 - 2/p) A)^{-1} a_i) with
    eta = 4 / (p + 2), which contracts at the rate ``|p - 2| / (p + 2)``: 6 to 15 steps to 1e-6 for p from 1 to 4.
    Should the residual rise twice, eta falls back to 1 (p < 2, Cohen and Peng [1]_) or 2 / p, which always converges.

    References
    ----------
    .. [1] Cohen, M. B., Peng, R. (2015). lp row sampling by Lewis weights. STOC. arXiv:1412.0588.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.subsampling import lewis_weights
    >>> lewis_weights(np.array([[3.0], [1.0]]), p=1).round(3)
    array([0.75, 0.25])
    """
    p = check_real("p", p, 0.0, closed="neither")
    tol = check_real("tol", tol, 0.0, closed="neither")
    check_integer("max_iter", max_iter, 1)
    rows = RowBlocks(X)
    with single_threaded():
        basis = whiten(rows)
        if basis.rank < min(rows.n_columns, rows.n_rows):
            warn_rank(basis.rank, rows.n_columns)
        log_w, info = _iterate(rows, basis.transform, p, tol, max_iter)
    if not info.converged:
        warn(
            f"Lewis weights: residual {info.residual:.2g} > tol={tol:g} after {info.n_iter} steps; raise max_iter",
            ReliabilityWarning,
            stacklevel=2,
        )
    weights = np.exp(log_w)
    return (weights, info) if return_info else weights


def _iterate(
    rows: RowBlocks, transform: FloatArray, p: float, tol: float, max_iter: int
) -> tuple[FloatArray, LewisInfo]:
    """Alternate between scores under the current metric and the Gram matrix of the next, one pass for both."""
    rank = transform.shape[1]
    if rank == 0:
        return np.full(rows.n_rows, -np.inf), LewisInfo(0, True, 0.0, 0)
    log_w = np.full(rows.n_rows, np.log(rank / rows.n_rows))
    # A T has orthonormal columns; under the metric of equal weights they are this much longer.
    transform = transform * (rank / rows.n_rows) ** (1 / p - 0.5)
    eta, rises, before = 4 / (p + 2), 0, np.inf
    for step in range(1, max_iter + 1):
        news, residual, metric = [], 0.0, np.zeros((rank, rank))
        for new, gap, product in rows.map(partial(_step_block, transform=transform, p=p, eta=eta), log_w):
            news.append(new)
            residual = max(residual, gap)
            metric += product
        log_w = np.concatenate(news)
        if residual <= tol:
            return log_w, LewisInfo(step, True, residual, rank)
        values, vectors = np.linalg.eigh(metric)
        transform = transform @ (vectors / np.sqrt(values))
        rises, before = rises + (residual > before), residual
        if rises == 2:
            eta = min(eta, 2 / p if p > 2 else 1.0)
    return log_w, LewisInfo(max_iter, False, residual, rank)


def _step_block(
    block: Any, log_w: FloatArray, *, transform: FloatArray, p: float, eta: float
) -> tuple[FloatArray, float, FloatArray]:
    """New log weights of a block's rows, the largest residual of the old ones, and the next metric's Gram matrix."""
    z = block @ transform
    with np.errstate(divide="ignore"):
        log_q = np.log(np.einsum("ij,ij->i", z, z))
    # A row of zeros keeps weight zero.
    alive = log_q > -np.inf
    log_w = np.where(alive, log_w, 0.0)
    log_q = np.where(alive, log_q, 0.0)
    residual = float(np.abs(log_q - (2 / p) * log_w)[alive & (log_w > _NEGLIGIBLE)].max(initial=0.0))
    new = (1 - eta) * log_w + eta * (p / 2) * log_q
    z *= np.exp((0.5 - 1 / p) * new)[:, None]
    return np.where(alive, new, -np.inf), residual, z.T @ z
