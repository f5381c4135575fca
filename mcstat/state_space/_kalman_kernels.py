"""The Kalman filter and the Rauch-Tung-Striebel smoother as plain loops over small matrices."""

import numpy as np

from mcstat.kernels._jit import kernel
from mcstat.state_space._model_kernels import seen_factor

_LOG_2_PI = 1.8378770664093453


@kernel
def product(a, b, out):
    """Matrix product a b into out."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@kernel
def product_transposed(a, b, out):
    """Matrix product a b^T into out."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[i, k] * b[j, k]
            out[i, j] = total


@kernel
def predict(mean, cov, transition, transition_cov, new_mean, new_cov):
    """Moments (d,), (d, d) one step ahead."""
    d = len(mean)
    half = np.empty((d, d))
    product(transition, cov, half)
    product_transposed(half, transition, new_cov)
    for i in range(d):
        new_mean[i] = 0.0
        for k in range(d):
            new_mean[i] += transition[i, k] * mean[k]
            new_cov[i, k] += transition_cov[i, k]
    symmetrise(new_cov)


@kernel
def update(mean, cov, y, observation, factor):
    """Condition on the components of y (p,) that are there, one after the other; the log density of those.

    Components are made independent first. Each step is in Joseph's form, so that ``cov`` stays symmetric and >= 0.
    """
    d = len(mean)
    p = len(y)
    seen = np.empty(p, np.int64)
    m = 0
    for k in range(p):
        if not np.isnan(y[k]):
            seen[m] = k
            m += 1
    partial = seen_factor(factor, seen[:m])
    rows = np.empty((m, d))
    values = np.empty(m)
    logp = 0.0
    gain = np.empty(d)
    direction = np.empty(d)
    for r in range(m):
        values[r] = y[seen[r]]
        for k in range(d):
            rows[r, k] = observation[seen[r], k]
        for s in range(r):
            values[r] -= partial[r, s] * values[s]
            for k in range(d):
                rows[r, k] -= partial[r, s] * rows[s, k]
        logp -= np.log(partial[r, r])
        values[r] /= partial[r, r]
        innovation = values[r]
        variance = 1.0
        for k in range(d):
            rows[r, k] /= partial[r, r]
        for k in range(d):
            innovation -= rows[r, k] * mean[k]
            direction[k] = 0.0
            for i in range(d):
                direction[k] += cov[k, i] * rows[r, i]
            variance += rows[r, k] * direction[k]
        logp -= 0.5 * (_LOG_2_PI + np.log(variance) + innovation * innovation / variance)
        for k in range(d):
            gain[k] = direction[k] / variance
            mean[k] += gain[k] * innovation
        joseph(cov, rows[r], gain, direction)
    return logp


@kernel
def joseph(cov, row, gain, work):
    """(I - gain row^T) cov (I - gain row^T)^T + gain gain^T, in place."""
    d = len(gain)
    for k in range(d):
        work[k] = 0.0
        for i in range(d):
            work[k] += row[i] * cov[i, k]
    for i in range(d):
        for k in range(d):
            cov[i, k] -= gain[i] * work[k]
    for i in range(d):
        total = 0.0
        for k in range(d):
            total += cov[i, k] * row[k]
        work[i] = total
    for i in range(d):
        for k in range(d):
            cov[i, k] += (gain[i] - work[i]) * gain[k]
    symmetrise(cov)


@kernel
def symmetrise(cov):
    """Undo what rounding did to symmetry."""
    for i in range(len(cov)):
        for k in range(i):
            cov[i, k] = 0.5 * (cov[i, k] + cov[k, i])
            cov[k, i] = cov[i, k]


@kernel
def kalman_filter(
    y, mean, cov, transition, transition_cov, observation, factor, pred_mean, pred_cov, filt_mean, filt_cov, increments
):
    """Predicted and filtered moments (T, d), (T, d, d), log-likelihood increments (T,); mean, cov are those of x_0."""
    d = len(mean)
    for t in range(len(y)):
        if t > 0:
            predict(filt_mean[t - 1], filt_cov[t - 1], transition, transition_cov, pred_mean[t], pred_cov[t])
        else:
            for i in range(d):
                pred_mean[0, i] = mean[i]
                for k in range(d):
                    pred_cov[0, i, k] = cov[i, k]
        for i in range(d):
            filt_mean[t, i] = pred_mean[t, i]
            for k in range(d):
                filt_cov[t, i, k] = pred_cov[t, i, k]
        increments[t] = update(filt_mean[t], filt_cov[t], y[t], observation, factor)


@kernel
def smooth(gains, transition, transition_cov, pred_mean, filt_mean, filt_cov, mean, cov, cross):
    """Smoothed moments into mean (T, d), cov (T, d, d) and Cov(x_{t-1}, x_t) into cross (T - 1, d, d).

    cov_t = (I - J F) P (I - J F)^T + J (Q + cov_{t+1}) J^T: sums of what is >= 0.
    """
    n, d = mean.shape
    left = np.empty((d, d))
    half = np.empty((d, d))
    total = np.empty((d, d))
    for i in range(d):
        mean[n - 1, i] = filt_mean[n - 1, i]
        for k in range(d):
            cov[n - 1, i, k] = filt_cov[n - 1, i, k]
    for t in range(n - 2, -1, -1):
        product(gains[t], transition, left)
        for i in range(d):
            mean[t, i] = filt_mean[t, i]
            for k in range(d):
                mean[t, i] += gains[t, i, k] * (mean[t + 1, k] - pred_mean[t + 1, k])
                left[i, k] = (1.0 if i == k else 0.0) - left[i, k]
                total[i, k] = transition_cov[i, k] + cov[t + 1, i, k]
        product(left, filt_cov[t], half)
        product_transposed(half, left, cov[t])
        product(gains[t], total, half)
        product_transposed(half, gains[t], total)
        for i in range(d):
            for k in range(d):
                cov[t, i, k] += total[i, k]
        symmetrise(cov[t])
        product(gains[t], cov[t + 1], cross[t])
