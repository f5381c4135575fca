"""How often lower bounds over chosen thresholds hold, and how high they are.

    python -m validation.privacy.thresholds [--quick] [--n-jobs N]

The Laplace mechanism: every threshold outside (0, epsilon) has just the mechanism's epsilon, so there are many to
choose from. In full about ten CPU minutes, quick about one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from math import inf, sqrt

import numpy as np

from mcstat.core.parallel import map_tasks
from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle
from mcstat.privacy._scores import Challenges
from mcstat.privacy._thresholds import best_threshold, bonferroni, dkw, explicit, law_bound, multisplit, split
from mcstat.study import Claim, ClaimTable

LEVEL, A_SIDE = 0.95, 300
EXACT, JEFFREYS = (law_bound(law, 0.0) for law in (ClopperPearsonRectangle, JeffreysRectangle))
VALID: dict[str, Callable[..., float]] = {
    "explicit": lambda c, rng: explicit(c, EXACT, LEVEL, 1.0).lower,
    "split": lambda c, rng: split(c, EXACT, LEVEL, rng).lower,
    "multisplit": lambda c, rng: multisplit(c, EXACT, LEVEL, rng, n_splits=20).lower,
    "bonferroni": lambda c, rng: bonferroni(c, EXACT, LEVEL).lower,
    "dkw": lambda c, rng: dkw(c, 0.0, LEVEL).lower,
}
INVALID = {
    "largest Clopper-Pearson bound": lambda c, rng: best_threshold(c, EXACT, LEVEL).lower,
    "largest Jeffreys bound": lambda c, rng: best_threshold(c, JEFFREYS, LEVEL).lower,
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
            # Many splits an audit are dear.
            runs = (40 if quick else 400) if way == "multisplit" else (100 if quick else 2000)
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
