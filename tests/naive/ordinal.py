"""Slow, obvious cumulative link models: probabilities as differences, derivatives in 60 digits."""

import mpmath

CDF = {
    "logit": lambda t: 1 / (1 + mpmath.exp(-t)),
    "probit": mpmath.ncdf,
    "cloglog": lambda t: 1 - mpmath.exp(-mpmath.exp(t)),
    "cauchit": lambda t: mpmath.mpf(1) / 2 + mpmath.atan(t) / mpmath.pi,
}


def probability(link, lower, upper):
    """F(upper) - F(lower); None is a boundary that is not there."""
    high = CDF[link](upper) if upper is not None else mpmath.mpf(1)
    low = CDF[link](lower) if lower is not None else mpmath.mpf(0)
    return high - low


def class_terms(link, lower, upper):
    """-log P, gradient (lower, upper), Hessian (lower, mixed, upper)."""
    with mpmath.workdps(60):
        ends = [None if end is None else mpmath.mpf(end) for end in (lower, upper)]
        there = [i for i in range(2) if ends[i] is not None]

        def loss(*moved):
            full = list(ends)
            for i, value in zip(there, moved, strict=True):
                full[i] = value
            return -mpmath.log(probability(link, *full))

        at = [ends[i] for i in there]
        out = {(0, 0): loss(*at)}
        for order in [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]:
            if all(order[i] == 0 or i in there for i in range(2)):
                kept = tuple(order[i] for i in there)
                out[order] = mpmath.diff(loss, tuple(at), kept) if len(at) > 1 else mpmath.diff(loss, at[0], kept[0])
        return [float(out.get(order, 0)) for order in [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]]


def mean_loss(link, X, codes, weights, alpha, beta):
    """Weighted mean of -log P(y_i), row by row."""
    total = mpmath.mpf(0)
    for x, k, w in zip(X, codes, weights, strict=True):
        eta = [
            float(alpha[c]) + sum(float(b) * float(v) for b, v in zip(beta[c], x, strict=True))
            for c in range(len(alpha))
        ]
        lower = eta[k - 1] if k > 0 else None
        upper = eta[k] if k < len(alpha) else None
        total -= float(w) * mpmath.log(probability(link, lower, upper))
    return float(total / sum(float(w) for w in weights))
