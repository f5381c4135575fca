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


def multiple_importance_sampler() -> Case:
    """Even moments of a standard normal from its own points and from a wider normal law."""
    from scipy.stats import norm

    from mcstat.importance import MultipleImportanceSampler

    return Case(
        estimator=MultipleImportanceSampler([norm(), norm(scale=2.5)], law=norm(), budget=4_000, random_state=0),
        fit={"func": even_moments, "names": ["x^2", "x^4", "x^6"]},
        truth={"x^2": 1.0, "x^4": 3.0, "x^6": 15.0},
        long={"budget": 30_000_000},
    )


def amis() -> Case:
    """Moments of a normal law known up to its constant: mean 1, second moment 1.25."""
    from scipy.stats import norm

    from mcstat.importance import AMIS

    return Case(
        estimator=AMIS(log_bell, initial=norm(scale=5), budget=4_000, random_state=0),
        fit={"func": two_moments, "names": ["x", "x^2"]},
        truth={"x": 1.0, "x^2": 1.25},
        long={"budget": 30_000_000, "n_iter": 3_000},
    )


def log_bell(x: np.ndarray) -> np.ndarray:
    """(n, 1) to (n,): log density of N(1, 0.25) without its constant."""
    return np.asarray(-2.0 * (x[:, 0] - 1.0) ** 2)


def two_moments(x: np.ndarray) -> np.ndarray:
    """(n, 1) to (n, 2)."""
    return np.asarray(x ** np.array([1, 2]))


def control_variates() -> Case:
    """E[exp(X)] under N(0, 1), with x and x^2 as regressors."""
    from scipy.stats import norm

    from mcstat.importance import ControlVariates

    return Case(
        estimator=ControlVariates(two_moments, means=[0.0, 1.0], law=norm(), budget=4_000, random_state=0),
        fit={"func": np.exp, "names": ["exp"]},
        truth={"exp": float(np.exp(0.5))},
        long={"budget": 30_000_000},
    )
