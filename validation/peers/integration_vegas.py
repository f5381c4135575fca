"""Ten even moments of a normal from 20 000 calls: our samplers beside vegas's adaptive grid.

E[X^(2 j)] for j = 1..10 under N(0, 1), judged by the sum over j of the squared relative errors. vegas integrates over
(-12, 12) in 5 rounds of 2000 calls to adapt and one of 10 000, with each column divided by its true value, which is
more than ours are told. All in turns, with CPU seconds. About one CPU minute, with ``--quick`` ten seconds:

    python -m validation.peers.integration_vegas [--quick]
"""

from __future__ import annotations

import argparse
import warnings
from math import prod
from time import process_time

import numpy as np
import vegas
from scipy.stats import norm

from mcstat.core.errors import ReliabilityWarning
from mcstat.core.parallel import single_threaded
from mcstat.importance import AMIS, AdaptiveImportanceSampler, ControlVariates, MultipleImportanceSampler

POWERS = 2 * np.arange(1, 11)
MOMENTS = np.array([prod(range(1, power, 2)) for power in POWERS], dtype=float)
BUDGET, REACH = 20_000, 12.0


def even_powers(x: np.ndarray) -> np.ndarray:
    return x**POWERS


def adaptive(family: str):
    return lambda seed: AdaptiveImportanceSampler(
        law=norm(), family=family, budget=BUDGET, random_state=seed, verbose=False
    )


def multiple(seed: int) -> MultipleImportanceSampler:
    # Two normals a moment at the modes of x^(2 j) f, +- sqrt(2 j), are what one would take by hand.
    proposals = [norm(sign * np.sqrt(power), 1.0) for power in POWERS[::3] for sign in (-1, 1)]
    return MultipleImportanceSampler(proposals, law=norm(), budget=BUDGET, random_state=seed, verbose=False)


def amis(seed: int) -> AMIS:
    # It adapts to the law, not to the moments, whose mass lies elsewhere.
    return AMIS(lambda x: norm.logpdf(x[:, 0]), initial=norm(scale=3), budget=BUDGET, random_state=seed, verbose=False)


def controls(seed: int) -> ControlVariates:
    # The lower moments as regressors would be cheating: cosines with known means exp(-k^2 / 2).
    waves = np.arange(1, 9) / 2
    return ControlVariates(
        lambda x: np.cos(waves * x), means=np.exp(-(waves**2) / 2), law=norm(), sampler="rqmc", budget=BUDGET,
        random_state=seed, verbose=False,
    )  # fmt: skip


OURS = {
    "AdaptiveImportanceSampler, gaussian": adaptive("gaussian"),
    "AdaptiveImportanceSampler, gmm (2)": adaptive("gmm"),
    "MultipleImportanceSampler, 8 normals by hand": multiple,
    "AMIS, Student t": amis,
    "ControlVariates, 8 cosines, rqmc": controls,
}


def by_ours(make, seed: int) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReliabilityWarning)
        estimate = make(seed).fit(even_powers).estimate()
    return estimate.value, estimate.std_error


def by_vegas(seed: int) -> tuple[np.ndarray, np.ndarray]:
    np.random.seed(seed)  # noqa: NPY002  (the one generator that vegas takes)
    density = 1 / np.sqrt(2 * np.pi)

    @vegas.lbatchintegrand
    def columns(x):
        return x**POWERS * (density * np.exp(-0.5 * x**2)) / MOMENTS

    integrator = vegas.Integrator([[-REACH, REACH]])
    integrator(columns, nitn=5, neval=2_000)
    # One iteration as it is: vegas's average over iterations moves the means of such dependent columns by about
    # a percent, twenty times their errors.
    result = integrator(columns, nitn=1, neval=10_000).itn_results[0]
    return np.array([one.mean for one in result]) * MOMENTS, np.array([one.sdev for one in result]) * MOMENTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    runs = 20 if parser.parse_args().quick else 200
    samplers = {name: lambda seed, make=make: by_ours(make, seed) for name, make in OURS.items()}
    samplers[f"vegas {vegas.__version__}"] = by_vegas
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in samplers}
    with single_threaded():
        for sampler in samplers.values():
            sampler(10_000)  # warm
        for seed in range(runs):
            for name, sampler in samplers.items():
                started = process_time()
                value, error = sampler(seed)
                seconds = process_time() - started
                squared = float(np.sum((value / MOMENTS - 1) ** 2))
                found[name].append((squared, float(np.sum((error / MOMENTS) ** 2)), seconds))
    # Sum of the relative variances of one plain draw.
    per_draw = np.sum(np.array([prod(range(1, 2 * power, 2)) for power in POWERS]) / MOMENTS**2 - 1)
    reference = np.mean([row[0] for row in found[f"vegas {vegas.__version__}"]])
    print(f"{BUDGET} calls, {runs} seeds; sum over ten moments of squared relative errors")
    print(
        f"{'sampler':46s} {'error':>9s} {'+-':>8s} {'over vegas':>11s} {'reported':>9s} {'below MC':>9s} {'CPU s':>7s}"
    )
    for name, rows in found.items():
        squared, reported, seconds = np.array(rows).T
        mean = squared.mean()
        print(
            f"{name:46s} {mean:9.2e} {squared.std(ddof=1) / np.sqrt(runs):8.1e} {mean / reference:11.2f} "
            f"{reported.mean():9.2e} {per_draw / BUDGET / mean:9.0f} {np.median(seconds):7.3f}"
        )


if __name__ == "__main__":
    main()
