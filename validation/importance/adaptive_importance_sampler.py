"""The claims about adaptive importance sampling with control variates, measured again.

``python -m validation.importance.adaptive_importance_sampler [--quick] [moments] [beams] [coverage]``

Bands were set before measuring (card of the method and issue of the room) and are printed beside every figure.
"""

from __future__ import annotations

import argparse
from math import prod
from time import process_time

import numpy as np
from scipy.stats import norm

from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.datasets import load_logistic_posterior, make_perturbed_beams
from mcstat.importance import AdaptiveImportanceSampler
from mcstat.study import SimulationStudy

POWERS = 2 * np.arange(1, 11)
MOMENTS = np.array([prod(range(1, power, 2)) for power in POWERS], dtype=float)


def even_powers(x):
    return x**POWERS


def line(what: str, figure: str, band: str, holds: bool) -> None:
    print(f"{what:<72} {figure:<30} {band:<16} {'holds' if holds else 'FAILS'}", flush=True)


def weighted_mse(estimates: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Sum over columns of the mean squared relative error, and its Monte Carlo error; estimates (runs, J)."""
    per_run = np.sum((estimates / truth - 1.0) ** 2, axis=1)
    return per_run.mean(), per_run.std(ddof=1) / np.sqrt(len(per_run))


def moments(quick: bool, n_jobs: int) -> None:
    """Even moments of the standard normal, J = 10, 20 000 points, weights 1 / I^2."""
    runs = 20 if quick else 200
    samplers = {
        family: AdaptiveImportanceSampler(law=norm(), family=family, budget=20_000) for family in ("gaussian", "gmm")
    }
    study = SimulationStudy(lambda rng: {"func": even_powers}, samplers, truth=MOMENTS)
    result = study.run(runs, n_jobs=n_jobs, random_state=1)
    plain = np.sum(np.array([prod(range(1, 2 * power, 2)) for power in POWERS]) / MOMENTS**2 - 1) / 20_000
    for family, limit in (("gaussian", 2e-3), ("gmm", 3e-5)):
        table = result.replicates[result.replicates["method"] == family]
        estimates = table.pivot(index="replicate", columns="term", values="estimate")
        estimates = estimates[[f"I[{j}]" for j in range(10)]].to_numpy()
        mse, mcse = weighted_mse(estimates, MOMENTS)
        line(
            f"moments, {family}, {runs} seeds: sum of w MSE", f"{mse:.2e} +- {mcse:.1e}", f"<= {limit:g}", mse <= limit
        )
        if family == "gaussian":
            factor = plain / mse
            line("moments, gaussian: below plain Monte Carlo by", f"{factor:.0f} times", ">= 5000", factor >= 5000)
        # Columns of one method differ in their heavy tails; the mean z tells of bias.
        z = estimates.mean(axis=0) - MOMENTS
        z /= estimates.std(axis=0, ddof=1) / np.sqrt(runs)
        line(
            f"moments, {family}: largest |z| of the mean over seeds",
            f"{np.abs(z).max():.2f}",
            "< 4",
            np.abs(z).max() < 4,
        )
        frame = result.to_frame().query("method == @family")
        ratio = 1 + frame["rel_error_model_se"] / 100
        inside = bool(ratio.between(0.85, 1.15).all())
        line(
            f"moments, {family}: reported / true standard error",
            f"{ratio.min():.2f} to {ratio.max():.2f}",
            "0.85 to 1.15",
            inside,
        )
        seconds = frame["cpu_seconds"].iloc[0]
        print(f"    ({seconds:.2f} CPU s a run; coverage of 95 % by column "
              f"{frame['coverage'].min():.3f} to {frame['coverage'].max():.3f})")  # fmt: skip


def beams(quick: bool) -> None:
    """One function, 100 laws, 20 000 points in all, uniform weights: against plain Monte Carlo at equal calls."""
    runs, reference_size = (4, 2**16) if quick else (20, 2**19)
    func, laws = make_perturbed_beams(100, random_state=0)
    rng = stream(root_seed(0), "validation beams", Purpose.DATA, 0)
    reference, variance = np.empty(100), np.empty(100)
    for j, law in enumerate(laws):
        y = func(law.rvs(reference_size, random_state=rng))[:, 0]
        reference[j], variance[j] = y.mean(), y.var()
    separate = variance.sum() / 200
    mixed_points = np.concatenate([law.rvs(5_000, random_state=rng) for law in laws])
    log_densities = np.stack([law.logpdf(mixed_points) for law in laws], axis=1)
    log_mixture = np.logaddexp.reduce(log_densities, axis=1) - np.log(100)
    mixture = np.var(func(mixed_points) * np.exp(log_densities - log_mixture[:, None]), axis=0).sum() / 20_000
    totals, seconds = [], []
    for seed in range(runs):
        started = process_time()
        est = AdaptiveImportanceSampler(laws=laws, weights="uniform", budget=20_000, random_state=seed).fit(func)
        est = est.estimate()
        seconds.append(process_time() - started)
        totals.append(np.sum((est.value - reference) ** 2))
    total, mcse = np.mean(totals), np.std(totals, ddof=1) / np.sqrt(runs)
    # The reference's own error is part of the measured one.
    own = variance.sum() / reference_size
    print(f"    (sum of squared errors {total:.3g} +- {mcse:.1g}, of which the reference's own {own:.2g})")
    for name, peer, limit in (("mixture of the laws", mixture, 12), ("200 calls a law", separate, 25)):
        factor, error = peer / (total - own), peer / (total - own) ** 2 * mcse
        what = f"100 beams, {runs} seeds: below Monte Carlo, {name}, by"
        line(what, f"{factor:.1f} +- {error:.1f} times", f">= {limit}", factor >= limit)
    line("100 beams: one run, CPU s (median)", f"{np.median(seconds):.2f}", "<= 3", float(np.median(seconds)) <= 3)


def coverage(quick: bool, n_jobs: int) -> None:
    """95 % intervals: two-stage binomial band for 2000 runs is [0.9335, 0.9655] (alpha = 1e-3)."""
    runs = 200 if quick else 2000
    low, high = (0.885, 0.99) if quick else (0.9335, 0.9655)
    small = {"law": norm(), "budget": 4_000}
    controls = ("own", "all", "crossfit", "regression", "none")
    methods = {control: AdaptiveImportanceSampler(control=control, **small) for control in controls}
    methods["gmm"] = AdaptiveImportanceSampler(family="gmm", **small)
    methods["split"] = AdaptiveImportanceSampler(signed="split", **small)
    study = SimulationStudy(lambda rng: {"func": lambda x: x ** np.array([1, 2, 4])}, methods, truth=[0.0, 1.0, 3.0])
    report(study.run(runs, n_jobs=n_jobs, random_state=2), "normal moments, 4000 points", low, high)

    gaussian = {"target": log_gaussian, "initial": "laplace", "start": np.zeros(3), "budget": 4_000}
    skewed = {"target": log_gumbel, "initial": "laplace", "start": np.zeros(2), "budget": 4_000}
    study = SimulationStudy(lambda rng: {}, {"own": AdaptiveImportanceSampler(**gaussian)}, truth=[1.0, 0.0, -1.0])
    report(study.run(runs, n_jobs=n_jobs, random_state=3), "Gaussian target, 4000 points", low, high)
    study = SimulationStudy(lambda rng: {}, {"own": AdaptiveImportanceSampler(**skewed)}, truth=[np.euler_gamma] * 2)
    report(study.run(runs, n_jobs=n_jobs, random_state=4), "Gumbel target, 4000 points", low, high)


def log_gaussian(x):
    return -0.5 * np.sum((x - [1.0, 0.0, -1.0]) ** 2 / [1.0, 4.0, 0.01], axis=1)


def log_gumbel(x):
    """Two independent Gumbel laws, whose right tail is heavier than any Gaussian's; mean: Euler's constant."""
    return np.sum(-x - np.exp(-x), axis=1)


def report(result, setting: str, low: float, high: float) -> None:
    frame = result.to_frame()
    for row in frame.itertuples():
        figure = f"{row.coverage:.4f} +- {row.coverage_mcse:.4f}"
        what = f"coverage, {setting}, {row.method}, {row.term} (n = {row.n}, {1e3 * row.cpu_seconds:.0f} ms)"
        line(what, figure, f"{low} to {high}", low <= row.coverage <= high)


def posterior(quick: bool) -> None:
    """The demo's posterior: z-scores against long MCMC over seeds."""
    problem = load_logistic_posterior()
    scores = []
    for seed in range(2 if quick else 20):
        est = AdaptiveImportanceSampler(
            target=problem.log_density, initial="laplace", start=np.zeros(31), weights="uniform", budget=40_000,
            random_state=seed,
        ).fit().estimate()  # fmt: skip
        scores.append((est.value - problem.reference_mean) / np.hypot(est.std_error, problem.reference_mcse))
    scores = np.array(scores)
    rms = float(np.sqrt(np.mean(scores**2)))
    line(
        f"logistic posterior, {scores.size} coefficients x seeds: rms z",
        f"{rms:.3f}",
        "0.85 to 1.15",
        0.85 <= rms <= 1.15,
    )
    line("logistic posterior: largest |z|", f"{np.abs(scores).max():.2f}", "< 5", np.abs(scores).max() < 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["moments", "beams", "coverage", "posterior"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=2)
    given = parser.parse_args()
    for part in given.parts:
        if part == "moments":
            moments(given.quick, given.n_jobs)
        elif part == "beams":
            beams(given.quick)
        elif part == "coverage":
            coverage(given.quick, given.n_jobs)
        else:
            posterior(given.quick)


if __name__ == "__main__":
    main()
