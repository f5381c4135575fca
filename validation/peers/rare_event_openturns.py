"""CrossEntropy beside OpenTURNS' rare-event algorithms, about 20 000 calls each.

Cross-entropy in standard space and subset sampling (and non-parametric adaptive importance sampling in the plane,
where its kernel densities are affordable), 5000 points a level, so that the usual four levels make 20 000 calls. Their
calls are counted, and the errors scaled to 20 000 calls by the square root of the number. In turns, one seed each, with
relative root mean square error, coverage of the 95 % intervals and CPU seconds. About ten CPU minutes, with ``--quick``
two:

    python -m validation.peers.rare_event_openturns [--quick]

Needs OpenTURNS (1.27 was used).
"""

from __future__ import annotations

import sys
import warnings
from time import process_time

import numpy as np
import openturns as ot

from mcstat.core.errors import MCStatWarning
from mcstat.core.parallel import single_threaded
from mcstat.importance import CrossEntropy
from validation.importance.cross_entropy import BUDGET, PROBLEMS

LEVEL_SIZE = 5000
ot.Log.Show(ot.Log.NONE)
SHOWN = ("half-space, d = 2", "half-space, d = 20", "half-space, d = 100", "two sides, d = 2", "four branches")


def ours(problem, seed):
    """Value, ends of the 95 % interval, calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCStatWarning)
        sampler = CrossEntropy(problem.dim, budget=BUDGET, random_state=seed, verbose=False).fit(problem.g)
        est = sampler.estimate()
    return est.value[0], *est.conf_int().to_numpy()[0], sampler.n_calls_


def openturns(algorithm):
    def run(problem, seed):
        ot.RandomGenerator.SetSeed(seed)
        calls = []

        def counted(sample):
            calls.append(len(sample))
            return problem.g(np.asarray(sample)).reshape(-1, 1)

        function = ot.PythonFunction(problem.dim, 1, func_sample=counted)
        inputs = ot.RandomVector(ot.Normal(problem.dim))
        event = ot.ThresholdEvent(ot.CompositeRandomVector(function, inputs), ot.LessOrEqual(), 0.0)
        sampler = algorithm(event)
        sampler.setMaximumOuterSampling(1)
        sampler.setBlockSize(LEVEL_SIZE)
        sampler.run()
        result = sampler.getResult()
        value, half = result.getProbabilityEstimate(), 1.959964 * result.getStandardDeviation()
        return value, value - half, value + half, sum(calls)

    return run


METHODS = {
    "CrossEntropy": ours,
    "OpenTURNS cross-entropy": openturns(lambda event: ot.StandardSpaceCrossEntropyImportanceSampling(event, 0.1)),
    "OpenTURNS subset sampling": openturns(ot.SubsetSampling),
    "OpenTURNS NAIS": openturns(lambda event: ot.NAIS(event, 0.1)),
}


def main(n_runs):
    print(f"{'':20s} {'':26s} error at 20 000   bias  coverage   calls  CPU s   ({n_runs} runs)")
    for name in SHOWN:
        problem = PROBLEMS[name]
        methods = {k: m for k, m in METHODS.items() if k != "OpenTURNS NAIS" or problem.dim == 2}
        found = {method: [] for method in methods}
        for seed in range(1, n_runs + 1):
            for method, run in methods.items():
                started = process_time()
                answer = run(problem, seed)
                found[method].append((*answer, process_time() - started))
        for method, rows in found.items():
            value, lower, upper, calls, seconds = np.array(rows).T
            squares = (value / problem.truth - 1) ** 2 * calls / BUDGET
            error = np.sqrt(squares.mean())
            spread = squares.std(ddof=1) / np.sqrt(n_runs) / (2 * error)
            print(
                f"{name:20s} {method:26s} {error:7.4f} +- {spread:.4f} {value.mean() / problem.truth - 1:+7.3f}  "
                f"{np.mean((lower <= problem.truth) & (problem.truth <= upper)):7.2f} {calls.mean():8.0f} "
                f"{np.median(seconds):6.3f}",
                flush=True,
            )


if __name__ == "__main__":
    with single_threaded():
        main(20 if sys.argv[1:] == ["--quick"] else 100)
