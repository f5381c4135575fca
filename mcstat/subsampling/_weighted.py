"""What every sample of weighted rows shares: Horvitz-Thompson totals with their design variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData
from mcstat.core.estimate import Estimate
from mcstat.core.rng import entropy_of

__all__ = ["WeightedSample"]

FloatArray = NDArray[np.float64]


class WeightedSample(Estimator):
    """Base of samplers: ``rows_`` (m, d) and ``weights_`` (m,), how often each was drawn and was to be expected."""

    rows_: FloatArray
    weights_: FloatArray
    design: str = "poisson"
    _counts: FloatArray
    _expected: FloatArray
    _names: tuple[str, ...] | None
    _root: SeedSequence
    _n_rows: int
    _seconds: float

    def estimate(self, target: Callable[[FloatArray], ArrayLike] | None = None) -> Estimate:
        """Horvitz-Thompson estimate of totals over all rows.

        Parameters
        ----------
        target : callable, optional
            Function of rows (m, d) that gives (m,) or (m, q) values whose totals over all n rows are estimated.
            Default: the columns' totals of what the method keeps (``|a_ij|^p`` unless its page says otherwise).

        Returns
        -------
        Estimate
            Kind ``"monte_carlo"``. Its covariance is unbiased for the Poisson design and draws with replacement, and
            Hajek's approximation for the fixed design.
        """
        self._check_fitted()
        if target is None:
            values = self._default_values(self.rows_)
            names = self._names or tuple(f"x{j + 1}" for j in range(values.shape[1]))
        else:
            values = check_array("target(rows)", target(self.rows_), (1, 2))
            values = values[:, None] if values.ndim == 1 else values
            names = tuple(f"total{j + 1}" for j in range(values.shape[1]))
        if len(values) != len(self.rows_):
            raise InvalidData(f"target must give one value a row, got shape {values.shape} for {len(self.rows_)} rows")
        weighted = self.weights_[:, None] * values
        return Estimate(
            value=weighted.sum(axis=0),
            cov=self._covariance(weighted),
            names=names,
            kind="monte_carlo",
            estimand="total over all rows",
            method=type(self).__name__,
            diagnostics={"rows": len(self.rows_), **self._diagnostics()},
            info={
                "parameters": self._settings(),
                "entropy": entropy_of(self._root),
                "n": self._n_rows,
                "seconds": self._seconds,
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )

    def _default_values(self, rows: FloatArray) -> FloatArray:
        raise NotImplementedError

    def _diagnostics(self) -> dict[str, Any]:
        return {}

    def _covariance(self, weighted: FloatArray) -> FloatArray:
        """Design covariance of the column sums of weighted values (m, q)."""
        if self.design == "with_replacement":
            m = self._counts.sum()
            a_draw = weighted / self._counts[:, None] - weighted.sum(axis=0) / m
            return np.asarray((self._counts[:, None] * a_draw).T @ a_draw * m / (m - 1))
        thinning = 1.0 - self._expected
        if self.design == "fixed" and thinning.sum() > 0:
            weighted = weighted - thinning @ weighted / thinning.sum()
            thinning = thinning * len(weighted) / max(len(weighted) - 1, 1)
        return np.asarray((thinning[:, None] * weighted).T @ weighted)
