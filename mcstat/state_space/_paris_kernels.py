"""The loop over time of online smoothing, and draws from the backward kernel; see :func:`paris_loop`.

A *backward draw* for particle i of time t picks an index l of time t - 1 with probability proportional to
w_{t-1}^l m_t(x_{t-1}^l, x_t^i). All draws of a step are made together, so that the model's transition density is called
for whole batches of pairs.
"""

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np

from mcstat.kernels._jit import driver_part, kernel
from mcstat.kernels.exponential import exp_shifted
from mcstat.kernels.resampling import alias_pick, alias_table
from mcstat.state_space._filter_kernels import OK, filter_step, filter_types
from mcstat.state_space._signatures import (
    ADDITIVE,
    LOG_AUXILIARY,
    LOG_TRANSITION,
    LOG_WEIGHT,
    MOVE,
    RESAMPLE,
    array,
    read_only,
)

# The exact draw is the rejection sampler that gives up before its first try.
REJECTION, MCMC, FORWARD, MARGINAL = range(4)
BOUND_VIOLATED, BAD_TRANSITION = 3, 4
_SLACK = 1e-9


class Plan(NamedTuple):
    """How backward draws are made."""

    mode: int
    n_draws: int  # M, a particle
    bound: float  # of the log transition density
    max_trials: int  # of rejection, before the exact draw

    @property
    def is_mcmc(self):
        """Whether draws are Metropolis steps from the ancestor."""
        return self.mode == MCMC

    @property
    def is_rejection(self):
        """Whether draws are made by rejection, or exactly from the first one."""
        return self.mode == REJECTION


class Past(NamedTuple):
    """Weights of the N particles of time t - 1, before any resampling: logarithms, and an alias table."""

    log_weights: np.ndarray  # (N,)
    keep: np.ndarray  # (N,)
    alias: np.ndarray  # (N,) int64


class Draws(NamedTuple):
    """Indices drawn for P targets, M each, and buffers. Draw q is for target q // M."""

    sources: np.ndarray  # (P M,) int64, the result
    targets: np.ndarray  # (P M,) int64: 0, ..., 0, 1, ..., 1, ...
    pending: np.ndarray  # (P M,) int64
    trial_sources: np.ndarray  # (P M,) int64
    trial_targets: np.ndarray  # (max(P M, N),) int64
    log_density: np.ndarray  # (max(P M, N),)
    current: np.ndarray  # (P M,) log densities of the states of Markov chains, or chances of acceptance
    everyone: np.ndarray  # (max(P, N),) int64: 0, 1, ...
    cdf: np.ndarray  # (N,)


class Record(NamedTuple):
    """What is written at each of the T steps."""

    estimate: np.ndarray  # (T, k): E[S_t | y_0, ..., y_t]
    trials: np.ndarray  # (T,) int64: tries of rejection
    exact: np.ndarray  # (T,) int64: draws that rejection gave up
    parents: np.ndarray  # (T, N) int64: one backward draw of each particle; or length 0


class Smoother(NamedTuple):
    """What online smoothing needs beside the filter."""

    beta: np.ndarray  # (2, N, k): statistics of the particles; those of time t are beta[t % 2]
    h: np.ndarray  # (max(N M, N), k): terms of the functional
    plan: Plan
    past: Past
    draws: Draws
    record: Record


@driver_part
def follow_ancestors(rng, log_transition, theta, t, x_prev, x, ancestors, plan, past, draws):
    """No draws: every particle comes from its ancestor."""
    copy_indices(ancestors, draws.sources)
    return OK, 0, 0


@driver_part
def rejection(rng, log_transition, theta, t, x_prev, x, ancestors, plan, past, draws):
    """Independent draws: rejection while it pays, then exactly."""
    start_pending(draws.pending)
    count = len(draws.pending)
    trials = 0
    for _ in range(plan.max_trials):
        if count == 0:
            break
        sources, targets = draws.trial_sources[:count], draws.trial_targets[:count]
        log_density = draws.log_density[:count]
        propose(rng, past.keep, past.alias, draws.pending, draws.targets, sources, targets)
        log_transition(t, x_prev, sources, x, targets, theta, log_density)
        trials += count
        status, count = accept(
            rng, plan.bound, log_density, draws.current[:count], sources, draws.pending, draws.sources
        )
        if status != OK:
            return status, trials, count
    status = draw_exactly(rng, log_transition, theta, t, x_prev, x, ancestors, count, past, draws)
    return status, trials, count


@driver_part
def draw_exactly(rng, log_transition, theta, t, x_prev, x, ancestors, count, past, draws):
    """The first ``count`` pending draws by inverting the distribution function, once a target."""
    n = len(past.log_weights)
    last = -1
    total = 0.0
    for c in range(count):
        q = draws.pending[c]
        i = draws.targets[q]
        # Draws of one target stand next to each other.
        if i != last:
            total = backward_row(log_transition, theta, t, x_prev, x, i, past, draws)
            if np.isnan(total):
                return BAD_TRANSITION
            accumulate(draws.cdf)
            last = i
        draws.sources[q] = ancestors[i] if total == 0.0 else invert(draws.cdf, n, rng.random())
    return OK


@driver_part
def backward_row(log_transition, theta, t, x_prev, x, i, past, draws):
    """All backward weights of particle i, up to a factor, into ``draws.cdf``; their maximum is 1, or 0 if all are 0."""
    n = len(past.log_weights)
    targets, log_density = draws.trial_targets[:n], draws.log_density[:n]
    for j in range(n):
        targets[j] = i
    log_transition(t, x_prev, draws.everyone[:n], x, targets, theta, log_density)
    return combine(past.log_weights, log_density, draws.cdf)


@driver_part
def metropolis(rng, log_transition, theta, t, x_prev, x, ancestors, plan, past, draws):
    """Draw 0 of each particle is its ancestor, each next one a Metropolis step from the one before."""
    n, n_draws = len(x), plan.n_draws
    everyone = draws.everyone[:n]
    log_density, current = draws.log_density[:n], draws.current[:n]
    sources, targets = draws.trial_sources[:n], draws.trial_targets[:n]
    log_transition(t, x_prev, ancestors, x, everyone, theta, current)
    put_draws(ancestors, draws.sources, n_draws, 0)
    for j in range(1, n_draws):
        propose(rng, past.keep, past.alias, everyone, everyone, sources, targets)
        log_transition(t, x_prev, sources, x, everyone, theta, log_density)
        if not metropolis_step(rng, log_density, sources, current, draws.sources, n_draws, j):
            return BAD_TRANSITION, 0, 0
    return OK, 0, 0


@driver_part
def average_all(log_transition, additive, theta, t, x_prev, x, y, ancestors, smoother):
    """Statistics as means over the whole backward law instead of draws: O(N^2)."""
    n = len(smoother.past.log_weights)
    draws, h = smoother.draws, smoother.h
    before, after = smoother.beta[(t + 1) % 2], smoother.beta[t % 2]
    for i in range(n):
        top = backward_row(log_transition, theta, t, x_prev, x, i, smoother.past, draws)
        if np.isnan(top):
            return BAD_TRANSITION
        if top == 0.0:
            draws.cdf[ancestors[i]] = 1.0
        additive(t, x_prev, draws.everyone[:n], x, draws.trial_targets[:n], y, theta, h)
        add_and_average(draws.cdf, before, h, after[i])
    return OK


# Each of the three makes backward draws for particles x (P, d) into ``draws.sources``, and returns status, tries, and
# how many draws rejection gave up. ``ancestors`` (P,) int64 are the particles' own: the start of Markov chains, and
# what is left where no particle has a positive transition density.
DRAW_BACK: dict[int, Any] = {REJECTION: rejection, MCMC: metropolis, FORWARD: follow_ancestors}


@cache
def paris_loop(mode: int) -> Any:
    """:func:`run_paris` for one way to go backward. What does not run is not compiled: branches on ``mode`` go."""
    draw_back: Any = DRAW_BACK.get(mode)

    def run_paris(
        rng,
        move,
        log_weight,
        log_auxiliary,
        resample,
        log_transition,
        additive,
        theta,
        y,
        start,
        frozen,
        cloud,
        trace,
        tools,
        smoother,
    ):
        """Steps ``start``, ``start + 1``, ... for the rows of y (T, p); OK or the failure, and the time where it ended.

        The statistic of a particle is the mean over its backward draws J of beta_{t-1}^J + h_t(x_{t-1}^J, x_t), and
        the estimate the weighted mean of statistics. Only two time steps are held. ``frozen`` (T, d) is a path that
        particle 0 follows, or has length 0.
        """
        beta, past, draws, record = smoother.beta, smoother.past, smoother.draws, smoother.record
        n = len(cloud.weights)
        for k in range(len(y)):
            t = start + k
            x, x_prev = cloud.x[t % 2], cloud.x[(t + 1) % 2]
            if t > 0:
                remember(cloud.log_weights, cloud.weights, past.log_weights, past.keep, past.alias)
            status = filter_step(
                rng, move, log_weight, log_auxiliary, resample, theta, y, k, t, frozen, cloud, trace, tools
            )
            if status != OK:
                return status, t
            if t == 0:
                additive(t, x_prev, draws.everyone[:n], x, draws.everyone[:n], y[k], theta, beta[0])
            elif mode == MARGINAL:
                status = average_all(log_transition, additive, theta, t, x_prev, x, y[k], cloud.ancestors, smoother)
            else:
                status, record.trials[k], record.exact[k] = draw_back(
                    rng, log_transition, theta, t, x_prev, x, cloud.ancestors, smoother.plan, past, draws
                )
                additive(t, x_prev, draws.sources, x, draws.targets, y[k], theta, smoother.h)
                average_draws(beta[(t + 1) % 2], smoother.h, draws.sources, beta[t % 2])
            if status != OK:
                return status, t
            weighted_mean(cloud.weights, beta[t % 2], record.estimate[k])
            if len(record.parents) > 0:
                last_draws(draws.sources, record.parents[k])
        return OK, start + len(y)

    return run_paris


# From here on arrays in, arrays out.


@kernel
def remember(log_weights, weights, log_weights_out, keep, alias):
    """Weights as they are before the next step."""
    for i in range(len(log_weights)):
        log_weights_out[i] = log_weights[i]
    alias_table(weights, keep, alias)


@kernel
def copy_indices(indices, out):
    """Plain copy."""
    for i in range(len(indices)):
        out[i] = indices[i]


@kernel
def start_pending(pending):
    """Every draw is still to be made."""
    for q in range(len(pending)):
        pending[q] = q


@kernel
def propose(rng, keep, alias, pending, targets, trial_sources, trial_targets):
    """An independent index by weight for each of the first pending draws, as many as ``trial_sources`` takes."""
    for c in range(len(trial_sources)):
        trial_sources[c] = alias_pick(keep, alias, rng.random())
        trial_targets[c] = targets[pending[c]]


@kernel
def top_of(values):
    """Maximum; NaN where one is NaN or +inf. Four at a time, without a branch."""
    n = len(values)
    a = b = c = d = -np.inf
    total = 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):
        a = values[i] if values[i] > a else a
        b = values[i + 1] if values[i + 1] > b else b
        c = values[i + 2] if values[i + 2] > c else c
        d = values[i + 3] if values[i + 3] > d else d
        total += (values[i] + values[i + 1]) + (values[i + 2] + values[i + 3])
    for i in range(whole, n):
        a = values[i] if values[i] > a else a
        total += values[i]
    # -inf alone keeps the sum at -inf; NaN, and +inf with or without -inf, do not.
    return np.nan if np.isnan(total) or total == np.inf else max(max(a, b), max(c, d))


@kernel
def accept(rng, bound, log_density, chance, trial_sources, pending, sources):
    """Accept with probability exp(log_density - bound): accepted draws into ``sources``; status, how many are left.

    ``chance`` is a buffer like ``log_density``. Exponentials of a whole array cost less than the branches that would
    avoid some of them.
    """
    top = top_of(log_density)
    if not top <= bound + _SLACK:
        return (BAD_TRANSITION if np.isnan(top) else BOUND_VIOLATED), 0
    exp_shifted(log_density, bound, chance)
    left = 0
    for c in range(len(log_density)):
        q = pending[c]
        # A rejected index is overwritten by a later one.
        sources[q] = trial_sources[c]
        pending[left] = q
        left += rng.random() >= chance[c]
    return OK, left


@kernel
def combine(log_weights, log_density, out):
    """exp(log_weights + log_density) scaled to maximum 1, which is returned; 0 if all are, NaN if one is NaN or inf.

    ``log_density`` is overwritten: exponentials are slow in place.
    """
    if np.isnan(top_of(log_density)):
        return np.nan
    for i in range(len(out)):
        log_density[i] += log_weights[i]
    top = top_of(log_density)
    if top == -np.inf:
        for i in range(len(out)):
            out[i] = 0.0
        return 0.0
    exp_shifted(log_density, top, out)
    return 1.0


@kernel
def accumulate(cdf):
    """Cumulative sums in place."""
    for i in range(1, len(cdf)):
        cdf[i] += cdf[i - 1]


@kernel
def invert(cdf, n, uniform):
    """First index whose cumulative weight exceeds uniform * total: never one of weight zero, never past the last."""
    at = uniform * cdf[n - 1]
    # uniform * total may round to total.
    at = min(at, np.nextafter(cdf[n - 1], 0.0))
    low, high = 0, n - 1
    while low < high:
        middle = (low + high) // 2
        if cdf[middle] > at:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def put_draws(indices, sources, n_draws, j):
    """Draw j of each particle."""
    for i in range(len(indices)):
        sources[i * n_draws + j] = indices[i]


@kernel
def metropolis_step(rng, log_density, trial_sources, current, sources, n_draws, j):
    """Draw j from draw j - 1; False where a density is NaN or +inf."""
    good = True
    for i in range(len(log_density)):
        good &= not (np.isnan(log_density[i]) or log_density[i] == np.inf or np.isnan(current[i]))
        # From a state of density 0 every move is accepted.
        if np.log1p(-rng.random()) < log_density[i] - current[i] or current[i] == -np.inf:
            sources[i * n_draws + j] = trial_sources[i]
            current[i] = log_density[i]
        else:
            sources[i * n_draws + j] = sources[i * n_draws + j - 1]
    return good


@kernel
def average_draws(before, h, sources, after):
    """Statistics after (N, k): means over a particle's draws of before[source] + h."""
    n, n_terms = after.shape
    n_draws = len(sources) // n
    for i in range(n):
        for k in range(n_terms):
            total = 0.0
            for q in range(i * n_draws, (i + 1) * n_draws):
                total += before[sources[q], k] + h[q, k]
            after[i, k] = total / n_draws


@kernel
def add_and_average(weights, before, h, out):
    """Weighted mean of before + h over rows, into (k,); a row of weight 0 may hold anything."""
    total = 0.0
    for k in range(len(out)):
        out[k] = 0.0
    for i in range(len(weights)):
        if weights[i] > 0.0:
            total += weights[i]
            for k in range(len(out)):
                out[k] += weights[i] * (before[i, k] + h[i, k])
    for k in range(len(out)):
        out[k] /= total


@kernel
def weighted_mean(weights, beta, out):
    """Weighted mean of the rows of beta (N, k), into (k,)."""
    total = 0.0
    for k in range(len(out)):
        out[k] = 0.0
    for i in range(len(weights)):
        # A particle of weight 0 may sit where the functional is not finite.
        if weights[i] > 0.0:
            total += weights[i]
            for k in range(len(out)):
                out[k] += weights[i] * beta[i, k]
    for k in range(len(out)):
        out[k] /= total


@kernel
def last_draws(sources, out):
    """The last draw of each particle: the best mixed one of a Markov chain, and as good as any other of the rest."""
    n_draws = len(sources) // len(out)
    for i in range(len(out)):
        out[i] = sources[(i + 1) * n_draws - 1]


@kernel
def trace_back(rng, weights, x, parents, path):
    """Draw a particle of the last time by weight, follow its recorded backward draws; states into path (T, d)."""
    keep = np.empty(len(weights))
    alias = np.empty(len(weights), np.int64)
    alias_table(weights, keep, alias)
    i = alias_pick(keep, alias, rng.random())
    for t in range(len(path) - 1, -1, -1):
        for k in range(path.shape[1]):
            path[t, k] = x[t, i, k]
        i = parents[t, i]


def backward_types():
    """Numba's types of :class:`Plan`, :class:`Past` and :class:`Draws`."""
    t = numba.types
    index = array(1, t.int64)
    plan = t.NamedTuple((t.int64, t.int64, t.float64, t.int64), Plan)
    past = t.NamedTuple((array(1), array(1), index), Past)
    draws = t.NamedTuple((index, index, index, index, index, array(1), array(1), index, array(1)), Draws)
    return plan, past, draws


@cache
def compiled_paris(mode):
    """:func:`paris_loop` for function pointers: compiled once for all models, cached for the next process."""
    t = numba.types
    record = t.NamedTuple((array(2), array(1, t.int64), array(1, t.int64), array(2, t.int64)), Record)
    smoother = t.NamedTuple((array(3), array(2), *backward_types(), record), Smoother)
    signatures = (MOVE, LOG_WEIGHT, LOG_AUXILIARY, RESAMPLE, LOG_TRANSITION, ADDITIVE)
    pointers = [t.FunctionType(signature) for signature in signatures]
    arguments = (t.npy_rng, *pointers, read_only(1), read_only(2), t.int64, read_only(2), *filter_types())
    return kernel(paris_loop(mode), t.UniTuple(t.int64, 2)(*arguments, smoother))
