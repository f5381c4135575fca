"""Parameters to be learnt: which, on what scale, and under what prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.state_space._model import Model

__all__ = ["Parameters", "Posterior", "Prior", "named", "parameters_of", "read_prior"]

FloatArray = NDArray[np.float64]
_TRIES = 1000
Prior = Mapping[str, Any] | Callable[[dict[str, float]], float]


class Parameters(NamedTuple):
    """Some of a model's parameters, and the map that takes them to all of R^k.

    An interval (low, high) goes to the real line by log((v - low) / (high - v)), (low, inf) by log(v - low), (-inf,
    high) by -log(high - v).
    """

    model: Model
    names: tuple[str, ...]
    low: FloatArray
    high: FloatArray

    @property
    def places(self) -> list[int]:
        """Their places among all parameters of the model."""
        return [self.model.theta_names.index(name) for name in self.names]

    @property
    def at_model(self) -> FloatArray:
        """Their values (k,) in the model."""
        return np.asarray(self.model.theta_values[self.places])

    def packed(self, values: FloatArray) -> FloatArray:
        """Packed parameters of the model with these values."""
        return self.model.packed_at(self.full(values))

    def full(self, values: FloatArray) -> FloatArray:
        """All parameters of the model, with these values of some."""
        theta = np.array(self.model.theta_values)
        theta[self.places] = values
        return theta

    def free(self, values: FloatArray) -> FloatArray:
        """Values inside their intervals on the scale where all numbers are allowed."""
        below, above = np.isfinite(self.low), np.isfinite(self.high)
        free = np.array(values, dtype=np.float64)
        up, down = below & ~above, above & ~below
        both = below & above
        free[up] = np.log(values[up] - self.low[up])
        free[down] = -np.log(self.high[down] - values[down])
        free[both] = np.log((values[both] - self.low[both]) / (self.high[both] - values[both]))
        return free

    def values(self, free: FloatArray) -> FloatArray:
        """Inverse of :meth:`free`."""
        below, above = np.isfinite(self.low), np.isfinite(self.high)
        values = np.array(free, dtype=np.float64)
        up, down, both = below & ~above, above & ~below, below & above
        with np.errstate(over="ignore"):
            values[up] = self.low[up] + np.exp(free[up])
            values[down] = self.high[down] - np.exp(-free[down])
            values[both] = self.low[both] + (self.high[both] - self.low[both]) / (1.0 + np.exp(-free[both]))
        return values

    def slopes(self, values: FloatArray) -> FloatArray:
        """Derivatives (k,) of values by their free ones, each by its own."""
        below, above = np.isfinite(self.low), np.isfinite(self.high)
        slopes = np.ones(len(values))
        up, down, both = below & ~above, above & ~below, below & above
        slopes[up] = values[up] - self.low[up]
        slopes[down] = self.high[down] - values[down]
        slopes[both] = (values - self.low)[both] * (self.high - values)[both] / (self.high - self.low)[both]
        return slopes

    def inside(self, values: FloatArray) -> bool:
        """Whether all values lie strictly in their intervals, in floating point."""
        return bool(np.all(np.isfinite(values) & (self.low < values) & (values < self.high)))

    def checked(self, name: str, values: FloatArray) -> FloatArray:
        """Values a user gave; InvalidParameter outside of their intervals."""
        if not self.inside(values):
            intervals = ", ".join(
                f"{key} in ({low:g}, {high:g})" for key, low, high in zip(self.names, self.low, self.high, strict=True)
            )
            raise InvalidParameter(f"{name} must have {intervals}, got {values.tolist()}")
        return values


class Posterior(NamedTuple):
    """A prior of parameters on their free scale."""

    parameters: Parameters
    laws: tuple[Any, ...] | None
    log_density: Callable[[dict[str, float]], float] | None

    def log_prior(self, values: FloatArray) -> float:
        """Log density of the prior on the free scale (with the Jacobian), at values; -inf outside of its support."""
        parameters = self.parameters
        if not parameters.inside(values):
            return -np.inf
        slopes = parameters.slopes(values)
        if self.laws is not None:
            total = float(sum(float(law.logpdf(value)) for law, value in zip(self.laws, values, strict=True)))
        else:
            assert self.log_density is not None  # noqa: S101  (one of the two is given)
            total = float(self.log_density(dict(zip(parameters.names, values.tolist(), strict=True))))
        if np.isnan(total) or total == np.inf:
            raise InvalidData(f"prior must have a log density below +inf, got {total} at {values.tolist()}")
        return total + float(np.log(slopes).sum())

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Values (k,) from the prior's laws; the model's own where there are none."""
        if self.laws is None:
            return self.parameters.checked("theta of the model", self.parameters.at_model)
        # A law may reach beyond what the model allows: the prior is the law within.
        for _ in range(_TRIES):
            values = np.array([float(law.rvs(random_state=rng)) for law in self.laws])
            if self.parameters.inside(values):
                return values
        raise InvalidParameter(f"prior must have mass where the model allows it, got none in {_TRIES} draws")


def read_prior(prior: Any, model: Model) -> Posterior:
    """What a user may give as ``prior``: laws by name of a parameter, or a log density of all parameters.

    Raises
    ------
    InvalidParameter
        If it is neither, or names what the model does not have.
    """
    if callable(prior):
        return Posterior(parameters_of(model, model.theta_names), None, prior)
    if not isinstance(prior, Mapping) or not prior:
        raise InvalidParameter(
            "prior must map names of parameters to laws with logpdf, rvs and support (frozen SciPy laws), or be a "
            f"function of a dict of parameters to their log density, got {prior!r}"
        )
    laws, low, high = [], [], []
    for name, law in prior.items():
        if name not in model.theta_names:
            raise InvalidParameter(f"prior must name parameters of the model {model.theta_names}, got {name!r}")
        if not all(callable(getattr(law, method, None)) for method in ("logpdf", "rvs", "support")):
            raise InvalidParameter(f"prior of {name!r} must have logpdf, rvs and support, got {type(law).__name__}")
        laws.append(law)
        ends = law.support()
        low.append(float(ends[0]))
        high.append(float(ends[1]))
    parameters = parameters_of(model, tuple(prior))
    low_, high_ = np.maximum(parameters.low, low), np.minimum(parameters.high, high)
    for name, a, b in zip(prior, low_, high_, strict=True):
        if not a < b:
            raise InvalidParameter(f"prior of {name!r} must have mass where the model allows it, got none")
    return Posterior(parameters._replace(low=low_, high=high_), tuple(laws), None)


def parameters_of(model: Model, names: tuple[str, ...]) -> Parameters:
    """Those parameters over what the model allows."""
    if not names:
        raise InvalidParameter(f"model must have parameters to learn, {type(model).__name__} has none")
    support = model.support()[[model.theta_names.index(name) for name in names]]
    return Parameters(model, names, support[:, 0], support[:, 1])


def named(parameters: Parameters, values: FloatArray) -> dict[str, float]:
    """Values by name."""
    return dict(zip(parameters.names, values.tolist(), strict=True))
