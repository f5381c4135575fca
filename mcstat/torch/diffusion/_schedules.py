"""Noise schedules: x_t = alpha_t x_0 + sigma_t z, in float64 on the CPU.

lambda_t = log(alpha_t / sigma_t) falls with t. A schedule is a family, which says what alpha is at a given lambda
(variance preserving, variance exploding, or the straight path of flow matching), and a clock lambda(t).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_real
from mcstat.core.errors import InvalidData, InvalidParameter

__all__ = ["EDM", "VE", "FlowMatching", "NoiseSchedule", "VPCosine", "VPDiscrete", "VPLinear", "check_schedule"]

FloatArray = NDArray[np.float64]


class NoiseSchedule(ABC):
    """What every schedule offers: functions of time (floats or arrays) that return float64 of the same shape.

    Attributes
    ----------
    t_min, t_max : float
        Sampling runs from t_max down to t_min.
    preserves_variance : bool
        Whether alpha^2 + sigma^2 = 1, for which the velocity v is defined.
    """

    t_min: float
    t_max: float
    preserves_variance: bool = False

    @abstractmethod
    def lam(self, t: ArrayLike) -> FloatArray:
        """Half the log signal-to-noise ratio, log(alpha / sigma)."""

    @abstractmethod
    def t_of_lam(self, lam: ArrayLike) -> FloatArray:
        """Time at which the half log signal-to-noise ratio is ``lam``; infinity gives the time of clean data."""

    @abstractmethod
    def log_alpha_of_lam(self, lam: ArrayLike) -> FloatArray:
        """The log of alpha at a half log signal-to-noise ratio: the family of the schedule."""

    @abstractmethod
    def f(self, t: ArrayLike) -> FloatArray:
        """Derivative of log alpha in t, the drift of the forward equation."""

    @abstractmethod
    def g2(self, t: ArrayLike) -> FloatArray:
        """Squared diffusion coefficient of the forward equation, -2 sigma^2 dlambda/dt."""

    def log_alpha(self, t: ArrayLike) -> FloatArray:
        """Log of the factor of the data."""
        return self.log_alpha_of_lam(self.lam(t))

    def alpha(self, t: ArrayLike) -> FloatArray:
        """Factor of the data."""
        return np.exp(self.log_alpha(t))

    def sigma(self, t: ArrayLike) -> FloatArray:
        """Standard deviation of the noise."""
        lam = self.lam(t)
        return np.exp(self.log_alpha_of_lam(lam) - lam)

    def to_model_time(self, t: ArrayLike) -> FloatArray:
        """The time label that a network of this schedule was trained with."""
        return _array(t)


class _VariancePreserving(NoiseSchedule):
    """alpha^2 + sigma^2 = 1; the clock is given by log alpha."""

    preserves_variance = True

    def log_alpha_of_lam(self, lam: ArrayLike) -> FloatArray:
        return -0.5 * np.logaddexp(0.0, -2.0 * _array(lam))

    @abstractmethod
    def log_alpha(self, t: ArrayLike) -> FloatArray:
        """Log of the factor of the data."""

    def lam(self, t: ArrayLike) -> FloatArray:
        log_alpha = self.log_alpha(t)
        with np.errstate(divide="ignore"):
            return log_alpha - 0.5 * np.log(-np.expm1(2.0 * log_alpha))

    def sigma(self, t: ArrayLike) -> FloatArray:
        return np.sqrt(-np.expm1(2.0 * self.log_alpha(t)))

    def g2(self, t: ArrayLike) -> FloatArray:
        return -2.0 * self.f(t)


@dataclass(frozen=True)
class VPLinear(_VariancePreserving):
    """Variance preserving with beta(t) linear in t.

    Parameters
    ----------
    beta_min, beta_max : float
        beta at times 0 and 1.
    t_min, t_max : float
        Where sampling ends and begins.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_real("beta_min", self.beta_min, 0.0, closed="neither")
        check_real("beta_max", self.beta_max, self.beta_min, closed="neither")
        _check_times(self.t_min, self.t_max)

    def log_alpha(self, t: ArrayLike) -> FloatArray:
        t = _array(t)
        return -0.25 * (self.beta_max - self.beta_min) * t**2 - 0.5 * self.beta_min * t

    def t_of_lam(self, lam: ArrayLike) -> FloatArray:
        slope = self.beta_max - self.beta_min
        q = 2.0 * slope * np.logaddexp(0.0, -2.0 * _array(lam))
        return q / ((np.sqrt(self.beta_min**2 + q) + self.beta_min) * slope)

    def f(self, t: ArrayLike) -> FloatArray:
        return -0.5 * (self.beta_min + _array(t) * (self.beta_max - self.beta_min))


@dataclass(frozen=True)
class VPCosine(_VariancePreserving):
    """Variance preserving with alpha a quarter of a cosine (Nichol and Dhariwal 2021).

    Parameters
    ----------
    s : float
        Offset that keeps the noise near time 0 from vanishing.
    t_min, t_max : float
        Where sampling ends and begins; alpha is 0 at time 1.
    """

    s: float = 0.008
    t_min: float = 1e-3
    t_max: float = 0.9946

    def __post_init__(self) -> None:
        check_real("s", self.s, 0.0, closed="neither")
        _check_times(self.t_min, self.t_max)
        check_real("t_max", self.t_max, 0.0, 1.0, closed="neither")

    @property
    def _log_start(self) -> float:
        return float(np.log(np.cos(self._angle(0.0))))

    def _angle(self, t: ArrayLike) -> FloatArray:
        return (_array(t) + self.s) / (1.0 + self.s) * np.pi / 2.0

    def log_alpha(self, t: ArrayLike) -> FloatArray:
        return np.log(np.cos(self._angle(t))) - self._log_start

    def t_of_lam(self, lam: ArrayLike) -> FloatArray:
        angle = np.arccos(np.exp(self.log_alpha_of_lam(lam) + self._log_start))
        return angle * (2.0 / np.pi) * (1.0 + self.s) - self.s

    def f(self, t: ArrayLike) -> FloatArray:
        return -np.tan(self._angle(t)) * (np.pi / 2.0) / (1.0 + self.s)


@dataclass(frozen=True, eq=False, repr=False)
class VPDiscrete(_VariancePreserving):
    """Variance preserving on N discrete steps, log alpha linear between them and beyond the ends.

    Step i (0-based) has time (i + 1) / N; a network is labelled with 1000 (t - 1/N), which is i where N = 1000.

    Parameters
    ----------
    alphas_cumprod : array_like, shape (N,)
        alpha^2 after each step: in (0, 1) and falling.

    See Also
    --------
    VPDiscrete.linear, VPDiscrete.scaled_linear, VPDiscrete.squared_cosine : the usual betas.
    """

    alphas_cumprod: Any

    def __post_init__(self) -> None:
        values = check_array("alphas_cumprod", self.alphas_cumprod, 1)
        if len(values) < 2 or values[0] >= 1.0 or values[-1] <= 0.0 or not (np.diff(values) < 0.0).all():
            raise InvalidData("alphas_cumprod must hold at least 2 values in (0, 1), each below the one before")

    @classmethod
    def from_betas(cls, betas: ArrayLike) -> Self:
        """From the variance added in each step (N,)."""
        return cls(np.cumprod(1.0 - check_array("betas", betas, 1)))

    @classmethod
    def linear(cls, start: float = 1e-4, end: float = 0.02, n_steps: int = 1000) -> Self:
        """Betas linear in the step."""
        return cls.from_betas(np.linspace(start, end, check_integer("n_steps", n_steps, 2)))

    @classmethod
    def scaled_linear(cls, start: float = 0.00085, end: float = 0.012, n_steps: int = 1000) -> Self:
        """Betas whose square root is linear in the step, as Stable Diffusion has them."""
        return cls.from_betas(np.linspace(start**0.5, end**0.5, check_integer("n_steps", n_steps, 2)) ** 2)

    @classmethod
    def squared_cosine(cls, n_steps: int = 1000, beta_max: float = 0.999) -> Self:
        """Betas of the cosine schedule, none above ``beta_max``."""
        angle = (np.arange(check_integer("n_steps", n_steps, 2) + 1) / n_steps + 0.008) / 1.008 * np.pi / 2.0
        kept = np.cos(angle) ** 2
        return cls.from_betas(np.minimum(1.0 - kept[1:] / kept[:-1], beta_max))

    def __repr__(self) -> str:
        values = np.exp(2.0 * self._log_alphas[[0, self.n_steps // 2, -1]])
        return (
            f"<VPDiscrete: {self.n_steps} steps, alphas_cumprod {values[0]:.8g}, {values[1]:.8g} and {values[2]:.8g}>"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VPDiscrete):
            return NotImplemented
        return np.array_equal(self._log_alphas, other._log_alphas)

    def __hash__(self) -> int:
        return hash(self._log_alphas.tobytes())

    @property
    def n_steps(self) -> int:
        """Number of steps N."""
        return len(self._log_alphas)

    @property
    def t_min(self) -> float:  # type: ignore[override]
        """Time of the first step."""
        return 1.0 / self.n_steps

    @property
    def t_max(self) -> float:  # type: ignore[override]
        """Time of the last step."""
        return 1.0

    @cached_property
    def _log_alphas(self) -> FloatArray:
        return 0.5 * np.log(np.asarray(self.alphas_cumprod, dtype=np.float64))

    @cached_property
    def _times(self) -> FloatArray:
        return np.arange(1, self.n_steps + 1) / self.n_steps

    def log_alpha(self, t: ArrayLike) -> FloatArray:
        # The line through the first two steps may not reach 0 at t = 0: nothing is cleaner than the data.
        return np.minimum(_piecewise(_array(t), self._times, self._log_alphas), 0.0)

    def t_of_lam(self, lam: ArrayLike) -> FloatArray:
        falling = self.log_alpha_of_lam(lam)
        return _piecewise(falling, self._log_alphas[::-1], self._times[::-1])

    def f(self, t: ArrayLike) -> FloatArray:
        left = np.clip(np.searchsorted(self._times, _array(t), side="right") - 1, 0, self.n_steps - 2)
        return np.diff(self._log_alphas)[left] * self.n_steps

    def to_model_time(self, t: ArrayLike) -> FloatArray:
        return 1000.0 * (_array(t) - 1.0 / self.n_steps)


class _VarianceExploding(NoiseSchedule):
    """alpha = 1."""

    def log_alpha_of_lam(self, lam: ArrayLike) -> FloatArray:
        return np.zeros_like(_array(lam))

    def f(self, t: ArrayLike) -> FloatArray:
        return np.zeros_like(_array(t))


@dataclass(frozen=True)
class EDM(_VarianceExploding):
    """alpha = 1 and sigma = t (Karras et al. 2022).

    Parameters
    ----------
    sigma_min, sigma_max : float
        Where sampling ends and begins.
    sigma_data : float
        Standard deviation of the data, for :meth:`precondition`.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        check_real("sigma_data", self.sigma_data, 0.0, closed="neither")
        _check_times(self.sigma_min, self.sigma_max, "sigma_min", "sigma_max")

    @property
    def t_min(self) -> float:  # type: ignore[override]
        """Smallest noise."""
        return self.sigma_min

    @property
    def t_max(self) -> float:  # type: ignore[override]
        """Largest noise."""
        return self.sigma_max

    def lam(self, t: ArrayLike) -> FloatArray:
        with np.errstate(divide="ignore"):
            return -np.log(_array(t))

    def t_of_lam(self, lam: ArrayLike) -> FloatArray:
        return np.exp(-_array(lam))

    def g2(self, t: ArrayLike) -> FloatArray:
        return 2.0 * _array(t)

    def precondition(self, t: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """c_skip, c_out, c_in, c_noise of x0 = c_skip x + c_out F(c_in x, c_noise) at noise t."""
        s = _array(t)
        total = np.hypot(s, self.sigma_data)
        return (self.sigma_data / total) ** 2, s * self.sigma_data / total, 1.0 / total, np.log(s) / 4.0


@dataclass(frozen=True)
class VE(_VarianceExploding):
    """alpha = 1 and sigma = sigma_min (sigma_max / sigma_min)^t.

    Parameters
    ----------
    sigma_min, sigma_max : float
        Noise at times 0 and 1.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min = 0.0
    t_max = 1.0

    def __post_init__(self) -> None:
        _check_times(self.sigma_min, self.sigma_max, "sigma_min", "sigma_max")

    @property
    def _log_ratio(self) -> float:
        return float(np.log(self.sigma_max / self.sigma_min))

    def lam(self, t: ArrayLike) -> FloatArray:
        return -float(np.log(self.sigma_min)) - _array(t) * self._log_ratio

    def t_of_lam(self, lam: ArrayLike) -> FloatArray:
        return -(_array(lam) + float(np.log(self.sigma_min))) / self._log_ratio

    def g2(self, t: ArrayLike) -> FloatArray:
        return 2.0 * self._log_ratio * np.exp(-2.0 * self.lam(t))


@dataclass(frozen=True)
class FlowMatching(NoiseSchedule):
    """The straight path alpha = 1 - t, sigma = t, with the clock t' = k t / (1 + (k - 1) t) where shifted.

    Parameters
    ----------
    shift : float
        k > 0; above 1 it spends more time at high noise. Networks are labelled with the shifted time t'.
    t_min, t_max : float
        Where sampling ends and begins; alpha is 0 at time 1.
    """

    shift: float = 1.0
    t_min: float = 1e-3
    t_max: float = 0.999

    def __post_init__(self) -> None:
        check_real("shift", self.shift, 0.0, closed="neither")
        _check_times(self.t_min, self.t_max)
        check_real("t_max", self.t_max, 0.0, 1.0, closed="neither")

    def to_model_time(self, t: ArrayLike) -> FloatArray:
        t = _array(t)
        return self.shift * t / (1.0 + (self.shift - 1.0) * t)

    def lam(self, t: ArrayLike) -> FloatArray:
        t = _array(t)
        with np.errstate(divide="ignore"):
            return np.log1p(-t) - np.log(t) - float(np.log(self.shift))

    def t_of_lam(self, lam: ArrayLike) -> FloatArray:
        return np.exp(-np.logaddexp(0.0, _array(lam) + float(np.log(self.shift))))

    def log_alpha_of_lam(self, lam: ArrayLike) -> FloatArray:
        return -np.logaddexp(0.0, -_array(lam))

    def f(self, t: ArrayLike) -> FloatArray:
        return -self._speed(t) / (1.0 - self.to_model_time(t))

    def g2(self, t: ArrayLike) -> FloatArray:
        shifted = self.to_model_time(t)
        return 2.0 * shifted / (1.0 - shifted) * self._speed(t)

    def _speed(self, t: ArrayLike) -> FloatArray:
        """Derivative of the shifted time."""
        return self.shift / (1.0 + (self.shift - 1.0) * _array(t)) ** 2


def check_schedule(schedule: Any) -> None:
    """A schedule, and not its class."""
    if not isinstance(schedule, NoiseSchedule):
        raise InvalidParameter(f"schedule must be a NoiseSchedule such as VPLinear(), got {schedule!r}")


def _array(value: ArrayLike) -> FloatArray:
    return np.asarray(value, dtype=np.float64)


def _check_times(low: float, high: float, low_name: str = "t_min", high_name: str = "t_max") -> None:
    check_real(low_name, low, 0.0, closed="neither")
    check_real(high_name, high, low, closed="neither")


def _piecewise(x: FloatArray, nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Linear interpolation between ascending nodes, and along the outer pieces beyond them."""
    left = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    slope = np.diff(values) / np.diff(nodes)
    return values[left] + slope[left] * (x - nodes[left])
