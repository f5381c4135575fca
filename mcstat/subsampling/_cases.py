"""One small problem with a known answer for each method of the room; the contract tests run on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcstat.core.registry import Case


def lp_sampler() -> Case:
    """Column totals of |a|^1.5 of a matrix with a few long rows."""
    from mcstat.subsampling import LpSampler

    matrix = np.random.default_rng(0).normal(size=(2_000, 3))
    matrix[:10] *= 30
    totals = (np.abs(matrix) ** 1.5).sum(axis=0)
    return Case(
        estimator=LpSampler(p=1.5, n_samples=200, random_state=0),
        fit={"X": matrix},
        truth={f"x{j + 1}": float(total) for j, total in enumerate(totals)},
    )


def lp_regressor() -> Case:
    """Median regression with Student's t errors."""
    from mcstat.subsampling import LpRegressor

    return Case(
        estimator=LpRegressor(p=1),
        fit=_student_regression(np.random.default_rng(0)),
        truth={"intercept": 1.0, "x1": 2.0, "x2": -1.0},
        draw=_student_regression,
    )


def merge_reduce_coreset() -> Case:
    """Column totals of |a| of a stream of 3000 rows."""
    from mcstat.subsampling import MergeReduceCoreset

    matrix = np.random.default_rng(1).standard_t(4, size=(3_000, 2))
    return Case(
        estimator=MergeReduceCoreset(p=1, n_samples=200, random_state=0),
        fit={"X": matrix},
        truth={f"x{j + 1}": float(total) for j, total in enumerate(np.abs(matrix).sum(axis=0))},
    )


def online_sampler() -> Case:
    """Column sums of squares of a stream."""
    from mcstat.subsampling import OnlineSampler

    matrix = np.random.default_rng(2).normal(size=(3_000, 2))
    return Case(
        estimator=OnlineSampler(oversampling=30, random_state=0),
        fit={"X": matrix},
        truth={f"x{j + 1}": float(total) for j, total in enumerate((matrix**2).sum(axis=0))},
    )


def coreset() -> Case:
    """Column sums of squares from a lightweight coreset for k-means."""
    from mcstat.subsampling import Coreset

    matrix = np.random.default_rng(3).normal(loc=(0.0, 3.0), size=(2_000, 2))
    return Case(
        estimator=Coreset("kmeans", n_samples=200, random_state=0),
        fit={"X": matrix},
        truth={f"x{j + 1}": float(total) for j, total in enumerate((matrix**2).sum(axis=0))},
    )


def rs2() -> Case:
    """A line with noise of variance one: the mean squared error of a good fit."""
    from sklearn.linear_model import SGDRegressor

    from mcstat.subsampling import RS2Estimator

    return Case(
        estimator=RS2Estimator(SGDRegressor(), n_rounds=20, validation_fraction=0.3, random_state=0),
        fit=_uniform_noise(np.random.default_rng(4)),
        truth={"mean squared error": 1.0},
        draw=_uniform_noise,
    )


def balanced_sgd() -> Case:
    """A large and a small domain that share a line: the mean squared error of a good fit in each."""
    from sklearn.linear_model import SGDRegressor

    from mcstat.subsampling import BalancedSGD

    return Case(
        estimator=BalancedSGD(
            SGDRegressor(), strategy="cooldown", n_iter=50, validation_fraction=0.4, n_evaluations=2, random_state=0
        ),
        fit=_two_domains(np.random.default_rng(5)),
        truth={"mean squared error[0.0]": 1.0, "mean squared error[1.0]": 1.0},
        draw=_two_domains,
    )


def _two_domains(rng: np.random.Generator) -> dict[str, Any]:
    return _uniform_noise(rng) | {"groups": np.repeat([0.0, 1.0], [1_000, 500])}


def _uniform_noise(rng: np.random.Generator) -> dict[str, Any]:
    X = rng.normal(size=(1_500, 2))
    return {"X": X, "y": X @ [1.0, -1.0] + rng.uniform(-np.sqrt(3), np.sqrt(3), size=1_500)}


def _student_regression(rng: np.random.Generator) -> dict[str, Any]:
    X = rng.normal(size=(500, 2))
    return {"X": X, "y": 1.0 + X @ [2.0, -1.0] + rng.standard_t(4, size=500)}
