"""Textbook scores of the cross section, with least squares learnt in loops over folds."""

import numpy as np

from tests.naive.panel_dml import ols_predictions


def arm_predictions(X, target, arms, arm, folds):
    """Predictions of every row from training rows of one arm."""
    design = np.column_stack([np.ones(len(X)), X])
    out = np.empty(len(target))
    for k in np.unique(folds):
        train = (folds != k) & (arms == arm)
        coef = np.linalg.lstsq(design[train], target[train], rcond=None)[0]
        out[folds == k] = design[folds == k] @ coef
    return out


def concluded(psi_a, psi_b):
    """Theta and its standard error, n / (n - 1) scaled."""
    n, theta = len(psi_a), -psi_b.sum() / psi_a.sum()
    influence = -(psi_a * theta + psi_b) / psi_a.mean()
    return theta, np.sqrt((influence**2).sum() / (n * (n - 1)))


def plr(y, d, X, folds, score="partialling_out"):
    e, v = y - ols_predictions(X, y, folds), d - ols_predictions(X, d, folds)
    if score == "partialling_out":
        return concluded(-(v**2), v * e)
    theta = v @ e / (v @ v)
    return concluded(-v * d, v * (y - ols_predictions(X, y - theta * d, folds)))


def pliv(y, d, z, X, folds):
    e, r, v = (a - ols_predictions(X, a, folds) for a in (y, d, z))
    return concluded(-r * v, e * v)


def irm(y, d, X, folds, estimand="ate", normalize=False, clip=0.01):
    m = np.clip(ols_predictions(X, d, folds), clip, 1 - clip)
    g1, g0 = (arm_predictions(X, y, d, arm, folds) for arm in (1, 0))
    treated, control = d / m, (1 - d) / (1 - m)
    if normalize:
        treated, control = treated / treated.mean(), control / control.mean()
    if estimand == "ate":
        return concluded(-np.ones(len(y)), g1 - g0 + treated * (y - g1) - control * (y - g0))
    p = d.mean()
    return concluded(-d / p, d * (y - g0) / p - m * (1 - d) * (y - g0) / (p * (1 - m)))


def iivm(y, d, z, X, folds, clip=0.01):
    m = np.clip(ols_predictions(X, z, folds), clip, 1 - clip)
    g1, g0 = (arm_predictions(X, y, z, arm, folds) for arm in (1, 0))
    r1, r0 = (arm_predictions(X, d, z, arm, folds) for arm in (1, 0))
    up, down = z / m, (1 - z) / (1 - m)
    slope = r1 - r0 + up * (d - r1) - down * (d - r0)
    return concluded(-slope, g1 - g0 + up * (y - g1) - down * (y - g0))
