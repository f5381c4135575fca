"""Reference Sobol' indices of the cantilever beam: the file mcstat/datasets/data/cantilever_beam.json.

Plain pick-freeze (Saltelli 2010 for the first order, Jansen for the total) on 16 scrambled Sobol' sequences of 2^20
points, 134 million model calls. It shares no line with SobolIndices. About two CPU minutes:

    python validation/importance/reference_beam.py
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import qmc

import mcstat
from mcstat.datasets import make_cantilever_beam

LOG2_POINTS, SCRAMBLES, SEED = 20, 16, 20_231
BLOCK = 2**17


def inputs(problem, u):
    return np.column_stack([law.ppf(column) for law, column in zip(problem.law, u.T, strict=True)])


def one_scramble(problem, rng):
    """First-order and total indices from one scrambled sequence, a block of points at a time."""
    d = len(problem.law)
    engine = qmc.Sobol(2 * d, scramble=True, bits=40, rng=rng)
    sums = np.zeros(4)  # of f(A), f(A)^2, f(B), f(B)^2
    first, total = np.zeros(d), np.zeros(d)
    centre = None
    for _ in range(2**LOG2_POINTS // BLOCK):
        u = engine.random(BLOCK) + 2.0**-41
        a, b = inputs(problem, u[:, :d]), inputs(problem, u[:, d:])
        ya, yb = problem.model(a), problem.model(b)
        centre = ya.mean() if centre is None else centre
        ya, yb = ya - centre, yb - centre
        sums += [ya.sum(), ya @ ya, yb.sum(), yb @ yb]
        for i in range(d):
            mixed = a.copy()
            mixed[:, i] = b[:, i]
            yi = problem.model(mixed) - centre
            first[i] += yb @ (yi - ya)
            total[i] += (ya - yi) @ (ya - yi) / 2
    n = 2**LOG2_POINTS
    variance = (sums[1] + sums[3]) / (2 * n) - ((sums[0] + sums[2]) / (2 * n)) ** 2
    return np.concatenate([first, total]) / (n * variance)


def main():
    problem = make_cantilever_beam()
    seeds = np.random.SeedSequence(SEED).spawn(SCRAMBLES)
    replicates = np.array([one_scramble(problem, np.random.default_rng(seed)) for seed in seeds])
    value = replicates.mean(axis=0)
    std_error = replicates.std(axis=0, ddof=1) / np.sqrt(SCRAMBLES)
    d = len(problem.law)
    record = {
        "what": "Sobol' indices of the cantilever beam",
        "names": problem.names,
        "first": value[:d].tolist(),
        "total": value[d:].tolist(),
        "first_std_error": std_error[:d].tolist(),
        "total_std_error": std_error[d:].tolist(),
        "base_points": 2**LOG2_POINTS,
        "scrambles": SCRAMBLES,
        "seed": SEED,
        "script": "validation/importance/reference_beam.py",
        "date": date.today().isoformat(),
        "versions": {"mcstat": mcstat.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
    }
    path = Path(mcstat.__file__).parent / "datasets" / "data" / "cantilever_beam.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name, s, t in zip(problem.names, value[:d], value[d:], strict=True):
        print(f"{name:4s} S {s:.6f}  ST {t:.6f}")


if __name__ == "__main__":
    main()
