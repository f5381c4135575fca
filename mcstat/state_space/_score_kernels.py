"""Online smoothing of the score; see :func:`score_loop`."""

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np

from mcstat.kernels._jit import driver_part, kernel
from mcstat.state_space._filter_kernels import OK, filter_step, filter_types
from mcstat.state_space._paris_kernels import (
    DRAW_BACK,
    Draws,
    Past,
    Plan,
    average_draws,
    backward_types,
    last_draws,
    remember,
    weighted_mean,
)
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


class Scorer(NamedTuple):
    """What smoothing of the score needs beside the filter, for k parameters and M backward draws."""

    around: np.ndarray  # (2 k, m): packed parameters with one of them moved up, down
    steps: np.ndarray  # (k,): the distance between these two
    beta: np.ndarray  # (2, N, k): statistics of the particles; those of time t are beta[t % 2]
    h: np.ndarray  # (N M, k): score of a transition and of what is observed after it
    up: np.ndarray  # (N M,): log densities
    down: np.ndarray  # (N M,)
    plan: Plan
    past: Past
    draws: Draws
    score: np.ndarray  # (k,): the result
    parents: np.ndarray  # (T, N) int64: one backward draw of each particle


@driver_part
def initial_scores(log_initial, x, scorer):
    """Gradients of log m_0 at each particle, into the first N rows of ``scorer.h``."""
    n = len(x)
    for j in range(len(scorer.steps)):
        log_initial(x, scorer.around[2 * j], scorer.up[:n])
        log_initial(x, scorer.around[2 * j + 1], scorer.down[:n])
        difference(scorer.up[:n], scorer.down[:n], scorer.steps[j], scorer.h[:n], j)


@driver_part
def transition_scores(log_transition, t, x_prev, x, scorer):
    """Gradients of log m_t at each backward draw."""
    draws = scorer.draws
    total = len(draws.sources)
    for j in range(len(scorer.steps)):
        targets = draws.targets
        log_transition(t, x_prev, draws.sources, x, targets, scorer.around[2 * j], scorer.up)
        log_transition(t, x_prev, draws.sources, x, targets, scorer.around[2 * j + 1], scorer.down)
        difference(scorer.up[:total], scorer.down[:total], scorer.steps[j], scorer.h, j)


@driver_part
def add_observation_scores(log_observation, t, x_prev, ancestors, x, y, scorer):
    """Gradients of log g_t, added to the statistics of time t."""
    n = len(x)
    for j in range(len(scorer.steps)):
        log_observation(t, x_prev, ancestors, x, y, scorer.around[2 * j], scorer.up[:n])
        log_observation(t, x_prev, ancestors, x, y, scorer.around[2 * j + 1], scorer.down[:n])
        difference(scorer.up[:n], scorer.down[:n], scorer.steps[j], scorer.h[:n], j)
    add_rows(scorer.h[:n], scorer.beta[t % 2])


@cache
def score_loop(mode: int) -> Any:
    """:func:`run_score` with one way to draw backward."""
    draw_back = DRAW_BACK[mode]

    def run_score(
        rng,
        move,
        log_weight,
        log_auxiliary,
        resample,
        log_initial,
        log_transition,
        log_observation,
        theta,
        y,
        frozen,
        cloud,
        trace,
        tools,
        scorer,
    ):
        """One pass over y (T, p); OK or the failure, and the time where it ended.

        By Fisher's identity the score is the expected sum over time of the gradients of log m_t(x_{t-1}, x_t) + log
        g_t(x_t) given all observations; PaRIS smooths that sum, with gradients as central differences. ``frozen``
        (T, d) is a path that particle 0 follows, or has length 0.
        """
        past, draws, beta = scorer.past, scorer.draws, scorer.beta
        n = len(cloud.weights)
        for t in range(len(y)):
            x, x_prev = cloud.x[t % 2], cloud.x[(t + 1) % 2]
            if t > 0:
                remember(cloud.log_weights, cloud.weights, past.log_weights, past.keep, past.alias)
            status = filter_step(
                rng, move, log_weight, log_auxiliary, resample, theta, y, t, t, frozen, cloud, trace, tools
            )
            if status != OK:
                return status, t
            if t == 0:
                initial_scores(log_initial, x, scorer)
                spread_rows(scorer.h[:n], beta[0])
            else:
                status, _, _ = draw_back(
                    rng, log_transition, theta, t, x_prev, x, cloud.ancestors, scorer.plan, past, draws
                )
                if status != OK:
                    return status, t
                transition_scores(log_transition, t, x_prev, x, scorer)
                average_draws(beta[(t + 1) % 2], scorer.h, draws.sources, beta[t % 2])
                last_draws(draws.sources, scorer.parents[t])
            add_observation_scores(log_observation, t, x_prev, cloud.ancestors, x, y[t], scorer)
        weighted_mean(cloud.weights, beta[(len(y) + 1) % 2], scorer.score)
        return OK, len(y)

    return run_score


# From here on arrays in, arrays out.


@kernel
def difference(up, down, step, out, j):
    """Central differences into column j; 0 where both densities are 0, as no draw comes from there."""
    for i in range(len(up)):
        out[i, j] = 0.0 if up[i] == -np.inf and down[i] == -np.inf else (up[i] - down[i]) / step


@kernel
def spread_rows(rows, out):
    """Copy of a matrix."""
    for i in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            out[i, k] = rows[i, k]


@kernel
def add_rows(rows, out):
    """Add a matrix to another."""
    for i in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            out[i, k] += rows[i, k]


@cache
def compiled_score(mode):
    """:func:`score_loop` for function pointers: compiled once for all models, cached for the next process."""
    t = numba.types
    buffers = (read_only(2), read_only(1), array(3), array(2), array(1), array(1))
    scorer = t.NamedTuple((*buffers, *backward_types(), array(1), array(2, t.int64)), Scorer)
    signatures = (MOVE, LOG_WEIGHT, LOG_AUXILIARY, RESAMPLE, LOG_INITIAL, LOG_TRANSITION, LOG_WEIGHT)
    pointers = [t.FunctionType(signature) for signature in signatures]
    arguments = (t.npy_rng, *pointers, read_only(1), read_only(2), read_only(2), *filter_types())
    return kernel(score_loop(mode), t.UniTuple(t.int64, 2)(*arguments, scorer))
