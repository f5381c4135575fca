"""Group-time effects without covariates: differences of means, unit by unit."""

import numpy as np


def cell(Y, first, times, group, time, base, control):
    """ATT(g, t) and its standard error from a table of outcomes (N, T); NaN outcomes leave a unit out."""
    t, b = list(times).index(time), list(times).index(base)
    gains_treated, gains_control = [], []
    for i in range(len(Y)):
        gain = Y[i][t] - Y[i][b]
        if np.isnan(gain):
            continue
        if first[i] == group:
            gains_treated.append(gain)
        elif control(first[i]):
            gains_control.append(gain)
    a, c = np.array(gains_treated), np.array(gains_control)
    error = np.sqrt(a.var() / len(a) + c.var() / len(c))
    return a.mean() - c.mean(), error
