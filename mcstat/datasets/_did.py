"""Staggered treatment of groups whose trends depend on covariates."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcstat.core.checks import check_integer
from mcstat.core.rng import Purpose, RandomState, root_seed, stream

__all__ = ["make_did"]


def make_did(n_units: int = 500, n_periods: int = 6, *, random_state: RandomState = None) -> dict[str, Any]:
    """Units that are treated from period 3, 4 or 5 on, or never; the effect is 1 at first and grows by 1 a period.

    With X_i uniform on (-1, 1)^2, standard normal noise and a normal unit effect that differs between groups::

        y_it = t (1 + x1) + unit effect + (t - g + 1) 1{t >= g} + noise

    The probability of being treated rises with x1: without covariates trends are not parallel.

    Parameters
    ----------
    n_units, n_periods : int
        At least 5 periods, which are 1, 2, ...
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    dict
        ``y`` (n,), ``X`` (n, 2), ``unit`` (n,), ``time`` (n,), ``first_treated`` (n,) with 0 for never, sorted by unit
        and time; and ``effect``, which takes time since treatment to the true effect.
    """
    units, periods = check_integer("n_units", n_units, 10), check_integer("n_periods", n_periods, 5)
    rng = stream(root_seed(random_state), "make_did", Purpose.DATA, 0)
    X = rng.uniform(-1.0, 1.0, size=(units, 2))
    treated = rng.random(units) < 0.6 + 0.25 * X[:, 0]
    first = np.where(treated, rng.integers(3, 6, size=units), 0)
    time = np.arange(1, periods + 1)
    level = rng.normal(size=units) + 0.5 * first
    since = np.where(first[:, None] > 0, time - first[:, None], -1)
    y = time * (1.0 + X[:, :1]) + level[:, None] + np.maximum(since + 1, 0) + rng.normal(size=(units, periods))
    return {
        "y": y.ravel(),
        "X": np.repeat(X, periods, axis=0),
        "unit": np.repeat(np.arange(units), periods),
        "time": np.tile(time, units),
        "first_treated": np.repeat(first, periods),
        "effect": {e: float(e + 1) for e in range(periods - 2)},
    }
