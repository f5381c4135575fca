"""Feynman-Kac correctors: against quadrature, the order of their bias, coverage, and against mixed scores alone.

    python -m validation.torch.fkc [--quick] [--n-jobs 2]

Bands were set before measuring (card of the method and issue of the room). About nine CPU minutes, most of them for
the coverage; quick three seconds.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from math import inf, nan

import numpy as np
import torch

from mcstat.core.errors import ReliabilityWarning
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.study import Claim, ClaimTable
from mcstat.torch.diffusion import EDM, FeynmanKacCorrector, GaussianMixtureDenoiser, make_grid

SCHEDULE = EDM(sigma_min=0.02, sigma_max=80.0)
CARD, ISSUE = "card, exact checks", "issue of the room"


def mixture(weights, means, variances) -> GaussianMixtureDenoiser:
    """In one dimension."""
    return GaussianMixtureDenoiser(weights, np.array(means)[:, None], np.array(variances)[:, None], SCHEDULE)


FIRST = mixture([0.3, 0.7], [-2.0, 1.5], [0.5, 0.3])
SECOND = mixture([0.5, 0.5], [0.0, 2.5], [0.6, 0.4])
PROBLEMS = {
    "annealing, b = 2": ([FIRST], [2.0]),
    "annealing, b = 0.5": ([FIRST], [0.5]),
    "product": ([FIRST, SECOND], [1.0, 1.0]),
    "guidance, w = 2": ([FIRST, SECOND], [-1.0, 2.0]),
}


def truth(models, exponents) -> np.ndarray:
    """Log-normaliser, E[x], E[x^2] and P(x < 0) at the last level, by quadrature."""
    x = torch.linspace(-30.0, 30.0, 200_001, dtype=torch.float64)[:, None]
    density = torch.exp(sum(b * model.logp(x, 0.02) for b, model in zip(exponents, models, strict=True)))
    total, x = density.sum(), x[:, 0]
    means = [float((density * f).sum() / total) for f in (x, x**2, (x < 0).double())]
    return np.array([float(torch.log(total * (x[1] - x[0]))), *means])


def moments(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x**2, (x < 0).to(x)], dim=1)


def fitted(name: str, n_steps: int, n_particles: int, **settings) -> FeynmanKacCorrector:
    models, exponents = PROBLEMS[name]
    grid = make_grid(SCHEDULE, n_steps, "karras")
    settings = {"n_particles": n_particles, "random_state": 0, "verbose": False} | settings
    return FeynmanKacCorrector(models, exponents, grid, **settings).fit()


def against_quadrature(quick: bool) -> list[Claim]:
    """Log-normaliser and moments of the four laws of the card."""
    n_steps, n_particles = (80, 300) if quick else (400, 5000)
    found = []
    for name in PROBLEMS:
        fkc, wanted = fitted(name, n_steps, n_particles), truth(*PROBLEMS[name])
        answers = (fkc.estimate(), fkc.estimate(moments))
        value, error = (np.concatenate([getattr(est, what) for est in answers]) for what in ("value", "std_error"))
        found.append(
            Claim(
                name="largest |error| / standard error of log Z, E x, E x^2, P(x < 0)",
                setting=f"{name}, {n_steps} steps, 10 populations of {n_particles}, extrapolated",
                source=CARD,
                published=None,
                measured=float(np.max(np.abs(value - wanted) / error)),
                mcse=nan,
                # Student's t with 9 degrees of freedom: beyond 8 with probability 2e-5, four of them.
                band=(0.0, 8.0),
                note=", ".join(f"{v:.4f} +- {e:.4f} ({w:.4f})" for v, e, w in zip(value, error, wanted, strict=True)),
            )
        )
    return found


def guidance(quick: bool) -> list[Claim]:
    """The mean under guidance, corrected and by the mixed score alone."""
    n_steps, n_particles = (80, 500) if quick else (400, 20_000)
    name, setting = "guidance, w = 2", f"{n_steps} steps, 10 populations of {n_particles}"
    wanted = truth(*PROBLEMS[name])[1]
    est = fitted(name, n_steps, n_particles).estimate(lambda x: x)
    alone = fitted(name, n_steps, n_particles, ess_threshold=0.0, extrapolate=False).samples_.numpy().mean(axis=(1, 2))
    return [
        Claim(
            name="mean, corrected",
            setting=f"{name}, {setting}; truth {wanted:.4f}",
            source=f"{ISSUE}; card, claims row 1",
            published="4.195 (prototype)",
            measured=float(est),
            mcse=float(est.std_error[0]),
            band=(wanted - 0.05, wanted + 0.05),
            note=f"{abs(float(est) - wanted) / est.std_error[0]:.1f} standard errors from the truth (5 allowed)",
        ),
        Claim(
            name="mean, mixed score alone, distance from the truth",
            setting=f"{name}, {setting}",
            source="card, claims row 1",
            published="2.108 (2.088 against 4.196)",
            measured=float(wanted - alone.mean()),
            mcse=float(alone.std(ddof=1) / 10**0.5),
            band=(1.5, inf),
        ),
    ]


def bias_order(quick: bool) -> list[Claim]:
    """Bias of the log-normaliser at N and 2 N steps, not extrapolated."""
    n_particles, steps = (400, (20, 40)) if quick else (20_000, (50, 100, 200))
    name, found = "guidance, w = 2", []
    wanted = truth(*PROBLEMS[name])[0]
    for integrator in ("euler", "exponential"):
        answers = [
            fitted(name, n, n_particles, integrator=integrator, extrapolate=False, random_state=k).estimate()
            for k, n in enumerate(steps)
        ]
        bias = np.array([float(est) for est in answers]) - wanted
        error = np.array([est.std_error[0] for est in answers])
        relative = error / np.abs(bias)
        found.append(
            Claim(
                name="order of the bias of log Z, from the first and the last number of steps",
                setting=f"{name}, {integrator}, {' / '.join(map(str, steps))} steps",
                source=ISSUE,
                published="1",
                measured=float(np.log(np.abs(bias[0] / bias[-1])) / np.log(steps[-1] / steps[0])),
                mcse=float(np.hypot(relative[0], relative[-1]) / np.log(steps[-1] / steps[0])),
                band=(0.8, 1.2) if integrator == "euler" else None,
                note=" / ".join(f"{b:.4f} +- {e:.4f}" for b, e in zip(bias, error, strict=True)),
            )
        )
    return found


def covers(name: str, n_steps: int, wanted: float, seed: int) -> bool:
    est = fitted(name, n_steps, 200, random_state=seed).estimate()
    lower, upper = est.conf_int(0.95).iloc[0]
    return bool(lower <= wanted <= upper)


def coverage(quick: bool, n_jobs: int) -> list[Claim]:
    """Two stages: 400 intervals, and 4000 more where the first look wrong (false alarms 1e-6)."""
    from scipy.stats import binom

    n_steps, stages = (60, [(6, 1e-2)]) if quick else (200, [(400, 1e-2), (4000, 1e-4)])
    found = []
    for name in ("annealing, b = 0.5", "guidance, w = 2")[: 1 if quick else 2]:
        wanted, start = truth(*PROBLEMS[name])[0], 0
        for n, rate in stages:
            task = partial(covers, name, n_steps, wanted)
            seeds = range(start, start + n)
            hits = map_tasks(task, seeds, n_jobs=n_jobs, prefer="processes", label="coverage", verbose=False)
            band = (float(binom.ppf(rate / 2, n, 0.95) / n), float(binom.isf(rate / 2, n, 0.95) / n))
            share, start = float(np.mean(hits)), start + n
            if band[0] <= share <= band[1]:
                break
        found.append(
            Claim(
                name="coverage of the 95 % interval of log Z",
                setting=f"{name}, {n_steps} steps extrapolated, 10 populations of 200, {n} intervals",
                source=ISSUE,
                published="0.95",
                measured=share,
                mcse=float(np.sqrt(0.95 * 0.05 / n)),
                band=band,
            )
        )
    return found


def forty_modes() -> GaussianMixtureDenoiser:
    """Of weights 1 to 4 and variance 4 in the square of side 60."""
    rng = np.random.default_rng(40)
    schedule = EDM(sigma_min=0.05, sigma_max=300.0)
    return GaussianMixtureDenoiser(rng.uniform(1, 4, 40), rng.uniform(-30, 30, (40, 2)), 4.0, schedule)


def power_samples(model: GaussianMixtureDenoiser, power: int, n: int) -> np.ndarray:
    """From the power of a mixture, by rejection of its own samples."""
    rng, kept = np.random.default_rng(1), []
    top = float(model.logp(torch.tensor(model.means), 0.05).max()) + 0.5
    k = 0
    while sum(map(len, kept)) < n:
        x = model.sample(10 * n, t=0.05, random_state=k)
        accepted = np.log(rng.random(len(x))) < (power - 1) * (model.logp(x, 0.05).numpy() - top)
        kept.append(x.numpy()[accepted])
        k += 1
    return np.concatenate(kept)[:n]


def sliced_distance(x: np.ndarray, weights: np.ndarray, y: np.ndarray) -> float:
    """Sliced Wasserstein distance of order 2 of weighted points and plain ones, over 64 directions."""
    angles, total = np.pi * (np.arange(64) + 0.5) / 64, 0.0
    places = (np.arange(2000) + 0.5) / 2000
    for angle in angles:
        direction = np.array([np.cos(angle), np.sin(angle)])
        one = x @ direction
        order = np.argsort(one)
        below = np.cumsum(weights[order]) / weights.sum()
        a = one[order][np.minimum(np.searchsorted(below, places), len(one) - 1)]
        total += np.mean((a - np.quantile(y @ direction, places)) ** 2)
    return float(np.sqrt(total / len(angles)))


def many_modes(quick: bool) -> list[Claim]:
    """Lower temperature of 40 modes in the plane: weights against the scaled score alone."""
    n_particles, n_steps, n_populations = (300, 60, 2) if quick else (2000, 400, 10)
    model = forty_modes()
    exact = power_samples(model, 3, 1000 if quick else 20_000)
    grid = make_grid(model.schedule, n_steps, "karras")
    distances = {}
    for label, threshold in (("weights", 0.5), ("scores alone", 0.0)):
        settings = {"n_particles": n_particles, "n_populations": n_populations, "ess_threshold": threshold}
        settings |= {"extrapolate": False, "random_state": 0, "verbose": False}
        with warnings.catch_warnings():
            # Without resampling the weights collapse; they are not used.
            warnings.simplefilter("ignore", ReliabilityWarning)
            fkc = FeynmanKacCorrector(model, 3.0, grid, **settings).fit()
        weights = np.exp(fkc.log_weights_ - fkc.log_weights_.max(axis=1, keepdims=True))
        used = weights if threshold else np.ones_like(weights)
        distances[label] = np.array(
            [sliced_distance(x.numpy(), w, exact) for x, w in zip(fkc.samples_, used, strict=True)]
        )
    ratios = distances["weights"] / distances["scores alone"].mean()
    return [
        Claim(
            name="sliced Wasserstein distance to the exact law, weights over scaled score alone",
            setting=f"40 modes in the plane, b = 3, {n_steps} steps, {n_populations} runs of {n_particles} particles",
            source="card, claims row 2",
            published="weights improve the distances",
            measured=float(ratios.mean()),
            mcse=float(ratios.std(ddof=1) / len(ratios) ** 0.5),
            band=(0.0, 0.7),
            scale_ok=not quick,
            note=f"{distances['weights'].mean():.2f} against {distances['scores alone'].mean():.2f}"
            + ("; too few steps for the weights" if quick else ""),
        )
    ]


def scaling(quick: bool) -> list[Claim]:
    """Spread of one population's log-normaliser over the number of particles."""
    sizes, n_populations, n_steps = ((64, 256), 10, 30) if quick else ((64, 256, 1024, 4096), 100, 100)
    spreads = []
    for k, n_particles in enumerate(sizes):
        settings = {"n_populations": n_populations, "extrapolate": False, "random_state": k}
        logs = fitted("guidance, w = 2", n_steps, n_particles, **settings).log_normalisers_
        spreads.append(logs.std(ddof=1))
    logs = np.log(sizes) - np.mean(np.log(sizes))
    return [
        Claim(
            name="slope of the log spread of log Z in log K",
            setting=f"guidance, w = 2, {n_steps} steps, K = {', '.join(map(str, sizes))}, {n_populations} populations",
            source="card, claims row 3",
            published="-1/2",
            measured=float(logs @ np.log(spreads) / (logs @ logs)),
            mcse=float(1 / np.sqrt(2 * (n_populations - 1) * (logs @ logs))),
            band=(-0.65, -0.35),
            note=" / ".join(f"{one:.4f}" for one in spreads),
        )
    ]


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """All claims; ``quick`` in three seconds."""
    with single_threaded():
        parts = [against_quadrature(quick), guidance(quick), bias_order(quick), coverage(quick, n_jobs)]
        parts += [many_modes(quick), scaling(quick)]
    table = ClaimTable(claim for part in parts for claim in part)
    return table.first_look() if quick else table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    given = parser.parse_args()
    print(claims(given.quick, given.n_jobs))


if __name__ == "__main__":
    main()
