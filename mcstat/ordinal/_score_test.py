"""Score test of parallel lines, at the proportional-odds fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.ordinal._structure import Differences

__all__ = ["parallel_lines_table"]

FloatArray = NDArray[np.float64]


def parallel_lines_table(
    gradient: FloatArray, hessian: FloatArray, total: float, constant: NDArray[np.bool_], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Statistic, degrees of freedom and p-value for all columns together and for each.

    Parameters
    ----------
    gradient : ndarray, shape (K - 1, 1 + p)
        Of the mean loss in the boundaries, at the fit with common slopes.
    hessian : ndarray, shape (K - 1, 1 + p, K - 1, 1 + p)
    total : float
        Sum of weights.
    constant : ndarray of bool, shape (p,)
        Columns without variation, left out.
    names : tuple of str

    Notes
    -----
    In differences of boundaries, common slopes mean that all but the first boundary's slopes are zero. The statistic
    is n g' S^-1 g with g their gradient and S their Hessian after the other parameters are profiled out.
    """
    from scipy.special import chdtrc

    n_cuts, r = gradient.shape
    differences = Differences(n_cuts, r)
    g, h = differences.gradient(gradient), differences.hessian(hessian)
    place = np.arange(n_cuts * r).reshape(n_cuts, r)
    columns = 1 + np.flatnonzero(~constant)
    nuisance = np.concatenate([place[:, 0], place[0, columns]])

    def statistic(tested: NDArray[np.intp]) -> float:
        profiled = (
            h[np.ix_(tested, tested)]
            - h[np.ix_(tested, nuisance)]
            @ np.linalg.pinv(h[np.ix_(nuisance, nuisance)], hermitian=True)
            @ h[np.ix_(nuisance, tested)]
        )
        return float(total * g[tested] @ np.linalg.pinv(profiled, hermitian=True) @ g[tested])

    rows = [("all", place[1:, columns].ravel())] + [(names[j - 1], place[1:, j]) for j in columns]
    out = []
    for name, tested in rows:
        value = statistic(tested)
        out.append(
            {"column": name, "statistic": value, "df": len(tested), "p_value": float(chdtrc(len(tested), value))}
        )
    return out
