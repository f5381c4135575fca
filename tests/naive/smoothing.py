"""Slow, obvious twins of off-line smoothing over stored particles, in plain Python; one list a time."""

import itertools
import math


def backward_law(particles, log_weights, log_transition, x):
    """Probabilities of the particles of the time before, given the state x."""
    weights = [math.exp(w + log_transition(before, x)) for before, w in zip(particles, log_weights, strict=True)]
    return [w / math.fsum(weights) for w in weights]


def smoothed_weights(particles, log_weights, log_transition):
    """Probabilities of all particles given all observations."""
    last = [math.exp(w) for w in log_weights[-1]]
    smoothed = [[w / math.fsum(last) for w in last]]
    for t in range(len(particles) - 2, -1, -1):
        laws = [backward_law(particles[t], log_weights[t], log_transition, x) for x in particles[t + 1]]
        smoothed.insert(
            0,
            [math.fsum(w * law[i] for w, law in zip(smoothed[0], laws, strict=True)) for i in range(len(particles[t]))],
        )
    return smoothed


def path_probabilities(particles, log_weights, log_transition):
    """Probability of every path of indices, as backward simulation draws them."""
    last = [math.exp(w) for w in log_weights[-1]]
    found = {}
    for path in itertools.product(*(range(len(row)) for row in particles)):
        p = last[path[-1]] / math.fsum(last)
        for t in range(len(path) - 2, -1, -1):
            x = particles[t + 1][path[t + 1]]
            p *= backward_law(particles[t], log_weights[t], log_transition, x)[path[t]]
        found[path] = p
    return found


def lagged_weights(ancestors, weights, lag):
    """For each time and particle the total weight of its descendants ``lag`` steps later."""
    n_times, n = len(weights), len(weights[0])
    found = []
    for t in range(n_times):
        end = min(t + lag, n_times - 1)
        row = [0.0] * n
        for i in range(n):
            line = i
            for s in range(end, t, -1):
                line = ancestors[s][line]
            row[line] += weights[end][i]
        found.append([w / math.fsum(row) for w in row])
    return found
