"""What the replicates of a particle filter say together, and when to doubt it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.state_space._kalman import state_names
from mcstat.state_space._paris_kernels import Plan
from mcstat.state_space._run import FilterRun

FloatArray = NDArray[np.float64]
Passes = list[FilterRun]

# Below, a weighted mean is a mean of a handful of points.
_FEWEST_EFFECTIVE = 10.0
# Above, most of the time goes into exact draws; those of few particles cost no more than tries.
_MOST_EXACT, _MANY_PARTICLES = 0.2, 100


def stack(passes: Passes, name: str) -> FloatArray:
    """One record of all replicates, (R, T, ...)."""
    return np.stack([run.trace(name) for run in passes])


def mean_of(passes: Passes, name: str) -> FloatArray:
    """Mean of a record over the replicates."""
    return np.asarray(stack(passes, name).mean(axis=0))


def log_mean_exp(values: FloatArray) -> FloatArray:
    """Over the first axis."""
    top = values.max(axis=0)
    return np.asarray(top + np.log(np.mean(np.exp(values - top), axis=0)))


def increments(passes: Passes) -> FloatArray:
    """Steps of the log of the mean likelihood, (T,)."""
    each = stack(passes, "increments")
    if len(each) == 1:
        return np.asarray(each[0])
    return np.diff(log_mean_exp(np.cumsum(each, axis=1)), prepend=0.0)


def loglik(passes: Passes) -> tuple[float, float]:
    """Log of the mean likelihood, and its standard error by the delta method."""
    each = stack(passes, "increments").sum(axis=1)
    value = float(log_mean_exp(each))
    if len(each) == 1:
        return value, np.nan
    return value, float(np.std(np.exp(each - value), ddof=1) / np.sqrt(len(each)))


def moments(passes: Passes) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (T, d) of all replicates' particles together."""
    means, variances = stack(passes, "mean"), stack(passes, "var")
    return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)


def loglik_fields(series: list[Passes]) -> dict[str, Any]:
    """Fields of the Estimate of the log-likelihood, the sum over independent series."""
    found = np.array([loglik(passes) for passes in series])
    error = np.sqrt(np.sum(found[:, 1] ** 2))
    return {"value": found[:, 0].sum(), "std_error": error, "names": ("loglik",), "estimand": "log-likelihood"}


def mean_fields(series: list[Passes], names: tuple[str, ...]) -> dict[str, Any]:
    """Fields of the Estimate of the filtering means of all series."""
    values, errors, labels, which, times, components = [], [], [], [], [], []
    for name, passes in zip(names, series, strict=True):
        means = stack(passes, "mean")
        n, n_times, d = means.shape
        values.append(means.mean(axis=0).ravel())
        spread = means.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full((n_times, d), np.nan)
        errors.append(spread.ravel())
        prefix = "" if len(series) == 1 else f"{name} "
        labels += [prefix + label for label in state_names(n_times, d)]
        which += [name] * (n_times * d)
        times.append(np.repeat(np.arange(n_times), d))
        components.append(np.tile(np.arange(d), n_times))
    coords = {"series": np.array(which), "time": np.concatenate(times), "component": np.concatenate(components)}
    return {
        "value": np.concatenate(values),
        "std_error": np.concatenate(errors),
        "names": tuple(labels),
        "coords": coords,
        "estimand": "filtering means E[x_t | y_0, ..., y_t]",
    }


def few_effective(ess: FloatArray, n_particles: int, series: str = "y") -> list[str]:
    """A doubt where the smallest effective sample size (R, T) is too small; it tells the time."""
    if ess.min() >= min(_FEWEST_EFFECTIVE, n_particles):
        return []
    time = ess.argmin() % ess.shape[1]
    return [
        f"effective sample size {ess.min():.1f} of {n_particles} particles at time {time} of {series}: take more "
        "particles, or a proposal that knows y"
    ]


def many_exact(fraction: float, plan: Plan | None, n_particles: int) -> list[str]:
    """A doubt where rejection gave up too many of the backward draws; none where it was not to try."""
    if plan is None or plan.max_trials == 0 or n_particles < _MANY_PARTICLES or not fraction > _MOST_EXACT:
        return []
    return [
        f"rejection gave up {fraction:.0%} of the backward draws after {plan.max_trials} tries, which then cost O(N) "
        "each: see whether transition_log_bound is too high, take more particles, or backward='mcmc'"
    ]


def doubts(runs: Passes) -> list[str]:
    """Reasons to doubt passes of a filter."""
    worst = min(runs, key=lambda run: run.trace("ess").min())
    return few_effective(worst.trace("ess")[None], worst.settings.n_particles, worst.name)
