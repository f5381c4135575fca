"""A hidden Markov chain with finitely many states and symbols, and its exact smoother."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, frozen_view
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.state_space._builtin import BuiltIn, whole_numbers

__all__ = ["DiscreteHMM", "ForwardBackward"]

FloatArray = NDArray[np.float64]


class DiscreteHMM(BuiltIn):
    """A chain on the states 0, ..., K - 1, of which symbols 0, ..., L - 1 are seen.

    Parameters
    ----------
    initial : array_like, shape (K,)
        Law of x_0.
    transition : array_like, shape (K, K)
        Row i is the law of x_t given x_{t-1} = i.
    emission : array_like, shape (K, L)
        Row i is the law of y_t given x_t = i.
    """

    noise = "uniform"
    _theta_names = ()
    _kernels: ClassVar[dict[str, str]] = {
        "move": "chain_move",
        "log_weight": "chain_log_weight",
        "log_transition": "chain_log_transition",
        "log_initial": "chain_log_initial",
    }

    def __init__(
        self,
        initial: ArrayLike = (0.5, 0.5),
        transition: ArrayLike = ((0.9, 0.1), (0.2, 0.8)),
        emission: ArrayLike = ((0.8, 0.2), (0.3, 0.7)),
    ) -> None:
        self.initial = initial
        self.transition = transition
        self.emission = emission

    def tables(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Initial law, transition and emission, checked."""
        initial = _laws("initial", check_array("initial", self.initial, 1)[None])[0]
        transition = _laws("transition", check_array("transition", self.transition, 2))
        emission = _laws("emission", check_array("emission", self.emission, 2))
        k = len(initial)
        if transition.shape != (k, k) or len(emission) != k:
            raise InvalidParameter(
                f"transition must have shape {(k, k)} and emission {k} rows, got {transition.shape} and "
                f"{emission.shape}"
            )
        return initial, transition, emission

    def packed(self) -> FloatArray:
        """Sizes, cumulative laws and logarithms in one row; see ``_model_kernels``."""
        initial, transition, emission = self.tables()
        with np.errstate(divide="ignore"):
            logs = [np.log(table).ravel() for table in (initial, transition, emission)]
        cumulative = [np.cumsum(initial), np.cumsum(transition, axis=1).ravel()]
        return frozen_view(np.concatenate([np.array(emission.shape, float), *cumulative, *logs]))

    def log_bound(self) -> float:
        """Largest log transition probability."""
        return float(np.log(self.tables()[1].max()))

    def clean(self, y: Any, name: str = "y") -> FloatArray:
        """Symbols as (T, 1)."""
        return whole_numbers(super().clean(y, name), name, self.tables()[2].shape[1])

    def observe(self, rng: np.random.Generator, t: int, x: FloatArray) -> Any:
        """Draw y_t given the state."""
        return rng.choice(self.tables()[2].shape[1], p=self.tables()[2][int(x[0])])


def _laws(name: str, table: FloatArray) -> FloatArray:
    if (table < 0.0).any() or np.abs(table.sum(axis=1) - 1.0).max() > 1e-9:
        raise InvalidParameter(f"{name} must hold probabilities that sum to 1 in each row, got {table.tolist()}")
    return np.asarray(table / table.sum(axis=1, keepdims=True))


class ForwardBackward(Estimator):
    """Exact filtering and smoothing of a DiscreteHMM.

    Parameters
    ----------
    model : DiscreteHMM

    Attributes
    ----------
    loglik_ : float
    filtered_, smoothed_ : ndarray, shape (T, K)
        P(x_t = k | y_0, ..., y_t) and P(x_t = k | all of y).
    pairs_ : ndarray, shape (T - 1, K, K)
        P(x_{t-1} = i, x_t = j | all of y) at [t - 1, i, j].

    Notes
    -----
    O(T K^2) time and memory.

    References
    ----------
    .. [1] Rabiner, L. R. (1989). A tutorial on hidden Markov models and selected applications in speech recognition.
       Proceedings of the IEEE 77, 257-286. doi:10.1109/5.18626.

    Examples
    --------
    >>> from mcstat.state_space import DiscreteHMM, ForwardBackward
    >>> found = ForwardBackward(DiscreteHMM()).fit([0, 0, 1, 1])
    >>> found.smoothed_.shape
    (4, 2)
    """

    def __init__(self, model: DiscreteHMM) -> None:
        self.model = model

    def fit(self, y: ArrayLike) -> Self:
        """Run forward and backward.

        Parameters
        ----------
        y : array_like, shape (T,)
            Symbols; NaN is a missing observation.

        Returns
        -------
        self
        """
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        if not isinstance(self.model, DiscreteHMM):
            raise InvalidParameter(f"model must be a DiscreteHMM, got {type(self.model).__name__}")
        initial, transition, emission = self.model.tables()
        symbols = self.model.clean(y)[:, 0]
        seen = np.array([np.ones(len(emission)) if np.isnan(s) else emission[:, int(s)] for s in symbols])
        filtered: FloatArray = np.empty(seen.shape)
        loglik = 0.0
        law = initial
        for t, likelihood in enumerate(seen):
            joint = law * likelihood
            total = joint.sum()
            if total == 0.0:
                raise InvalidData(f"y is impossible under the model: P(y[{t}] | what came before) = 0")
            loglik += np.log(total)
            filtered[t] = joint / total
            law = filtered[t] @ transition
        smoothed: FloatArray = filtered.copy()
        pairs = np.empty((len(seen) - 1, *transition.shape))
        for t in range(len(seen) - 2, -1, -1):
            predicted = filtered[t] @ transition
            ratio = np.divide(smoothed[t + 1], predicted, out=np.zeros_like(predicted), where=predicted > 0.0)
            pairs[t] = filtered[t][:, None] * transition * ratio
            smoothed[t] = pairs[t].sum(axis=1)
        self.loglik_, self.filtered_, self.smoothed_, self.pairs_ = float(loglik), filtered, smoothed, pairs
        return self

    def _make_estimate(self) -> Estimate:
        """The smoothed probabilities, which are exact given the model."""
        n_times, k = self.smoothed_.shape
        names = tuple(f"P(x[{t}]={i})" for t in range(n_times) for i in range(k))
        return Estimate(
            value=self.smoothed_.ravel(),
            std_error=np.zeros(n_times * k),
            names=names,
            coords={"time": np.repeat(np.arange(n_times), k), "state": np.tile(np.arange(k), n_times)},
            kind="monte_carlo",
            estimand="smoothed probabilities of the states",
            method="ForwardBackward",
            diagnostics={"loglik": self.loglik_},
            info={"mcstat": __version__},
        )
