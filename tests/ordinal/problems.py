"""Small data sets that several tests share."""

import numpy as np

ALPHA, BETA = np.array([-0.5, 1.0, 2.5]), np.array([0.8, -0.5, 0.0])


def ordered_rows(n=400, seed=0, beta=BETA, alpha=ALPHA, link=None):
    """Four classes from a cumulative logit; columns of unlike scale and location."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, len(beta)))
    noise = rng.logistic(size=n) if link is None else link(rng, n)
    y = np.searchsorted(alpha, noise - z @ beta)
    scale = np.array([1.0, 3.0, 0.2])[: len(beta)]
    return 5.0 + z * scale, y, beta / scale
