"""One small problem with a known answer for each method of the room; the contract tests run on them."""

from __future__ import annotations

import numpy as np

from mcstat.core.registry import Case


def adaptive_importance_sampler() -> Case:
    """Even moments of a standard normal: E[X^2], E[X^4], E[X^6] = 1, 3, 15."""
    from scipy.stats import norm

    from mcstat.importance import AdaptiveImportanceSampler

    return Case(
        estimator=AdaptiveImportanceSampler(law=norm(), budget=4_000, random_state=0),
        fit={"func": even_moments, "names": ["x^2", "x^4", "x^6"]},
        truth={"x^2": 1.0, "x^4": 3.0, "x^6": 15.0},
        long={"budget": 30_000_000, "max_explore": 1e-3, "batch": 2e-4},
    )


def even_moments(x: np.ndarray) -> np.ndarray:
    """(n, 1) to (n, 3)."""
    return np.asarray(x ** np.array([2, 4, 6]))


def sobol_indices() -> Case:
    """Ishigami's function: three inputs, two of them in an interaction."""
    from mcstat.datasets import make_ishigami
    from mcstat.importance import SobolIndices

    problem = make_ishigami()
    return Case(
        estimator=SobolIndices(problem.law, names=problem.names, budget=10_240, random_state=0),
        fit={"model": problem.model},
        truth=problem.truth(),
        long={"budget": 30_000_000, "n_randomisations": 512},
    )
