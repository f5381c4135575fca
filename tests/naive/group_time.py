"""Group-time effects without covariates by loops over units, errors by their influence values."""

import numpy as np


def effect(y, first, group, t, base, controls):
    """Difference of mean changes, and influence values of all units."""
    changes = {i: y[i][t] - y[i][base] for i in range(len(y))}
    treated = [i for i in range(len(y)) if first[i] == group]
    above = sum(changes[i] for i in treated) / len(treated)
    below = sum(changes[i] for i in controls) / len(controls)
    influence = []
    for i in range(len(y)):
        value = 0.0
        if i in treated:
            value = len(y) / len(treated) * (changes[i] - above)
        elif i in controls:
            value = -len(y) / len(controls) * (changes[i] - below)
        influence.append(value)
    return above - below, np.array(influence)


def effect_of_sections(y, first, time, group, t, base, is_control, w):
    """Difference of differences of four weighted means of rows, and influence values of all rows."""
    n, value, influence = len(y), 0.0, [0.0] * len(y)
    for period, sign in ((t, 1.0), (base, -1.0)):
        for wanted, side in ((lambda g: g == group, 1.0), (is_control, -1.0)):
            rows = [i for i in range(n) if time[i] == period and wanted(first[i])]
            total = sum(w[i] for i in rows)
            mean = sum(w[i] * y[i] for i in rows) / total
            value += sign * side * mean
            for i in rows:
                influence[i] += sign * side * n / total * w[i] * (y[i] - mean)
    return value, np.array(influence)
