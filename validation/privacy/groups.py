"""Fewer models by many canaries in each: 10 models of 100 canaries against 1000 models of one, on DP-SGD.

    python -m validation.privacy.groups [--quick] [--n-jobs N]

In full about five CPU minutes, quick a third of one.
"""

from __future__ import annotations

import sys
from math import sqrt

import numpy as np

from mcstat.datasets import DpSgdAttack, make_dp_sgd_attack
from mcstat.privacy import EpsilonPosterior, epsilon_from_rates
from mcstat.privacy._groups import GroupCounts, corrected_counts
from mcstat.privacy._scores import Challenges
from mcstat.study import Claim, ClaimTable

DELTA, LEVEL = 1e-5, 0.9
# Where the two error rates are about 0.4 and 0.05; set before the audits that are counted.
THRESHOLD = 0.11


def counted(attack: DpSgdAttack) -> GroupCounts:
    """Counts model by model."""
    return GroupCounts.of(Challenges(attack.scores, attack.membership), THRESHOLD, attack.models)


def ends(counts: dict[str, float]) -> tuple[float, float]:
    """Credible interval."""
    lower, upper = EpsilonPosterior(**counts, delta=DELTA).interval(LEVEL)
    return float(lower[0]), float(upper[0])


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Widths, design effects, and coverage, for canaries that do not meet in a model and for canaries that do."""
    found: list[Claim] = []
    for name, n_pixels in (("a pixel each", None), ("four a pixel", 25)):
        found += _audits(name, n_pixels, 4 if quick else 300, 20 if quick else 400, n_jobs)
    return ClaimTable(found).first_look() if quick else ClaimTable(found)


def _audits(name: str, n_pixels: int | None, runs: int, n_reference: int, n_jobs: int) -> list[Claim]:
    """Many audits of ten models with a hundred canaries each."""
    many = counted(make_dp_sgd_attack(n_reference, 100, n_pixels=n_pixels, n_jobs=n_jobs, random_state=10)).pooled()
    fnr, fpr = many["fn"] / (many["fn"] + many["tp"]), many["fp"] / (many["fp"] + many["tn"])
    truth = float(epsilon_from_rates(fnr, fpr, DELTA))
    # One canary a model: 1000 independent outcomes, at their expected counts.
    low, high = ends({"fn": 500 * fnr, "fp": 500 * fpr, "tn": 500 * (1 - fpr), "tp": 500 * (1 - fnr)})
    widths, deffs, pooled_holds, corrected_holds = [], [], [], []
    for k in range(runs):
        attack = make_dp_sgd_attack(10, 100, n_pixels=n_pixels, n_jobs=n_jobs, random_state=1000 + k)
        counts = counted(attack)
        pooled = ends(counts.pooled())
        corrected, negatives, positives = corrected_counts(counts)
        shrunk = ends(corrected)
        widths.append(shrunk[1] - shrunk[0])
        deffs.append((negatives.deff + positives.deff) / 2)
        pooled_holds.append(pooled[0] <= truth <= pooled[1])
        corrected_holds.append(shrunk[0] <= truth <= shrunk[1])
    ratio, error = np.array(widths) / (high - low), sqrt(LEVEL * (1 - LEVEL) / runs)
    setting = f"DP-SGD on digits, {name}, 10 models x 100 canaries, {runs} runs"
    return [
        Claim(
            name="width of 10 x 100 (design-effect corrected) over 1000 x 1",
            setting=setting,
            source="card, claims row 3",
            published="up to 2 orders of magnitude fewer models",
            measured=float(ratio.mean()),
            mcse=float(ratio.std(ddof=1) / sqrt(runs)),
            band=(0.8, 1.25),
        ),
        Claim(
            name="design effect, mean of both sides",
            setting=setting,
            source="card, claims row 3",
            measured=float(np.mean(deffs)),
            mcse=float(np.std(deffs, ddof=1) / sqrt(runs)),
            note="cut off at 1, so its mean is above 1 for independent outcomes, too: ten models estimate it roughly",
        ),
        *(
            Claim(
                name=f"coverage of the 90 % interval, {kind}",
                setting=f"{setting}, epsilon {truth:.3f} from {int(sum(many.values()))} challenges",
                source="card, claims row 3",
                measured=float(np.mean(holds)),
                mcse=error,
                band=(LEVEL - 3.3 * error, 1.0),
            )
            for kind, holds in (("pooled", pooled_holds), ("corrected by the design effect", corrected_holds))
        ),
    ]


def main() -> None:
    """Print the table."""
    n_jobs = int(sys.argv[sys.argv.index("--n-jobs") + 1]) if "--n-jobs" in sys.argv else 1
    print(claims("--quick" in sys.argv, n_jobs))


if __name__ == "__main__":
    main()
