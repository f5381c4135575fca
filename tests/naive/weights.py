"""Slow, obvious versions of the weight and quantile kernels, in plain Python."""

import math


def logsumexp(x):
    return math.log(math.fsum(math.exp(v) for v in x)) if any(v > -math.inf for v in x) else -math.inf


def effective_sample_size(log_weights):
    weights = [math.exp(v) for v in log_weights]
    return math.fsum(weights) ** 2 / math.fsum(w * w for w in weights)


def weighted_quantile(values, weights, p):
    """Linear between (middle of the weight, value) pairs in ascending order of value."""
    pairs = sorted((v, w) for v, w in zip(values, weights, strict=True) if w > 0)
    total = math.fsum(w for _, w in pairs)
    middles, below = [], 0.0
    for _, w in pairs:
        middles.append((below + w / 2) / total)
        below += w
    if p <= middles[0]:
        return pairs[0][0]
    for i in range(1, len(pairs)):
        if p <= middles[i]:
            part = (p - middles[i - 1]) / (middles[i] - middles[i - 1])
            return pairs[i - 1][0] + part * (pairs[i][0] - pairs[i - 1][0])
    return pairs[-1][0]


def generalised_pareto_fit(x):
    """Zhang and Stephens (2009) with ten pseudo-observations of shape 0.5; x in ascending order."""
    n = len(x)
    count = 30 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    thetas = [(1 - math.sqrt(count / (j - 0.5))) / (3 * quartile) + 1 / x[-1] for j in range(1, count + 1)]

    def shape(theta):
        return math.fsum(math.log1p(-theta * v) for v in x) / n

    def rate(theta):
        return -theta / shape(theta) if theta else n / math.fsum(x)

    profile = [n * (math.log(rate(t)) - shape(t) - 1) for t in thetas]
    top = max(profile)
    weights = [math.exp(v - top) for v in profile]
    theta = math.fsum(w * t for w, t in zip(weights, thetas, strict=True)) / math.fsum(weights)
    k = shape(theta)
    return (n * k + 5) / (n + 10), -k / theta
