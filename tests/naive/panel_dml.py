"""Double machine learning on panels as the paper's boxes say it: loops over folds, units and rows, dense dummies."""

import numpy as np


def unit_means(values, unit):
    values = np.asarray(values, dtype=float)
    out = np.empty_like(values)
    for i in np.unique(unit):
        out[unit == i] = values[unit == i].mean(axis=0)
    return out


def fixed_effects(y, d, X, unit):
    """Coefficient of d in least squares with a dummy for every unit."""
    dummies = (np.asarray(unit)[:, None] == np.unique(unit)).astype(float)
    return np.linalg.lstsq(np.column_stack([d, X, dummies]), y, rcond=None)[0][0]


def ols_predictions(Z, target, folds):
    """Out-of-fold predictions of least squares with intercept."""
    out = np.empty(len(target))
    design = np.column_stack([np.ones(len(Z)), Z])
    for k in np.unique(folds):
        test = folds == k
        coef = np.linalg.lstsq(design[~test], target[~test], rcond=None)[0]
        out[test] = design[test] @ coef
    return out


def features(approach, d, X, unit):
    """Features of y's and of d's model."""
    means = unit_means(X, unit)
    with_d = np.column_stack([X, means, unit_means(d, unit)])
    plain = np.column_stack([X, means])
    return {
        "cre": (plain, plain),
        "cre_normal": (plain, with_d),
        "cre_mundlak": (with_d, with_d),
        "late": (X, X),
        "pooled": (X, X),
    }[approach]


def panel_dml(approach, y, d, X, unit, time, folds, score="partialling_out"):
    """Theta and its standard error clustered by unit, G / (G - 1) scaled; least squares learners."""
    y, d, X, unit = (np.asarray(a) for a in (y, d, X, unit))
    if approach == "fd":
        rows = [(i, j) for i in range(len(y)) for j in range(len(y)) if unit[i] == unit[j] and time[i] == time[j] + 1]
        now, before = np.array(rows).T
        y, d, X = y[now] - y[before], d[now] - d[before], np.column_stack([X[now], X[before]])
        unit, folds = unit[now], folds[now]
        for_y = for_d = X
    elif approach == "within":
        y = y - unit_means(y, unit) + y.mean()
        d = d - unit_means(d, unit) + d.mean()
        for_y = for_d = X - unit_means(X, unit) + X.mean(axis=0)
    else:
        for_y, for_d = features(approach, d, X, unit)
    e, v = y - ols_predictions(for_y, y, folds), d - ols_predictions(for_d, d, folds)
    if approach in ("cre", "late"):
        e, v = e - unit_means(e, unit), v - unit_means(v, unit)
    theta, regressor = v @ e / (v @ v), v
    if score == "iv":
        e = y - ols_predictions(for_y, y - theta * d, folds)
        regressor = d
        theta = v @ e / (v @ d)
    psi = v * (e - theta * regressor)
    sums = [psi[unit == i].sum() for i in np.unique(unit)]
    groups = len(sums)
    return theta, np.sqrt(np.sum(np.square(sums)) * groups / (groups - 1)) / abs(v @ regressor)
