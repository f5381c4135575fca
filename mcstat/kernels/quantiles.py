"""Quantiles of weighted samples."""

from mcstat.kernels._jit import kernel


@kernel
def quantiles_of_sorted(values, weights, probabilities, out):
    """Weighted quantiles of values (n,) in ascending order with weights (n,) that sum to one, into out (m,).

    Point i stands at the middle of its weight, S_i = w_1 + ... + w_i - w_i / 2, and the quantile function is linear
    between the points (equal weights give Hazen's definition); beyond the outer points it is constant.
    """
    n = len(values)
    for m in range(len(probabilities)):
        p = probabilities[m]
        before = 0.0
        place = 0.0
        previous = 0.0
        found = False
        for i in range(n):
            place = before + weights[i] / 2.0
            if place >= p:
                if i == 0 or place == previous:
                    out[m] = values[i]
                else:
                    part = (p - previous) / (place - previous)
                    out[m] = values[i - 1] + part * (values[i] - values[i - 1])
                found = True
                break
            before += weights[i]
            previous = place
        if not found:
            out[m] = values[n - 1]
