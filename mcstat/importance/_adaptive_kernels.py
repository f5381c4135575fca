"""Compiled loops of the adaptive importance sampler."""

import numpy as np

from mcstat.kernels._jit import kernel


@kernel
def log_mixture(log_parts, log_shares, out):
    """Log sum_k share_k part_k, a row at a time: log_parts (n, K), log_shares (K,), out (n,)."""
    n, n_parts = log_parts.shape
    for i in range(n):
        top = -np.inf
        for k in range(n_parts):
            top = max(top, log_parts[i, k] + log_shares[k])
        if top == -np.inf:
            out[i] = -np.inf
            continue
        total = 0.0
        for k in range(n_parts):
            total += np.exp(log_parts[i, k] + log_shares[k] - top)
        out[i] = top + np.log(total)
