"""Perturbed-law indices on linear limit states of normal inputs, whose failure probabilities are known.

``python -m validation.importance.perturbed_law_indices [--quick]``; about four CPU minutes, quick ten seconds. It
also has the figures behind the choice of one sample for all laws over re-weighting a sample learned for P alone.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial

import numpy as np
from scipy.stats import multivariate_normal, norm

from mcstat.core.errors import ReliabilityWarning
from mcstat.core.parallel import map_tasks
from mcstat.importance import AdaptiveImportanceSampler, PerturbedLawIndices
from mcstat.importance._perturbed import perturbed_indices
from mcstat.study import Claim, ClaimTable

SLOPES = np.array([1.0, 2.0, 3.0, 0.0]) / np.sqrt(14.0)
D = len(SLOPES)
DELTAS = np.array([-1.0, -0.5, 0.5, 1.0])
SHIFTS = np.vstack([np.zeros(D), *[delta * np.eye(D)[i] for i in range(D) for delta in DELTAS]])
BUDGET = 20_000


def failure(x: np.ndarray, beta: float) -> np.ndarray:
    return (beta - x @ SLOPES <= 0) * 1.0


def limit_state(x: np.ndarray, beta: float) -> np.ndarray:
    return beta - x @ SLOPES


def truth(beta: float) -> np.ndarray:
    return perturbed_indices(norm.cdf(SHIFTS @ SLOPES - beta))[0]


def together(beta: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and their errors from one sample for all laws."""
    pli = PerturbedLawIndices([norm()] * D, deltas=DELTAS, budget=BUDGET, random_state=seed, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReliabilityWarning)
        est = pli.fit(partial(limit_state, beta=beta)).estimate()
    return est.value, est.std_error


def reweighted(beta: float, seed: int) -> np.ndarray:
    """Indices from a sample that was learned for P, weighted for the other laws."""
    sampler = AdaptiveImportanceSampler(
        law=multivariate_normal(np.zeros(D)), budget=BUDGET, random_state=seed, verbose=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReliabilityWarning)
        sampler.fit(partial(failure, beta=beta))
        found = sampler.for_laws([multivariate_normal(shift) for shift in SHIFTS])
    return perturbed_indices(found.value[1:])[0]


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Bias, coverage and the comparison, at P = 0.023 and P = 0.0013."""
    runs = 4 if quick else 100
    rows = []
    for beta in (2.0, 3.0):
        setting = f"P = {norm.cdf(-beta):.2g}, 4 normal inputs, 16 shifts, {BUDGET} points, {runs} seeds"
        found = map_tasks(partial(together, beta), range(runs), n_jobs=n_jobs, label="all laws")
        values, errors = (np.array(one) for one in zip(*found, strict=True))
        others = np.array(map_tasks(partial(reweighted, beta), range(runs), n_jobs=n_jobs, label="for_laws"))
        expected = truth(beta)
        z = (values.mean(axis=0) - expected) / np.sqrt(np.mean(errors**2, axis=0) / runs)
        covered = np.abs(values - expected) <= norm.ppf(0.975) * errors
        rates = covered.mean(axis=1)
        ours = np.sqrt(np.mean((values - expected) ** 2, axis=0))
        ratio = float(np.mean(np.sqrt(np.mean((others - expected) ** 2, axis=0)) / ours))
        rows += [
            Claim(
                name="largest |z| of the mean index over seeds",
                setting=setting,
                source="closed form",
                measured=float(np.abs(z).max()),
                mcse=1.0,
                band=(-np.inf, 4.0),
            ),
            Claim(
                name="coverage of 95 % intervals, mean of 16 indices",
                setting=setting,
                source="ours",
                measured=float(rates.mean()),
                mcse=float(rates.std(ddof=1) / np.sqrt(runs)),
                band=(0.92, 0.98),
                scale_ok=not quick,
                note=f"{runs} seeds are too few" if quick else "",
            ),
            Claim(
                name="error of re-weighting a sample learned for P over that of one for all laws",
                setting=setting,
                source="ours",
                measured=ratio,
                note="why all laws are asked for at once",
            ),
        ]
    return ClaimTable(rows).first_look() if quick else ClaimTable(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    given = parser.parse_args()
    print(claims(given.quick, given.n_jobs))


if __name__ == "__main__":
    main()
