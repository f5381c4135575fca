"""Small panels for tests."""

import numpy as np


def linear_panel(seed=0, n_units=40, n_periods=6, n_covariates=2, unbalanced=False):
    """Everything is linear, unit effects move covariates and treatment; arguments of ``fit``."""
    rng = np.random.default_rng(seed)
    unit, time = np.repeat(np.arange(n_units), n_periods), np.tile(np.arange(n_periods), n_units)
    effect = rng.normal(size=n_units)[unit]
    X = rng.normal(size=(len(unit), n_covariates)) + effect[:, None]
    d = X @ np.linspace(1.0, -0.5, n_covariates) + effect + rng.normal(size=len(unit))
    y = 0.7 * d + X @ np.linspace(0.5, 1.0, n_covariates) + 2.0 * effect + rng.normal(size=len(unit))
    data = {"y": y, "d": d, "X": X, "unit": unit, "time": time}
    if unbalanced:
        kept = rng.random(len(unit)) < 0.7
        kept[time < 2] = True
        data = {name: values[kept] for name, values in data.items()}
    return data


def unit_folds(unit, n_folds=5, seed=0):
    """A fold for every unit, in random order."""
    codes = np.unique(unit, return_inverse=True)[1]
    return (np.random.default_rng(seed).permutation(codes.max() + 1) % n_folds)[codes]
