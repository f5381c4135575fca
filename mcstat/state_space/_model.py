"""What a state-space model is, and how a loop over time receives one.

A *batch function* treats all particles of one time step at once. A model has up to seven of them, by name:

* ``move(rng, t, x_prev, ancestors, noise, y, theta, x)`` draws x from the model's law, the initial one if t = 0;
* ``guided_move``, the same arguments: from the proposal (as ``move`` where y is missing);
* ``log_weight(t, x_prev, ancestors, x, y, theta, out)``: log g_t(x), 0 where y is missing;
* ``guided_log_weight``, the same arguments: log (m_t g_t / q_t), 0 where y is missing;
* ``log_auxiliary(t, x_prev, y, theta, out)``: log eta_{t-1}(x_prev), the first-stage weight that knows y_t;
* ``log_transition(t, x_prev, sources, x, targets, theta, out)``: log m_t(x_prev[sources[k]], x[targets[k]]);
* ``log_initial(x, theta, out)``: log m_0(x).

``x``, ``x_prev`` are (N, d), ``noise`` (N, q), ``y`` (p,), ``theta`` read-only float64, ``out`` float64 of the length
wanted, ``ancestors`` (N,) int64: particle i moves from ``x_prev[ancestors[i]]``. ``sources`` and ``targets`` have the
length of ``out``: with pairs of indices one function serves single draws, whole rows and matrices of backward weights.
``rng`` is the one Generator, for models whose laws noise cannot express. At t = 0 ``x_prev`` and ``ancestors`` are not
read.

:meth:`Model.function` gives a batch function as a **function pointer** (types in :mod:`._signatures`), or as a Python
callable with the same arguments when ``model.vectorized``. A loop over time is therefore written once, as a plain
function that calls the model and kernels: ``kernel(loop, signature)`` with ``FunctionType`` arguments is the compiled
driver (made inside the first fit, cached on disk, one for all models) and the plain function itself drives array
models. See :func:`._filter_kernels.run_filter`. A pointer is called once a step, not once a particle, so pointers cost
nothing measurable and there is nothing to specialise: users' functions are inlined into their batch functions.

:func:`feynman_kac` picks the three functions of a filter (bootstrap, guided, auxiliary). A method that needs a density
asks ``model.function("log_transition")``, which raises MissingDensityError where the model has none, and
``model.log_bound()``.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from mcstat.core.checks import check_array, check_integer, check_option, frozen_view
from mcstat.core.errors import InvalidData
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.state_space._errors import MissingDensityError

__all__ = ["METHODS", "FeynmanKac", "Model", "feynman_kac"]

FloatArray = NDArray[np.float64]
METHODS = ("bootstrap", "guided", "auxiliary")


class FeynmanKac(NamedTuple):
    """The batch functions of one filter, and whether it has first-stage weights."""

    move: Any
    log_weight: Any
    log_auxiliary: Any
    auxiliary: bool


class Model(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What every state-space model offers: a component that clones, prints and pickles, and is not fitted.

    A subclass says its dimensions, ``noise``, ``theta`` by name, and its batch functions.
    """

    vectorized: bool = False
    noise: str = "normal"

    @property
    def dims(self) -> tuple[int, int, int]:
        """Dimensions of state, noise and observation."""
        raise NotImplementedError

    @property
    def theta_values(self) -> FloatArray:
        """Parameters (k,) in the order of ``theta_names``, as a user thinks of them."""
        raise NotImplementedError

    @property
    def theta_names(self) -> tuple[str, ...]:
        """Their names."""
        raise NotImplementedError

    def support(self) -> FloatArray:
        """Open interval (k, 2) that each parameter lies in."""
        return np.tile([-np.inf, np.inf], (len(self.theta_names), 1))

    def with_theta(self, theta: Any) -> Self:
        """The same model with other parameters (k,)."""
        raise NotImplementedError

    def packed_at(self, theta: Any) -> FloatArray:
        """``packed()`` of the model with other parameters (k,)."""
        return self.with_theta(theta).packed()

    def packed(self) -> FloatArray:
        """The ``theta`` that batch functions get: read-only float64, checked."""
        return frozen_view(self.theta_values)

    def function(self, name: str) -> Any:
        """Batch function of that name, compiled at its first use; MissingDensityError where the model has none."""
        raise NotImplementedError

    def has(self, name: str) -> bool:
        """Whether there is a batch function of that name."""
        raise NotImplementedError

    def log_bound(self) -> float:
        """Upper bound of the log transition density over all states and times."""
        raise MissingDensityError(f"{type(self).__name__} has no bound of its transition density")

    def observe(self, rng: np.random.Generator, t: int, x: FloatArray) -> Any:
        """Draw y_t (p,) given the state (d,)."""
        raise MissingDensityError(f"{type(self).__name__} has no law to draw observations from")

    def observation_cdf(self, t: int, x: FloatArray, y: FloatArray) -> FloatArray:
        """P(Y_t <= y) for each of the states (N, d), of a scalar observation."""
        raise MissingDensityError(f"{type(self).__name__} has no distribution function of its observations")

    def clean(self, y: Any, name: str = "y") -> FloatArray:
        """Observations as read-only (T, p): NaN is missing, infinity is refused."""
        p = self.dims[2]
        array = check_array(name, y, (1, 2), finite=False)
        array = array[:, None] if array.ndim == 1 else array
        if len(array) == 0 or array.shape[1] != p:
            raise InvalidData(f"{name} must have shape (T, {p}) with T >= 1, got {np.shape(y)}")
        if np.isinf(array).any():
            t = int(np.argwhere(np.isinf(array))[0, 0])
            raise InvalidData(f"{name} must be finite, or NaN where an observation is missing, got infinity at [{t}]")
        return frozen_view(array)

    def walk(self, rng: np.random.Generator, first: FloatArray, start: int, n_steps: int) -> FloatArray:
        """Move particles ``first`` (N, d) of time ``start - 1`` on: paths (n_steps, N, d). ``start`` 0 starts anew."""
        from mcstat.state_space._filter_kernels import KINDS, compiled_walk, walk

        _, q, p = self.dims
        n, d = first.shape
        paths, unknown = np.empty((n_steps, n, d)), frozen_view(np.full(p, np.nan))
        loop = walk if self.vectorized else compiled_walk()
        noise, kind = np.zeros((n, q)), KINDS[self.noise]
        loop(rng, self.function("move"), self.packed(), unknown, start, first.copy(), paths, noise, kind)
        return paths

    def simulate(self, n_times: int, random_state: RandomState = None) -> tuple[FloatArray, FloatArray]:
        """Draw states and observations from the model.

        Parameters
        ----------
        n_times : int
            T >= 1.
        random_state : None, int, SeedSequence or Generator

        Returns
        -------
        x : ndarray, shape (T,) or (T, d)
        y : ndarray, shape (T,) or (T, p)
        """
        n_times = check_integer("n_times", n_times, 1)
        rng = stream(root_seed(random_state), "StateSpaceModel", Purpose.DATA, 0)
        d, _, p = self.dims
        x, y = self.walk(rng, np.zeros((1, d)), 0, n_times)[:, 0], np.empty((n_times, p))
        for t in range(n_times):
            y[t] = self.observe(rng, t, x[t])
        return (x[:, 0] if d == 1 else x), (y[:, 0] if p == 1 else y)


def feynman_kac(model: Model, method: str) -> FeynmanKac:
    """The functions of that filter; an auxiliary filter is guided where the model has a proposal.

    Raises
    ------
    MissingDensityError
        Naming what the model lacks.
    """
    method = check_option("method", method, METHODS)
    guided = method == "guided" or (method == "auxiliary" and model.has("guided_move"))
    prefix = "guided_" if guided else ""
    auxiliary = method == "auxiliary"
    return FeynmanKac(
        model.function(prefix + "move"),
        model.function(prefix + "log_weight"),
        model.function("log_auxiliary") if auxiliary else _stand_in(model),
        auxiliary,
    )


def _stand_in(model: Model) -> Any:
    """A function of the right type that is never called."""
    from mcstat.state_space._model_kernels import no_auxiliary

    return no_auxiliary if model.vectorized else pointer_of("no_auxiliary", "log_auxiliary")


@cache
def pointer_of(kernel_name: str, name: str) -> Any:
    """Function pointer of a function of ``_model_kernels``, with the type of that batch function; cached on disk."""
    from mcstat.kernels._jit import pointer
    from mcstat.state_space import _model_kernels, _signatures

    return pointer(getattr(_model_kernels, kernel_name), _signatures.BY_NAME[name])
