"""Exact filtering and smoothing of linear Gaussian models."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded

__all__ = ["KalmanFilter"]

FloatArray = NDArray[np.float64]


class KalmanFilter(Estimator):
    """Kalman filter and Rauch-Tung-Striebel smoother: the exact companion of the particle methods.

    Parameters
    ----------
    model : LinearGaussian, LocalLevel, LocalLinearTrend or LinearGaussianSystem

    Attributes
    ----------
    loglik_ : float
    loglik_increments_ : ndarray, shape (T,)
        log p(y_t | y_0, ..., y_{t-1}); 0 where y_t is missing.
    predicted_mean_, filtered_mean_, smoothed_mean_ : ndarray, shape (T, d)
    predicted_cov_, filtered_cov_, smoothed_cov_ : ndarray, shape (T, d, d)
        Given y before t, up to t, and all of it.
    smoothed_cross_cov_ : ndarray, shape (T - 1, d, d)
        Cov(x_{t-1}, x_t | y) at [t - 1].
    sum_x_ : ndarray, shape (d,)
    sum_xx_, sum_cross_ : ndarray, shape (d, d)
        Given y, the expected sums of x_t, of x_t x_t^T, and of x_{t-1} x_t^T over t >= 1.

    Notes
    -----
    Updates are in Joseph's form and smoothed covariances are sums of positive semidefinite terms, so no covariance
    loses symmetry or sign. O(T d^3) time, O(T d^2) memory.

    References
    ----------
    .. [1] Rauch, H. E., Tung, F. and Striebel, C. T. (1965). Maximum likelihood estimates of linear dynamic systems.
       AIAA Journal 3, 1445-1450. doi:10.2514/3.3166.

    Examples
    --------
    >>> from mcstat.state_space import KalmanFilter, LinearGaussian
    >>> model = LinearGaussian()
    >>> x, y = model.simulate(100, random_state=0)
    >>> found = KalmanFilter(model).fit(y)
    >>> bool(abs(found.smoothed_mean_[:, 0] - x).mean() < 0.5)
    True
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, y: ArrayLike) -> Self:
        """Filter forward, smooth backward.

        Parameters
        ----------
        y : array_like, shape (T,) or (T, p)
            NaN is a missing observation, or component of one.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        """
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        if not callable(getattr(self.model, "matrices", None)):
            raise InvalidParameter(f"model must be linear and Gaussian, got {type(self.model).__name__}")
        series = self.model.clean(y)
        # Own copies, and all of one kind: one compiled signature.
        matrices = tuple(np.array(matrix) for matrix in self.model.matrices())
        with single_threaded():
            self._filter(series, *matrices)
            self._smooth(matrices[2], matrices[3])
        mean, cross_mean = self.smoothed_mean_, self.smoothed_mean_[:-1].T @ self.smoothed_mean_[1:]
        self.sum_x_ = mean.sum(axis=0)
        self.sum_xx_ = mean.T @ mean + self.smoothed_cov_.sum(axis=0)
        self.sum_cross_ = cross_mean + self.smoothed_cross_cov_.sum(axis=0)
        return self

    def _filter(self, y: FloatArray, mean: FloatArray, cov: FloatArray, *matrices: FloatArray) -> None:
        from mcstat.state_space._kalman_kernels import kalman_filter

        n, d = len(y), len(mean)
        transition, transition_cov, observation, observation_cov = matrices
        self.predicted_mean_, self.filtered_mean_ = np.empty((n, d)), np.empty((n, d))
        self.predicted_cov_, self.filtered_cov_ = np.empty((n, d, d)), np.empty((n, d, d))
        self.loglik_increments_ = np.empty(n)
        kalman_filter(
            y, mean, cov, transition, transition_cov, frozen_view(observation),
            frozen_view(np.linalg.cholesky(observation_cov)),
            self.predicted_mean_, self.predicted_cov_, self.filtered_mean_, self.filtered_cov_, self.loglik_increments_,
        )  # fmt: skip
        self.loglik_ = float(self.loglik_increments_.sum())

    def _smooth(self, transition: FloatArray, transition_cov: FloatArray) -> None:
        from mcstat.state_space._kalman_kernels import smooth

        n, d = self.filtered_mean_.shape
        # A pseudo-inverse: with components that do not move the predicted covariance may be singular.
        inverse = np.linalg.pinv(self.predicted_cov_[1:], hermitian=True)
        gains = np.ascontiguousarray(self.filtered_cov_[:-1] @ transition.T @ inverse)
        self.smoothed_mean_, self.smoothed_cov_ = np.empty((n, d)), np.empty((n, d, d))
        self.smoothed_cross_cov_ = np.empty((n - 1, d, d))
        smooth(
            gains, transition, transition_cov, self.predicted_mean_, self.filtered_mean_, self.filtered_cov_,
            self.smoothed_mean_, self.smoothed_cov_, self.smoothed_cross_cov_,
        )  # fmt: skip

    def _make_estimate(self) -> Estimate:
        """The smoothed states; the covariance between them is not kept."""
        n, d = self.smoothed_mean_.shape
        return Estimate(
            value=self.smoothed_mean_.ravel(),
            std_error=np.sqrt(np.diagonal(self.smoothed_cov_, axis1=1, axis2=2)).ravel(),
            mcse=np.zeros(n * d),
            names=state_names(n, d),
            coords={"time": np.repeat(np.arange(n), d), "component": np.tile(np.arange(d), n)},
            kind="posterior",
            estimand="states given all observations",
            method="KalmanFilter",
            diagnostics={"loglik": self.loglik_},
            info={"mcstat": __version__},
        )


def state_names(n_times: int, d: int, start: int = 0, letter: str = "x") -> tuple[str, ...]:
    """x[t], or x[t, k] of a vector."""
    times = range(start, start + n_times)
    return tuple(f"{letter}[{t}]" if d == 1 else f"{letter}[{t}, {k}]" for t in times for k in range(d))
