"""One small problem with a known answer for each method of the room; the contract tests run on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from mcstat.core.registry import Case

_ALPHA, _BETA = (0.0, 2.0), (1.0, -0.5)


def proportional_odds() -> Case:
    """Three classes, two columns, common slopes."""
    from mcstat.ordinal import ProportionalOdds

    return Case(
        estimator=ProportionalOdds(),
        fit=_draw(np.random.default_rng(0)),
        truth={"0.0|1.0": _ALPHA[0], "1.0|2.0": _ALPHA[1], "x1": _BETA[0], "x2": _BETA[1]},
        draw=_draw,
    )


def rare_logit() -> Case:
    """The last of the three classes: its log-odds are minus those of the last boundary."""
    from mcstat.ordinal import RareLogit

    return Case(
        estimator=RareLogit(),
        fit=_draw(np.random.default_rng(0)),
        truth={"intercept": -_ALPHA[1], "x1": -_BETA[0], "x2": -_BETA[1]},
        draw=_draw,
    )


def presto_classifier() -> Case:
    """The same rows with a penalty on what is zero in truth, differences of slopes; elsewhere it would bias."""
    from mcstat.ordinal import PRESTOClassifier

    return Case(
        estimator=PRESTOClassifier(0.002, penalize_first=False, n_draws=100, random_state=0),
        fit=_draw(np.random.default_rng(0)),
        truth={"1.0|2.0": _ALPHA[1], "x1": _BETA[0], "x2": _BETA[1]},
        draw=_draw,
        long={"n_draws": 200_000},
    )


def _draw(rng: Generator, n: int = 300) -> dict[str, Any]:
    """Rows of a proportional-odds model."""
    X = rng.normal(size=(n, 2))
    below = 1.0 / (1.0 + np.exp(-(np.array(_ALPHA) + (X @ np.array(_BETA))[:, None])))
    return {"X": X, "y": np.sum(rng.random((n, 1)) > below, axis=1).astype(np.float64)}
