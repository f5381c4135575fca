"""Reference Sobol' indices of the cantilever beam: the file mcstat/datasets/data/cantilever_beam.json.

Gauss-Hermite quadrature on the full grid of the six inputs, 12 nodes each (3 million points). It shares no line with
SobolIndices and has no sampling error. Printed beside it, as a check of another kind: plain pick-freeze (Saltelli 2010,
Jansen) on scrambled Sobol' sequences. About 20 CPU seconds:

    python -m validation.importance.reference_beam

The deflection goes like w^-3 and w is normal, so strictly its variance is infinite: the density at w = 0, ten standard
deviations away, is e^-50 of that at the mean, not 0. Quadrature of any order up to 24, like any sample that can be
drawn, sees the law without that point.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import scipy
from scipy.special import ndtr
from scipy.stats import qmc

import mcstat
from mcstat.datasets import make_cantilever_beam

NODES, FEWER_NODES = 12, 10
LOG2_POINTS, SCRAMBLES, SEED = 16, 16, 20_231


def by_quadrature(problem, n_nodes):
    """(12,) first-order and total indices from conditional means on the tensor grid."""
    d = len(problem.law)
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    weights /= weights.sum()
    axes = [law.ppf(ndtr(nodes)) for law in problem.law]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)
    y = problem.model(grid).reshape((n_nodes,) * d)

    def variance_of_mean_given(kept):
        means = y
        for axis in reversed([axis for axis in range(d) if axis not in kept]):
            means = np.tensordot(means, weights, (axis, 0))
        moments = np.stack([means, means**2])
        for _ in kept:
            moments = np.tensordot(moments, weights, (1, 0))
        return moments[1] - moments[0] ** 2

    everything = set(range(d))
    variance = variance_of_mean_given(everything)
    first = [variance_of_mean_given({i}) / variance for i in range(d)]
    total = [1 - variance_of_mean_given(everything - {i}) / variance for i in range(d)]
    return np.array(first + total)


def one_scramble(problem, rng):
    """(12,) the same from one scrambled sequence."""
    d = len(problem.law)
    u = qmc.Sobol(2 * d, scramble=True, bits=40, rng=rng).random_base2(LOG2_POINTS) + 2.0**-41
    x = np.column_stack([law.ppf(column) for law, column in zip(problem.law * 2, u.T, strict=True)])
    a, b = x[:, :d], x[:, d:]
    centre = problem.model(a).mean()
    ya, yb = problem.model(a) - centre, problem.model(b) - centre
    variance = np.var(np.concatenate([ya, yb]))
    first, total = np.empty(d), np.empty(d)
    for i in range(d):
        mixed = a.copy()
        mixed[:, i] = b[:, i]
        yi = problem.model(mixed) - centre
        first[i] = np.mean(yb * (yi - ya)) / variance
        total[i] = np.mean((ya - yi) ** 2) / 2 / variance
    return np.concatenate([first, total])


def main():
    problem = make_cantilever_beam()
    d = len(problem.law)
    value = by_quadrature(problem, NODES)
    error = np.abs(value - by_quadrature(problem, FEWER_NODES))
    record = {
        "what": "Sobol' indices of the cantilever beam, by Gauss-Hermite quadrature",
        "names": problem.names,
        "first": value[:d].tolist(),
        "total": value[d:].tolist(),
        "first_error": error[:d].tolist(),
        "total_error": error[d:].tolist(),
        "error_is": f"difference to {FEWER_NODES} nodes",
        "nodes": NODES,
        "script": "validation/importance/reference_beam.py",
        "date": date.today().isoformat(),
        "versions": {"mcstat": mcstat.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
    }
    path = Path(mcstat.__file__).parent / "datasets" / "data" / "cantilever_beam.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    seeds = np.random.SeedSequence(SEED).spawn(SCRAMBLES)
    sampled = np.array([one_scramble(problem, np.random.default_rng(seed)) for seed in seeds])
    z = (sampled.mean(axis=0) - value) / (sampled.std(axis=0, ddof=1) / np.sqrt(SCRAMBLES))
    print(f"{'':4s} {'S':>11s} {'error':>8s} {'z':>5s}   {'ST':>11s} {'error':>8s} {'z':>5s}")
    for i, name in enumerate(problem.names):
        columns = [f"{value[j]:11.8f} {error[j]:8.1e} {z[j]:5.1f}" for j in (i, d + i)]
        print(f"{name:4s} {'   '.join(columns)}")
    print(f"error: difference to {FEWER_NODES} nodes; z: {SCRAMBLES} scrambles of 2^{LOG2_POINTS} points")


if __name__ == "__main__":
    main()
