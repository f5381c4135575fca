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
from mcstat.importance._psis import khat_threshold, tail_shape

if TYPE_CHECKING:
    from mcstat.importance._cross_entropy import CrossEntropy
    from mcstat.importance._limit_state import Points

FloatArray = NDArray[np.float64]

# As for the room's other samplers: khat alone also flags weights that are bounded but few.
_LARGEST_PART = 0.1


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


def answer(sampler: CrossEntropy) -> Estimate:
    """The Estimate of the failure probability."""
    final = sampler._final
    n = len(final.g)
    failed = final.g <= 0
    with np.errstate(divide="ignore"):
        log_summands = final.log_weights + np.log(failed)
    summands = np.exp(log_summands)
    value = float(summands.mean())
    # No failure seen: the probability is not 0 but unknown.
    error = float(summands.std(ddof=1) / np.sqrt(n)) if failed.any() else np.nan
    relative = error / value if failed.any() else np.nan
    khat, limit = tail_shape(log_summands), khat_threshold(n)
    largest = float(np.max(summands**2) / np.sum(summands**2)) if failed.any() else np.nan
    return Estimate(
        value=np.array([value]),
        std_error=np.array([error]),
        names=("probability",),
        law=LogNormal(np.array([value]), np.array([relative])),
        kind="monte_carlo",
        estimand="probability that g(X) <= 0",
        method="CrossEntropy",
        diagnostics={
            "coefficient_of_variation": relative,
            "khat": khat,
            "ess": float(summands.sum() ** 2 / np.sum(summands**2)) if failed.any() else 0.0,
            "n_failed": int(failed.sum()),
            "family": sampler._family(),
            "stop_reason": getattr(sampler, "stop_reason_", "interrupted"),
            **sampler.history_,
        },
        warnings=_warnings(sampler, n, int(failed.sum()), khat > limit and largest > _LARGEST_PART, khat, largest),
        info={
            "model_calls": sampler.n_calls_,
            "final_points": n,
            "seconds": sampler._seconds,
            "entropy": entropy_of(sampler._root),
            "mcstat": __version__,
            "parameters": sampler._settings(),
        },
    )


def _warnings(
    sampler: CrossEntropy, n: int, n_failed: int, heavy: bool, khat: float, largest: float
) -> tuple[str, ...]:
    found = []
    if sampler.n_calls_ < sampler.budget:
        found.append(
            f"interrupted: {sampler.n_calls_} of {sampler.budget} points were drawn and {n} of them answer; "
            "extend() draws the rest"
        )
    elif sampler.stop_reason_ == "exploration reached max_explore":
        found.append("the levels did not reach the failure event: parts of it may be missing; raise budget")
    if n_failed == 0:
        found.append(f"none of the {n} final points failed: the probability is not known; raise budget")
    if heavy:
        found.append(
            f"one point makes {100 * largest:.0f} % of the variance and Pareto khat is {khat:.2f}: the error may be "
            "too small; raise budget or defensive"
        )
    return tuple(found)


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
