"""What an audit says beside its numbers: how to read them, and reasons to doubt them."""

from __future__ import annotations

import numpy as np

from mcstat.core.laws import Law
from mcstat.privacy._gdp_posterior import GaussianPosterior
from mcstat.privacy._groups import Dispersion, overlap
from mcstat.privacy._posterior import EpsilonPosterior, FloatArray
from mcstat.privacy._scores import Challenges, count

__all__ = ["BESIDE", "CHOSEN_ON_COUNTED", "GAUSSIAN", "READING", "TIED", "count_doubts", "group_doubts"]

READING = (
    "epsilon is that of this attack at this threshold: a lower bound on the algorithm's, which another attack may "
    "exceed; its upper end is no privacy guarantee"
)
BESIDE = (
    "the credible bound is the higher one; where the two error rates are alike or epsilon is near 0 it covers less "
    "often than its level (78 to 91 % for 95 %), and formal claims want the Clopper-Pearson one"
)
GAUSSIAN = (
    "a Gaussian trade-off curve, which one point of it cannot check; epsilon may be far above what the counts show "
    "without it"
)
TIED = "all scores are tied: the attack says the same of every challenge"
CHOSEN_ON_COUNTED = (
    "the threshold is the one with the highest bound on these very challenges: chosen and counted on the same data the "
    "bound is too high; use threshold='split' or choose it on other challenges"
)
_MUCH_AT_ZERO = 0.05
_SURPRISING = 0.05


def count_doubts(law: Law, counts: dict[str, FloatArray]) -> list[str]:
    """Doubts that the counts themselves give."""
    doubts = []
    if "fn" in counts and np.any(np.maximum(counts["fn"], counts["fp"]) == 0):
        doubts.append(
            "no errors of either kind: the upper end is the prior's or infinite, only the lower end is informed by "
            "the data; ask more challenges"
        )
    # Under a Gaussian curve there is no atom.
    if isinstance(law, EpsilonPosterior) and not isinstance(law, GaussianPosterior) and np.any(law.delta > 0):
        most = float(np.max(law.prob_zero))
        if most > _MUCH_AT_ZERO:
            doubts.append(
                f"epsilon is 0 with posterior probability up to {most:.2g}: the attack is no better than delta allows, "
                "and a density alone does not show it"
            )
    return doubts


def group_doubts(single: Challenges, threshold: float, dispersion: dict[str, Dispersion], law: Law) -> list[str]:
    """Doubts about challenges of several models; ``single`` holds one of each.

    The models may spread more than chance explains, or the law may not agree with that of one challenge a model.
    """
    doubts = []
    kinds = {"fn": "false negatives", "fp": "false positives"}
    for name, found in dispersion.items():
        if found.p_value < _SURPRISING:
            doubts.append(
                f"{kinds[name]} differ between models more than chance explains (chi-squared is {found.phi:.3g} times "
                f"its expectation, p = {found.p_value:.2g}): a challenge counts as {1 / found.deff:.2g} of an "
                "independent one; more models help more than more challenges a model"
            )
    if isinstance(law, EpsilonPosterior) and np.any(single.member) and not np.all(single.member):
        counts = count(single, threshold)
        alone = type(law)(
            fn=counts["fn"], fp=counts["fp"], tn=counts["tn"], tp=counts["tp"], delta=law.delta, prior=law.prior
        )
        if not overlap(alone, law):
            doubts.append(
                "the credible interval from one random challenge a model does not touch the one from all: challenges "
                "of one model are dependent in a way that the design effect does not mend; keep one challenge a model"
            )
    return doubts
