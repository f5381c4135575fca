"""Is the instrument strong enough, and what can be said if not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcstat.causal._base import DoubleML
from mcstat.causal._panel_data import Panel
from mcstat.causal._solve import Score, cluster_sums
from mcstat.core.checks import check_level
from mcstat.core.errors import InvalidParameter

__all__ = ["Instrumented", "anderson_rubin", "first_stage_f"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Instrumented(DoubleML):
    """Adds what is asked of instruments; of one treatment and the first splitting."""

    _panel: Panel

    @property
    def first_stage_f_(self) -> float:
        """Squared clustered t-statistic of the instrument's residual in a regression of the treatment's."""
        return first_stage_f(self._instrumented(), self._sample.cluster)

    def anderson_rubin(self, level: float = 0.95) -> pd.DataFrame:
        """Values of theta that the data do not contradict, however weak the instrument.

        Parameters
        ----------
        level : float

        Returns
        -------
        DataFrame
            ``lower`` and ``upper`` of each piece: one interval, two rays, the whole line, or none.
        """
        from scipy.special import ndtri

        check_level(level)
        pieces = anderson_rubin(self._instrumented(), self._sample.cluster, float(ndtri((1.0 + level) / 2.0)))
        return pd.DataFrame(pieces, columns=["lower", "upper"])

    def _instrumented(self) -> Score:
        self._check_fitted()
        score = self._scores[0][0]
        if score.V.shape[1] != 1 or self._panel.Z is None:
            raise InvalidParameter("questions about an instrument want a fit with z and one treatment, without groups")
        return score


def first_stage_f(score: Score, cluster: IntArray) -> float:
    """(slope / its clustered error)^2 of R on V."""
    v, r = score.V[:, 0], score.R[:, 0]
    size = score.w @ v**2
    slope = (score.w * v) @ r / size
    sums = cluster_sums((score.w * v * (r - slope * v))[:, None], cluster)
    return float(slope**2 * size**2 / (sums**2).sum())


def anderson_rubin(score: Score, cluster: IntArray, z: float) -> list[tuple[float, float]]:
    """Where (sum_g s_g(t))^2 <= z^2 sum_g s_g(t)^2 with s_g(t) = a_g - t b_g: a quadratic inequality."""
    weighted = score.w[:, None] * score.V
    a, b = (
        cluster_sums(weighted * np.column_stack([score.e]), cluster)[:, 0],
        cluster_sums(weighted * score.R, cluster)[:, 0],
    )
    # c2 t^2 + c1 t + c0 <= 0
    c2 = b.sum() ** 2 - z**2 * (b @ b)
    c1 = -2.0 * (a.sum() * b.sum() - z**2 * (a @ b))
    c0 = a.sum() ** 2 - z**2 * (a @ a)
    inside = c1**2 - 4.0 * c2 * c0
    if inside < 0:
        return [] if c2 > 0 else [(-np.inf, np.inf)]
    roots = sorted((-c1 + sign * np.sqrt(inside)) / (2.0 * c2) for sign in (-1.0, 1.0))
    if c2 > 0:
        return [(float(roots[0]), float(roots[1]))]
    return [(-np.inf, float(roots[0])), (float(roots[1]), np.inf)]
