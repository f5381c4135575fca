"""Coverage of the 95 % intervals of every registered method, on the case of its card.

``python -m validation.calibration.coverage [--quick] [--n-jobs N] [NAME...]``

A two-stage binomial test: intervals that alarm in the first stage (level 1e-2) are looked at again in 4000 fresh
replicates (level 1e-4), and only these can fail them. Right intervals fail with a probability below 1e-6, intervals
that cover 90 % pass with one of 0.1. A stage ends early when the method has used up its CPU seconds: the bands are
those of the replicates that were run, and a verdict from less than half of them is withheld.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from mcstat.core.errors import MCStatWarning
from mcstat.core.registry import methods
from mcstat.study import Claim, ClaimTable, SimulationStudy

LEVEL = 0.95
# Replicates before the first look at the clock.
FIRST = 20


@dataclass(frozen=True)
class Stage:
    """At most so many replicates in so many CPU seconds of the method, an alarm at this level, and a seed."""

    replicates: int
    seconds: float
    alarm: float
    seed: int


QUICK = (Stage(200, 0.5, 1e-2, 1), Stage(4000, 2.0, 1e-4, 2))
FULL = (Stage(2000, 300.0, 1e-2, 1), Stage(4000, 600.0, 1e-4, 2))


def method_claims(card, quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Coverage of every quantity of the method's case, or the card's reason why there is none."""
    if card.calibration:
        reason = f"not studied: {card.calibration}"
        return ClaimTable([claim(card, "coverage", "the card", np.nan, np.nan, None, reason)])
    case = card.load_case()
    stages = QUICK if quick else FULL
    first = run_stage(card, case, stages[0], n_jobs)
    found = {row.term: row for row in first.itertuples()}
    alarmed = [term for term, row in found.items() if not holds(row, stages[0], case.conservative)]
    claims = {term: judged(card, case, row, stages[0]) for term, row in found.items()}
    if alarmed:
        second = {row.term: row for row in run_stage(card, case, stages[1], n_jobs).itertuples()}
        claims |= {term: judged(card, case, second[term], stages[1]) for term in alarmed if term in second}
    return ClaimTable(claims.values())


def run_stage(card, case, stage: Stage, n_jobs: int):
    """Measures of the replicates that the stage's time allows, a row a quantity."""
    draw = case.draw or (lambda rng: dict(case.fit))
    study = SimulationStudy(draw, {card.name: case.estimator}, truth=dict(case.truth), level=LEVEL)
    settings = {"n_jobs": n_jobs, "random_state": stage.seed, "verbose": False}
    result = study.run(min(FIRST, stage.replicates), **settings)
    if result.replicates.empty:
        first = result.failures.iloc[0]
        raise RuntimeError(f"failed in the first {FIRST} replicates; {first['error']}: {first['message']}")
    result = study.run(affordable(result, stage), resume=result, **settings)
    frame = result.to_frame()
    return frame[frame["term"].isin(list(case.truth))]


def affordable(result, stage: Stage) -> int:
    """How many replicates fit into the stage's time, by those that were run; the first may have compiled."""
    fits = result.replicates.drop_duplicates("replicate")["cpu_seconds"].to_numpy()
    wanted = stage.seconds / max(fits[1:].mean(), 1e-9) if len(fits) > 1 else 0.0
    return int(min(max(wanted, result.n_replicates), stage.replicates))


def band(n: int, alarm: float, conservative: bool) -> tuple[float, float]:
    """Coverages that raise no alarm in n replicates; the exact binomial test, whose smaller tail has alarm / 2."""
    counts = np.arange(n + 1)
    low = int(np.argmax(binom.cdf(counts, n, LEVEL) > alarm / 2))
    high = n if conservative else int(n - np.argmax(binom.sf(counts[::-1] - 1, n, LEVEL) > alarm / 2))
    return low / n, high / n


def holds(row, stage: Stage, conservative: bool) -> bool:
    if np.isnan(row.coverage):
        return True
    low, high = band(row.n, stage.alarm, conservative)
    return not row.coverage < low and not row.coverage > high


def judged(card, case, row, stage: Stage) -> Claim:
    """The claim of one quantity after one stage."""
    words = [f"standard error / true spread {1 + row.rel_error_model_se / 100:.2f}"]
    if row.failures:
        words.append(f"{row.failures} replicates failed and are left out")
    name, setting = f"coverage of {row.term}", f"case of the card, {row.n} replicates"
    if np.isnan(row.coverage):
        return claim(card, name, setting, np.nan, np.nan, None, "no interval in at least one replicate")
    # Enough replicates for a verdict, or already too far off.
    enough = row.n >= stage.replicates / 2 or not holds(row, stage, case.conservative)
    if not enough:
        words.append(f"time was up after {row.n} of {stage.replicates} replicates")
    limits = band(row.n, stage.alarm, case.conservative)
    return claim(card, name, setting, row.coverage, row.coverage_mcse, limits, "; ".join(words), enough)


def claim(card, name, setting, measured, mcse, limits, note, scale_ok=True) -> Claim:
    return Claim(
        name=f"{card.class_}: {name}",
        setting=setting,
        source="level of the interval",
        published=f"{LEVEL:g}",
        measured=measured,
        mcse=mcse,
        band=limits,
        note=note,
        scale_ok=scale_ok,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore", MCStatWarning)
    for card in methods():
        if not given.names or card.name in given.names:
            print(method_claims(card, given.quick, given.n_jobs), flush=True)


if __name__ == "__main__":
    main()
