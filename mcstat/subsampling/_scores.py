"""The scores by which rows are sampled, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.rng import RandomState
from mcstat.core.rows import RowBlocks
from mcstat.subsampling._leverage import leverage_scores
from mcstat.subsampling._lewis import lewis_weights
from mcstat.subsampling._sensitivity import lp_sensitivities, total_sensitivity

__all__ = ["SCORES", "row_scores"]

FloatArray = NDArray[np.float64]
SCORES = ("auto", "lewis", "leverage", "root_leverage", "sensitivity", "sensitivity+leverage", "uniform")

# A residual of a tenth in the Lewis weights changes a sample's probabilities by no more than that.
_LEWIS_TOL = 0.05


def row_scores(X: Any, p: float, score: str, random_state: RandomState) -> tuple[FloatArray, str]:
    """Scores (n,) of the rows of X (n, d), and the name of the score that "auto" chose."""
    if score == "auto":
        score = _choose(X, p, random_state)
    if score == "uniform":
        return np.ones(RowBlocks(X).n_rows), score
    if score == "leverage":
        return leverage_scores(X), score
    if score == "root_leverage":
        return leverage_scores(X) ** (p / 2), score
    if score == "lewis":
        return np.asarray(lewis_weights(X, p, tol=_LEWIS_TOL)), score
    sensitivities = np.asarray(lp_sensitivities(X, p, random_state=random_state))
    if score == "sensitivity":
        return sensitivities, score
    leverage = leverage_scores(X)
    return sensitivities / sensitivities.sum() + leverage / leverage.sum(), score


def _choose(X: Any, p: float, random_state: RandomState) -> str:
    """Lewis weights up to p = 2; beyond, whichever of the two bounds on the number of rows is smaller."""
    if p <= 2:
        return "lewis"
    d = RowBlocks(X).n_columns
    total = float(total_sensitivity(X, p, n_samples=30, method="coreset", random_state=random_state))
    return "lewis" if d ** (p / 2) <= d ** (2 / p) * total ** (2 - 4 / p) else "sensitivity+leverage"
