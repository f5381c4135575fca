"""Compensation ratios for guidance scales and step counts that were not searched."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from mcstat.core.checks import check_array, check_integer, check_real
from mcstat.core.errors import InvalidData

__all__ = ["CascadePolynomialRegression"]

FloatArray = NDArray[np.float64]
# The first steps are not compensated.
_FREE_STEPS = 2


class CascadePolynomialRegression(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Ratios of :class:`DCSolver` as a polynomial of step, guidance scale and number of steps.

    The ratio of step j of n at guidance w is sum over p, q, r of C[p, q, r] z^p c^q u^r with z = j / n, c = w / 12
    and u = n / 50, q and r up to 2; 1 for j < 3. The published cascade of three regressions is this one.

    Parameters
    ----------
    degree : int
        Highest power of z.

    Attributes
    ----------
    coef_ : ndarray, shape (degree + 1, 3, 3)

    References
    ----------
    Zhao, Wang, Zhou, Lu (2024). DC-Solver. ECCV. arXiv:2409.03755.
    """

    def __init__(self, degree: int = 4) -> None:
        self.degree = degree

    def fit(self, guidance: ArrayLike, nfe: ArrayLike, ratios: list[ArrayLike]) -> Self:
        """Least squares over all steps of all searches.

        Parameters
        ----------
        guidance : array_like, shape (m,)
            Guidance scale of each search.
        nfe : array_like of int, shape (m,)
            Its steps.
        ratios : list of m array_like, shape (nfe[k],)
            Its ratios.

        Returns
        -------
        self

        Raises
        ------
        InvalidData
            Lengths that do not fit, or no step to learn from.

        Notes
        -----
        Where there are fewer scales or step counts than powers, the coefficients of least norm are taken.
        """
        check_integer("degree", self.degree)
        scales, counts = check_array("guidance", guidance, 1), check_array("nfe", nfe, 1)
        if not len(scales) == len(counts) == len(ratios):
            raise InvalidData(
                f"guidance, nfe and ratios must have one length, got {len(scales)}, {len(counts)}, {len(ratios)}"
            )
        rows, values = [], []
        for scale, count, searched in zip(scales, counts, ratios, strict=True):
            found = check_array("ratios", searched, 1)
            if len(found) != count:
                raise InvalidData(f"ratios must hold one for each of {count:g} steps, got {len(found)}")
            rows.append(self._features(scale, int(count)))
            values.append(found[_FREE_STEPS:])
        table = np.concatenate(rows) if rows else np.empty((0, 0))
        if len(table) == 0:
            raise InvalidData("ratios must hold at least one search of 3 steps or more")
        self.coef_ = np.linalg.lstsq(table, np.concatenate(values), rcond=None)[0].reshape(-1, 3, 3)
        return self

    def predict(self, guidance: float, nfe: int) -> FloatArray:
        """Ratios of all steps (nfe,)."""
        check_is_fitted(self)
        count = check_integer("nfe", nfe, 1)
        learned = self._features(check_real("guidance", guidance), count) @ self.coef_.ravel()
        return np.concatenate([np.ones(min(count, _FREE_STEPS)), learned])

    def _features(self, guidance: float, nfe: int) -> FloatArray:
        """Powers of z, c and u for steps 3 to nfe: (nfe - 2, 9 (degree + 1))."""
        z = np.arange(_FREE_STEPS + 1, nfe + 1) / nfe
        c, u = guidance / 12.0, nfe / 50.0
        powers = np.vander(z, self.degree + 1, increasing=True)
        products: FloatArray = np.einsum("jp,q,r->jpqr", powers, c ** np.arange(3), u ** np.arange(3))
        return products.reshape(len(z), 9 * (self.degree + 1))
