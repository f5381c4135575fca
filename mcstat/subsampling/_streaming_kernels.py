"""Compiled loop of the online sampler."""

import numpy as np

from mcstat.kernels._jit import kernel


@kernel
def online_probabilities(rows, coins, oversampling, inverse, probabilities):
    """Probability of each row (n, d) given the rows kept before it, into probabilities (n,).

    A row is kept where its coin is below its probability; ``inverse`` (d, d), of S' S + ridge I, is then updated for
    the rescaled row by Sherman and Morrison's formula.
    """
    n, d = rows.shape
    along = np.empty(d)
    for i in range(n):
        score = 0.0
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += inverse[j, k] * rows[i, k]
            along[j] = total
            score += rows[i, j] * total
        probability = min(1.0, oversampling * max(score, 0.0))
        probabilities[i] = probability
        if coins[i] < probability:
            shrink = 1.0 / (probability + score)
            for j in range(d):
                for k in range(j + 1):
                    inverse[j, k] -= along[j] * along[k] * shrink
                    inverse[k, j] = inverse[j, k]
