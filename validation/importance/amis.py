"""What the standard errors of AMIS are worth, and what re-weighting all rounds gains.

``python -m validation.importance.amis [--quick]``; about three CPU minutes, quick three seconds.

Theory bounds neither the bias of AMIS nor the error of its standard error, so the coverage of its intervals is
measured: on a normal, on a skewed law, on two far modes, and on the paper's banana, with many and with few rounds.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import multivariate_normal, norm

from mcstat.core.errors import ReliabilityWarning
from mcstat.core.parallel import map_tasks
from mcstat.importance import AMIS
from mcstat.study import Claim, ClaimTable

TWIST = 0.03


def bell(x: np.ndarray) -> np.ndarray:
    return -2.0 * (x[:, 0] - 1.0) ** 2


def gumbel(x: np.ndarray) -> np.ndarray:
    """Two independent Gumbel laws: right tails heavier than any Gaussian's."""
    return np.sum(-x - np.exp(-x), axis=1)


def two_modes(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(np.log(0.3) - 2 * np.sum((x - 3) ** 2, axis=1), np.log(0.7) - 2 * np.sum((x + 3) ** 2, axis=1))


def banana(x: np.ndarray) -> np.ndarray:
    """The paper's twisted Gaussian in two dimensions: variance 100 along x_1, bent by 0.03."""
    return -0.5 * (x[:, 0] ** 2 / 100 + (x[:, 1] + TWIST * (x[:, 0] ** 2 - 100)) ** 2)


@dataclass(frozen=True)
class Problem:
    """A target with its mean and log normaliser, and where AMIS starts."""

    target: Callable[[np.ndarray], np.ndarray]
    mean: np.ndarray
    log_normaliser: float
    initial: Any
    settings: dict[str, Any] = field(default_factory=dict)


def normal(d: int, sd: float) -> Any:
    return norm(scale=sd) if d == 1 else multivariate_normal(np.zeros(d), sd**2 * np.eye(d))


PROBLEMS = {
    "normal": Problem(bell, np.array([1.0]), 0.5 * np.log(np.pi / 2), normal(1, 5.0)),
    "normal, 2 rounds": Problem(bell, np.array([1.0]), 0.5 * np.log(np.pi / 2), normal(1, 5.0), {"n_iter": 2}),
    "normal, 50 rounds": Problem(bell, np.array([1.0]), 0.5 * np.log(np.pi / 2), normal(1, 5.0), {"n_iter": 50}),
    "Gumbel": Problem(gumbel, np.full(2, np.euler_gamma), 0.0, normal(2, 3.0)),
    "two modes": Problem(two_modes, np.full(2, -1.2), np.log(np.pi / 2), normal(2, 4.0), {"n_components": 2}),
    "banana": Problem(banana, np.zeros(2), np.log(2 * np.pi * 10), normal(2, 12.0), {"n_components": 3}),
}
BUDGET = 4_000
# Coverage of 1000 runs; fewer than 100 say nothing.
BAND, FEWEST = (0.925, 0.975), 100


def run(problem: Problem, seed: int, budget: int = BUDGET) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimates and standard errors of the means and the log normaliser, and the means without re-weighting."""
    settings = {"budget": budget, "random_state": seed, "verbose": False} | problem.settings
    sampler = AMIS(problem.target, initial=problem.initial, **settings).fit()
    estimate = sampler.estimate()
    value = np.append(estimate.value, estimate.diagnostics["log_mean_weight"])
    error = np.append(estimate.std_error, estimate.diagnostics["log_mean_weight_std_error"])
    x, labels = sampler.sample_, sampler.strata_
    own = np.concatenate([h.logpdf(x[labels == t]) for t, h in enumerate(sampler.proposals_)])
    log_weights = problem.target(x) - own
    weights = np.exp(log_weights - log_weights.max())
    return value, error, weights @ x / weights.sum()


def problem_claims(name: str, problem: Problem, runs: int, n_jobs: int) -> list[Claim]:
    small = {"scale_ok": runs >= FEWEST, "note": "" if runs >= FEWEST else f"{runs} seeds are too few"}
    found = map_tasks(partial(run, problem), range(runs), n_jobs=n_jobs, label=name)
    values, errors, alone = (np.array(column) for column in zip(*found, strict=True))
    truth = np.append(problem.mean, problem.log_normaliser)
    inside = np.abs(values - truth) <= 1.959964 * errors
    covered, spread = inside.mean(axis=0), values.std(axis=0, ddof=1)
    farthest = int(np.argmax(np.abs(covered - 0.95)))
    rms = np.sqrt(np.mean(errors**2, axis=0))
    ratio = rms / spread
    bias = (values.mean(axis=0) - truth) / spread
    settings = ", ".join(f"{key} = {value}" for key, value in ({"n_iter": 10} | problem.settings).items())
    setting = f"{name}, {BUDGET} points, {settings}, {runs} seeds"
    worse = (
        np.sum((alone - problem.mean) ** 2, axis=1).mean() / np.sum((values[:, :-1] - problem.mean) ** 2, axis=1).mean()
    )
    return [
        Claim(name="coverage of 95 % intervals, farthest of means and log normaliser", setting=setting, source="ours",
              published="0.95", measured=covered[farthest],
              mcse=np.sqrt(0.95 * 0.05 / runs), band=BAND, **small),
        Claim(name="reported over true error, farthest from 1", setting=setting, source="ours",
              published="0.85 to 1.15", measured=ratio[np.argmax(np.abs(ratio - 1))], mcse=1 / np.sqrt(2 * runs),
              band=(0.85, 1.15), **small),
        Claim(name="largest bias in units of the true error", setting=setting, source="ours",
              published=None, measured=np.abs(bias).max(), mcse=1 / np.sqrt(runs), band=(-np.inf, 0.25), **small),
        Claim(name="squared error with each round's own weights over that with re-weighting", setting=setting,
              source="Cornuet and others 2012: 'substantial improvement'", published="> 1", measured=worse,
              band=(1.0, np.inf), **small),
    ]  # fmt: skip


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """All problems; bands set before measuring."""
    runs = 10 if quick else 1_000
    table: list[Claim] = []
    with warnings.catch_warnings():
        # Whether the sampler itself saw a heavy tail is another matter.
        warnings.simplefilter("ignore", ReliabilityWarning)
        for name, problem in PROBLEMS.items():
            table += problem_claims(name, problem, runs, n_jobs)
    return ClaimTable(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    given = parser.parse_args()
    print(claims(given.quick, given.n_jobs))


if __name__ == "__main__":
    main()
