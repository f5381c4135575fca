"""Models that come with the house, compiled ahead and cached."""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_real, frozen_view
from mcstat.core.errors import InvalidParameter
from mcstat.state_space._errors import MissingDensityError
from mcstat.state_space._model import Model, pointer_of

__all__ = ["BuiltIn", "LinearGaussian", "PoissonAR", "StochasticVolatility", "whole_numbers"]

FloatArray = NDArray[np.float64]
_SPREADS = ("sigma", "sigma_x", "sigma_y", "sigma_level", "sigma_slope")
_SUPPORT = {"rho": (-1.0, 1.0)} | dict.fromkeys(_SPREADS, (0.0, np.inf))


class BuiltIn(Model):
    """A model whose parameters are its constructor's numbers and whose batch functions are in ``_model_kernels``."""

    _theta_names: ClassVar[tuple[str, ...]]
    _kernels: ClassVar[dict[str, str]]

    @property
    def dims(self) -> tuple[int, int, int]:
        """Dimensions of state, noise and observation."""
        return 1, 1, 1

    @property
    def theta_names(self) -> tuple[str, ...]:
        """Names of the parameters, which are those of the constructor."""
        return self._theta_names

    @property
    def theta_values(self) -> FloatArray:
        """Parameters (k,)."""
        return np.array([check_real(name, getattr(self, name)) for name in self._theta_names])

    def support(self) -> FloatArray:
        """Open interval (k, 2) that each parameter lies in."""
        return np.array([_SUPPORT.get(name, (-np.inf, np.inf)) for name in self._theta_names]).reshape(-1, 2)

    def with_theta(self, theta: Any) -> Self:
        """The same model with other parameters (k,)."""
        values = dict(zip(self._theta_names, (float(value) for value in theta), strict=True))
        return type(self)(**(self.get_params(deep=False) | values))

    def packed_at(self, theta: Any) -> FloatArray:
        """``packed()`` of the model with other parameters (k,), without the checks of a constructor's arguments."""
        other = copy(self)
        other.__dict__.update(zip(self._theta_names, (float(value) for value in theta), strict=True))
        return other.packed()

    def has(self, name: str) -> bool:
        """Whether there is a batch function of that name."""
        return name in self._kernels

    def function(self, name: str) -> Any:
        """Pointer of the batch function of that name."""
        if name not in self._kernels:
            raise MissingDensityError(f"{type(self).__name__} has no {name}, which this method needs")
        return pointer_of(self._kernels[name], name)


class _Autoregression(BuiltIn):
    """A stationary autoregression of order one that is observed somehow."""

    _kernels: ClassVar[dict[str, str]] = {
        "move": "ar_move",
        "log_transition": "ar_log_transition",
        "log_initial": "ar_log_initial",
    }

    def _autoregression(self) -> tuple[float, float, float]:
        """mu, rho, sigma, checked."""
        raise NotImplementedError

    def log_bound(self) -> float:
        """Largest log density of the transition."""
        return float(-0.5 * np.log(2.0 * np.pi) - np.log(self._autoregression()[2]))


def _stationary(rho: Any) -> float:
    return check_real("rho", rho, -1.0, 1.0, closed="neither")


def _positive(name: str, value: Any) -> float:
    return check_real(name, value, 0.0, closed="neither")


class LinearGaussian(_Autoregression):
    """x_t = rho x_{t-1} + sigma_x e, y_t = x_t + sigma_y u; x_0 from the stationary law.

    It has the optimal proposal and first-stage weights, so ``guided`` and ``auxiliary`` filters are the best possible,
    and :class:`KalmanFilter` is exact.

    Parameters
    ----------
    rho : float
        In (-1, 1).
    sigma_x, sigma_y : float
        Positive.
    """

    _theta_names = ("rho", "sigma_x", "sigma_y")
    _kernels: ClassVar[dict[str, str]] = _Autoregression._kernels | {
        "log_weight": "gaussian_log_weight",
        "guided_move": "gaussian_guided_move",
        "guided_log_weight": "gaussian_guided_log_weight",
        "log_auxiliary": "gaussian_log_auxiliary",
    }

    def __init__(self, rho: float = 0.9, sigma_x: float = 1.0, sigma_y: float = 0.5) -> None:
        self.rho = rho
        self.sigma_x = sigma_x
        self.sigma_y = sigma_y

    def _autoregression(self) -> tuple[float, float, float]:
        return 0.0, _stationary(self.rho), _positive("sigma_x", self.sigma_x)

    def packed(self) -> FloatArray:
        """(0, rho, sigma_x, sigma_y)."""
        return frozen_view(np.array([*self._autoregression(), _positive("sigma_y", self.sigma_y)]))

    def matrices(self) -> tuple[FloatArray, ...]:
        """Initial mean and covariance, transition and its covariance, observation and its covariance."""
        _, rho, sigma_x, sigma_y = self.packed()
        variance = sigma_x**2 / (1.0 - rho**2)
        numbers = (variance, rho, sigma_x**2, 1.0, sigma_y**2)
        return np.zeros(1), *(np.array([[number]]) for number in numbers)

    def observe(self, rng: np.random.Generator, t: int, x: FloatArray) -> Any:
        """Draw y_t given the state."""
        return x + self.sigma_y * rng.standard_normal(1)

    def observation_cdf(self, t: int, x: FloatArray, y: FloatArray) -> FloatArray:
        """P(Y_t <= y) for each state."""
        from scipy.special import ndtr

        return np.asarray(ndtr((y[0] - x[:, 0]) / self.sigma_y))


class StochasticVolatility(_Autoregression):
    """x_t = mu + rho (x_{t-1} - mu) + sigma e, y_t = exp(x_t / 2) u; x_0 from the stationary law.

    Parameters
    ----------
    mu : float
        Mean of the log-variance.
    rho : float
        In (-1, 1).
    sigma : float
        Positive.
    """

    _theta_names = ("mu", "rho", "sigma")
    _kernels: ClassVar[dict[str, str]] = _Autoregression._kernels | {"log_weight": "volatility_log_weight"}

    def __init__(self, mu: float = -1.0, rho: float = 0.95, sigma: float = 0.2) -> None:
        self.mu = mu
        self.rho = rho
        self.sigma = sigma

    def _autoregression(self) -> tuple[float, float, float]:
        return check_real("mu", self.mu), _stationary(self.rho), _positive("sigma", self.sigma)

    def packed(self) -> FloatArray:
        """(mu, rho, sigma)."""
        return frozen_view(np.array(self._autoregression()))

    def observe(self, rng: np.random.Generator, t: int, x: FloatArray) -> Any:
        """Draw y_t given the state."""
        return np.exp(x / 2.0) * rng.standard_normal(1)

    def observation_cdf(self, t: int, x: FloatArray, y: FloatArray) -> FloatArray:
        """P(Y_t <= y) for each state."""
        from scipy.special import ndtr

        return np.asarray(ndtr(y[0] * np.exp(-x[:, 0] / 2.0)))


class PoissonAR(StochasticVolatility):
    """Counts: x_t = mu + rho (x_{t-1} - mu) + sigma e, y_t ~ Poisson(exp(x_t)); x_0 from the stationary law.

    Parameters
    ----------
    mu : float
        Mean of the log-intensity.
    rho : float
        In (-1, 1).
    sigma : float
        Positive.
    """

    _kernels: ClassVar[dict[str, str]] = _Autoregression._kernels | {"log_weight": "poisson_log_weight"}

    def __init__(self, mu: float = 1.0, rho: float = 0.9, sigma: float = 0.3) -> None:
        super().__init__(mu, rho, sigma)

    def clean(self, y: Any, name: str = "y") -> FloatArray:
        """Counts as (T, 1)."""
        array = super().clean(y, name)
        return whole_numbers(array, name, np.inf)

    def observe(self, rng: np.random.Generator, t: int, x: FloatArray) -> Any:
        """Draw y_t given the state."""
        return rng.poisson(np.exp(x))

    def observation_cdf(self, t: int, x: FloatArray, y: FloatArray) -> FloatArray:
        """P(Y_t <= y) for each state."""
        from scipy.special import pdtr

        return np.asarray(pdtr(y[0], np.exp(x[:, 0])))


def whole_numbers(array: FloatArray, name: str, limit: float) -> FloatArray:
    """Refuse what is not NaN or a whole number in [0, limit)."""
    bad = ~np.isnan(array) & ((array < 0) | (array != np.floor(array)) | (array >= limit))
    if bad.any():
        t = int(np.argwhere(bad)[0, 0])
        wanted = f"whole numbers from 0 to {limit - 1:g}" if np.isfinite(limit) else "counts"
        raise InvalidParameter(f"{name} must hold {wanted} or NaN, got {array[t, 0]:g} at [{t}]")
    return array
