"""Passes that learning needs: around a frozen path, and from given noise; and the density of a path.

Each is written once, for function pointers and for array models.
"""

from functools import cache
from typing import NamedTuple

import numba
import numpy as np

from mcstat.kernels._jit import driver_part, kernel
from mcstat.state_space._filter_kernels import OK, filter_step, filter_types
from mcstat.state_space._paris_kernels import BAD_TRANSITION, accumulate, combine, invert
from mcstat.state_space._signatures import (
    LOG_AUXILIARY,
    LOG_INITIAL,
    LOG_TRANSITION,
    LOG_WEIGHT,
    MOVE,
    RESAMPLE,
    array,
    read_only,
)


class Anchoring(NamedTuple):
    """Buffers for the draw of the frozen particle's ancestor; all of length 0 where it is not drawn."""

    everyone: np.ndarray  # (N,) int64: 0, 1, ...
    targets: np.ndarray  # (N,) int64: all 0
    state: np.ndarray  # (1, d)
    log_density: np.ndarray  # (N,)
    cdf: np.ndarray  # (N,)


def run_conditional(
    rng,
    move,
    log_weight,
    log_auxiliary,
    resample,
    log_transition,
    theta,
    y,
    frozen,
    cloud,
    trace,
    tools,
    anchoring,
):
    """One pass over y (T, p) around the path ``frozen`` (T, d); OK or the failure, and the time where it ended."""
    for t in range(len(y)):
        if t > 0 and len(anchoring.cdf) > 0:
            store_row(frozen, t, anchoring.state)
            if not draw_anchor(rng, log_transition, theta, t, cloud, tools.anchor, anchoring):
                return BAD_TRANSITION, t
        status = filter_step(
            rng, move, log_weight, log_auxiliary, resample, theta, y, t, t, frozen, cloud, trace, tools
        )
        if status != OK:
            return status, t
    return OK, len(y)


@driver_part
def draw_anchor(rng, log_transition, theta, t, cloud, anchor, anchoring):
    """Ancestor l of the frozen state, with probability proportional to w_{t-1}^l m_t(x_{t-1}^l, frozen_t).

    Particle 0, which led there before, where all densities vanish. False where one is NaN or +inf.
    """
    x_prev = cloud.x[(t + 1) % 2]
    log_transition(t, x_prev, anchoring.everyone, anchoring.state, anchoring.targets, theta, anchoring.log_density)
    top = combine(cloud.log_weights, anchoring.log_density, anchoring.cdf)
    if np.isnan(top):
        return False
    accumulate(anchoring.cdf)
    anchor[0] = 0 if top == 0.0 else invert(anchoring.cdf, len(anchoring.cdf), rng.random())
    return True


def run_given(rng, move, log_weight, log_auxiliary, resample, theta, y, noise, uniforms, cloud, trace, tools, order):
    """One pass over y (T, p) that is a function of noise (T, N, q) and uniforms (T, u).

    Particles are put in the order of their first component before they are resampled, so that a small change of
    parameters and noise makes a small change of the likelihood. ``order`` (N, d + 2) is a buffer.
    """
    for t in range(len(y)):
        if t > 0:
            sort_cloud(cloud.x[(t + 1) % 2], cloud.log_weights, cloud.weights, order)
        store_flat(noise[t], tools.noise)
        store_row(uniforms, t, tools.uniforms)
        status = filter_step(rng, move, log_weight, log_auxiliary, resample, theta, y, t, t, y[:0], cloud, trace, tools)
        if status != OK:
            return status, t
    return OK, len(y)


def path_log_densities(log_initial, log_transition, log_weight, thetas, y, path, index, out):
    """Log density of a path (T, d) and the observations together, at each row of thetas (m, .), into (m,).

    ``index`` (1,) is 0.
    """
    value = np.empty(1)
    for j in range(len(thetas)):
        theta = thetas[j]
        log_initial(path[:1], theta, value)
        total = value[0]
        for t in range(len(y)):
            before = path[max(t - 1, 0) : max(t, 1)]
            if t > 0:
                log_transition(t, before, index, path[t : t + 1], index, theta, value)
                total += value[0]
            log_weight(t, before, index, path[t : t + 1], y[t], theta, value)
            total += value[0]
        out[j] = total


# From here on arrays in, arrays out.


@kernel
def store_row(rows, t, out):
    """Row t of rows (T, m) into (1, m)."""
    for k in range(rows.shape[1]):
        out[0, k] = rows[t, k]


@kernel
def store_flat(values, out):
    """Copy of a matrix."""
    for i in range(values.shape[0]):
        for k in range(values.shape[1]):
            out[i, k] = values[i, k]


@kernel
def sort_cloud(x, log_weights, weights, buffer):
    """Put particles in ascending order of their first component."""
    n, d = x.shape
    first = np.empty(n)
    for i in range(n):
        first[i] = x[i, 0]
        for k in range(d):
            buffer[i, k] = x[i, k]
        buffer[i, d] = log_weights[i]
        buffer[i, d + 1] = weights[i]
    order = np.argsort(first)
    for i in range(n):
        for k in range(d):
            x[i, k] = buffer[order[i], k]
        log_weights[i] = buffer[order[i], d]
        weights[i] = buffer[order[i], d + 1]


@cache
def compiled_conditional():
    """:func:`run_conditional` for function pointers: compiled once for all models, cached for the next process."""
    t = numba.types
    index = array(1, t.int64)
    anchoring = t.NamedTuple((index, index, array(2), array(1), array(1)), Anchoring)
    signatures = (MOVE, LOG_WEIGHT, LOG_AUXILIARY, RESAMPLE, LOG_TRANSITION)
    pointers = [t.FunctionType(signature) for signature in signatures]
    arguments = (t.npy_rng, *pointers, read_only(1), read_only(2), read_only(2), *filter_types(), anchoring)
    return kernel(run_conditional, t.UniTuple(t.int64, 2)(*arguments))


@cache
def compiled_given():
    """:func:`run_given` for function pointers."""
    t = numba.types
    pointers = [t.FunctionType(signature) for signature in (MOVE, LOG_WEIGHT, LOG_AUXILIARY, RESAMPLE)]
    arguments = (t.npy_rng, *pointers, read_only(1), read_only(2), array(3), array(2), *filter_types(), array(2))
    return kernel(run_given, t.UniTuple(t.int64, 2)(*arguments))


@cache
def compiled_densities():
    """:func:`path_log_densities` for function pointers."""
    t = numba.types
    pointers = [t.FunctionType(signature) for signature in (LOG_INITIAL, LOG_TRANSITION, LOG_WEIGHT)]
    arguments = (*pointers, read_only(2), read_only(2), array(2), array(1, t.int64), array(1))
    return kernel(path_log_densities, t.void(*arguments))
