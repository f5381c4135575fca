"""A user's own state-space model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from mcstat.core.checks import check_array, check_integer, check_option, frozen_view
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.state_space._errors import MissingDensityError
from mcstat.state_space._model import Model

__all__ = ["StateSpaceModel"]

FloatArray = NDArray[np.float64]
Function = Callable[..., Any]


class StateSpaceModel(Model):
    """A state-space model from functions of one particle, compiled; or of all particles as arrays.

    The transition is a function of *noise*, independent standard normal (or uniform) numbers that the filter draws:
    your code holds no random state. Where a dimension is 1 the argument is a number, otherwise an array of that
    length; a state of several dimensions is written into a last argument ``out``.

    Parameters
    ----------
    initial : callable
        ``initial(noise, theta)``, the state at t = 0; with ``out`` last if ``state_dim > 1``.
    transition : callable
        ``transition(t, x_prev, noise, theta)``, the state at t >= 1.
    observation_log_density : callable
        ``observation_log_density(t, x, y, theta)``. Never called for an observation that is missing wholly; components
        of a vector y that are missing come as NaN.
    theta : sequence of float, or mapping of str to float
        Parameters; all functions get them as one read-only array in this order. Other values need no compiling.
    theta_support : mapping of str to (float, float), optional
        Open interval that a parameter lies in, by its name; learning keeps to it. Without one, all real numbers.
    state_dim, noise_dim, observation_dim : int
        Dimensions; ``noise_dim`` None is ``state_dim``.
    noise : {"normal", "uniform", "generator"}
        ``"generator"`` is for laws that noise cannot express: then the functions that draw are ``initial(rng, theta)``
        and ``transition(rng, t, x_prev, theta)`` with a NumPy Generator and no noise (arrays: ``initial(rng, n,
        theta)``).
    vectorized : bool
        True: the functions take arrays of all particles, (N,) where a dimension is 1, else (N, dim), and return
        arrays; any Python may be in them, nothing is compiled, and there is no ``out``.
    initial_log_density : callable, optional
        ``(x, theta)``.
    transition_log_density : callable, optional
        ``(t, x_prev, x, theta)``; smoothing and guided filters need it.
    transition_log_bound : callable, optional
        ``(theta)`` to an upper bound of the transition's log density; runs in Python, once a fit.
    initial_proposal, proposal : callable, optional
        ``(y, noise, theta)`` and ``(t, x_prev, y, noise, theta)``: where a guided filter draws from.
    initial_proposal_log_density, proposal_log_density : callable, optional
        ``(x, y, theta)`` and ``(t, x_prev, x, y, theta)``.
    auxiliary_log_weight : callable, optional
        ``(t, x_prev, y, theta)``: log of what an auxiliary filter weighs the particles of t - 1 with, given y at t.
    observation : callable, optional
        ``(rng, t, x, theta)`` to y, plain Python, for :meth:`simulate`.
    cdf : callable, optional
        ``(t, x, y, theta)``: P(Y_t <= y) for an array of all states, NumPy, for residuals.

    Notes
    -----
    A compiled function must not raise, and what it takes from outside is read once; other functions that it calls by
    name are compiled with it. Compiling takes about a second, once a process; users' functions that are equal objects
    are compiled once.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.state_space import ParticleFilter, StateSpaceModel
    >>> model = StateSpaceModel(
    ...     initial=lambda noise, theta: 2.0 * noise,
    ...     transition=lambda t, x_prev, noise, theta: theta[0] * x_prev + noise,
    ...     observation_log_density=lambda t, x, y, theta: -0.5 * (y - x) ** 2,
    ...     theta={"rho": 0.9},
    ... )
    >>> found = ParticleFilter(model, n_particles=500, random_state=0).fit([0.3, 1.0, np.nan, 0.8])
    >>> found.filter_mean_.shape
    (4, 1)
    """

    def __init__(
        self,
        initial: Function,
        transition: Function,
        observation_log_density: Function,
        *,
        theta: Sequence[float] | Mapping[str, float] = (),
        theta_support: Mapping[str, tuple[float, float]] | None = None,
        state_dim: int = 1,
        noise_dim: int | None = None,
        observation_dim: int = 1,
        noise: str = "normal",
        vectorized: bool = False,
        initial_log_density: Function | None = None,
        transition_log_density: Function | None = None,
        transition_log_bound: Function | None = None,
        initial_proposal: Function | None = None,
        proposal: Function | None = None,
        initial_proposal_log_density: Function | None = None,
        proposal_log_density: Function | None = None,
        auxiliary_log_weight: Function | None = None,
        observation: Function | None = None,
        cdf: Function | None = None,
    ) -> None:
        self.initial = initial
        self.transition = transition
        self.observation_log_density = observation_log_density
        self.theta = theta
        self.theta_support = theta_support
        self.state_dim = state_dim
        self.noise_dim = noise_dim
        self.observation_dim = observation_dim
        self.noise = noise
        self.vectorized = vectorized
        self.initial_log_density = initial_log_density
        self.transition_log_density = transition_log_density
        self.transition_log_bound = transition_log_bound
        self.initial_proposal = initial_proposal
        self.proposal = proposal
        self.initial_proposal_log_density = initial_proposal_log_density
        self.proposal_log_density = proposal_log_density
        self.auxiliary_log_weight = auxiliary_log_weight
        self.observation = observation
        self.cdf = cdf

    @property
    def dims(self) -> tuple[int, int, int]:
        """Dimensions of state, noise and observation."""
        d = check_integer("state_dim", self.state_dim, 1)
        q = d if self.noise_dim is None else check_integer("noise_dim", self.noise_dim, 1)
        return d, q, check_integer("observation_dim", self.observation_dim, 1)

    @property
    def theta_values(self) -> FloatArray:
        """Parameters (k,)."""
        values = list(self.theta.values()) if isinstance(self.theta, Mapping) else self.theta
        return check_array("theta", values, 1) if len(values) else np.empty(0)

    @property
    def theta_names(self) -> tuple[str, ...]:
        """Their names: theta[0], theta[1], ... where none were given."""
        if isinstance(self.theta, Mapping):
            return tuple(self.theta)
        return tuple(f"theta[{k}]" for k in range(len(self.theta)))

    def support(self) -> FloatArray:
        """Open interval (k, 2) that each parameter lies in."""
        given = {} if self.theta_support is None else dict(self.theta_support)
        unknown = [name for name in given if name not in self.theta_names]
        if unknown:
            raise InvalidParameter(f"theta_support must use names of theta, got {unknown[0]!r}")
        for name, (low, high) in given.items():
            if not low < high:
                raise InvalidParameter(f"theta_support of {name!r} must be (low, high) with low < high")
        return np.array([given.get(name, (-np.inf, np.inf)) for name in self.theta_names], float).reshape(-1, 2)

    def packed_at(self, theta: Any) -> FloatArray:
        """``packed()`` with other parameters (k,); no copy of the model."""
        return frozen_view(np.array(theta, dtype=np.float64))

    def with_theta(self, theta: Any) -> Self:
        """The same model with other parameters (k,)."""
        values = [float(value) for value in theta]
        if len(values) != len(self.theta_names):
            raise InvalidParameter(f"theta must hold {len(self.theta_names)} numbers, got {len(values)}")
        named = isinstance(self.theta, Mapping)
        return clone(self).set_params(theta=dict(zip(self.theta_names, values, strict=True)) if named else values)  # type: ignore[no-any-return]

    def has(self, name: str) -> bool:
        """Whether all functions that the batch function needs were given."""
        from mcstat.state_space._wrap import NEEDS

        return all(getattr(self, part) is not None for part in NEEDS[name])

    def function(self, name: str) -> Any:
        """Batch function of that name; see :mod:`mcstat.state_space._model`."""
        from mcstat.state_space._wrap import NEEDS, Arrays, compiled

        for part in NEEDS[name]:
            value = getattr(self, part)
            if value is None:
                raise MissingDensityError(f"this method needs {part} of the StateSpaceModel, which has none")
            if not callable(value):
                raise TypeError(f"{part} must be a function, got {type(value).__name__}")
        parts, shape = self._parts
        return getattr(Arrays(parts, shape), name) if self.vectorized else compiled(name, parts, shape)

    @property
    def _parts(self) -> tuple[Any, Any]:
        from mcstat.state_space._wrap import Parts, Shape

        check_option("noise", self.noise, ("normal", "uniform", "generator"))
        return Parts(*(getattr(self, name) for name in Parts._fields)), Shape(*self.dims, self.noise == "generator")

    def log_bound(self) -> float:
        """Upper bound of the log transition density."""
        if self.transition_log_bound is None:
            raise MissingDensityError("this method needs transition_log_bound of the StateSpaceModel, which has none")
        bound = float(self.transition_log_bound(self.packed()))
        if not np.isfinite(bound):
            raise InvalidData(f"transition_log_bound must return a finite number, got {bound}")
        return bound

    def observe(self, rng: np.random.Generator, t: int, x: FloatArray) -> Any:
        """Draw y_t given one state (d,)."""
        if self.observation is None:
            raise MissingDensityError("simulate() needs observation of the StateSpaceModel, which has none")
        return self.observation(rng, t, x[0] if len(x) == 1 else x, self.packed())

    def observation_cdf(self, t: int, x: FloatArray, y: FloatArray) -> FloatArray:
        """P(Y_t <= y) for each of the states (N, d)."""
        if self.cdf is None:
            raise MissingDensityError("residuals need cdf of the StateSpaceModel, which has none")
        return np.asarray(self.cdf(t, x[:, 0] if x.shape[1] == 1 else x, y[0], self.packed()))
