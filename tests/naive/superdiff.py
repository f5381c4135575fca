"""SuperDiff for two models, sample by sample, as the paper writes its weights."""

import math


def path(score, sigma, x, noises, mode, bias=(0.0, 0.0), lift=0.0):
    """Noise levels sigma of x_t = x_0 + sigma_t z; ``x`` a list of d numbers: the sample, its two log densities."""
    d, n = len(x), len(sigma) - 1
    start = sum(-0.5 * (one / sigma[0]) ** 2 - math.log(sigma[0] * math.sqrt(2 * math.pi)) for one in x)
    log_q = [start, start]
    for i in range(n):
        g2_dt = sigma[i] ** 2 - sigma[i + 1] ** 2
        s = [score(j, x, i) for j in range(2)]
        dw = [math.sqrt(g2_dt) * one for one in noises[i]]
        if mode == "or":
            kappa = 1 / (1 + math.exp(log_q[1] + bias[1] - log_q[0] - bias[0]))
        else:
            delta = [a - b for a, b in zip(*s, strict=True)]
            kappa = 0.5 - (dot(dw, delta) - lift / n) / (g2_dt * dot(delta, delta))
        dx = [g2_dt * (kappa * s[0][k] + (1 - kappa) * s[1][k]) + dw[k] for k in range(d)]
        log_q = [one + dot(dx, s[j]) - 0.5 * g2_dt * dot(s[j], s[j]) for j, one in enumerate(log_q)]
        x = [a + b for a, b in zip(x, dx, strict=True)]
    return x, log_q


def dot(a, b):
    """Inner product."""
    return sum(one * other for one, other in zip(a, b, strict=True))
