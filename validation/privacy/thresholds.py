"""How often lower bounds over chosen thresholds hold, and how high they are.

    python -m validation.privacy.thresholds [--quick] [--n-jobs N]

The Laplace mechanism: every threshold outside (0, epsilon) has just the mechanism's epsilon, so there are many to
choose from. In full about ten CPU minutes, quick a third of one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from math import inf, sqrt

import numpy as np

from mcstat.core.parallel import map_tasks
from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.privacy._methods import LAWS
from mcstat.privacy._scores import Challenges, FloatArray, count, tuned_threshold
from mcstat.privacy._thresholds import CHOSEN, tables_of
from mcstat.study import Claim, ClaimTable

LEVEL, A_SIDE = 0.95, 300
N_SPLITS = 50


def bounds(tables: dict[str, FloatArray], method: str = "clopper-pearson") -> FloatArray:
    """Bounds of tables (k,) by themselves."""
    return LAWS[method]["equal-tailed"](**tables, delta=np.zeros(len(tables["fn"]))).interval(LEVEL, "lower")[0]


def at_split(challenges: Challenges, rng: np.random.Generator) -> float:
    """Half of the challenges choose, the others count."""
    tuning, counted = challenges.halves(0.5, rng)
    return float(bounds(count(counted, tuned_threshold(tuning, 0.0, LEVEL)[0]))[0])


def chosen(strategy: str, challenges: Challenges, rng: np.random.Generator) -> float:
    """Bound of one of the auditor's strategies."""
    tables = tables_of(challenges, strategy, 0.0, LEVEL, rng, n_splits=N_SPLITS)
    zeros = np.zeros(len(tables["fn"]))
    return float(CHOSEN[strategy](**tables, delta=zeros, method=zeros).lower(LEVEL)[0])


def largest(method: str, challenges: Challenges, rng: np.random.Generator) -> float:
    """Largest bound over all thresholds."""
    return float(bounds(count(challenges, np.unique(challenges.scores)), method).max())


VALID: dict[str, Callable[[Challenges, np.random.Generator], float]] = {
    "explicit": lambda challenges, rng: float(bounds(count(challenges, 1.0))[0]),
    "split": at_split,
    "multisplit": partial(chosen, "multisplit"),
    "bonferroni": partial(chosen, "bonferroni"),
    "dkw": partial(chosen, "dkw"),
}
INVALID = {
    "largest Clopper-Pearson bound": partial(largest, "clopper-pearson"),
    "largest Jeffreys bound": partial(largest, "jeffreys"),
}


def one_audit(way: str, eps: float, k: int) -> float:
    """Lower bound of audit k."""
    rng = stream(root_seed(1), "thresholds", Purpose.REPLICATES, k)
    member = np.repeat([True, False], A_SIDE)
    challenges = Challenges(rng.laplace(size=2 * A_SIDE) + eps * member, member)
    return (VALID | INVALID)[way](challenges, rng)


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Coverage and mean of the bounds of every way, without a signal and with a strong one."""
    found = []
    for eps in (0.0, 2.0):
        for way in (*VALID, *INVALID):
            # Fifty splits an audit are dear.
            runs = (10 if quick else 400) if way == "multisplit" else (100 if quick else 2000)
            lower = np.array(map_tasks(partial(one_audit, way, eps), range(runs), n_jobs=n_jobs, prefer="processes"))
            held = float(np.mean(lower <= eps))
            error = sqrt(LEVEL * (1 - LEVEL) / runs)
            setting = f"Laplace, epsilon {eps:g}, {A_SIDE} a side, {runs} runs"
            low, high = LEVEL - 3.3 * error, inf
            # Without correction exact bounds of a rectangle are so wide that the selection only shows without a signal.
            if way == "largest Jeffreys bound" and eps == 0.0:
                low, high = -inf, LEVEL - 3.3 * error
            found.append(
                Claim(
                    name=f"coverage of the 95 % lower bound, {way}",
                    setting=setting,
                    source="issue: thresholds hold their level, uncorrected maxima do not",
                    measured=held,
                    mcse=error,
                    band=None if way in INVALID and high == inf else (low, high),
                )
            )
            found.append(
                Claim(
                    name=f"mean lower bound, {way}",
                    setting=setting,
                    source="none",
                    measured=float(lower.mean()),
                    mcse=float(lower.std(ddof=1) / sqrt(runs)),
                )
            )
    return ClaimTable(found)


def main() -> None:
    """Print the table."""
    n_jobs = int(sys.argv[sys.argv.index("--n-jobs") + 1]) if "--n-jobs" in sys.argv else 1
    print(claims("--quick" in sys.argv, n_jobs))


if __name__ == "__main__":
    main()
