"""The effect in one cell from its comparisons, over all random splittings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._group_time_cells import (
    Cell,
    Compared,
    Found,
    doubly_robust,
    experimental,
    outcome_regression,
    weighting,
)
from mcstat.causal._group_time_learn import CrossFits
from mcstat.causal._sensitivity import loss
from mcstat.causal._staggered import Part, Staggered

__all__ = ["CellEffect", "cell_effect"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CellEffect:
    """Effect, and what confounding could do to it.

    Attributes
    ----------
    value : float
    influence : ndarray, shape (n,)
    scale : float
        S of :class:`~mcstat.causal._sensitivity.Loss`; NaN where the outcome has no model.
    scale_influence : ndarray, shape (n,)
    clipped : int
        Propensities that were.
    """

    value: float
    influence: FloatArray
    scale: float
    scale_influence: FloatArray
    clipped: int


def cell_effect(
    panel: Staggered, cell: Cell, method: str, fits: CrossFits, n_rep: int, clip: float, normalize: bool
) -> CellEffect:
    """Mean over the splittings where something is learnt."""
    parts = panel.parts(cell.period, cell.base)
    if method not in ("dr", "experimental"):
        n_rep = 1
    one = [
        _combine(panel, cell, parts, [_compare(panel, cell, part, method, fits, k, clip, normalize) for part in parts])
        for k in range(n_rep)
    ]
    return CellEffect(
        float(np.mean([found.value for found in one])),
        np.mean([found.influence for found in one], axis=0),
        float(np.mean([found.scale for found in one])),
        np.mean([found.scale_influence for found in one], axis=0),
        max(found.clipped for found in one),
    )


def _compare(
    panel: Staggered, cell: Cell, part: Part, method: str, fits: CrossFits, k: int, clip: float, normalize: bool
) -> Found:
    rows = np.flatnonzero(cell.compared & part.seen)
    design = np.column_stack([np.ones(len(rows)), panel.covariates_at(cell.base)[rows]])
    c = Compared(part.values[rows], cell.treated[rows].astype(np.float64), panel.weights[rows], design)
    if method in ("means", "reg"):
        return outcome_regression(c)
    if method == "ipw":
        return weighting(c, clip)
    mu = fits.outcome(cell, part, k)[rows]
    if method == "experimental":
        return experimental(c, mu, fits.outcome_treated(cell, part, k)[rows])
    return doubly_robust(c, mu, fits.propensity(cell, k)[rows], clip, normalize)


def _combine(panel: Staggered, cell: Cell, parts: Sequence[Part], found: Sequence[Found]) -> CellEffect:
    """Comparisons of different units, or of all of them at once, with their signs."""
    n, compared, w = len(panel.first), cell.compared, panel.weights
    influence, residual, riesz, moment = np.zeros((4, n))
    for part, one in zip(parts, found, strict=True):
        rows = np.flatnonzero(compared & part.seen)
        influence[rows] = part.sign * n / len(rows) * one.influence
        if one.residual is None or one.riesz is None:
            continue
        # Means over the part become weighted means over all compared.
        share = w[compared].sum() / len(rows)
        residual[rows], riesz[rows] = one.residual, part.sign * share * one.riesz
        # Where there is no better one, alpha^2 itself.
        moment[rows] = riesz[rows] ** 2 if one.moment is None else share**2 * one.moment
    value = float(sum(part.sign * one.effect for part, one in zip(parts, found, strict=True)))
    clipped, scale, scale_influence = sum(one.clipped for one in found), np.nan, np.zeros(n)
    if found[0].residual is not None:
        lost = loss(residual[compared], riesz[compared], moment[compared], w[compared])
        scale, scale_influence[compared] = lost.scale, n * lost.parts
    return CellEffect(value, influence, scale, scale_influence, clipped)
