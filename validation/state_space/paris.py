"""PaRIS re-measured: variance against the number of backward draws, tries of rejection, cost.

    python -m validation.state_space.paris [--quick] [--n-jobs 2]

Bands are the card's, set before measuring. CPU time is the smallest of several runs.
"""

from __future__ import annotations

import argparse
from math import inf
from time import process_time

import numpy as np

from mcstat.core.parallel import single_threaded
from mcstat.state_space import LinearGaussian, ParisSmoother, StochasticVolatility
from mcstat.study import Claim, ClaimTable

MODELS = {"LG": LinearGaussian(), "SV": StochasticVolatility()}
TRIES = {"LG": (2.5, 5.0), "SV": (5.0, 10.0)}
SECONDS = {"LG": 0.4, "SV": 0.6}


def backward_draws(quick: bool, n_jobs: int) -> list[Claim]:
    """Variance at M = 1 over that at M = 2, and slopes in T."""
    runs = 12 if quick else 200
    lengths = (50, 150) if quick else (50, 100, 200, 400, 800, 1600, 3200)
    y = MODELS["LG"].simulate(lengths[-1], random_state=1)[1]
    variances = {}
    for m in (1, 2, 4):
        smoother = ParisSmoother(
            MODELS["LG"], "sum_cross", 100, m, n_replicates=runs, n_jobs=n_jobs, random_state=m, verbose=False
        )
        variances[m] = []
        for length in lengths:
            variances[m].append(smoother.fit(y[:length]).estimate().std_error[0] ** 2 * runs)
    found = []
    for k, length in enumerate(lengths):
        ratio = variances[1][k] / variances[2][k]
        found.append(
            Claim(
                name="variance at M = 1 over variance at M = 2",
                setting=f"LG, N = 100, T = {length}, {runs} runs",
                source="card, claims row 4",
                published="8 to 12 (prototype)",
                measured=ratio,
                mcse=ratio * 2.0 / np.sqrt(runs),
                band=(4.0, inf),
                scale_ok=not quick,
                note=f"{runs} runs are too few" if quick else "",
            )
        )
    for m, values in variances.items():
        slope = np.polyfit(np.log(lengths), np.log(values), 1)[0]
        error = np.sqrt(2.0 / runs) / (np.std(np.log(lengths)) * np.sqrt(len(lengths)))
        found.append(
            Claim(
                name=f"log-log slope of the variance in T, M = {m}",
                setting=f"LG, N = 100, T = {lengths[0]} to {lengths[-1]}, {runs} runs",
                source="card, claims row 4",
                published=".69, .60, .56 for M = 1, 2, 4 (prototype)",
                measured=slope,
                mcse=error,
                band=None,
            )
        )
    return found


def tries(quick: bool, n_jobs: int) -> list[Claim]:
    """Tries of rejection a draw, on several series."""
    found = []
    for name, model in MODELS.items():
        each = []
        for seed in range(2 if quick else 10):
            y = model.simulate(1000, random_state=seed)[1]
            smoother = ParisSmoother(model, random_state=seed, resampling="systematic", verbose=False)
            each.append(smoother.fit(y).n_trials_)
        found.append(
            Claim(
                name="tries a backward draw",
                setting=f"{name}, N = T = 1000, default cut-off N / 4, {len(each)} series",
                source="card, claims row 5",
                published="3.2 LG, 6.5 to 7.1 SV (prototype, one series)",
                measured=float(np.mean(each)),
                mcse=float(np.std(each, ddof=1) / np.sqrt(len(each))),
                band=TRIES[name],
                note="data-dependent, heavy-tailed",
            )
        )
    return found


def cost(quick: bool, n_jobs: int) -> list[Claim]:
    """CPU seconds at N = T = 1000, M = 2, and slopes in N and in T."""
    found = []
    rounds = 2 if quick else 9

    def seconds(model: object, n: int, y: np.ndarray) -> list[float]:
        each = []
        for seed in range(rounds):
            started = process_time()
            ParisSmoother(model, "sum_cross", n, random_state=seed, verbose=False).fit(y)
            each.append(process_time() - started)
        return each

    with single_threaded():
        for name, model in MODELS.items():
            y = model.simulate(1000, random_state=0)[1]
            each = seconds(model, 1000, y)
            found.append(
                Claim(
                    name="CPU seconds of a pass",
                    setting=f"{name}, N = T = 1000, M = 2, median of {rounds}",
                    source="issue of the room",
                    published=None,
                    measured=float(np.median(each)),
                    mcse=float(np.std(each)),
                    band=(0.0, SECONDS[name]),
                    unit="s",
                    note=f"smallest {min(each):.3f}",
                )
            )
        y = MODELS["LG"].simulate(10_000, random_state=0)[1]
        sizes = (1000, 4000) if quick else (1000, 3000, 10_000, 30_000, 100_000)
        times = (300, 1500) if quick else (100, 1000, 10_000)
        in_n = [min(seconds(MODELS["LG"], n, y[:50])) for n in sizes]
        in_t = [min(seconds(MODELS["LG"], 200, y[:t])) for t in times]
    for letter, grid, costs in (("N", sizes, in_n), ("T", times, in_t)):
        found.append(
            Claim(
                name=f"log-log slope of CPU time in {letter}",
                setting=f"LG, {letter} = {grid[0]} to {grid[-1]}",
                source="issue of the room; card, claims row 4",
                published="1",
                measured=float(np.polyfit(np.log(grid), np.log(costs), 1)[0]),
                mcse=np.nan,
                band=(-inf, 1.1),
                scale_ok=not quick,
                note="two short runs" if quick else "",
            )
        )
    return found


def claims(quick: bool = False, n_jobs: int = 1) -> ClaimTable:
    """All of it."""
    table = ClaimTable((*backward_draws(quick, n_jobs), *tries(quick, n_jobs), *cost(quick, n_jobs)))
    return table.first_look() if quick else table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    options = parser.parse_args()
    print(claims(options.quick, options.n_jobs))


if __name__ == "__main__":
    main()
