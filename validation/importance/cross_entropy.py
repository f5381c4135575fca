"""CrossEntropy on limit states of known probability: error, coverage, families and ladders side by side.

    python -m validation.importance.cross_entropy [--quick] [--n-jobs N]

About 25 CPU minutes, with ``--quick`` seven seconds. References: half-spaces and two-sided events in closed form; the
parabolic limit state and the four-branch series system by one-dimensional quadrature to 1e-10 (the latter in rotated
axes, s along and t across: failure is abs(s) >= 3 + 0.2 t^2 or abs(t) >= 3.5).
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass, field
from functools import partial
from time import process_time

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import binom

from mcstat.core.errors import MCStatWarning
from mcstat.core.parallel import map_tasks
from mcstat.importance import AdaptiveImportanceSampler, CrossEntropy
from mcstat.importance._vmfnm import Vmfnm
from mcstat.study import Claim, ClaimTable

BUDGET, BETA = 20_000, 3.5
MOST_ERROR = 0.10
# Coverage of the nominal 95 %: a right interval leaves this band once in a thousand times.
BAND_LEVEL = 1e-3
FEWEST_FOR_COVERAGE = 400


def half_space(x):
    return BETA * np.sqrt(x.shape[1]) - x.sum(axis=1)


def two_sided(x):
    return BETA - np.abs(x[:, 0])


def parabola(x):
    return 5 - x[:, 1] - 0.5 * (x[:, 0] - 0.1) ** 2


def four_branches(x):
    near = 3 + 0.1 * (x[:, 0] - x[:, 1]) ** 2
    along, across = (x[:, 0] + x[:, 1]) / np.sqrt(2), x[:, 0] - x[:, 1]
    return np.minimum.reduce([near - along, near + along, 7 / np.sqrt(2) - across, 7 / np.sqrt(2) + across])


def normal_pdf(t):
    return np.exp(-t * t / 2) / np.sqrt(2 * np.pi)


def parabola_probability():
    def given(t):
        return normal_pdf(t) * ndtr(-(5 - 0.5 * (t - 0.1) ** 2))

    return quad(given, -12, 12, epsabs=0, epsrel=1e-10, limit=500, points=[-3, 0, 3])[0]


def four_branches_probability():
    inner = quad(lambda t: normal_pdf(t) * 2 * ndtr(-(3 + 0.2 * t * t)), -3.5, 3.5, epsabs=0, epsrel=1e-11)[0]
    return inner + 2 * ndtr(-3.5)


@dataclass(frozen=True)
class Problem:
    """A limit state in standard normal space, its probability, and settings that it wants."""

    g: object
    dim: int
    truth: float
    options: dict = field(default_factory=dict)


PROBLEMS = {
    "half-space, d = 2": Problem(half_space, 2, ndtr(-BETA)),
    "half-space, d = 20": Problem(half_space, 20, ndtr(-BETA)),
    "half-space, d = 100": Problem(half_space, 100, ndtr(-BETA)),
    "two sides, d = 2": Problem(two_sided, 2, 2 * ndtr(-BETA)),
    "two sides, d = 20": Problem(two_sided, 20, 2 * ndtr(-BETA)),
    "parabola": Problem(parabola, 2, parabola_probability()),
    "four branches": Problem(four_branches, 2, four_branches_probability()),
}
QUICK = ("half-space, d = 2", "four branches")
FAMILIES = {"gaussian": 1, "gmm": 4, "vmfnm": 2}


def one_run(problem: Problem, options: dict, seed: int):
    """Value, standard error, whether the 95 % interval covers, whether warned, CPU seconds."""
    started = process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCStatWarning)
        sampler = CrossEntropy(problem.dim, **({"budget": BUDGET, "verbose": False} | problem.options | options))
        est = sampler.set_params(random_state=seed).fit(problem.g).estimate()
    lower, upper = est.conf_int().to_numpy()[0]
    covers = lower <= problem.truth <= upper
    return est.value[0], est.std_error[0], covers, bool(est.warnings), process_time() - started


def runs(name: str, n: int, n_jobs: int, **options):
    """(n, 5) columns of ``one_run``, relative to the truth."""
    problem = PROBLEMS[name]
    # One stream a run; the label of the setting keeps settings apart.
    found = map_tasks(
        partial(one_run, problem, options), range(n), n_jobs=n_jobs, prefer="processes", label=name, verbose=False
    )
    table = np.array(found, dtype=float)
    table[:, :2] /= problem.truth
    return table


def accuracy(name: str, table, source: str, band=None, published=None, setting=""):
    """Relative root mean square error with its Monte Carlo error."""
    squares = (table[:, 0] - 1) ** 2
    error = float(np.sqrt(squares.mean()))
    return Claim(
        name="relative error at 20 000 calls",
        setting=name + setting,
        source=source,
        published=published,
        measured=error,
        mcse=float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * error)),
        band=band,
        note=(
            f"bias {table[:, 0].mean() - 1:+.3f}, mean reported error {table[:, 1].mean():.3f}, covered "
            f"{table[:, 2].mean():.2f}, warned {table[:, 3].mean():.2f}, {np.median(table[:, 4]):.2f} CPU s a run"
        ),
    )


def coverage(name: str, table, setting=""):
    """Share of intervals that cover, judged by the exact binomial law."""
    n, rate = len(table), float(table[:, 2].mean())
    ends = binom.ppf([BAND_LEVEL / 2, 1 - BAND_LEVEL / 2], n, 0.95) / n
    return Claim(
        name="coverage of the 95 % interval",
        setting=f"{name}{setting}, {n} runs",
        source="ours",
        measured=rate,
        mcse=float(np.sqrt(rate * (1 - rate) / n)),
        band=(float(ends[0]), float(ends[1])),
        scale_ok=n >= FEWEST_FOR_COVERAGE,
        note="" if n >= FEWEST_FOR_COVERAGE else f"{n} runs only show gross errors",
    )


def member_claims():
    """The standard normal law is the member m = d/2, Omega = d, kappa = 0."""
    worst = 0.0
    for d in (2, 5, 20, 100):
        x = np.random.default_rng(0).standard_normal((1000, d))
        law = Vmfnm(np.ones(1), np.eye(d)[:1], np.zeros(1), np.array([d / 2]), np.array([float(d)]))
        exact = -0.5 * (np.sum(x**2, axis=1) + d * np.log(2 * np.pi))
        worst = max(worst, float(np.abs(law.logpdf(x) - exact).max()))
    return ClaimTable(
        [
            Claim(
                name="log density of N(0, I) as a von Mises-Fisher-Nakagami law, largest error",
                setting="d = 2, 5, 20, 100",
                source="card, family",
                published="1e-14 (d = 2, 5, 20)",
                measured=worst,
                band=(0.0, 1e-13),
            )
        ]
    )


def adaptive_claims(n: int):
    """The same half-space by AdaptiveImportanceSampler(family="vmfnm")."""
    from scipy.stats import multivariate_normal

    claims = []
    for d in (20, 50):
        law = multivariate_normal(np.zeros(d), np.eye(d))
        errors = []
        for seed in range(n):
            sampler = AdaptiveImportanceSampler(
                law, family="vmfnm", n_components=1, budget=BUDGET, random_state=seed, verbose=False
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MCStatWarning)
                est = sampler.fit(lambda x, d=d: x.sum(axis=1) > 2.5 * np.sqrt(d)).estimate()
            errors.append(est.value[0] / ndtr(-2.5) - 1)
        squares = np.array(errors) ** 2
        error = float(np.sqrt(squares.mean()))
        claims.append(
            Claim(
                name="relative error of AdaptiveImportanceSampler(family='vmfnm')",
                setting=f"half-space, P = Phi(-2.5), d = {d}, {n} runs",
                source="ours",
                measured=error,
                mcse=float(squares.std(ddof=1) / np.sqrt(n) / (2 * error)),
            )
        )
    return ClaimTable(claims)


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """All figures: exact check 11 of the card, coverage, and every ladder and family on every problem."""
    few, many = (2, 6) if quick else (50, 2000)
    table = member_claims()
    for name in PROBLEMS:
        d = PROBLEMS[name].dim
        found = runs(name, min(many, 400) if d == 100 else many, n_jobs)
        promised = name.startswith("half-space")
        table += [
            accuracy(
                name,
                found,
                "card, exact check 11" if promised else "ours",
                (0.0, MOST_ERROR) if promised else None,
                "10 % or less" if promised else None,
                ", defaults",
            ),
            coverage(name, found, ", defaults"),
        ]
    for name in QUICK if quick else PROBLEMS:
        for levels in ("smooth", "quantile"):
            for family, members in FAMILIES.items():
                options = {"levels": levels, "family": family, "n_components": members}
                found = runs(name, few, n_jobs, **options)
                table += [accuracy(name, found, "ours", setting=f", {levels}, {family} {members}, {few} runs")]
    for defensive in (0.0, 0.1):
        options = {"levels": "quantile", "family": "gaussian", "defensive": defensive}
        found = runs("half-space, d = 2", few * 4, n_jobs, **options)
        table += [accuracy("half-space, d = 2", found, "ours", setting=f", classical, defensive = {defensive}")]
    return table + adaptive_claims(few)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    print(claims(arguments.quick, arguments.n_jobs))


if __name__ == "__main__":
    main()
