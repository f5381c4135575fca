"""Spread and CPU time of Sobol' indices on the cantilever beam: mcstat, SALib, SciPy, OpenTURNS, 131 072 calls each.

SALib and SciPy use the same scrambled sequence; OpenTURNS independent points (its own design) with three estimators,
where it is installed. SALib is run with 2 bootstrap resamples, which do not touch the values. About two CPU minutes:

    python -m validation.peers.sobol_spread [--quick]
"""

from __future__ import annotations

import sys
from functools import partial
from importlib.util import find_spec
from math import inf
from time import process_time

import numpy as np

from mcstat.core.extras import import_extra
from mcstat.core.parallel import single_threaded
from mcstat.study import Claim, ClaimTable
from validation.peers.sobol_beam import BASE_POINTS, PROBLEM, ours, salib

D = len(PROBLEM.law)
OPENTURNS = ("Saltelli", "Martinez", "MauntzKucherenko")


def scipy_stats(seed):
    """Values, (12,), and CPU seconds."""
    from scipy.stats import sobol_indices

    started = process_time()
    rng = np.random.default_rng(seed)
    found = sobol_indices(func=lambda x: PROBLEM.model(x.T), n=BASE_POINTS, dists=list(PROBLEM.law), rng=rng)
    value = np.concatenate([found.first_order.ravel(), found.total_order.ravel()])
    return value, process_time() - started


def openturns(seed, estimator):
    """Values, (12,), and CPU seconds, on OpenTURNS's own independent design."""
    ot = import_extra("openturns", "peers")
    started = process_time()
    ot.RandomGenerator.SetSeed(seed)
    cube = ot.JointDistribution([ot.Uniform(0.0, 1.0)] * D)
    u = np.asarray(ot.SobolIndicesExperiment(cube, BASE_POINTS, False).generate())
    x = np.column_stack([law.ppf(column) for law, column in zip(PROBLEM.law, u.T, strict=True)])
    algorithm = getattr(ot, f"{estimator}SensitivityAlgorithm")
    found = algorithm(ot.Sample(x), ot.Sample(PROBLEM.model(x)[:, None]), BASE_POINTS)
    value = np.concatenate([list(found.getFirstOrderIndices()), list(found.getTotalOrderIndices())])
    return value, process_time() - started


def spreads(runs):
    """Each package's sd over seeds, (12,), and median CPU seconds; seeds in turns."""
    peers = {"mcstat": lambda seed: ours(seed)[::2], "SALib": lambda seed: salib(seed, 2)[::2], "SciPy": scipy_stats}
    if find_spec("openturns"):
        peers |= {f"OpenTURNS {one}": partial(openturns, estimator=one) for one in OPENTURNS}
    found = [{name: peer(seed) for name, peer in peers.items()} for seed in range(3000, 3000 + runs)]
    return {
        name: (
            np.std([one[name][0] for one in found], axis=0, ddof=1),
            float(np.median([one[name][1] for one in found])),
        )
        for name in peers
    }


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """The worst first-order index against each peer. Timed, so it runs in one process."""
    runs = 4 if quick else 100
    with single_threaded():
        found = spreads(runs)
    sd, seconds = found.pop("mcstat")
    rows = []
    for name, (other, other_seconds) in found.items():
        worst = float(np.max(sd[:D] / other[:D]))
        rows.append(
            Claim(
                name=f"spread of a first-order index over {name}'s, worst of {D}",
                setting=f"cantilever beam, {BASE_POINTS * (D + 2)} calls, {runs} seeds",
                source="card, peers",
                measured=worst,
                mcse=worst / np.sqrt(runs - 1),
                # Quasi-Monte Carlo peers share our points; independent points must be far behind.
                band=(-inf, 0.5 if name.startswith("OpenTURNS") else 1.5),
                note=f"CPU {seconds:.3f} s and {other_seconds:.3f} s",
            )
        )
    return ClaimTable(rows).first_look() if quick else ClaimTable(rows)


def main(quick):
    with single_threaded():
        found = spreads(20 if quick else 100)
    print("sd times 1e-4 (first orders | totals), and CPU seconds")
    for name, (sd, seconds) in found.items():
        first, total = (" ".join(f"{1e4 * one:6.2f}" for one in half) for half in (sd[:D], sd[D:]))
        print(f"{name:27s} {first} | {total}  {seconds:.3f}")


if __name__ == "__main__":
    main(quick=sys.argv[1:] == ["--quick"])
