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


def cross_entropy() -> Case:
    """A half-space at distance 3 from the origin of the plane: Phi(-3) = 0.00135."""
    from scipy.stats import norm

    from mcstat.importance import CrossEntropy

    return Case(
        estimator=CrossEntropy(2, budget=4_000, random_state=0),
        fit={"g": distance_to_half_space},
        truth={"probability": float(norm.cdf(-3.0))},
        long={"budget": 30_000_000, "max_explore": 1e-3, "batch": 2e-4},
    )


def distance_to_half_space(x: np.ndarray) -> np.ndarray:
    """(n, d) to (n,): 3 sqrt(d) - sum of the coordinates."""
    return np.asarray(3.0 * np.sqrt(x.shape[1]) - x.sum(axis=1))


def perturbed_law_indices() -> Case:
    """Linear limit state 2 - (3 x1 + 4 x2) / 5 of standard normals: P = Phi(-2), and Phi(-2 + a_i d) under a shift."""
    from scipy.stats import norm

    from mcstat.importance import PerturbedLawIndices
    from mcstat.importance._perturbed import perturbed_indices

    shifts = np.array([0.0, -0.3, 0.3, -0.4, 0.4])
    truth, _ = perturbed_indices(norm.cdf(-2 + shifts))
    labels = [f"PLI[{name}, {delta}]" for name in ("x1", "x2") for delta in ("-0.5", "+0.5")]
    return Case(
        estimator=PerturbedLawIndices([norm(), norm()], deltas=[-0.5, 0.5], budget=4_000, random_state=0),
        fit={"func": linear_limit_state},
        truth=dict(zip(labels, truth.tolist(), strict=True)),
    )


def linear_limit_state(x: np.ndarray) -> np.ndarray:
    """(n, 2) to (n,)."""
    return np.asarray(2 - x @ np.array([0.6, 0.8]))


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
