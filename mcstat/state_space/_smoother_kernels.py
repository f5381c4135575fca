"""The loops backward in time over a stored pass of a particle filter: paths, and weights.

Each is written once, for function pointers and for array models. Backward draws and rows of backward weights are those
of PaRIS (:mod:`._paris_kernels`).
"""

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np

from mcstat.kernels._jit import kernel
from mcstat.state_space._filter_kernels import OK
from mcstat.state_space._paris_kernels import (
    BAD_TRANSITION,
    DRAW_BACK,
    backward_row,
    backward_types,
    last_draws,
    remember,
)
from mcstat.state_space._signatures import LOG_TRANSITION, array, read_only


class Stored(NamedTuple):
    """All particles of one pass; the exponentials of the log-weights of each time sum to N."""

    x: np.ndarray  # (T, N, d)
    log_weights: np.ndarray  # (T, N)
    weights: np.ndarray  # (T, N) exponentials of these
    ancestors: np.ndarray  # (T, N) int64


class PathRecord(NamedTuple):
    """What is written for each of the T times."""

    paths: np.ndarray  # (T, P, d)
    trials: np.ndarray  # (T,) int64: tries of rejection
    exact: np.ndarray  # (T,) int64: draws that rejection gave up


@cache
def paths_loop(mode: int) -> Any:
    """:func:`run_paths` with one way to draw backward."""
    draw_back = DRAW_BACK[mode]

    def run_paths(rng, log_transition, theta, stored, last, first, chosen, own, plan, past, draws, record):
        """Draw states of times ``last - 1``, ..., ``first`` for P paths; OK or the failure, and where it ended.

        ``chosen`` (P,) int64 are the particles that the paths are at at time ``last``, at the end those of ``first``;
        ``own`` (P,) is a buffer for their ancestors.
        """
        for t in range(last, first, -1):
            x_prev = stored.x[t - 1]
            remember(stored.log_weights[t - 1], stored.weights[t - 1], past.log_weights, past.keep, past.alias)
            pick(stored.ancestors[t], chosen, own)
            status, record.trials[t], record.exact[t] = draw_back(
                rng, log_transition, theta, t, x_prev, record.paths[t], own, plan, past, draws
            )
            if status != OK:
                return status, t
            last_draws(draws.sources, chosen)
            pick_rows(x_prev, chosen, record.paths[t - 1])
        return OK, first

    return run_paths


def run_weights(log_transition, theta, stored, last, first, past, draws, smoothed):
    """Smoothed weights (T, N) of times ``last - 1``, ..., ``first`` from those of ``last``: O(N^2) a step.

    W_{t-1|T}^i = sum_j W_{t|T}^j B(j, i) with the backward weights B(j, .) of particle j of time t, which sum to 1.
    """
    for t in range(last, first, -1):
        x_prev, x = stored.x[t - 1], stored.x[t]
        remember(stored.log_weights[t - 1], stored.weights[t - 1], past.log_weights, past.keep, past.alias)
        for j in range(smoothed.shape[1]):
            if smoothed[t, j] > 0.0:
                top = backward_row(log_transition, theta, t, x_prev, x, j, past, draws)
                if np.isnan(top):
                    return BAD_TRANSITION, t
                if top == 0.0:
                    draws.cdf[stored.ancestors[t, j]] = 1.0
                share(smoothed[t, j], draws.cdf, smoothed[t - 1])
    return OK, first


# From here on arrays in, arrays out.


@kernel
def pick(values, indices, out):
    """values[indices]."""
    for i in range(len(indices)):
        out[i] = values[indices[i]]


@kernel
def pick_rows(rows, indices, out):
    """rows[indices]."""
    for i in range(len(indices)):
        for k in range(rows.shape[1]):
            out[i, k] = rows[indices[i], k]


@kernel
def share(weight, law, out):
    """Add ``weight`` to ``out`` (N,) in proportion to ``law`` (N,)."""
    total = 0.0
    for i in range(len(law)):
        total += law[i]
    scale = weight / total
    for i in range(len(law)):
        out[i] += scale * law[i]


@kernel
def follow(ancestors, weights, line, out):
    """Give the weights (N,) of the last time to the particles of the first one from which they descend, in (N,).

    ``ancestors`` (L, N) are those of the L times after the first; ``line`` (N,) int64 is a buffer.
    """
    for i in range(len(weights)):
        line[i] = i
    for s in range(len(ancestors) - 1, -1, -1):
        for i in range(len(line)):
            line[i] = ancestors[s, line[i]]
    for i in range(len(out)):
        out[i] = 0.0
    for i in range(len(weights)):
        out[line[i]] += weights[i]


def _stored_type():
    return numba.types.NamedTuple((array(3), array(2), array(2), array(2, numba.types.int64)), Stored)


@cache
def compiled_paths(mode):
    """:func:`paths_loop` for function pointers: compiled once for all models, cached for the next process."""
    t = numba.types
    index = array(1, t.int64)
    record = t.NamedTuple((array(3), index, index), PathRecord)
    span = (_stored_type(), t.int64, t.int64)
    arguments = (t.npy_rng, t.FunctionType(LOG_TRANSITION), read_only(1), *span, index, index, *backward_types())
    return kernel(paths_loop(mode), t.UniTuple(t.int64, 2)(*arguments, record))


@cache
def compiled_weights():
    """:func:`run_weights` for function pointers."""
    t = numba.types
    _, past, draws = backward_types()
    arguments = (t.FunctionType(LOG_TRANSITION), read_only(1), _stored_type(), t.int64, t.int64, past, draws, array(2))
    return kernel(run_weights, t.UniTuple(t.int64, 2)(*arguments))
