"""The claims about adaptive importance sampling with control variates, measured again.

``python -m validation.importance.adaptive_importance_sampler [--quick] [moments] [beams] [coverage] [posterior]``

Bands were set before measuring (card of the method and issue of the room) and are printed beside every figure.
"""

from __future__ import annotations

import argparse
from math import inf, nan, prod
from time import process_time

import numpy as np
from scipy.stats import norm

from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.datasets import load_logistic_posterior, make_perturbed_beams
from mcstat.importance import AdaptiveImportanceSampler
from mcstat.study import Claim, ClaimTable, SimulationStudy

POWERS = 2 * np.arange(1, 11)
MOMENTS = np.array([prod(range(1, power, 2)) for power in POWERS], dtype=float)


def even_powers(x):
    return x**POWERS


def claim(name: str, setting: str, source: str, published: str | None, measured, mcse, band, **more):
    """One claim."""
    return Claim(
        name=name, setting=setting, source=source, published=published, measured=float(measured), mcse=float(mcse),
        band=band, **more,
    )  # fmt: skip


def weighted_mse(estimates: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Sum over columns of the mean squared relative error, and its Monte Carlo error; estimates (runs, J)."""
    per_run = np.sum((estimates / truth - 1.0) ** 2, axis=1)
    return per_run.mean(), per_run.std(ddof=1) / np.sqrt(len(per_run))


def moments(quick: bool, n_jobs: int) -> ClaimTable:
    """Even moments of the standard normal, J = 10, 20 000 points, weights 1 / I^2."""
    runs = 2 if quick else 200
    samplers = {
        family: AdaptiveImportanceSampler(law=norm(), family=family, budget=20_000) for family in ("gaussian", "gmm")
    }
    study = SimulationStudy(lambda rng: {"func": even_powers}, samplers, truth=MOMENTS)
    result = study.run(runs, n_jobs=n_jobs, random_state=1, verbose=False)
    plain = np.sum(np.array([prod(range(1, 2 * power, 2)) for power in POWERS]) / MOMENTS**2 - 1) / 20_000
    claims = []
    for family, row, limit in (("gaussian", 1, 2e-3), ("gmm", 2, 3e-5)):
        setting, source = f"10 even moments of N(0, 1), {family}, {runs} seeds", f"card, claims row {row}"
        table = result.replicates[result.replicates["method"] == family]
        estimates = table.pivot(index="replicate", columns="term", values="estimate")
        estimates = estimates[[f"I[{j}]" for j in range(10)]].to_numpy()
        mse, mcse = weighted_mse(estimates, MOMENTS)
        if family == "gaussian":
            factor = plain / mse
            what, figure = "variance below plain Monte Carlo by", "over 1000, about 8000 times"
            claims.append(claim(what, setting, source, figure, factor, factor * mcse / mse, (5000, inf)))
        claims.append(claim("sum of w MSE", setting, source, None, mse, mcse, (-inf, limit)))
        # Columns of one method differ in their heavy tails; the mean z tells of bias.
        z = estimates.mean(axis=0) - MOMENTS
        z /= estimates.std(axis=0, ddof=1) / np.sqrt(runs)
        what = "largest |z| of the mean over seeds"
        claims.append(claim(what, setting, "card, exact check 5", None, np.abs(z).max(), nan, (-inf, 4)))
        frame = result.to_frame().query("method == @family")
        worst = frame.loc[frame["rel_error_model_se"].abs().idxmax()]
        ratio, error = 1 + worst["rel_error_model_se"] / 100, worst["rel_error_model_se_mcse"] / 100
        what, figure = "reported / true standard error, worst of 10", "1.01 to 1.05 (prototype)"
        claims.append(claim(what, setting, "card, exact check 5", figure, ratio, error, (0.85, 1.15)))
    return ClaimTable(claims)


def beams(quick: bool) -> ClaimTable:
    """One function, 100 laws, 20 000 points in all, uniform weights: against plain Monte Carlo at equal calls."""
    runs, reference_size, mixed_size = (2, 2**13, 100) if quick else (20, 2**19, 5_000)
    func, laws = make_perturbed_beams(100, random_state=0)
    rng = stream(root_seed(0), "validation beams", Purpose.DATA, 0)
    reference, variance = np.empty(100), np.empty(100)
    for j, law in enumerate(laws):
        y = func(law.rvs(reference_size, random_state=rng))[:, 0]
        reference[j], variance[j] = y.mean(), y.var()
    separate = variance.sum() / 200
    mixed_points = np.concatenate([law.rvs(mixed_size, random_state=rng) for law in laws])
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
    setting, claims = f"cantilever beam, 100 laws, 20 000 points, {runs} seeds", []
    for name, peer, figure, limit in (("the mixture of the laws", mixture, "14 times", 12),
                                      ("200 calls a law", separate, "30 times", 25)):  # fmt: skip
        factor, error = peer / (total - own), peer / (total - own) ** 2 * mcse
        what = f"variance below Monte Carlo with {name} by"
        claims.append(claim(what, setting, "card, claims row 4", figure, factor, error, (limit, inf)))
    spread = float(np.subtract(*np.percentile(seconds, [75, 25])))
    what, source = "one run, CPU time (median)", "issue of the room"
    claims.append(claim(what, setting, source, None, np.median(seconds), spread, (-inf, 3), unit="s"))
    return ClaimTable(claims)


def coverage(quick: bool, n_jobs: int) -> ClaimTable:
    """95 % intervals: two-stage binomial band for 2000 runs is [0.9335, 0.9655] (level 1e-3)."""
    runs = 200 if quick else 2000
    band = (0.885, 0.99) if quick else (0.9335, 0.9655)
    small = {"law": norm(), "budget": 4_000}
    controls = ("own", "all", "crossfit", "regression", "none")
    methods = {control: AdaptiveImportanceSampler(control=control, **small) for control in controls}
    methods["gmm"] = AdaptiveImportanceSampler(family="gmm", **small)
    methods["split"] = AdaptiveImportanceSampler(signed="split", **small)
    gaussian = {"target": log_gaussian, "initial": "laplace", "start": np.zeros(3), "budget": 4_000}
    skewed = {"target": log_gumbel, "initial": "laplace", "start": np.zeros(2), "budget": 4_000}
    moments_fit = {"func": lambda x: x ** np.array([1, 2, 4])}
    settings = (
        ("normal moments", moments_fit, methods, [0.0, 1.0, 3.0]),
        ("Gaussian target", {}, {"own": AdaptiveImportanceSampler(**gaussian)}, [1.0, 0.0, -1.0]),
        ("Gumbel target", {}, {"own": AdaptiveImportanceSampler(**skewed)}, [np.euler_gamma] * 2),
    )
    claims = []
    for seed, (name, fit, methods, truth) in enumerate(settings, start=2):
        study = SimulationStudy(lambda rng, fit=fit: fit, methods, truth=truth)
        for row in study.run(runs, n_jobs=n_jobs, random_state=seed, verbose=False).to_frame().itertuples():
            what, setting = f"coverage of {row.term}, {row.method}", f"{name}, 4000 points, {row.n} replicates"
            claims.append(claim(what, setting, "level of the interval", "0.95", row.coverage, row.coverage_mcse, band))
    return ClaimTable(claims)


def log_gaussian(x):
    return -0.5 * np.sum((x - [1.0, 0.0, -1.0]) ** 2 / [1.0, 4.0, 0.01], axis=1)


def log_gumbel(x):
    """Two independent Gumbel laws, whose right tail is heavier than any Gaussian's; mean: Euler's constant."""
    return np.sum(-x - np.exp(-x), axis=1)


def posterior(quick: bool) -> ClaimTable:
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
    setting = f"logistic posterior, 31 coefficients, {len(scores)} seeds, against long MCMC"
    error = rms / np.sqrt(2 * scores.size)
    source = "issue of the room"
    return ClaimTable(
        [
            claim("root mean square of z", setting, source, None, rms, error, (0.85, 1.15)),
            claim("largest |z|", setting, source, None, np.abs(scores).max(), nan, (-inf, 5)),
        ]
    )


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """The card's claims; in full also coverage and the demo's posterior."""
    table = moments(quick, n_jobs) + beams(quick)
    return table.first_look() if quick else table + coverage(quick, n_jobs) + posterior(quick)


def main() -> None:
    parts = {
        "moments": moments,
        "beams": lambda quick, n_jobs: beams(quick),
        "coverage": coverage,
        "posterior": lambda quick, n_jobs: posterior(quick),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=2)
    given = parser.parse_args()
    for part in given.parts or parts:
        print(parts[part](given.quick, given.n_jobs), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
