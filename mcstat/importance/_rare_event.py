"""From the final sample of a rare event to the Estimate, and pictures of the way there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.core.estimate import Estimate
from mcstat.core.extras import import_extra
from mcstat.core.laws import Law, tail_probabilities
from mcstat.core.rng import entropy_of
from mcstat.importance._limit_state import Points
from mcstat.importance._psis import khat_threshold, tail_shape

if TYPE_CHECKING:
    from mcstat.importance._cross_entropy import CrossEntropy

FloatArray = NDArray[np.float64]

REACHED = "the failure event was reached"
NOT_REACHED = "exploration reached max_explore"
CLIMBING = "interrupted on the way to the failure event"

# As for the room's other samplers: khat alone also flags weights that are bounded but few.
_LARGEST_PART = 0.1
# Beyond this relative error nominal 95 % intervals covered less than 90 %.
_LARGEST_ERROR = 0.25


@dataclass(frozen=True, eq=False)
class LogNormal(Law):
    """A positive quantity whose logarithm is estimated with a normal error.

    Parameters
    ----------
    value, relative_error : array_like, shape (q,)
        The estimate, and its standard error over it.
    """

    value: FloatArray
    relative_error: FloatArray

    def interval(self, level: float = 0.95, sides: str = "two") -> tuple[FloatArray, FloatArray]:
        """Ends value * exp(z relative_error), above 0."""
        from scipy.special import ndtri

        below_lower, below_upper = tail_probabilities(level, sides)
        lower = self.value * np.exp(ndtri(below_lower) * self.relative_error)
        upper = self.value * np.exp(ndtri(below_upper) * self.relative_error)
        return lower, upper


@dataclass(frozen=True)
class Summary:
    """What the final sample says: numbers that are NaN where no point failed."""

    n: int
    n_failed: int
    value: float
    std_error: float
    ess: float
    khat: float
    largest: float

    @classmethod
    def of(cls, final: Points) -> Summary:
        """Mean of 1{g <= 0} phi / h, with the tail of its summands."""
        failed = final.g <= 0
        n, n_failed = len(failed), int(failed.sum())
        if n_failed == 0:
            # Not 0 but unknown.
            return cls(n, 0, 0.0, np.nan, 0.0, np.nan, np.nan)
        with np.errstate(divide="ignore"):
            log_summands = final.log_weights + np.log(failed)
        summands = np.exp(log_summands)
        total, squares = float(summands.sum()), summands**2
        error = float(summands.std(ddof=1) / np.sqrt(n))
        return cls(
            n,
            n_failed,
            total / n,
            error,
            total**2 / squares.sum(),
            tail_shape(log_summands),
            squares.max() / squares.sum(),
        )

    @property
    def relative_error(self) -> float:
        """Standard error over value: the coefficient of variation."""
        return self.std_error / self.value if self.n_failed else np.nan


def answer(sampler: CrossEntropy) -> Estimate:
    """The Estimate of the failure probability."""
    found = Summary.of(sampler._final)
    return Estimate(
        value=np.array([found.value]),
        std_error=np.array([found.std_error]),
        names=("probability",),
        law=LogNormal(np.array([found.value]), np.array([found.relative_error])),
        kind="monte_carlo",
        estimand="probability that g(X) <= 0",
        method="CrossEntropy",
        diagnostics={
            "coefficient_of_variation": found.relative_error,
            "khat": found.khat,
            "ess": found.ess,
            "n_failed": found.n_failed,
            "family": sampler._family(),
            "stop_reason": sampler.stop_reason_,
            **sampler.history_,
        },
        warnings=_warnings(sampler, found),
        info={
            "model_calls": sampler.n_calls_,
            "final_points": found.n,
            "seconds": sampler._seconds,
            "entropy": entropy_of(sampler._root),
            "mcstat": __version__,
            "parameters": sampler._settings(),
        },
    )


def _warnings(sampler: CrossEntropy, found: Summary) -> tuple[str, ...]:
    warnings = []
    if sampler.n_calls_ < sampler.budget:
        warnings.append(
            f"interrupted: {sampler.n_calls_} of {sampler.budget} points were drawn and {found.n} of them answer; "
            "extend() draws the rest"
        )
    if sampler.stop_reason_ != REACHED:
        warnings.append("the levels did not reach the failure event: parts of it may be missing; raise budget")
    if found.n_failed == 0:
        warnings.append(f"none of the {found.n} final points failed: the probability is not known; raise budget")
    if found.relative_error > _LARGEST_ERROR:
        warnings.append(
            f"the relative standard error is {100 * found.relative_error:.0f} %: the interval holds less often than it "
            "says; extend() or raise budget"
        )
    if found.khat > khat_threshold(found.n) and found.largest > _LARGEST_PART:
        warnings.append(
            f"one point makes {100 * found.largest:.0f} % of the variance and Pareto khat is {found.khat:.2f}: the "
            "error may be too small; raise budget or defensive"
        )
    return tuple(warnings)


def plot(sampler: CrossEntropy, axes: Any = None) -> Any:
    """See :meth:`CrossEntropy.plot`."""
    if axes is None:
        pyplot = import_extra("matplotlib.pyplot", "plot")
        axes = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")[1]
    history = sampler.history_
    axes[0].plot(history["n_points"], history["failed"], "o-")
    axes[0].set(xlabel="model calls", ylabel="part of the level that failed", ylim=(0, 1), title="Climb")
    for k, rung in enumerate(sampler._rungs):
        _show_level(axes[1], rung.points, k)
    if sampler._dim == 2:
        axes[1].set(xlabel="u1", ylabel="u2", aspect="equal", title="Points by level, standard normal space")
    else:
        axes[1].axvline(0, color="black", lw=1)
        axes[1].set(xlabel="g (failure: at most 0)", ylabel="density", title="Limit state by level")
    axes[1].legend(fontsize="small")
    return axes


def _show_level(ax: Any, points: Points, k: int) -> None:
    """Points of a level, those that failed filled; or the histogram of g where there are not two dimensions."""
    label, color = f"level {k}", f"C{k % 10}"
    if points.u.shape[1] != 2:
        ax.hist(points.g, bins=50, density=True, histtype="step", label=label, color=color)
        return
    failed = points.g <= 0
    ax.scatter(*points.u[~failed].T, s=4, facecolors="none", edgecolors=color, alpha=0.4)
    ax.scatter(*points.u[failed].T, s=6, color=color, label=label)
