"""lp and quantile regression with a duality gap on the full data."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Self
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin, clone

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, check_integer, check_real
from mcstat.core.errors import InvalidData, InvalidParameter, RankWarning, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.gram import whiten
from mcstat.core.parallel import single_threaded
from mcstat.core.rows import RowBlocks
from mcstat.core.supervised import check_features, check_regression
from mcstat.subsampling._interior import check_loss, quantile_by_interior_point
from mcstat.subsampling._reweighting import lp_by_reweighting, rounding_loss
from mcstat.subsampling._sampler import LpSampler
from mcstat.subsampling._sandwich import sandwich

__all__ = ["LpRegressor"]

FloatArray = NDArray[np.float64]


class LpRegressor(RegressorMixin, Estimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Linear regression that minimises ``sum |y - X b|^p``, or the check loss of a quantile, with a proven gap.

    Parameters
    ----------
    p : float
        Order of the loss, >= 1; 1 is least absolute deviations.
    quantile : float
        In (0, 1); other than 0.5 only for p = 1: the conditional quantile that is fitted.
    sampler : LpSampler, optional
        Solve on a sample of the rows of [X y] instead of on all, then take one certified step on the full data
        (p > 1). The sampler's own ``p`` is not used.
    fit_intercept : bool
    tol : float
        Relative duality gap to reach.
    max_iter : int

    Attributes
    ----------
    coef_ : ndarray, shape (d,)
    intercept_ : float
    objective_ : float
        The loss on the full data: sum ``|r|^p``, or sum of the check loss times two (so that 0.5 is the l1 norm).
    lower_bound_ : float
        No coefficients have a smaller loss on the full data. (A sampled fit with p = 1 has none: -inf.)
    gap_ : float
        ``(objective_ - lower_bound_) / objective_``.
    n_iter_ : int

    Notes
    -----
    p > 1: iteratively reweighted least squares, damped for p > 2. After each solve y* = weights * residual satisfies
    X' y* = 0, so that ``(y* . y / |y*|_q)^p``, 1/p + 1/q = 1, is a lower bound. p = 1: the Frisch-Newton interior point
    method, which carries its dual solution. O(n d^2) a step; some 10 steps for p = 1.5, 25 for p = 4, 15 for p = 1.

    Standard errors of ``estimate()`` are those of an M-estimator under independent observations (sandwich; for p = 1
    with the kernel estimate of the density at zero of Powell and the bandwidth of Hall and Sheather). They are
    about the population's coefficients and leave out what a sampled fit adds.

    References
    ----------
    .. [1] Portnoy, S., Koenker, R. (1997). The Gaussian hare and the Laplacian tortoise. Statistical Science 12,
       279-300.
    .. [2] Woodruff, D. P., Yasuda, T. (2023). Sharper bounds for lp sensitivity sampling. ICML. arXiv:2306.00732.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.subsampling import LpRegressor
    >>> X = np.arange(6.0)[:, None]
    >>> y = 2 * X[:, 0] + 1 + np.array([0, 0, 0, 9, 0, 0])
    >>> model = LpRegressor(p=1).fit(X, y)
    >>> model.coef_.round(4), round(model.intercept_, 4), bool(model.gap_ < 1e-8)
    (array([2.]), 1.0, True)
    """

    def __init__(
        self,
        p: float = 1,
        *,
        quantile: float = 0.5,
        sampler: LpSampler | None = None,
        fit_intercept: bool = True,
        tol: float = 1e-12,
        max_iter: int = 200,
    ) -> None:
        self.p = p
        self.quantile = quantile
        self.sampler = sampler
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the coefficients.

        Parameters
        ----------
        X : array_like or data frame, shape (n, d)
        y : array_like, shape (n,)
        sample_weight : array_like, shape (n,), optional
            Each row's loss is multiplied by it.

        Returns
        -------
        LpRegressor
        """
        self._forget()
        p = check_real("p", self.p, 1.0)
        quantile = check_real("quantile", self.quantile, 0.0, 1.0, closed="neither")
        check_real("tol", self.tol, 0.0, closed="neither")
        check_integer("max_iter", self.max_iter, 1)
        if quantile != 0.5 and p != 1:
            raise InvalidParameter(f"quantile={quantile:g} wants p=1, got p={p:g}")
        started = perf_counter()
        matrix, response = check_regression(self, X, y)
        design = np.column_stack([np.ones(len(matrix)), matrix]) if self.fit_intercept else matrix
        weight = _check_weight(sample_weight, len(matrix))

        with single_threaded():
            self._solve(design, response, weight, p, quantile)
            self._cov = sandwich(design, response - design @ self._beta, weight, p, quantile)
        self._seconds = perf_counter() - started
        first = 1 if self.fit_intercept else 0
        self.intercept_ = float(self._beta[0]) if self.fit_intercept else 0.0
        self.coef_ = self._beta[first:]
        names = getattr(self, "feature_names_in_", [f"x{j + 1}" for j in range(matrix.shape[1])])
        self._names = ("intercept",) * first + tuple(str(name) for name in names)
        self._n = len(matrix)
        return self

    def _solve(self, design: FloatArray, response: FloatArray, weight: FloatArray, p: float, quantile: float) -> None:
        scale = weight ** (1 / p)
        basis = whiten(RowBlocks(design * scale[:, None], "X"))
        if basis.rank < design.shape[1]:
            warn(
                f"X has rank {basis.rank} of {design.shape[1]} columns; the coefficients are the shortest of many",
                RankWarning,
                stacklevel=3,
            )
        x, y = design * scale[:, None] @ basis.transform, response * scale
        if self.sampler is not None:
            b, bound, self.n_iter_ = self._solve_sample(x, y, p, quantile)
        elif p == 1:
            b, dual, self.n_iter_ = quantile_by_interior_point(x, y, quantile, self.tol, self.max_iter)
            bound = 2 * float(y @ (dual - (1 - quantile)))
        else:
            b, bound, self.n_iter_ = lp_by_reweighting(x, y, p, self.tol, self.max_iter)
        self._beta = basis.transform @ b
        if basis.rank < design.shape[1]:
            # Of the many coefficients with these fitted values, the shortest: R beta = b with X = (X T) R.
            self._beta = np.linalg.pinv(x.T @ (design * scale[:, None])) @ b
        self.objective_ = _loss(y - x @ b, p, quantile)
        self.lower_bound_ = min(max(bound, 0.0), self.objective_)
        self.gap_ = (
            (self.objective_ - self.lower_bound_) / self.objective_ if self.objective_ > rounding_loss(y, p) else 0.0
        )
        reached = max(self.tol * self.objective_, 10 * rounding_loss(y, p))
        if self.sampler is None and self.objective_ - self.lower_bound_ > reached:
            warn(
                f"the gap is {self.gap_:.2g} after {self.n_iter_} steps; raise max_iter",
                ReliabilityWarning,
                stacklevel=3,
            )

    def _solve_sample(self, x: FloatArray, y: FloatArray, p: float, quantile: float) -> tuple[FloatArray, float, int]:
        """Solve on sampled rows of [x y]; then one weighted least squares step on all rows, which has a dual."""
        sampler = clone(self.sampler).set_params(p=p).fit(np.column_stack([x, y]))
        small, rhs = sampler.sample_[:, :-1], sampler.sample_[:, -1]
        if p == 1:
            b, _, n_iter = quantile_by_interior_point(small, rhs, quantile, self.tol, self.max_iter)
            return b, -np.inf, n_iter
        b, _, n_iter = lp_by_reweighting(small, rhs, p, self.tol, self.max_iter)
        better, bound, _ = lp_by_reweighting(x, y, p, self.tol, 1, start=b)
        return better, bound, n_iter

    def _make_estimate(self) -> Estimate:
        return Estimate(
            value=self._beta,
            cov=self._cov,
            names=self._names,
            kind="frequentist",
            estimand=f"coefficients that minimise the l{self.p:g} loss"
            if self.quantile == 0.5
            else f"coefficients of the {self.quantile:g} quantile",
            method="LpRegressor",
            diagnostics={"objective": self.objective_, "lower bound": self.lower_bound_, "gap": self.gap_},
            info={
                "parameters": self._settings(),
                "n": self._n,
                "seconds": self._seconds,
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )

    def predict(self, X: Any) -> FloatArray:
        """Fitted values, (m,), for X (m, d)."""
        self._check_fitted()
        return np.asarray(check_features(self, X) @ self.coef_ + self.intercept_)


def _check_weight(sample_weight: ArrayLike | None, n: int) -> FloatArray:
    if sample_weight is None:
        return np.ones(n)
    weight = check_array("sample_weight", sample_weight, 1)
    if len(weight) != n or (weight < 0).any() or not weight.any():
        raise InvalidData(f"sample_weight must hold {n} numbers >= 0, not all zero, got shape {weight.shape}")
    return weight


def _loss(residual: FloatArray, p: float, quantile: float) -> float:
    """The loss of the attributes: l1 is twice the check loss of the median."""
    return 2 * check_loss(residual, quantile) if p == 1 else float((np.abs(residual) ** p).sum())
