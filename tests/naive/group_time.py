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
