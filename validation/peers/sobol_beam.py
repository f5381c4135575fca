"""SobolIndices beside SALib's scrambled Sobol' sequence on the cantilever beam, 131 072 model calls each.

Prints spread, interval width, coverage of the 95 % intervals (two-stage binomial test) and CPU seconds. The spread of
SALib is taken with 2 bootstrap resamples, which do not touch the values; width and seconds with its default 100, in
turns with ours. About five CPU minutes, with ``--quick`` one:

    python -m validation.peers.sobol_beam [--quick]

Exit code 1 when a claim fails: spread at most 2.5 times SALib's and half-width at most half of SALib's for every
first-order index, coverage, at most 0.3 CPU seconds a run.
"""

from __future__ import annotations

import sys
from math import inf
from time import process_time

import numpy as np
from scipy.stats import binomtest

from mcstat.core.extras import import_extra
from mcstat.core.parallel import single_threaded
from mcstat.datasets import make_cantilever_beam
from mcstat.importance import SobolIndices
from mcstat.study import Claim, ClaimTable

BUDGET, BASE_POINTS = 131_072, 16_384
MOST_SPREAD, MOST_WIDTH, MOST_SECONDS = 2.5, 0.5, 0.3
STAGE_1, STAGE_2 = (400, 1e-2), (4000, 1e-4)

PROBLEM = make_cantilever_beam()
TRUTH = np.array(list(PROBLEM.truth().values()))


def ours(seed):
    """Values and 95 % half-widths, (12,) each, and CPU seconds."""
    started = process_time()
    sobol = SobolIndices(PROBLEM.law, names=PROBLEM.names, budget=BUDGET, random_state=seed, verbose=False)
    estimate = sobol.fit(PROBLEM.model).estimate()
    band = estimate.conf_int()
    seconds = process_time() - started
    return estimate.value, (band["upper"] - band["lower"]).to_numpy() / 2, seconds


def salib(seed, resamples):
    salib_sample = import_extra("SALib.sample.sobol", "peers")
    salib_analyze = import_extra("SALib.analyze.sobol", "peers")
    started = process_time()
    d = len(PROBLEM.law)
    box = {"num_vars": d, "names": list(PROBLEM.names), "bounds": [[0, 1]] * d}
    u = salib_sample.sample(box, BASE_POINTS, calc_second_order=False, scramble=True, seed=seed)
    u = np.clip(u, 2.0**-31, 1 - 2.0**-31)
    x = np.column_stack([law.ppf(column) for law, column in zip(PROBLEM.law, u.T, strict=True)])
    found = salib_analyze.analyze(box, PROBLEM.model(x), calc_second_order=False, num_resamples=resamples, seed=seed)
    seconds = process_time() - started
    value = np.concatenate([found["S1"], found["ST"]])
    return value, np.concatenate([found["S1_conf"], found["ST_conf"]]), seconds


def covered(seeds):
    """(runs, 12) whether our interval holds the reference."""
    hits = []
    for seed in seeds:
        value, half_width, _ = ours(seed)
        hits.append(np.abs(value - TRUTH) <= half_width)
    return np.array(hits)


def coverage_verdicts():
    """Two-stage test of each index: coverage, runs, verdict."""
    runs, level = STAGE_1
    hits = covered(range(10_000, 10_000 + runs))
    alarmed = [binomtest(int(k), runs, 0.95).pvalue < level for k in hits.sum(axis=0)]
    verdicts = [(rate, runs, "ok") for rate in hits.mean(axis=0)]
    if any(alarmed):
        runs, level = STAGE_2
        hits = covered(range(20_000, 20_000 + runs))
        for j in np.flatnonzero(alarmed):
            bad = binomtest(int(hits[:, j].sum()), runs, 0.95).pvalue < level
            verdicts[j] = (hits[:, j].mean(), runs, "FAILS" if bad else "ok at stage 2")
    return verdicts


def compare(spread_runs, timed_runs):
    """Spread and mean half-width of each index, and CPU seconds a run; ours before SALib's."""
    ours(0), salib(0, 100)  # warm
    timed = [(ours(seed), salib(seed, 100)) for seed in range(1, 1 + timed_runs)]
    width = np.mean([[run[0][1], run[1][1]] for run in timed], axis=0)
    seconds = np.array([[run[0][2], run[1][2]] for run in timed])
    seeds = range(1000, 1000 + spread_runs)
    spread = [np.std([ours(seed)[0] for seed in seeds], axis=0, ddof=1)]
    spread.append(np.std([salib(seed, 2)[0] for seed in seeds], axis=0, ddof=1))
    return np.array(spread), width, seconds


def comparison_claims(spread, width, seconds, spread_runs):
    """The worst first-order index against SALib, and the time of a run."""
    d = len(PROBLEM.law)
    spread_ratio = np.max(spread[0, :d] / spread[1, :d])
    width_ratio = np.max(width[0, :d] / width[1, :d])
    shared = {"source": "issue of the room", "setting": f"cantilever beam, 131 072 calls, {spread_runs} seeds"}
    timed = f"cantilever beam, 131 072 calls, {len(seconds)} runs in turns"
    return ClaimTable(
        [
            Claim(name="spread of a first-order index over SALib's, worst of 6", measured=spread_ratio,
                  mcse=spread_ratio / np.sqrt(spread_runs - 1), band=(-inf, MOST_SPREAD), **shared),
            Claim(name="half-width of its interval over SALib's, worst of 6", measured=width_ratio,
                  band=(-inf, MOST_WIDTH), **shared | {"setting": timed}),
            Claim(name="CPU time of a run (median)", measured=np.median(seconds[:, 0]), unit="s",
                  mcse=np.std(seconds[:, 0], ddof=1), band=(-inf, MOST_SECONDS), **shared | {"setting": timed}),
            Claim(name="CPU time over SALib's (medians)", unit="times", band=None, **shared | {"setting": timed},
                  measured=np.median(seconds[:, 0]) / np.median(seconds[:, 1])),
        ]
    )  # fmt: skip


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Beside SALib; coverage is that of the calibration study. Timed, so it runs in one process."""
    spread_runs, timed_runs = (6, 2) if quick else (200, 12)
    with single_threaded():
        table = comparison_claims(*compare(spread_runs, timed_runs), spread_runs)
    return table.first_look() if quick else table


def main(spread_runs, timed_runs):
    spread, width, seconds = compare(spread_runs, timed_runs)
    verdicts = coverage_verdicts()

    print(f"{'':8s} {'spread':>9s} {'SALib':>9s} {'ratio':>6s} {'half-w.':>9s} {'SALib':>9s} {'ratio':>6s}  coverage")
    labels = PROBLEM.truth().keys()
    for j, (name, (rate, runs, verdict)) in enumerate(zip(labels, verdicts, strict=True)):
        print(
            f"{name:8s} {spread[0, j]:9.2e} {spread[1, j]:9.2e} {spread[0, j] / spread[1, j]:6.2f} "
            f"{width[0, j]:9.2e} {width[1, j]:9.2e} {width[0, j] / width[1, j]:6.2f}  "
            f"{rate:.4f} +- {np.sqrt(rate * (1 - rate) / runs):.4f} of {runs}: {verdict}"
        )
    table = comparison_claims(spread, width, seconds, spread_runs)
    print(table)
    covers = all(verdict != "FAILS" for _, _, verdict in verdicts)
    return 0 if covers and "not reproduced" not in table.counts() else 1


if __name__ == "__main__":
    quick = sys.argv[1:] == ["--quick"]
    with single_threaded():
        sys.exit(main(spread_runs=100 if quick else 200, timed_runs=3 if quick else 12))
