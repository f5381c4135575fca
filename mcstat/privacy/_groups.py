"""Many challenges a model: how dependent their outcomes are, and what that leaves of the counts.

Outcomes of challenges about one trained model share that model's luck. Pooled counts treat them as independent and give
intervals that are too narrow by the square root of the design effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer
from mcstat.core.errors import InvalidData
from mcstat.privacy._posterior import EpsilonPosterior
from mcstat.privacy._rates import epsilon_from_rates
from mcstat.privacy._scores import Challenges

__all__ = [
    "Dispersion",
    "GroupCounts",
    "beta_binomial_draws",
    "cluster_bootstrap",
    "corrected_counts",
    "dispersion",
    "one_a_group",
    "overlap",
]

FloatArray = NDArray[np.float64]
# Points of the beta-binomial posterior: logits of the rate in units of their spread, and roots of correlations.
_STEPS, _ROOTS = np.linspace(-10.0, 10.0, 161), (np.arange(30) + 0.5) / 30


@dataclass(frozen=True)
class GroupCounts:
    """Counts of each model, (K,) each."""

    fn: FloatArray
    fp: FloatArray
    tn: FloatArray
    tp: FloatArray

    @classmethod
    def of(cls, challenges: Challenges, threshold: float, groups: ArrayLike) -> GroupCounts:
        """Count the answers model by model; ``groups`` (n,) names the model of each challenge."""
        ids = np.asarray(groups)
        if ids.shape != challenges.scores.shape:
            raise InvalidData(f"groups must be one a score, {challenges.scores.shape}, got {ids.shape}")
        levels, code = np.unique(ids, return_inverse=True)
        if len(levels) < 2:
            raise InvalidData(f"groups must name at least 2 models, got {len(levels)}")
        says, member = challenges.scores >= threshold, challenges.member

        def total(which: NDArray[np.bool_]) -> FloatArray:
            return np.bincount(code[which], minlength=len(levels)).astype(np.float64)

        return cls(total(member & ~says), total(~member & says), total(~member & ~says), total(member & says))

    def pooled(self) -> dict[str, float]:
        """Sums over the models."""
        return {name: float(getattr(self, name).sum()) for name in ("fn", "fp", "tn", "tp")}


@dataclass(frozen=True)
class Dispersion:
    """How much the models' error rates differ beyond chance.

    Attributes
    ----------
    phi : float
        Pearson's chi-squared over its degrees of freedom: 1 for independent outcomes.
    p_value : float
        Of independence.
    icc : float
        Correlation of two outcomes of one model, (phi - 1) / (mean size - 1); NaN with one challenge a model.
    deff : float
        Design effect of the pooled rate, at least 1: the challenges are worth 1 / deff as many independent ones.
    """

    phi: float
    p_value: float
    icc: float
    deff: float


def dispersion(wrong: FloatArray, right: FloatArray) -> Dispersion:
    """Overdispersion of wrong answers over models, (K,) each; models without such challenges do not count."""
    from scipy.special import chdtrc

    size = wrong + right
    wrong, size = wrong[size > 0], size[size > 0]
    rate, df = wrong.sum() / size.sum(), len(size) - 1
    if df < 1 or rate in (0.0, 1.0):
        # Nothing varies, so nothing can be said.
        return Dispersion(phi=1.0, p_value=1.0, icc=0.0 if np.any(size > 1) else np.nan, deff=1.0)
    chi_squared = float(np.sum((wrong - size * rate) ** 2 / size) / (rate * (1 - rate)))
    phi, mean_size = chi_squared / df, size.mean()
    icc = (phi - 1) / (mean_size - 1) if mean_size > 1 else np.nan
    # Large models weigh more in the pooled rate than in the mean size.
    deff = 1 + (np.sum(size**2) / size.sum() - 1) * max(icc, 0.0) if mean_size > 1 else 1.0
    return Dispersion(phi=phi, p_value=float(chdtrc(df, chi_squared)), icc=float(icc), deff=float(deff))


def corrected_counts(counts: GroupCounts) -> tuple[dict[str, float], Dispersion, Dispersion]:
    """Pooled counts over their design effects, and the dispersion of false negatives and of false positives.

    The counts stay in proportion, so the estimated rates do not change; the posterior of the smaller counts has the
    variance that the models' spread shows. Whether false negatives and false positives of one model are correlated is
    not looked at; the cluster bootstrap sees it.
    """
    pooled = counts.pooled()
    negatives, positives = dispersion(counts.fn, counts.tp), dispersion(counts.fp, counts.tn)
    over = {"fn": negatives.deff, "tp": negatives.deff, "fp": positives.deff, "tn": positives.deff}
    return {name: value / over[name] for name, value in pooled.items()}, negatives, positives


def beta_binomial_draws(counts: GroupCounts, delta: float, n_draws: int, rng: Generator) -> FloatArray:
    """Posterior draws of epsilon when each model has error rates of its own.

    The rates of the models are Beta with mean p and intraclass correlation rho; the prior of p is Jeffreys' for one
    proportion and that of rho is uniform on (0, 1). Epsilon is that of the means.
    """
    fnr = _mean_rate_draws(counts.fn, counts.tp, n_draws, rng)
    fpr = _mean_rate_draws(counts.fp, counts.tn, n_draws, rng)
    return epsilon_from_rates(fnr, fpr, delta)


def _mean_rate_draws(wrong: FloatArray, right: FloatArray, n_draws: int, rng: Generator) -> FloatArray:
    """Draws of the mean rate from its posterior on a grid of its logit, summed over the correlation."""
    from scipy.special import betaln, expit, log_expit

    total_wrong, total_right = wrong.sum() + 0.5, right.sum() + 0.5
    spread = np.sqrt((1 / total_wrong + 1 / total_right) * dispersion(wrong, right).deff)
    logits = np.log(total_wrong / total_right) + min(spread, 2.0) * _STEPS
    # The correlation is a cube, so that the grid is finest near 0.
    precision = (_ROOTS**-3 - 1)[None, :]
    a, b = expit(logits)[:, None] * precision, expit(-logits)[:, None] * precision
    rows, times = np.unique(np.column_stack([wrong, right]), axis=0, return_counts=True)
    log_posterior = -betaln(a, b) * len(wrong) + 2 * np.log(_ROOTS)
    for (k, m), n in zip(rows, times, strict=True):
        log_posterior += n * betaln(k + a, m + b)
    # Jeffreys' prior p^-1/2 (1 - p)^-1/2 in the logit.
    log_posterior += 0.5 * (log_expit(logits) + log_expit(-logits))[:, None]
    density = np.exp(log_posterior - log_posterior.max()).sum(axis=1)
    cdf = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return np.asarray(expit(np.interp(rng.random(n_draws) * cdf[-1], cdf, logits)))


def cluster_bootstrap(counts: GroupCounts, delta: float, n_draws: int, rng: Generator) -> FloatArray:
    """Epsilon at the rates of models drawn with replacement, (n_draws,).

    Half an error is added on each side, so that rates of 0 give finite draws.
    """
    n = len(counts.fn)
    times = rng.multinomial(n, np.full(n, 1 / n), size=check_integer("n_draws", n_draws, 1)).astype(np.float64)
    fn, fp, tn, tp = (times @ getattr(counts, name) for name in ("fn", "fp", "tn", "tp"))
    return epsilon_from_rates((fn + 0.5) / (fn + tp + 1), (fp + 0.5) / (fp + tn + 1), delta)


def one_a_group(groups: ArrayLike, rng: Generator) -> NDArray[np.intp]:
    """Places of one random challenge of each model: outcomes that are independent whatever the models do."""
    ids = np.asarray(groups)
    order = rng.permutation(len(ids))
    return np.sort(order[np.unique(ids[order], return_index=True)[1]])


def overlap(one: EpsilonPosterior, other: EpsilonPosterior, level: float = 0.95) -> bool:
    """Whether the credible intervals of two posteriors of one table each have a point in common."""
    (low, high), (other_low, other_high) = one.interval(level), other.interval(level)
    return bool(low[0] <= other_high[0] and other_low[0] <= high[0])
