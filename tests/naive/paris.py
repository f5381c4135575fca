"""Slow, obvious twin of forward smoothing: the mean over all particles of the step before, in plain Python."""

import math


def forward_smoothing(particles, log_weights, log_transition, term):
    """Weighted mean of the statistics at the last time; particles and log_weights are lists of lists by time."""
    statistics = [term(0, None, x) for x in particles[0]]
    for t in range(1, len(particles)):
        new = []
        for x in particles[t]:
            pairs = list(zip(particles[t - 1], log_weights[t - 1], statistics, strict=True))
            weights = [math.exp(w + log_transition(before, x)) for before, w, _ in pairs]
            terms = [s + term(t, before, x) for before, _, s in pairs]
            new.append(math.fsum(w * s for w, s in zip(weights, terms, strict=True)) / math.fsum(weights))
        statistics = new
    last = [math.exp(w) for w in log_weights[-1]]
    return math.fsum(w * s for w, s in zip(last, statistics, strict=True)) / math.fsum(last)
