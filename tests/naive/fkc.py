"""Feynman-Kac correctors as the paper writes them, particle by particle."""

import math


def population(score, exponents, sigma, x, noises, uniforms, threshold):
    """Noise levels sigma of x_t = x_0 + sigma_t z, one dimension: weighted particles, log-normaliser, resampled steps.

    ``score(j, x, i)`` is that of model j at level i; ``noises`` and ``uniforms`` (systematic resampling) are asked for.
    """
    n, log_z, times = len(x), 0.0, []
    log_w = [0.0] * n
    for i in range(len(sigma) - 1):
        w = [math.exp(one) for one in log_w]
        if i > 0 and sum(w) ** 2 / sum(one**2 for one in w) < threshold * n:
            log_z += math.log(sum(w) / n)
            u = uniforms()
            x, log_w = [x[chosen(w, (k + u) / n)] for k in range(n)], [0.0] * n
            times.append(i)
        g2_dt, z = sigma[i] ** 2 - sigma[i + 1] ** 2, noises()
        for k in range(n):
            s = [score(j, x[k], i) for j in range(len(exponents))]
            total = sum(b * one for b, one in zip(exponents, s, strict=True))
            squares = sum(b * one**2 for b, one in zip(exponents, s, strict=True))
            log_w[k] += 0.5 * g2_dt * (total**2 - squares)
            x[k] += g2_dt * total + math.sqrt(g2_dt) * z[k]
    log_z += math.log(sum(math.exp(one) for one in log_w) / n)
    return x, log_w, log_z, times


def chosen(w, u):
    """Inverse distribution function."""
    below = 0.0
    for k, one in enumerate(w):
        below += one / sum(w)
        if u < below:
            return k
    return len(w) - 1
