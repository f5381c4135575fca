"""Panels in which treatment begins at different times."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcstat.core.checks import check_integer, check_real
from mcstat.core.rng import Purpose, RandomState, root_seed, stream

__all__ = ["make_did"]


def make_did(
    n_units: int = 500, n_periods: int = 5, *, confounding: float = 1.0, random_state: RandomState = None
) -> dict[str, Any]:
    """Staggered treatment whose effect is 1 in the first period and grows by 1 in each later one.

    Units with larger covariates are treated earlier, and their outcome grows faster: trends are parallel given the
    covariates only. With standard normal x, unit effects and noise, and cohorts g = 2, ..., T and never::

        drive = confounding (x1 + x2) / 2
        P(g) ~ exp(drive (T + 1 - g) / T),    y_t = a + t + drive t + effect + noise

    Parameters
    ----------
    n_units : int
    n_periods : int
        T, at least 2.
    confounding : float
        0 makes trends parallel without covariates.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    dict
        ``y`` (n,), ``X`` (n, 2), ``unit``, ``time`` (1, ..., T) and ``first_treated`` (n,), infinity for never, sorted
        by unit and time; ``effect`` (n,), the true effect in each row.
    """
    n, periods = check_integer("n_units", n_units, 1), check_integer("n_periods", n_periods, 2)
    strength = check_real("confounding", confounding)
    rng = stream(root_seed(random_state), "make_did", Purpose.DATA, 0)
    X = rng.normal(size=(n, 2))
    drive = strength * X.sum(axis=1) / 2.0
    # The last of the cohorts is never treated.
    cohorts = np.append(np.arange(2.0, periods + 1.0), np.inf)
    earliness = np.append(periods + 1.0 - cohorts[:-1], 0.0) / periods
    scores = np.outer(drive, earliness) + rng.gumbel(size=(n, len(cohorts)))
    first = cohorts[np.argmax(scores, axis=1)]
    time = np.arange(1.0, periods + 1.0)
    effect = np.maximum(time - first[:, None] + 1.0, 0.0)
    y = rng.normal(size=(n, 1)) + time + np.outer(drive, time) + effect + rng.normal(size=(n, periods))
    return {
        "y": y.ravel(), "X": np.repeat(X, periods, axis=0), "unit": np.repeat(np.arange(n), periods),
        "time": np.tile(time, n), "first_treated": np.repeat(first, periods), "effect": effect.ravel(),
    }  # fmt: skip
