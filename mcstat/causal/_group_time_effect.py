"""The effect in one cell from its comparisons, over all random splittings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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

__all__ = ["CROSS_FITTED", "CellEffect", "cell_effect"]

FloatArray = NDArray[np.float64]
# Methods that learn nuisance functions out of fold.
CROSS_FITTED = ("dr", "dr_efficient", "experimental")


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
    if method not in CROSS_FITTED:
        n_rep = 1
    one = []
    for k in range(n_rep):
        found = [_compare(panel, cell, part, method, fits, k, clip, normalize) for part in parts]
        more = [(0.0, np.zeros(len(panel.first)))] * len(parts)
        if method == "dr_efficient":
            more = [_all_less_own(panel.weights, cell.treated, part, _gap(cell, part, fits, k)) for part in parts]
        one.append(_combine(panel, cell, parts, found, more))
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
    found = doubly_robust(c, mu, fits.propensity(cell, k)[rows], clip, normalize)
    if method == "dr_efficient":
        return replace(found, residual=c.y - mu - c.d * _gap(cell, part, fits, k)[rows])
    return found


def _gap(cell: Cell, part: Part, fits: CrossFits, k: int) -> FloatArray:
    """What units would differ by as treated and as controls, (n,)."""
    return fits.outcome_treated(cell, part, k) - fits.outcome(cell, part, k)


def _all_less_own(
    weights: FloatArray, treated: NDArray[np.bool_], part: Part, gap: FloatArray
) -> tuple[float, FloatArray]:
    """Mean gap of the treated of both periods less that of the treated seen in one, and its influence (n,).

    It is 0 on average where covariates of the treated do not change between the periods, and then takes out of the
    comparison what comes from who happened to be seen in which (Sant'Anna and Zhao 2020, section 3.2).
    """
    everyone, own = weights * treated, weights * (treated & part.seen)
    everyone, own = everyone / everyone.sum(), own / own.sum()
    above, below = everyone @ gap, own @ gap
    return float(above - below), len(gap) * (everyone * (gap - above) - own * (gap - below))


def _combine(
    panel: Staggered,
    cell: Cell,
    parts: Sequence[Part],
    found: Sequence[Found],
    more: Sequence[tuple[float, FloatArray]],
) -> CellEffect:
    """Comparisons of different units, or of all of them at once, with their signs, and what is added to each."""
    n, compared, w = len(panel.first), cell.compared, panel.weights
    influence, residual, riesz, moment = np.zeros((4, n))
    for part, one, (_, beside) in zip(parts, found, more, strict=True):
        rows = np.flatnonzero(compared & part.seen)
        influence[rows] += part.sign * n / len(rows) * one.influence
        influence += part.sign * beside
        if one.residual is None or one.riesz is None:
            continue
        # Means over the part become weighted means over all compared.
        share = w[compared].sum() / len(rows)
        residual[rows], riesz[rows] = one.residual, part.sign * share * one.riesz
        # Where there is no better one, alpha^2 itself.
        moment[rows] = riesz[rows] ** 2 if one.moment is None else share**2 * one.moment
    value = float(sum(part.sign * (one.effect + add) for part, one, (add, _) in zip(parts, found, more, strict=True)))
    clipped, scale, scale_influence = sum(one.clipped for one in found), np.nan, np.zeros(n)
    if found[0].residual is not None:
        lost = loss(residual[compared], riesz[compared], moment[compared], w[compared])
        scale, scale_influence[compared] = lost.scale, n * lost.parts
    return CellEffect(value, influence, scale, scale_influence, clipped)
