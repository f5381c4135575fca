"""What samplers that draw from several proposals share: their weighted sample, its Estimate, its pictures."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.errors import InvalidData, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.extras import import_extra
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import entropy_of
from mcstat.importance._evaluation import Points
from mcstat.importance._proposal import coordinates
from mcstat.importance._strata import answer, expectations

FloatArray = NDArray[np.float64]


class StratifiedSampler(Estimator):
    """Base: subclasses give :meth:`_weighted_sample`, which holds all points with their weights and strata."""

    _answer: tuple[int, Estimate] | None

    def _weighted_sample(self) -> tuple[Points, FloatArray, NDArray[np.int64]]:
        """Points, log weights (N, L) and the number of the proposal that drew each point (N,)."""
        raise TypeError(f"{type(self).__name__} must define _weighted_sample")

    @property
    def sample_(self) -> FloatArray:
        """(N, d) all points."""
        return self._weighted_sample()[0].x

    @property
    def values_(self) -> FloatArray:
        """(N, J) what func gave at them."""
        return self._weighted_sample()[0].values

    @property
    def log_weights_(self) -> FloatArray:
        """(N, number of laws or 1) log weights at them."""
        return self._weighted_sample()[1]

    @property
    def strata_(self) -> NDArray[np.int64]:
        """(N,) number of the proposal that drew each point."""
        return self._weighted_sample()[2]

    def _make_estimate(self) -> Estimate:
        # The same until more points are drawn.
        if self._answer is None or self._answer[0] != self.n_calls_:
            points, log_weights, labels = self._weighted_sample()
            with single_threaded():
                found = expectations(points.values, log_weights, self._unnormalised())
                fields = answer(found, labels, self._names, points.names)
            fields["warnings"] = [*self._sampling_warnings(), *fields["warnings"]]
            fields["info"] = {
                "sampled_points": self.n_calls_,
                "seconds": self._seconds,
                "entropy": entropy_of(self._root),
                "mcstat": __version__,
                "parameters": self._settings(),
            }
            what = "an unnormalised density" if self._unnormalised() else "given laws"
            self._answer = (
                self.n_calls_,
                Estimate(
                    **fields, kind="monte_carlo", estimand=f"expectations under {what}", method=type(self).__name__
                ),
            )
        return self._answer[1]

    def _unnormalised(self) -> bool:
        return self.target is not None

    def _sampling_warnings(self) -> list[str]:
        if self.n_calls_ >= self.budget:
            return []
        return [f"interrupted: {self.n_calls_} of {self.budget} points answer; extend() draws the rest"]

    def _finished(self, started: float) -> Self:
        """Note the time, and say aloud what makes the answer doubtful."""
        self._seconds += perf_counter() - started
        for text in self.estimate().warnings:
            warnings.warn(text, ReliabilityWarning, stacklevel=3)
        return self

    def plot(self, axes: Any = None) -> Any:
        """Each proposal's part of points and of weight, and the tail of the weights, on two Axes (extra ``plot``)."""
        if axes is None:
            pyplot = import_extra("matplotlib.pyplot", "plot")
            axes = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained")[1]
        logs, labels = self.log_weights_, self.strata_
        weights = np.exp(logs - logs.max(axis=0))
        parts = np.bincount(labels, weights=(weights / weights.sum(axis=0)).mean(axis=1))
        at = np.arange(len(parts))
        axes[0].bar(at - 0.2, np.bincount(labels) / len(labels), width=0.4, label="points")
        axes[0].bar(at + 0.2, parts, width=0.4, label="weight")
        axes[0].set(xlabel="proposal", ylabel="share", title="Where points and weight come from")
        axes[0].legend()
        axes[1].plot(np.arange(1, len(weights) + 1), np.sort(weights, axis=0)[::-1], color="C0", alpha=0.6)
        axes[1].set(xscale="log", yscale="log", xlabel="rank", ylabel="weight / largest", title="Tail of the weights")
        axes[1].set_ylim(bottom=1e-8)
        return axes

    def to_arviz(self, random_state: int = 0) -> Any:
        """The sample, resampled by its weights, as ArviZ data (extra ``arviz``); for one law or target."""
        points, logs, _ = self._weighted_sample()
        if logs.shape[1] > 1:
            raise InvalidData(f"to_arviz() wants one law or target, got {logs.shape[1]} laws with weights of their own")
        named = self._integrand.func is coordinates and self._names is not None
        names = self._names if named else [f"x[{k}]" for k in range(points.x.shape[1])]
        draws = Estimate.from_draws(points.x, log_weights=logs[:, 0], names=names, method=type(self).__name__)
        return draws.to_arviz(random_state)
