"""Slow, obvious versions of the kernels in ``mcstat/kernels/linalg.py``."""

import math
from fractions import Fraction

import numpy as np


def exact(array):
    """Nested lists of rational numbers equal to the floats of an array."""
    return [exact(row) for row in array] if np.ndim(array) else Fraction(float(array))


def determinant(rows):
    """By the first row (Laplace); rows of rational numbers."""
    if not rows:
        return Fraction(1)
    minors = [[row[:k] + row[k + 1 :] for row in rows[1:]] for k in range(len(rows))]
    return sum((-1) ** k * rows[0][k] * determinant(minor) for k, minor in enumerate(minors))


def cholesky_status(a):
    """0 for a positive definite matrix, else the order of its first leading minor that is not > 0 (Sylvester)."""
    rows = exact(a)
    bad = (k for k in range(1, len(rows) + 1) if determinant([row[:k] for row in rows[:k]]) <= 0)
    return next(bad, 0)


def log_gaussian(x, mean, cov):
    """Log density of N(mean, cov) at one point x (d,), by the formula of the textbook."""
    centred = x - mean
    _, log_determinant = np.linalg.slogdet(cov)
    distance = centred @ np.linalg.inv(cov) @ centred
    return -0.5 * (len(x) * math.log(2 * math.pi) + log_determinant + distance)


def weighted_moments(x, weights):
    """Weighted mean and covariance (divisor the sum of weights) in rational arithmetic, rounded once at the end."""
    rows, weights = exact(x), exact(weights)
    columns, mass = list(zip(*rows, strict=True)), sum(weights)

    def average(values):
        return sum(w * v for w, v in zip(weights, values, strict=True)) / mass

    mean = [average(column) for column in columns]
    centred = [[v - m for v in column] for column, m in zip(columns, mean, strict=True)]
    cov = [[average([a * b for a, b in zip(p, q, strict=True)]) for q in centred] for p in centred]
    return np.array([float(m) for m in mean]), np.array([[float(c) for c in row] for row in cov])
