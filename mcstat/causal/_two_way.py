"""The two-way fixed-effects regression, which is what staggered treatment is often given and should not be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._staggered import Staggered
from mcstat.core.errors import InvalidData

__all__ = ["two_way_effect"]

FloatArray = NDArray[np.float64]


def two_way_effect(panel: Staggered) -> tuple[float, FloatArray]:
    """Coefficient of being treated beside unit (or cohort) and period effects, and influence values (n,).

    With effects that differ between cohorts or grow with time it is a mean of them with weights of either sign
    (Goodman-Bacon 2021, de Chaisemartin and D'Haultfoeuille 2020).
    """
    data, n = panel.long(), len(panel.first)
    w = panel.weights[data.unit]
    treated = (panel.clock[data.period] >= panel.first[data.unit]).astype(np.float64)
    columns = np.column_stack([data.y, treated, np.eye(len(panel.clock))[data.period][:, 1:]])
    total = np.bincount(data.fixed, w)
    for j in range(columns.shape[1]):
        columns[:, j] -= (np.bincount(data.fixed, w * columns[:, j]) / total)[data.fixed]
    # Frisch and Waugh: what is left of outcome and treatment when period dummies have explained what they can.
    root = np.sqrt(w)[:, None]
    slopes = np.linalg.lstsq(root * columns[:, 2:], root * columns[:, :2], rcond=None)[0]
    y, d = (columns[:, :2] - columns[:, 2:] @ slopes).T
    bread = float(w @ d**2)
    if bread < 1e-10 * len(d):
        raise InvalidData("treatment does not vary beyond unit and period effects")
    effect = float(w @ (d * y)) / bread
    scores = np.bincount(data.unit, w * d * (y - effect * d), n)
    return effect, n * scores / bread
