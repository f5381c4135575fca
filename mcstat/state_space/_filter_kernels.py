"""The particle filter's loop over time, written once: compiled for function pointers, plain Python for array models."""

from functools import cache
from typing import NamedTuple

import numba
import numpy as np

from mcstat.kernels._jit import driver_part, kernel
from mcstat.kernels.exponential import exp_shifted
from mcstat.state_space._signatures import LOG_AUXILIARY, LOG_WEIGHT, MOVE, RESAMPLE, array, read_only

KINDS = {"normal": 0, "uniform": 1, "generator": 2}
# With GIVEN noise and uniforms are those that the buffers hold.
NORMAL, UNIFORM, GIVEN = 0, 1, 3
OK, NOT_A_NUMBER, ALL_DEAD = range(3)


class Cloud(NamedTuple):
    """Particles between two steps; those of time t are ``x[t % 2]``.

    ``log_weights`` are scaled so that their exponentials sum to N, ``weights`` are the same up to a factor.
    """

    x: np.ndarray  # (2, N, d)
    log_weights: np.ndarray  # (N,)
    weights: np.ndarray  # (N,)
    ancestors: np.ndarray  # (N,) int64


class Trace(NamedTuple):
    """What is written at each of the T steps; the last three have length T, or 0 to write nothing."""

    increments: np.ndarray  # (T,) of the log-likelihood
    ess: np.ndarray  # (T,)
    resampled: np.ndarray  # (T,) 0 or 1: before the step
    mean: np.ndarray  # (T, d)
    var: np.ndarray  # (T, d)
    x: np.ndarray  # (T, N, d)
    log_weights: np.ndarray  # (T, N)
    ancestors: np.ndarray  # (T, N) int64


class FilterTools(NamedTuple):
    """Buffers and settings of :func:`filter_step`."""

    noise: np.ndarray  # (N, q), for the draws of a move
    kind: int  # of the noise
    uniforms: np.ndarray  # (1, u), for one resampling
    threshold: float  # resample where the effective sample size is below this share of N
    aux: np.ndarray  # (N,) for first-stage log-weights, or length 0
    potential: np.ndarray  # (N,)
    anchor: np.ndarray  # (1,) int64: ancestor of the frozen particle


@driver_part
def filter_step(rng, move, log_weight, log_auxiliary, resample, theta, y, k, t, frozen, cloud, trace, tools):
    """Step t, for row k of y and of ``trace``; OK or the failure.

    ``frozen`` (T, d) is a path that particle 0 follows (conditional particle filter), or has length 0; its ancestor is
    ``tools.anchor``: particle 0 itself, unless the caller draws another one (ancestor sampling). The law of the others
    is right for resampling at every step by independent draws.
    """
    log_weights, weights, ancestors = cloud.log_weights, cloud.weights, cloud.ancestors
    x, x_prev = cloud.x[t % 2], cloud.x[(t + 1) % 2]
    resampled = False
    if t > 0:
        if len(tools.aux) > 0:
            log_auxiliary(t, x_prev, y[k], theta, tools.aux)
        resampled = choose(tools.threshold, log_weights, tools.aux, weights, ancestors)
        if resampled:
            if tools.kind != GIVEN:
                fill_uniform(rng, tools.uniforms.reshape(tools.uniforms.size))
            resample(weights, tools.uniforms.reshape(tools.uniforms.size), ancestors)
            if len(frozen) > 0:
                ancestors[0] = tools.anchor[0]
            restart(log_weights, tools.aux, weights, ancestors)
    fill_noise(rng, tools.kind, tools.noise)
    move(rng, t, x_prev, ancestors, tools.noise, y[k], theta, x)
    if len(frozen) > 0:
        for j in range(x.shape[1]):
            x[0, j] = frozen[k, j]
    log_weight(t, x_prev, ancestors, x, y[k], theta, tools.potential)
    increment = reweight(log_weights, tools.potential, weights)
    if not np.isfinite(increment):
        return NOT_A_NUMBER if np.isnan(increment) else ALL_DEAD
    trace.increments[k] = increment
    trace.resampled[k] = resampled
    trace.ess[k] = moments(x, weights, trace.mean[k], trace.var[k])
    if len(trace.x) > 0:
        store(x, log_weights, ancestors, trace.x[k], trace.log_weights[k], trace.ancestors[k])
    return OK


def run_filter(rng, move, log_weight, log_auxiliary, resample, theta, y, start, frozen, cloud, trace, tools):
    """Steps ``start``, ``start + 1``, ... for the rows of y (T, p); OK or the failure, and the time where it ended."""
    for k in range(len(y)):
        t = start + k
        status = filter_step(
            rng, move, log_weight, log_auxiliary, resample, theta, y, k, t, frozen, cloud, trace, tools
        )
        if status != OK:
            return status, t
    return OK, start + len(y)


def walk(rng, move, theta, y, start, x_prev, paths, noise, kind):
    """Move particles x_prev (N, d) of time ``start - 1`` along, all times into ``paths`` (T, N, d)."""
    ancestors = np.arange(len(x_prev))
    for k in range(len(paths)):
        fill_noise(rng, kind, noise)
        move(rng, start + k, x_prev, ancestors, noise, y, theta, paths[k])
        x_prev = paths[k]


@kernel
def store(x, log_weights, ancestors, x_out, log_weights_out, ancestors_out):
    """Copy by plain loops: Numba's assignment of arrays costs 4 s of compile time."""
    n, d = x.shape
    for i in range(n):
        for k in range(d):
            x_out[i, k] = x[i, k]
        log_weights_out[i] = log_weights[i]
        ancestors_out[i] = ancestors[i]


@kernel
def fill_uniform(rng, out):
    """Independent uniform numbers into (n,)."""
    for i in range(len(out)):
        out[i] = rng.random()


@kernel
def fill_noise(rng, kind, noise):
    """Independent normal or uniform numbers into (N, q); nothing where the model draws for itself."""
    flat = noise.reshape(noise.size)
    if kind == NORMAL:
        for i in range(len(flat)):
            flat[i] = rng.standard_normal()
    elif kind == UNIFORM:
        fill_uniform(rng, flat)


@kernel
def sums(weights):
    """Sum and sum of squares; four partial sums hide the latency of additions."""
    n = len(weights)
    a = b = c = d = 0.0
    aa = bb = cc = dd = 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):
        a += weights[i]
        b += weights[i + 1]
        c += weights[i + 2]
        d += weights[i + 3]
        aa += weights[i] * weights[i]
        bb += weights[i + 1] * weights[i + 1]
        cc += weights[i + 2] * weights[i + 2]
        dd += weights[i + 3] * weights[i + 3]
    for i in range(whole, n):
        a += weights[i]
        aa += weights[i] * weights[i]
    return (a + b) + (c + d), (aa + bb) + (cc + dd)


@kernel
def choose(threshold, log_weights, aux, weights, ancestors):
    """Whether to resample: then ``weights`` are those to draw by; otherwise every particle is its own ancestor."""
    n = len(weights)
    if len(aux) > 0:
        top = -np.inf
        for i in range(n):
            weights[i] = log_weights[i] + aux[i]
            top = max(top, weights[i])
        exp_shifted(weights, top, weights)
    total, squares = sums(weights)
    # Without a first-stage weight to go by, the failure shows in the second stage.
    usable = np.isfinite(total) and total > 0.0
    if usable and (threshold >= 1.0 or total * total < threshold * n * squares):
        return True
    for i in range(n):
        ancestors[i] = i
    return False


@kernel
def restart(log_weights, aux, weights, ancestors):
    """Log-weights after resampling: 0, or log (sum_j W_j eta_j) - log eta_i of an auxiliary filter."""
    n = len(weights)
    if len(aux) == 0:
        for i in range(n):
            log_weights[i] = 0.0
        return
    top = -np.inf
    for i in range(n):
        top = max(top, log_weights[i] + aux[i])
    level = top + np.log(sums(weights)[0] / n)
    for i in range(n):
        log_weights[i] = level - aux[ancestors[i]]


@kernel
def reweight(log_weights, potential, weights):
    """Add log-potentials, scale to sum N, return log (sum_i w_i / N): -inf when all are dead, NaN when one is NaN."""
    n = len(weights)
    top = -np.inf
    bad = False
    for i in range(n):
        log_weights[i] += potential[i]
        bad |= np.isnan(log_weights[i]) or log_weights[i] == np.inf
        top = max(top, log_weights[i])
    if bad:
        return np.nan
    if top == -np.inf:
        return top
    exp_shifted(log_weights, top, weights)
    level = top + np.log(sums(weights)[0] / n)
    for i in range(n):
        log_weights[i] -= level
    return level


@kernel
def moments(x, weights, mean, var):
    """Weighted mean and variance of each component of x (N, d); the effective sample size."""
    n, d = x.shape
    total, squares = sums(weights)
    flat = x.reshape(x.size)
    for k in range(d):
        a = b = 0.0
        for i in range(0, n - 1, 2):
            a += weights[i] * flat[i * d + k]
            b += weights[i + 1] * flat[(i + 1) * d + k]
        if n % 2 == 1:
            a += weights[n - 1] * flat[(n - 1) * d + k]
        centre = (a + b) / total
        a = b = 0.0
        for i in range(0, n - 1, 2):
            left = flat[i * d + k] - centre
            right = flat[(i + 1) * d + k] - centre
            a += weights[i] * left * left
            b += weights[i + 1] * right * right
        if n % 2 == 1:
            a += weights[n - 1] * (flat[(n - 1) * d + k] - centre) ** 2
        mean[k] = centre
        var[k] = (a + b) / total
    return total * total / squares


def filter_types():
    """Numba's types of :class:`Cloud`, :class:`Trace` and :class:`FilterTools`."""
    t = numba.types
    cloud = t.NamedTuple((array(3), array(1), array(1), array(1, t.int64)), Cloud)
    trace = t.NamedTuple(
        (array(1), array(1), array(1, t.int64), array(2), array(2), array(3), array(2), array(2, t.int64)), Trace
    )
    buffers = (array(2), t.int64, array(2), t.float64, array(1), array(1), array(1, t.int64))
    return cloud, trace, t.NamedTuple(buffers, FilterTools)


@cache
def compiled_filter():
    """:func:`run_filter` for function pointers: compiled once for all models, cached for the next process."""
    t = numba.types
    pointers = [t.FunctionType(signature) for signature in (MOVE, LOG_WEIGHT, LOG_AUXILIARY, RESAMPLE)]
    arguments = (t.npy_rng, *pointers, read_only(1), read_only(2), t.int64, read_only(2), *filter_types())
    return kernel(run_filter, t.UniTuple(t.int64, 2)(*arguments))


@cache
def compiled_walk():
    """:func:`walk` for function pointers."""
    t = numba.types
    arguments = (t.npy_rng, t.FunctionType(MOVE), read_only(1), read_only(1), t.int64, array(2), array(3), array(2))
    return kernel(walk, t.void(*arguments, t.int64))
