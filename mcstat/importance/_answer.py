"""From the final sample to the Estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.core.checks import check_names
from mcstat.core.rng import entropy_of
from mcstat.importance._controls import cross_fitted_residuals, least_squares, residuals
from mcstat.importance._exploration import Exploration, controlled
from mcstat.importance._proposal import Block, Proposal
from mcstat.importance._psis import khat_threshold, tail_shape

if TYPE_CHECKING:
    from mcstat.importance._adaptive import AdaptiveImportanceSampler

FloatArray = NDArray[np.float64]

# Of Pareto samples with shape 0.75 (1e4 points) 99 % have one point that makes more than this part of the variance.
_LARGEST_PART = 0.1
_TINY = np.finfo(float).tiny


@dataclass(frozen=True)
class Summands:
    """The sample that answers: values of the expectations, and centred rows (n, J) whose covariance / n is theirs.

    ``T`` are the rows before controls, a column each; ``weights`` (n, number of laws or 1), ``log_h`` (n,) and the
    ratios of the proposal's parts to it (n, K + 1) are taken at the points of ``block``.
    """

    value: FloatArray
    rows: FloatArray
    T: FloatArray
    weights: FloatArray
    log_h: FloatArray
    ratios: FloatArray
    block: Block
    proposal: Proposal
    control: str


def final_summands(sampler: AdaptiveImportanceSampler) -> Summands:
    """From the final sample, or after Ctrl-C from the last finished round without controls."""
    exploration = sampler._exploration
    integrands = exploration.integrands
    if sampler._blocks:
        block, proposal = Block.joined(sampler._blocks), sampler.proposal_
        control, coefficients = sampler.control, sampler.beta_
    else:
        block, proposal = exploration.rounds[-1].block, exploration.rounds[-1].proposal
        control, coefficients = "none", np.zeros_like(integrands.centre)
    log_parts = proposal.log_parts(block.x, block.log_base)
    log_h = proposal.log_density(log_parts)
    ratios = np.exp(log_parts - log_h[:, None])
    T, weights = integrands(block, log_h), integrands.weights(block, log_h)
    rows = _controlled_rows(T, ratios, control, coefficients)
    if exploration.unnormalised:
        means, rows = _ratio(rows, weights[:, 0])
    else:
        means = rows.mean(axis=0)
    value = integrands.restored(means + integrands.centre) + integrands.shift
    rows = integrands.restored(rows - rows.mean(axis=0))
    return Summands(value, rows, T, weights, log_h, ratios, block, proposal, control)


def answer(sampler: AdaptiveImportanceSampler) -> dict[str, Any]:
    """Fields of the Estimate."""
    exploration, final = sampler._exploration, final_summands(sampler)
    value, rows, block = final.value, final.rows, final.block
    cov = np.atleast_2d(rows.T @ rows) / ((len(rows) - 1) * len(rows))
    names = quantity_names(sampler, len(value))
    warnings = _sampling_warnings(sampler, block, final.control)
    value, cov, unhit = _without_unhit(value, cov, final.T, exploration, names)
    khat, heavy, words = heavy_tails(rows)
    return {
        "value": value,
        "names": names,
        "cov": cov,
        "kind": "monte_carlo",
        "estimand": "expectations under " + ("an unnormalised density" if exploration.unnormalised else "given laws"),
        "method": "AdaptiveImportanceSampler",
        "diagnostics": _diagnostics(sampler, exploration, final.proposal, final.weights, khat),
        "warnings": [*warnings, *unhit, *_tail_warnings(heavy, words, names)],
        "info": {
            "sampled_points": sampler.n_calls_,
            "final_points": len(block.x),
            "laplace_points": sampler._laplace_calls,
            "seconds": sampler._seconds,
            "entropy": entropy_of(sampler._root),
            "mcstat": __version__,
            "parameters": sampler._settings(),
        },
    }


def _controlled_rows(T: FloatArray, ratios: FloatArray, control: str, coefficients: FloatArray) -> FloatArray:
    """(n, J) summands of the answer."""
    if control == "crossfit":
        return cross_fitted_residuals(T, ratios)
    if control == "regression":
        return residuals(T, ratios, least_squares(T, ratios))
    return controlled(T, ratios, coefficients)


def _ratio(rows: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Self-normalised means, and the rows of their linearisation."""
    normaliser = weights.mean()
    means = rows.mean(axis=0) / normaliser
    return means, (rows - means * weights[:, None]) / normaliser


def _without_unhit(
    value: FloatArray, cov: FloatArray, T: FloatArray, exploration: Exploration, names: tuple[str, ...]
) -> tuple[FloatArray, FloatArray, list[str]]:
    """An expectation whose function was zero at every point is 0 with unknown error, never "0 +- 0"."""
    hit = exploration.hit | np.any(T != 0, axis=0)
    if exploration.integrands.split:
        hit = np.logical_or(*np.split(hit, 2))
    slopes = exploration.integrands.slopes
    if slopes is not None:
        # A function that control variates explain whole leaves zeros, and is known exactly.
        hit = hit | np.any(slopes != 0, axis=0) | (exploration.integrands.shift != 0)
    if hit.all():
        return value, cov, []
    value, cov = value.copy(), cov.copy()
    cov[~hit, :] = cov[:, ~hit] = np.nan
    unhit = [name for name, one in zip(names, hit, strict=True) if not one]
    return (
        value,
        cov,
        [f"{unhit} were zero at every point: their errors are not known; start nearer to where they live"],
    )


def quantity_names(sampler: AdaptiveImportanceSampler, n: int) -> tuple[str, ...]:
    if sampler._names is not None:
        return check_names("names", sampler._names, n)
    columns = sampler._exploration.rounds[0].block.names
    # One function under many laws has one column and as many expectations as laws.
    if columns is not None and len(columns) == n:
        return check_names("columns of func", columns, n)
    return ("expectation",) if n == 1 else tuple(f"I[{j}]" for j in range(n))


def _sampling_warnings(sampler: AdaptiveImportanceSampler, block: Block, control: str) -> list[str]:
    warnings = []
    if sampler.n_calls_ < sampler.budget:
        warnings.append(
            f"interrupted: {sampler.n_calls_} of {sampler.budget} points were drawn and {len(block.x)} of them answer; "
            "extend() draws the rest"
        )
    if sampler._degenerate:
        warnings.append(
            "the covariance of the law's own draws is singular: a ridge was added to the parts, whose densities are "
            "then of another dimension than the law's; leave out constant inputs and linear functions of others"
        )
    if control == "regression":
        warnings.append("control='regression' has a bias of order 1/n; 'crossfit' has none")
    dropped = sampler.n_calls_ - sum(len(one.x) for one in [*sampler._blocks, *_explored(sampler)])
    if dropped:
        warnings.append(f"nan='drop' left out {dropped} points at which func was not finite: the values are biased")
    return warnings


def _explored(sampler: AdaptiveImportanceSampler) -> list[Block]:
    return [one.block for one in sampler._exploration.rounds]


def heavy_tails(rows: FloatArray) -> tuple[FloatArray, NDArray[np.bool_], str]:
    """Pareto khat of each column of centred summands (n, J), which of them are too heavy for their errors, and words.

    Both signs must be there: khat alone also flags summands that are bounded but live on few points.
    """
    with np.errstate(divide="ignore"):
        khat = np.array([tail_shape(column) for column in np.log(np.abs(rows)).T])
    largest = np.max(rows**2, axis=0) / np.maximum(np.sum(rows**2, axis=0), _TINY)
    limit = khat_threshold(len(rows))
    words = (
        f"one point makes up to {100 * largest.max():.0f} % of the variance and Pareto khat is up to {khat.max():.2f} "
        f"(> {limit:.2f})"
    )
    return khat, (khat > limit) & (largest > _LARGEST_PART), words


def _tail_warnings(heavy: NDArray[np.bool_], words: str, names: tuple[str, ...]) -> list[str]:
    flagged = [name for name, one in zip(names, heavy, strict=True) if one]
    if not flagged:
        return []
    shown = ", ".join(flagged[:3]) + (f" and {len(flagged) - 3} more" if len(flagged) > 3 else "")
    return [f"{words} for {shown}: the errors may be too small; raise budget or defensive, or start from a wider law"]


def propagated(slopes: FloatArray, cov: FloatArray) -> FloatArray:
    """(p, p) covariance by the delta method; a quantity without error has variance 0, not rounding's negative one."""
    moved = slopes @ cov @ slopes.T
    moved = (moved + moved.T) / 2
    np.fill_diagonal(moved, np.maximum(np.diag(moved), 0.0))
    return np.asarray(moved)


def _diagnostics(
    sampler: AdaptiveImportanceSampler,
    exploration: Exploration,
    proposal: Proposal,
    weights: FloatArray,
    khat: FloatArray,
) -> dict[str, Any]:
    diagnostics = {
        "ess": float(np.min(weights.sum(axis=0) ** 2 / np.sum(weights**2, axis=0))),
        "khat_max": float(np.max(khat)),
        "khat": khat,
        "stop_reason": sampler.stop_reason_,
        "rounds": len(exploration.rounds),
        "shares": proposal.shares,
        **sampler.history_,
    }
    if exploration.unnormalised:
        w = weights[:, 0]
        diagnostics["log_normaliser"] = float(exploration.integrands.log_unit + np.log(w.mean()))
        diagnostics["log_normaliser_std_error"] = float(w.std(ddof=1) / w.mean() / np.sqrt(len(w)))
    return diagnostics
