"""Slow, obvious cumulative link models: probabilities as differences of F, row by row."""

import math
from itertools import pairwise
from statistics import NormalDist

CDF = {
    "logit": lambda t: 1 / (1 + math.exp(-t)),
    "probit": NormalDist().cdf,
    "cloglog": lambda t: 1 - math.exp(-math.exp(t)),
    "cauchit": lambda t: 0.5 + math.atan(t) / math.pi,
}


def probabilities(link, x, alpha, beta):
    """P(y = k | x) for k = 0, ..., K - 1."""
    etas = [a + sum(b * v for b, v in zip(row, x, strict=True)) for a, row in zip(alpha, beta, strict=True)]
    below = [0.0, *(CDF[link](eta) for eta in etas), 1.0]
    return [high - low for low, high in pairwise(below)]


def mean_loss(link, X, codes, weights, alpha, beta):
    """Weighted mean of -log P(y_i)."""
    losses = [
        -w * math.log(probabilities(link, x, alpha, beta)[k])
        for x, k, w in zip(X.tolist(), codes.tolist(), weights.tolist(), strict=True)
    ]
    return math.fsum(losses) / math.fsum(weights.tolist())


def fused_penalty(beta, scale, first=True):
    """sum_j |b_1j| + sum_k |b_kj - b_(k-1)j| on standardised columns."""
    total = 0.0
    for j, s in enumerate(scale):
        column = [row[j] * s for row in beta]
        total += abs(column[0]) if first else 0.0
        total += sum(abs(b - a) for a, b in pairwise(column))
    return total
