"""From points drawn in fixed numbers from several proposals to expectations with their joint covariance.

Stratum t holds n_t of the N points, drawn from h_t. A point gets the weight W = f / q, and the estimate is mean(W phi);
the effective density q is what the ways of combining the strata differ in [effective_log_density]. The numbers n_t are
fixed, so only the variance within the strata counts: Cov = sum_t n_t S_t / N^2 [within_covariance].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_names
from mcstat.core.errors import DegenerateWeightsError, InvalidData
from mcstat.importance._answer import heavy_tails as tail_report
from mcstat.importance._psis import tail_shape

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

WEIGHTINGS = ("balance", "standard", "power", "partial")


def apportion(shares: FloatArray, n: int) -> IntArray:
    """(T,) whole numbers that sum to ``n``, nearest to n times the shares; none falls when ``n`` grows (Webster)."""
    counts = np.floor(n * shares + 0.5).astype(np.int64)
    while (missing := n - counts.sum()) != 0:
        if missing > 0:
            counts[np.argmin((counts + 0.5) / shares)] += 1
        else:
            # The last of equals gives back what the first of equals would have got.
            last = len(counts) - 1 - np.argmax(((counts - 0.5) / shares)[::-1])
            counts[last] -= 1
    return counts


def effective_log_density(
    log_h: FloatArray, labels: IntArray, weighting: str, *, power: float = 1.0, groups: IntArray | None = None
) -> FloatArray:
    """(n,) log q, where a point of stratum t has the weight f / q.

    Parameters
    ----------
    log_h : ndarray, shape (n, T)
        Log density of each proposal at each point.
    labels : ndarray, shape (n,)
        Which proposal drew the point.
    weighting : {"balance", "standard", "power", "partial"}
        q = sum_s n_s h_s / N;  h_t;  sum_s (n_s h_s)^p / (N (n_t h_t)^(p - 1));  sum over t's group g / N_g.
    power : float
        p of "power".
    groups : ndarray, shape (T,)
        Group of each proposal, for "partial".
    """
    n, n_proposals = log_h.shape
    counts = np.bincount(labels, minlength=n_proposals)
    own = log_h[np.arange(n), labels]
    if weighting == "standard":
        return own
    with np.errstate(divide="ignore"):
        log_counts = np.log(counts)
    log_nh = log_h + log_counts
    if weighting == "balance":
        return np.asarray(np.logaddexp.reduce(log_nh, axis=1) - np.log(n))
    if weighting == "power":
        together = np.logaddexp.reduce(power * log_nh, axis=1)
        return np.asarray(together - np.log(n) - (power - 1) * (own + log_counts[labels]))
    assert groups is not None  # noqa: S101  (for the type checker: given with "partial" only)
    same = groups[None, :] == groups[labels][:, None]
    in_group = np.bincount(groups, weights=counts)[groups[labels]]
    return np.asarray(np.logaddexp.reduce(np.where(same, log_nh, -np.inf), axis=1) - np.log(in_group))


def within_covariance(rows: FloatArray, labels: IntArray) -> FloatArray:
    """(J, J) covariance of the mean of rows (N, J): sum_t n_t S_t / N^2; every stratum holds two points or more."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for t in np.unique(labels):
        centred = rows[labels == t]
        centred = centred - centred.mean(axis=0)
        total += centred.T @ centred * (len(centred) / (len(centred) - 1))
    return np.asarray(total / len(rows) ** 2)


@dataclass(frozen=True)
class Expectations:
    """Values (J,) with rows (N, J) whose within-stratum covariance is theirs, and the weights' mean the same way."""

    value: FloatArray
    rows: FloatArray
    log_mean_weight: FloatArray
    weight_rows: FloatArray
    hit: NDArray[np.bool_]


def expectations(values: FloatArray, log_weights: FloatArray, unnormalised: bool) -> Expectations:
    """Means of W phi, or for an unnormalised target their ratios to the mean of W.

    Parameters
    ----------
    values : ndarray, shape (N, J)
    log_weights : ndarray, shape (N, L)
        One law for all functions, or one a function, or L laws for one function.
    unnormalised : bool
    """
    n_functions, n_laws = values.shape[1], log_weights.shape[1]
    if n_laws > 1 and n_functions not in (1, n_laws):
        raise InvalidData(f"func must give 1 or {n_laws} columns for {n_laws} laws, got {n_functions}")
    top = log_weights.max(axis=0)
    if np.isneginf(top).all():
        raise DegenerateWeightsError("the density is 0 at every point drawn: give proposals that reach it")
    # For laws the scale counts, and a column of weights of zero is an honest zero.
    unit = top if unnormalised else np.zeros(n_laws)
    weights = np.exp(log_weights - unit)
    T = values * weights
    mean_weight = weights.mean(axis=0)
    value, rows = T.mean(axis=0), T
    if unnormalised:
        # The linearised ratio.
        value = value / mean_weight[0]
        rows = (T - value * weights) / mean_weight[0]
    with np.errstate(divide="ignore"):
        log_mean_weight = np.log(mean_weight) + unit
    weight_rows = weights / np.where(mean_weight > 0, mean_weight, 1.0)
    return Expectations(value, rows, log_mean_weight, weight_rows, np.any(T != 0, axis=0))


def answer(
    found: Expectations, labels: IntArray, names: Sequence[str] | None, frame_names: Sequence[str] | None
) -> dict[str, Any]:
    """Value, names, covariance, diagnostics and warnings of an Estimate."""
    rows = found.rows
    unique = quantity_names(names, frame_names, len(found.value))
    cov = within_covariance(rows, labels)
    warnings = []
    if not found.hit.all():
        cov[~found.hit, :] = cov[:, ~found.hit] = np.nan
        unhit = [name for name, one in zip(unique, found.hit, strict=True) if not one]
        warnings.append(f"{unhit} were zero at every point: their errors are not known; give proposals that reach them")
    khat, heavy = heavy_tails(rows, unique, "give proposals with heavier tails")
    with np.errstate(divide="ignore"):
        khat_weights = [tail_shape(column) for column in np.log(found.weight_rows).T]
    weights = found.weight_rows
    diagnostics = {
        "ess": float(np.min(weights.sum(axis=0) ** 2 / np.maximum(np.sum(weights**2, axis=0), np.finfo(float).tiny))),
        "khat_weights": float(np.max(khat_weights)),
        "khat_max": float(np.max(khat)),
        "khat": khat,
        "points": np.bincount(labels),
        "log_mean_weight": found.log_mean_weight,
        "log_mean_weight_std_error": np.sqrt(np.diag(within_covariance(weights, labels))),
    }
    return {"value": found.value, "names": unique, "cov": cov, "diagnostics": diagnostics, "warnings": warnings + heavy}


def heavy_tails(rows: FloatArray, names: Sequence[str], advice: str) -> tuple[FloatArray, list[str]]:
    """Pareto khat (J,) of summands (n, J), and a warning if one point rules the error of some of them."""
    khat, heavy, words = tail_report(rows - rows.mean(axis=0))
    if not heavy.any():
        return khat, []
    shown = ", ".join(name for name, one in zip(names, heavy, strict=True) if one)
    return khat, [f"{words} for {shown}: the errors may be too small; raise budget, or {advice}"]


def quantity_names(names: Sequence[str] | None, frame_names: Sequence[str] | None, n: int) -> tuple[str, ...]:
    """The user's names, else those of a data frame's columns, else numbers."""
    if names is not None:
        return check_names("names", names, n)
    # One function under many laws has one column and as many expectations as laws.
    if frame_names is not None and len(frame_names) == n:
        return check_names("columns of func", frame_names, n)
    return ("expectation",) if n == 1 else tuple(f"I[{j}]" for j in range(n))
