"""lp sensitivities: how much of ``|A x|_p^p`` one row can carry, with a certificate on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.core.checks import check_array, check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.gram import whiten
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.core.rows import RowBlocks
from mcstat.subsampling._designs import draw, inclusion_probabilities
from mcstat.subsampling._leverage import squared_norms, warn_rank
from mcstat.subsampling._lewis import lewis_weights

__all__ = ["lp_sensitivities", "total_sensitivity"]

FloatArray = NDArray[np.float64]
METHODS = ("auto", "exact", "coreset", "bucket", "bound")

_MAX_ITER = 200
# Rows whose sensitivities are found by one task.
_ROWS_A_TASK = 256
# Multiply-adds that "auto" is ready to spend on exact answers: about half a minute.
_AFFORDABLE = 2e10
# Rows of the Lewis sample on which "coreset" works, per column.
_CORESET_ROWS = 100
# Rows that share a bucket, and combinations with random signs of each bucket.
_BUCKET_ROWS, _SIGNS = 200, 20


def lp_sensitivities(
    X: Any,
    p: float,
    *,
    rows: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    method: str = "auto",
    certify: bool = False,
    tol: float = 1e-6,
    n_jobs: int | None = None,
    random_state: RandomState = 0,
) -> FloatArray | tuple[FloatArray, FloatArray]:
    """Sensitivity of every row: sigma[i] = max over x of ``|a_i' x|^p / |A x|_p^p``.

    Parameters
    ----------
    X : array_like, data frame, CSR matrix, memory map or Dask array, shape (n, d)
    p : float
        Order, >= 1. For p = 2 sensitivities are leverage scores.
    rows : sequence of int, optional
        Indices of the rows asked for; default all.
    method : {"auto", "exact", "coreset", "bucket", "bound"}
        "exact" solves the convex problem of each row on all rows, O(n d^2) a row and step. "coreset" solves it on a
        Lewis sample of 100 d rows instead of A: random, typically within 10 %. "bucket" does so for 20 combinations
        with random signs of each 200 rows, and gives them all the largest: ten times fewer problems, seldom too low,
        too high by up to the sum over the bucket where p = 1 (p <= 2 only). "bound" gives the upper bound from the
        Lewis weights, w for p <= 2 and d^(p/2 - 1) w for p > 2. "auto" is exact where that takes under about a
        minute, else "coreset".
    certify : bool
        Return a lower and an upper bound of each exact sensitivity, equal to within ``tol``; p = 1 is then solved as a
        linear programme. Only for "exact".
    tol : float
        Relative gap between the bounds at which a row's iteration stops.
    n_jobs : int, optional
        Threads.
    random_state : None, int, SeedSequence or Generator
        For "coreset" and "bucket".

    Returns
    -------
    ndarray, shape (k,), or two of them
        In [0, 1]. With ``certify`` the lower and upper bounds.

    Raises
    ------
    InvalidData, InvalidParameter

    Notes
    -----
    1 / sigma[i] is the least ``|A x|_p^p`` with a_i' x = 1. Iteratively reweighted least squares has at every step a
    feasible point of this problem and one of its dual, min ``|y|_p'`` with A' y = a_i, hence both bounds.

    References
    ----------
    .. [1] Woodruff, D. P., Yasuda, T. (2023). Sharper bounds for lp sensitivity sampling. ICML. arXiv:2306.00732.
    .. [2] Padmanabhan, S., Woodruff, D. P., Zhang, Q. (2023). Computing approximate lp sensitivities. NeurIPS.
       arXiv:2311.04158.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.subsampling import lp_sensitivities
    >>> lp_sensitivities(np.array([[3.0], [1.0]]), p=1).round(3)
    array([0.75, 0.25])
    """
    p = check_real("p", p, 1.0)
    tol = check_real("tol", tol, 0.0, closed="neither")
    check_option("method", method, METHODS)
    matrix = RowBlocks(X)
    asked = _check_rows(rows, matrix.n_rows)
    if method == "bucket" and p > 2:
        raise InvalidParameter(f"method='bucket' wants p <= 2, where a sum of rows is not far beyond them, got {p:g}")
    with single_threaded():
        basis = whiten(matrix)
        if basis.rank < min(matrix.n_columns, matrix.n_rows):
            warn_rank(basis.rank, matrix.n_columns)
        if method == "auto":
            cost = 30.0 * len(asked) * matrix.n_rows * basis.rank**2 / 2
            method = "exact" if certify or p == 2 or cost <= _AFFORDABLE else "coreset"
        if certify and method != "exact":
            raise InvalidParameter(f"certify=True wants method='exact', got {method!r}")
        if p == 2:
            scores: FloatArray = np.minimum(squared_norms(matrix, basis.transform), 1.0)[asked]
            return (scores, scores) if certify else scores
        if method == "bound":
            weights = np.asarray(lewis_weights(X, p))
            return np.asarray(np.minimum(weights * max(1.0, basis.rank ** (p / 2 - 1)), 1.0)[asked])
        targets = _whitened(matrix, basis.transform, asked)
        if method == "exact":
            sample = np.concatenate(list(matrix.map(partial(_times, transform=basis.transform))))
        else:
            sample = _lewis_sample(X, matrix, p, random_state) @ basis.transform
        if method == "bucket":
            return _by_bucket(targets, sample, p, tol, n_jobs, random_state)
        lower, upper = _bounds(targets, sample, p, tol, n_jobs)
        if certify and p == 1:
            upper = np.array([_upper_by_programme(a, sample) for a in targets])
    lower, upper = np.minimum(lower, 1.0), np.minimum(upper, 1.0)
    return (lower, upper) if certify else lower


def total_sensitivity(
    X: Any,
    p: float,
    *,
    n_samples: int = 200,
    method: str = "exact",
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> Estimate:
    """Estimate the sum of all lp sensitivities from a few rows.

    Rows are drawn in proportion to their Lewis weights w; d times the mean of sigma / w is unbiased, and since
    sigma / w lies between 1 and d^(p/2 - 1) its variance is small whatever the data.

    Parameters
    ----------
    X : array_like, data frame, CSR matrix, memory map or Dask array, shape (n, d)
    p : float
        Order, >= 1.
    n_samples : int
        Rows drawn, at least 2.
    method : {"exact", "coreset", "auto"}
        How the drawn rows' sensitivities are found; see :func:`lp_sensitivities`.
    n_jobs : int, optional
        Threads.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    Estimate
        One quantity, ``"total_sensitivity"``, of kind ``"monte_carlo"``. Between d^(p/2) and d for p <= 2, and the
        other way round for p > 2.

    Notes
    -----
    O(n d^2) a step of the Lewis weights and of each drawn row's problem.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.subsampling import total_sensitivity
    >>> X = np.random.default_rng(0).normal(size=(400, 3))
    >>> 3**0.5 < float(total_sensitivity(X, p=1, random_state=0)) < 3
    True
    """
    p = check_real("p", p, 1.0)
    check_integer("n_samples", n_samples, 2)
    check_option("method", method, ("exact", "coreset", "auto"))
    root, started = root_seed(random_state), perf_counter()
    matrix = RowBlocks(X)
    weights = np.asarray(lewis_weights(X, p))
    rng = stream(root, "total_sensitivity", Purpose.SAMPLE, 0)
    chosen = rng.choice(matrix.n_rows, size=n_samples, p=weights / weights.sum())
    distinct, places = np.unique(chosen, return_inverse=True)
    sigma = np.asarray(lp_sensitivities(X, p, rows=distinct, method=method, n_jobs=n_jobs, random_state=root))
    ratios = weights.sum() * sigma[places] / weights[chosen]
    return Estimate(
        value=ratios.mean(),
        std_error=ratios.std(ddof=1) / np.sqrt(n_samples),
        names=("total_sensitivity",),
        kind="monte_carlo",
        df=n_samples - 1,
        estimand=f"sum of the l{p:g} sensitivities",
        method="total_sensitivity",
        diagnostics={"rank": round(float(weights.sum())), "rows evaluated": len(distinct)},
        info={
            "parameters": {"p": p, "n_samples": n_samples},
            "entropy": entropy_of(root),
            "n": matrix.n_rows,
            "seconds": perf_counter() - started,
            "versions": {"mcstat": __version__, "numpy": np.__version__},
        },
    )


def _check_rows(rows: Any, n_rows: int) -> NDArray[np.intp]:
    if rows is None:
        return np.arange(n_rows)
    asked = np.asarray(rows)
    if asked.ndim != 1 or asked.dtype.kind not in "iu" or (asked < 0).any() or (asked >= n_rows).any():
        raise InvalidParameter(f"rows must be integers in [0, {n_rows}), got {rows!r}")
    return asked.astype(np.intp)


def _whitened(matrix: RowBlocks, transform: FloatArray, rows: NDArray[np.intp]) -> FloatArray:
    order = np.argsort(rows, kind="stable")
    whitened = np.empty((len(rows), transform.shape[1]))
    whitened[order] = matrix.take(rows[order]) @ transform
    return whitened


def _times(block: Any, *, transform: FloatArray) -> FloatArray:
    return np.asarray(block @ transform)


def _lewis_sample(X: Any, matrix: RowBlocks, p: float, random_state: RandomState) -> Any:
    """Rows drawn by Lewis weights and rescaled: a sketch of A with ``_CORESET_ROWS`` rows a column."""
    rng = stream(root_seed(random_state), "lp_sensitivities", Purpose.SAMPLE, 0)
    weights = np.asarray(lewis_weights(X, p, tol=0.05))
    taken = draw(inclusion_probabilities(weights, _CORESET_ROWS * matrix.n_columns), "poisson", rng)
    return matrix.take(taken.indices) * (taken.expected ** (-1 / p))[:, None]


def _by_bucket(
    targets: FloatArray, sample: FloatArray, p: float, tol: float, n_jobs: int | None, random_state: RandomState
) -> FloatArray:
    """Each row's share is at most that of a signed sum of its bucket with probability 1/2; of 20 sums one is enough."""
    rng = stream(root_seed(random_state), "lp_sensitivities", Purpose.EXPLORE, 0)
    buckets = np.array_split(rng.permutation(len(targets)), max(1, len(targets) // _BUCKET_ROWS))
    sums = [rng.choice([-1.0, 1.0], (_SIGNS, len(bucket))) @ targets[bucket] for bucket in buckets]
    largest = _bounds(np.concatenate(sums), sample, p, tol, n_jobs)[0].reshape(-1, _SIGNS).max(axis=1)
    scores = np.empty(len(targets))
    for bucket, score in zip(buckets, largest, strict=True):
        scores[bucket] = min(score, 1.0)
    return scores


def _bounds(
    targets: FloatArray, sample: FloatArray, p: float, tol: float, n_jobs: int | None
) -> tuple[FloatArray, FloatArray]:
    from mcstat.subsampling._sensitivity_kernels import sensitivity_bounds

    targets, sample = check_array("targets", targets, 2), check_array("sample", sample, 2)

    def bounds(part: FloatArray) -> tuple[FloatArray, FloatArray]:
        lower, upper = np.empty(len(part)), np.empty(len(part))
        sensitivity_bounds(part, sample, p, tol, _MAX_ITER, lower, upper)
        return lower, upper

    parts = [targets[start : start + _ROWS_A_TASK] for start in range(0, len(targets), _ROWS_A_TASK)]
    pairs = map_tasks(bounds, parts, n_jobs=n_jobs, label="sensitivities")
    return np.concatenate([low for low, _ in pairs]), np.concatenate([high for _, high in pairs])


def _upper_by_programme(a: FloatArray, matrix: FloatArray) -> float:
    """Solve min t with A' y = a, |y| <= t: the dual for p = 1, where reweighting converges slowly."""
    from scipy.optimize import linprog

    n = len(matrix)
    if not a.any():
        return 0.0
    # y = t (2 s - 1) with s in [0, 1] would be bilinear; y = u - t with 0 <= u <= 2 t is not.
    above = np.concatenate([np.eye(n), np.full((n, 1), -2.0)], axis=1)
    equal = np.concatenate([matrix.T, -matrix.sum(axis=0)[:, None]], axis=1)
    answer = linprog(
        np.append(np.zeros(n), 1.0), A_ub=above, b_ub=np.zeros(n), A_eq=equal, b_eq=a, bounds=(0, None), method="highs"
    )
    if answer.status != 0:
        return np.inf
    solution = np.asarray(answer.x)
    y = solution[:n] - solution[n]
    # What is left of A' y = a is moved into y by least squares, so that the bound holds in spite of rounding.
    y = y + matrix @ np.linalg.lstsq(matrix.T @ matrix, a - matrix.T @ y, rcond=None)[0]
    return float(np.abs(y).max())
