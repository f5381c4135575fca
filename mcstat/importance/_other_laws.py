"""The stored final sample, weighted for laws that were not asked for when it was drawn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_names
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.importance._answer import final_summands, heavy_tails, quantity_names
from mcstat.importance._controls import cross_fitted_residuals
from mcstat.importance._laws import AdaptedLaw
from mcstat.importance._proposal import Block
from mcstat.importance._psis import ess

if TYPE_CHECKING:
    from mcstat.importance._adaptive import AdaptiveImportanceSampler

FloatArray = NDArray[np.float64]

# Weights average 1 where the sample reaches the whole law; farther away than this many standard errors they do not.
_FAR = 5.0


def estimate_for_laws(sampler: AdaptiveImportanceSampler, laws: Sequence[Any], names: Sequence[str] | None) -> Estimate:
    """See :meth:`AdaptiveImportanceSampler.for_laws`."""
    labels, log_densities = _log_densities(sampler, laws, names)
    base, own = sampler.estimate(), final_summands(sampler)
    log_weights = log_densities - own.log_h[:, None]
    weights = np.exp(log_weights)
    functions = own.block.values
    plain = [weights[:, [k]] * functions for k in range(len(labels))]
    columns = plain if sampler.control == "none" else [cross_fitted_residuals(T, own.ratios) for T in plain]
    texts: list[str] = []
    unknown: list[NDArray[np.bool_]] = [np.zeros(len(base), dtype=np.bool_)]
    for k, label in enumerate(labels):
        missed = _missed(own.block, log_densities[:, k])
        unhit = np.all(plain[k] == 0, axis=0)
        unknown.append(np.logical_or(unhit, missed > 0))
        texts += _lost(label, missed, unhit) or _doubts(label, weights[:, k], columns[k])
    rows = np.hstack([own.rows, *[one - one.mean(axis=0) for one in columns]])
    cov = rows.T @ rows / ((len(rows) - 1) * len(rows))
    cov[: len(base), : len(base)] = base.cov
    nan = np.concatenate(unknown)
    cov[nan, :] = cov[:, nan] = np.nan
    for text in texts:
        warnings.warn(text, ReliabilityWarning, stacklevel=3)
    return Estimate(
        value=np.concatenate([base.value, *[one.mean(axis=0) for one in columns]]),
        names=(*base.names, *_names(sampler, labels, functions.shape[1])),
        coords={"law": np.array(["fit"] * len(base) + [label for label in labels for _ in range(functions.shape[1])])},
        cov=cov,
        kind="monte_carlo",
        estimand="expectations under the fit's and other laws",
        method=base.method,
        diagnostics={"ess": [ess(column) for column in log_weights.T]},
        warnings=(*base.warnings, *texts),
        info=base.info,
    )


def _log_densities(
    sampler: AdaptiveImportanceSampler, laws: Sequence[Any], names: Sequence[str] | None
) -> tuple[tuple[str, ...], FloatArray]:
    """Labels of the laws, and their log densities at the stored points, (n, K)."""
    points, scores = sampler._final.x, sampler._source.scores
    x = sampler._source.inputs(points)
    if not isinstance(laws, Sequence) or len(laws) == 0:
        raise InvalidParameter("laws must be a list of at least one law")
    labels = tuple(f"laws[{k}]" for k in range(len(laws))) if names is None else check_names("names", names, len(laws))
    adapted = [AdaptedLaw(label, law) for label, law in zip(labels, laws, strict=True)]
    for law in adapted:
        if law.dim != x.shape[1]:
            raise InvalidParameter(f"{law.name} must have the sample's dimension {x.shape[1]}, got {law.dim}")
    log_densities = np.stack([law.logpdf(x) for law in adapted], axis=1)
    if scores is not None:
        log_densities += scores.log_change(points, x)[:, None]
    for label, column in zip(labels, log_densities.T, strict=True):
        if np.isneginf(column).all():
            raise InvalidData(f"{label} has no density at any point of the final sample: fit with a law that covers it")
    return labels, log_densities


def _names(sampler: AdaptiveImportanceSampler, labels: tuple[str, ...], n_functions: int) -> list[str]:
    if n_functions == 1:
        return list(labels)
    functions = quantity_names(sampler, n_functions)
    return [f"{function} under {label}" for label in labels for function in functions]


def _missed(block: Block, log_density: FloatArray) -> int:
    """Number of points at which func was not called, but this law has density."""
    return int(np.sum(np.isneginf(block.log_laws).all(axis=1) & ~np.isneginf(log_density)))


def _lost(label: str, missed: int, unhit: NDArray[np.bool_]) -> list[str]:
    """Why there is no error to report for a law."""
    if missed:
        return [
            f"{label} has density at {missed} points where no law of the fit has any: func is not known there and its "
            "errors are not either; fit with a law that covers this one"
        ]
    if unhit.any():
        return [f"{int(unhit.sum())} function(s) were zero wherever {label} has density: their errors are not known"]
    return []


def _doubts(label: str, weights: FloatArray, rows: FloatArray) -> list[str]:
    """Why the answer for one law should not be trusted."""
    error = weights.std(ddof=1) / np.sqrt(len(weights))
    if abs(weights.mean() - 1) > _FAR * error:
        return [
            f"the weights for {label} average {weights.mean():.3f} +- {error:.3f} and not 1: the sample does not reach "
            "all of it; fit with this law among laws"
        ]
    summands = np.column_stack([weights, rows])
    _, heavy, words = heavy_tails(summands - summands.mean(axis=0))
    if not heavy.any():
        return []
    return [
        f"{words} for {label}: the final sample is thin where it has its mass, and its errors may be too small; fit "
        "with this law among laws"
    ]
