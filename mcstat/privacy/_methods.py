"""The methods of an audit: for each the law of epsilon that it makes from counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mcstat.core.laws import Law
from mcstat.privacy import _shown
from mcstat.privacy._gdp_posterior import GaussianPosterior
from mcstat.privacy._joint import JointExact
from mcstat.privacy._lower import LowerBound
from mcstat.privacy._one_run import OneRun, OneRunGaussian
from mcstat.privacy._posterior import EpsilonPosterior, FloatArray
from mcstat.privacy._rates import epsilon_from_rates
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle

__all__ = ["CONFIDENCE", "LAWS", "ONE_RUN", "centre", "p_value"]

# By method and by the interval that is shown.
LAWS: dict[str, dict[str, Callable[..., Law]]] = {
    "joint-beta": {
        "equal-tailed": EpsilonPosterior,
        "hpd": _shown.ShortestPosterior,
        "lower": _shown.LowerPosterior,
    },
    "gdp": {
        "equal-tailed": GaussianPosterior,
        "hpd": _shown.ShortestGaussian,
        "lower": _shown.LowerGaussian,
    },
    "clopper-pearson": {"equal-tailed": ClopperPearsonRectangle, "lower": _shown.LowerClopperPearson},
    "jeffreys": {"equal-tailed": JeffreysRectangle, "lower": _shown.LowerJeffreys},
    "joint-exact": {"equal-tailed": JointExact, "lower": _shown.LowerJointExact},
    # Lower bounds alone, whatever is shown.
    "one-run": {"equal-tailed": OneRun, "lower": OneRun},
    "one-run-fdp": {"equal-tailed": OneRunGaussian, "lower": OneRunGaussian},
}
ONE_RUN = ("one-run", "one-run-fdp")
CONFIDENCE = ("clopper-pearson", "jeffreys", "joint-exact")


def centre(law: Law, n_jobs: int | None = None, verbose: bool = True) -> FloatArray:
    """Posterior median; epsilon at the observed rates; or the lower bound at level 1/2 where that is all there is."""
    if isinstance(law, EpsilonPosterior):
        return law.median(n_jobs, verbose)
    if isinstance(law, LowerBound):
        return law.lower(0.5)
    fn, fp, tn, tp, delta = (getattr(law, name) for name in ("fn", "fp", "tn", "tp", "delta"))
    return epsilon_from_rates(fn / (fn + tp), fp / (fp + tn), delta)


def p_value(law: Law, epsilon: float) -> FloatArray:
    """Smallest 1 - level at which the lower bound exceeds ``epsilon``, by bisection on its log; 1 if none does."""
    low, high = np.full(len(law), np.log(1e-12)), np.zeros(len(law))
    for _ in range(40):
        middle = 0.5 * (low + high)
        exceeds = np.array([law[i].interval(-np.expm1(m), "lower")[0][0] > epsilon for i, m in enumerate(middle)])
        low, high = np.where(exceeds, low, middle), np.where(exceeds, middle, high)
    return np.exp(high)
