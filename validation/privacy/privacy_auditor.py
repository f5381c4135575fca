"""PrivacyAuditor's figures: widths, frequentist coverage of every method, calibration of the posterior, speed.

    python -m validation.privacy.privacy_auditor [--quick]

In full about ten CPU minutes, quick about one.
"""

from __future__ import annotations

import sys
from math import inf, nan, sqrt
from time import process_time

import numpy as np

from mcstat.core.parallel import single_threaded
from mcstat.privacy import EpsilonPosterior, PrivacyAuditor, epsilon_from_rates
from mcstat.privacy._joint import JointExact
from mcstat.privacy._rectangles import ClopperPearsonRectangle, JeffreysRectangle
from mcstat.study import Claim, ClaimTable, sbc

DELTA = 1e-5
RATES = ((0.05, 0.2), (0.1, 0.1), (0.3, 0.3), (0.01, 0.5), (0.01, 0.9))
# Per cent by which the credible 90 % interval is narrower than the rectangle's, from the card.
NARROWER = {
    ("Clopper-Pearson", 500): (28, 34, 39, 32, 40),
    ("Clopper-Pearson", 100): (33, 35, 39, 46, 50),
    ("Jeffreys", 500): (24, 32, 37, 24, 33),
}
RECTANGLES = {"Clopper-Pearson": ClopperPearsonRectangle, "Jeffreys": JeffreysRectangle}
METHODS = {"joint-beta": EpsilonPosterior, **RECTANGLES, "joint-exact": JointExact}
# Challenges a side, FPR, FNR, and how often the card saw 95 % lower bounds of the posterior hold (1500 runs).
AUDITS = (
    (500, 0.05, 0.2, 0.953),
    (500, 0.01, 0.5, 0.959),
    (100, 0.1, 0.3, 0.933),
    (500, 0.3, 0.3, 0.903),
    (1000, 0.002, 0.9, 0.915),
    (100, 0.5, 0.49, 0.78),
)
EXACT_METHODS = ("Clopper-Pearson", "joint-exact")


def width(law):
    lower, upper = law.interval(0.9)
    return float(upper[0] - lower[0])


def widths():
    """How much narrower the credible interval is than each rectangle, at the expected counts."""
    for (name, n), percents in NARROWER.items():
        for (fpr, fnr), percent in zip(RATES, percents, strict=True):
            counts = {"fn": [n * fnr], "fp": [n * fpr], "tn": [n * (1 - fpr)], "tp": [n * (1 - fnr)], "delta": [DELTA]}
            measured = 100 * (1 - width(EpsilonPosterior(**counts)) / width(RECTANGLES[name](**counts)))
            yield Claim(
                name=f"narrower than the {name} rectangle",
                setting=f"n={n} a side, FPR {fpr:g}, FNR {fnr:g}, 90 %",
                source="card, claims rows 1 and 2",
                published=f"{percent} %",
                measured=measured,
                band=(percent - 2, percent + 2),
                unit="%",
            )


def audits(n, fpr, fnr, runs, seed):
    """Counts of ``runs`` audits with known rates."""
    rng = np.random.default_rng(seed)
    fp, fn = rng.binomial(n, fpr, runs).astype(float), rng.binomial(n, fnr, runs).astype(float)
    return {"fn": fn, "fp": fp, "tn": n - fp, "tp": n - fn, "delta": np.full(runs, DELTA)}


def coverage(runs):
    """How often the 95 % lower bound of each method is at most the true epsilon."""
    for k, (n, fpr, fnr, seen) in enumerate(AUDITS):
        truth = float(epsilon_from_rates(fnr, fpr, DELTA))
        counts = audits(n, fpr, fnr, runs, k)
        for name, method in METHODS.items():
            held = float(np.mean(method(**counts).interval(0.95, "lower")[0] <= truth))
            error = sqrt(max(held * (1 - held), 1 / runs) / runs)
            common = {"name": f"coverage of the 95 % lower bound, {name}", "measured": held, "mcse": error}
            common["setting"] = f"n={n} a side, FPR {fpr:g}, FNR {fnr:g}, {runs} runs"
            if name == "joint-beta":
                # Both sides have Monte Carlo error: four standard errors of their difference.
                slack = 4 * sqrt(seen * (1 - seen) * (1 / runs + 1 / 1500))
                band, source = (seen - slack, seen + slack), "card, claims row 4"
                yield Claim(**common, source=source, published=f"{seen:g}", band=band)
            elif name in EXACT_METHODS:
                floor = 0.95 - 4 * sqrt(0.95 * 0.05 / runs)
                yield Claim(**common, source="theory", published=">= 0.95", band=(floor, inf))
            else:
                yield Claim(**common, source="reported")


def calibration(replicates, n_jobs):
    """Ranks of the true epsilon among posterior draws, rates drawn from Jeffreys' prior."""

    def prior(rng):
        x, y = rng.beta(0.5, 0.5, size=2)
        return {"epsilon": float(epsilon_from_rates(x, y, DELTA)), "x": x, "y": y}

    def simulate(rng, theta):
        fn, fp = rng.binomial(200, theta["x"]), rng.binomial(300, theta["y"])
        return {"fn": fn, "fp": fp, "tn": 300 - fp, "tp": 200 - fn}

    def method(fn, fp, tn, tp):
        return PrivacyAuditor(delta=DELTA).fit_counts(fn=fn, fp=fp, tn=tn, tp=tp).estimate()

    result = sbc(prior, simulate, method, replicates, random_state=0, n_jobs=n_jobs, verbose=False)
    yield Claim(
        name="SBC of the posterior inside the 99 % band",
        setting=f"200 members, 300 others, {replicates} replicates",
        source="issue",
        published="inside",
        measured=float(result.passed(0.99)),
        band=(1, 1),
    )


def speed(n_tables):
    """CPU time of one interval and of many."""
    one = EpsilonPosterior(fn=100, fp=25, tn=475, tp=400, delta=DELTA)
    one.interval(0.9)
    rounds = []
    for _ in range(50):
        started = process_time()
        one.interval(0.9)
        rounds.append(1e3 * (process_time() - started))
    yield Claim(
        name="one 90 % interval",
        setting="500 a side, warm, median of 50",
        source="issue",
        published="< 5 ms",
        measured=float(np.median(rounds)),
        mcse=float(np.std(rounds)),
        band=(0, 5),
        unit="ms",
    )
    rng = np.random.default_rng(0)
    wrong = rng.integers(0, 500, size=(2, n_tables))
    many = EpsilonPosterior(fn=wrong[0], fp=wrong[1], tn=500 - wrong[1], tp=500 - wrong[0], delta=DELTA)
    started = process_time()
    many.interval(0.9)
    yield Claim(
        name="90 % intervals of 10 000 tables",
        setting=f"{n_tables} timed, 500 a side, all rates",
        source="issue",
        published="< 20 s",
        measured=(process_time() - started) * 10_000 / n_tables,
        mcse=nan,
        band=(0, 20),
        unit="CPU s",
    )


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """All claims; ``quick`` has a tenth of the runs."""
    found = [
        *widths(),
        *coverage(200 if quick else 2000),
        *calibration(200 if quick else 1000, n_jobs),
        *speed(1000 if quick else 10_000),
    ]
    return ClaimTable(found)


def main() -> None:
    """Print the table."""
    print(claims("--quick" in sys.argv[1:]))


if __name__ == "__main__":
    with single_threaded():
        main()
