"""Linear Gaussian models of any dimension: local level, local linear trend, and a system of matrices."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_real, frozen_view
from mcstat.core.errors import InvalidParameter
from mcstat.state_space._builtin import BuiltIn
from mcstat.state_space._errors import MissingDensityError

__all__ = ["LinearGaussianSystem", "LocalLevel", "LocalLinearTrend"]

FloatArray = NDArray[np.float64]


class _System(BuiltIn):
    """What follows from the matrices of a linear Gaussian model."""

    _kernels: ClassVar[dict[str, str]] = {
        "move": "system_move",
        "log_weight": "system_log_weight",
        "log_transition": "system_log_transition",
        "log_initial": "system_log_initial",
    }

    def matrices(self) -> tuple[FloatArray, ...]:
        """Initial mean and covariance, transition and its covariance, observation and its covariance."""
        raise NotImplementedError

    def packed(self) -> FloatArray:
        """Sizes and matrices in one row, covariances as lower factors; see ``_model_kernels``."""
        mean, cov, transition, transition_cov, observation, observation_cov = self.matrices()
        parts = (mean, _factor(cov), transition, _factor(transition_cov), observation, _factor(observation_cov))
        return frozen_view(np.concatenate([[float(len(observation))], *(part.ravel() for part in parts)]))

    def function(self, name: str) -> Any:
        """Pointer of the batch function of that name; a singular law has no density."""
        which = {"log_transition": 3, "log_initial": 1}.get(name)
        if which is not None and not np.all(np.diag(_factor(self.matrices()[which])) > 0.0):
            raise MissingDensityError(f"{type(self).__name__} has no {name}: its covariance is singular")
        return super().function(name)

    def log_bound(self) -> float:
        """Largest log density of the transition."""
        spread = np.diag(_factor(self.matrices()[3]))
        if not np.all(spread > 0.0):
            raise MissingDensityError(f"{type(self).__name__} has no transition density: its covariance is singular")
        return float(-0.5 * len(spread) * np.log(2.0 * np.pi) - np.log(spread).sum())

    def observe(self, rng: np.random.Generator, t: int, x: FloatArray) -> Any:
        """Draw y_t given the state."""
        *_, observation, cov = self.matrices()
        return observation @ x + _factor(cov) @ rng.standard_normal(len(observation))

    def observation_cdf(self, t: int, x: FloatArray, y: FloatArray) -> FloatArray:
        """P(Y_t <= y) for each state, of a scalar observation."""
        from scipy.special import ndtr

        *_, observation, cov = self.matrices()
        return np.asarray(ndtr((y[0] - x @ observation[0]) / np.sqrt(cov[0, 0])))


class LocalLevel(_System):
    """A random walk seen through noise: x_t = x_{t-1} + sigma_level e, y_t = x_t + sigma_y u.

    Parameters
    ----------
    sigma_level, sigma_y : float
        Positive.
    initial_level, initial_sd : float
        Law of x_0, the level at the first observation.
    """

    _theta_names = ("sigma_level", "sigma_y")

    def __init__(
        self, sigma_level: float = 1.0, sigma_y: float = 1.0, initial_level: float = 0.0, initial_sd: float = 1.0
    ) -> None:
        self.sigma_level = sigma_level
        self.sigma_y = sigma_y
        self.initial_level = initial_level
        self.initial_sd = initial_sd

    def matrices(self) -> tuple[FloatArray, ...]:
        """Initial mean and covariance, transition and its covariance, observation and its covariance."""
        level, noise = _at_least_zero(self, "sigma_level"), _above_zero(self, "sigma_y")
        initial = _at_least_zero(self, "initial_sd")
        mean = np.array([check_real("initial_level", self.initial_level)])
        return mean, *(np.array([[number]]) for number in (initial**2, 1.0, level**2, 1.0, noise**2))


class LocalLinearTrend(_System):
    """A level that moves with a slope that moves, seen through noise.

    level_t = level_{t-1} + slope_{t-1} + sigma_level e, slope_t = slope_{t-1} + sigma_slope e', y_t = level_t +
    sigma_y u. The state is (level, slope).

    Parameters
    ----------
    sigma_level, sigma_slope, sigma_y : float
        Not negative; sigma_y positive. With a zero there is no transition density, so no smoothing by particles.
    initial_level, initial_level_sd, initial_slope, initial_slope_sd : float
        Law of the state at the first observation.
    """

    _theta_names = ("sigma_level", "sigma_slope", "sigma_y")

    def __init__(
        self,
        sigma_level: float = 1.0,
        sigma_slope: float = 0.1,
        sigma_y: float = 1.0,
        initial_level: float = 0.0,
        initial_level_sd: float = 1.0,
        initial_slope: float = 0.0,
        initial_slope_sd: float = 1.0,
    ) -> None:
        self.sigma_level = sigma_level
        self.sigma_slope = sigma_slope
        self.sigma_y = sigma_y
        self.initial_level = initial_level
        self.initial_level_sd = initial_level_sd
        self.initial_slope = initial_slope
        self.initial_slope_sd = initial_slope_sd

    @property
    def dims(self) -> tuple[int, int, int]:
        """Dimensions of state, noise and observation."""
        return 2, 2, 1

    def matrices(self) -> tuple[FloatArray, ...]:
        """Initial mean and covariance, transition and its covariance, observation and its covariance."""
        spread = [_at_least_zero(self, name) for name in ("sigma_level", "sigma_slope")]
        initial = [_at_least_zero(self, name) for name in ("initial_level_sd", "initial_slope_sd")]
        mean = np.array([check_real(name, getattr(self, name)) for name in ("initial_level", "initial_slope")])
        transition, observation = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])
        noise = np.array([[_above_zero(self, "sigma_y") ** 2]])
        return mean, np.diag(np.square(initial)), transition, np.diag(np.square(spread)), observation, noise


class LinearGaussianSystem(_System):
    """x_t = F x_{t-1} + N(0, Q), y_t = H x_t + N(0, R), x_0 ~ N(m_0, P_0), of any dimensions d and p.

    Parameters
    ----------
    transition, transition_cov : array_like, shape (d, d)
        F and Q. Q may be singular; then there is no transition density.
    observation : array_like, shape (p, d)
        H.
    observation_cov : array_like, shape (p, p)
        R, positive definite.
    initial_mean : array_like, shape (d,)
    initial_cov : array_like, shape (d, d)
    """

    _theta_names = ()

    def __init__(
        self,
        transition: ArrayLike,
        transition_cov: ArrayLike,
        observation: ArrayLike,
        observation_cov: ArrayLike,
        initial_mean: ArrayLike,
        initial_cov: ArrayLike,
    ) -> None:
        self.transition = transition
        self.transition_cov = transition_cov
        self.observation = observation
        self.observation_cov = observation_cov
        self.initial_mean = initial_mean
        self.initial_cov = initial_cov

    @property
    def dims(self) -> tuple[int, int, int]:
        """Dimensions of state, noise and observation."""
        d = len(check_array("initial_mean", self.initial_mean, 1))
        return d, d, len(check_array("observation", self.observation, 2))

    def matrices(self) -> tuple[FloatArray, ...]:
        """Initial mean and covariance, transition and its covariance, observation and its covariance."""
        d, _, p = self.dims
        shapes = {
            "initial_cov": (d, d),
            "transition": (d, d),
            "transition_cov": (d, d),
            "observation": (p, d),
            "observation_cov": (p, p),
        }
        found = [check_array("initial_mean", self.initial_mean, 1)]
        for name, shape in shapes.items():
            matrix = check_array(name, getattr(self, name), 2)
            if matrix.shape != shape:
                raise InvalidParameter(f"{name} must have shape {shape}, got {matrix.shape}")
            found.append(matrix)
        factors = [_factor(found[k], name) for k, name in _COVARIANCES.items()]
        if not np.all(np.diag(factors[-1]) > 0.0):
            raise InvalidParameter("observation_cov must be positive definite, got a singular matrix")
        return tuple(found)


_COVARIANCES = {1: "initial_cov", 3: "transition_cov", 5: "observation_cov"}


def _at_least_zero(model: Any, name: str) -> float:
    return check_real(name, getattr(model, name), 0.0)


def _above_zero(model: Any, name: str) -> float:
    return check_real(name, getattr(model, name), 0.0, closed="neither")


def _factor(cov: FloatArray, name: str = "a covariance") -> FloatArray:
    """Lower triangular factor of a covariance, which may be singular: a pivot that vanishes gives a column of zeros."""
    d = len(cov)
    out = np.zeros((d, d))
    rest = cov.copy()
    small = 1e-12 * max(1e-300, float(np.abs(cov).max(initial=0.0)))
    for k in range(d):
        if rest[k, k] > small:
            out[k:, k] = rest[k:, k] / np.sqrt(rest[k, k])
            rest -= np.outer(out[:, k], out[:, k])
        elif np.abs(rest[k:, k]).max() > 1e3 * small:
            raise InvalidParameter(f"{name} must be positive semidefinite, got {cov.tolist()}")
    if np.abs(cov - cov.T).max(initial=0.0) > 1e-9 * np.abs(cov).max(initial=0.0):
        raise InvalidParameter(f"{name} must be symmetric, got {cov.tolist()}")
    return out
