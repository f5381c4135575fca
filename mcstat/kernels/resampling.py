"""Resampling: which particles are copied. Every scheme copies particle i m W_i times on average.

Each scheme is a map from given uniforms to indices, so that its randomness may come from anywhere. ``weights`` (n,)
need not sum to 1, but must be >= 0 with a positive sum; uniforms are in [0, 1); ``out`` (m,) takes the indices. A
particle of weight zero is never chosen, and no index passes the last particle of positive weight, whatever the
rounding.
"""

from collections.abc import Callable

import numpy as np

from mcstat.kernels._jit import kernel


@kernel
def last_positive(weights):
    """Index of the last weight > 0."""
    last = len(weights) - 1
    while last > 0 and not weights[last] > 0.0:
        last -= 1
    return last


@kernel
def inverse_cdf(weights, sorted_uniforms, out):
    """Inverse of the distribution function of ``weights`` at uniforms (m,) in ascending order, in one sweep."""
    total = 0.0
    for i in range(len(weights)):
        total += weights[i]
    last = last_positive(weights)
    j = 0
    below = weights[0]
    for k in range(len(out)):
        at = sorted_uniforms[k] * total
        # "<=" steps over particles of weight zero.
        while below <= at and j < last:
            j += 1
            below += weights[j]
        out[k] = j


@kernel
def sort_uniforms(uniforms, out):
    """Turn m + 1 independent uniforms into the order statistics (m,) of m others, without sorting: O(m).

    Sums of exponential variables over their total.
    """
    m = len(out)
    total = 0.0
    for k in range(m):
        total -= np.log1p(-uniforms[k])
        out[k] = total
    total -= np.log1p(-uniforms[m])
    # All uniforms may be 0.
    scale = 1.0 / total if total > 0.0 else 0.0
    for k in range(m):
        out[k] *= scale


@kernel
def systematic(weights, uniforms, out):
    """Inverse distribution function at (k + uniforms[0]) / m: one uniform for all. No branch a particle."""
    m = len(out)
    total = 0.0
    for i in range(len(weights)):
        total += weights[i]
    last = last_positive(weights)
    scale = m / total
    for k in range(m):
        out[k] = 0
    # Points below a particle's upper end: it owns those from ``begin`` on, unless a later one writes there too.
    below = 0.0
    begin = 0
    for j in range(last + 1):
        if begin < m:
            out[begin] = j
        below += weights[j]
        begin = int(np.ceil(below * scale - uniforms[0]))
    owner = 0
    for k in range(m):
        owner = max(owner, out[k])
        out[k] = owner


@kernel
def stratified(weights, uniforms, out):
    """Inverse distribution function at (k + uniforms[k]) / m."""
    m = len(out)
    points = np.empty(m)
    for k in range(m):
        points[k] = (k + uniforms[k]) / m
    inverse_cdf(weights, points, out)


@kernel
def multinomial(weights, uniforms, out):
    """Independent draws in ascending order, from m + 1 uniforms. The order depends on the place: shuffle for i.i.d."""
    points = np.empty(len(out))
    sort_uniforms(uniforms, points)
    inverse_cdf(weights, points, out)


@kernel
def alias_table(weights, keep, alias):
    """Walker's table (Vose's construction): cell i is i with probability ``keep[i]``, else ``alias[i]``. O(n)."""
    n = len(weights)
    total = 0.0
    for i in range(n):
        total += weights[i]
    scale = n / total
    stack = np.empty(n, np.int64)  # poor cells from the left, rich ones from the right
    poor = 0
    rich = n
    for i in range(n):
        keep[i] = weights[i] * scale
        alias[i] = i
        if keep[i] < 1.0:
            stack[poor] = i
            poor += 1
        else:
            rich -= 1
            stack[rich] = i
    while poor > 0 and rich < n:
        poor -= 1
        i = stack[poor]
        j = stack[rich]
        alias[i] = j
        keep[j] -= 1.0 - keep[i]
        if keep[j] < 1.0:
            rich += 1
            stack[poor] = j
            poor += 1
    # What rounding left over is full; a particle of weight zero points elsewhere.
    heir = last_positive(weights)
    while rich < n:
        keep[stack[rich]] = 1.0
        rich += 1
    while poor > 0:
        poor -= 1
        i = stack[poor]
        if weights[i] > 0.0:
            keep[i] = 1.0
        else:
            alias[i] = heir


@kernel
def alias_pick(keep, alias, uniform):
    """One draw from an alias table; the whole part of n * uniform is the cell, the rest decides."""
    n = len(keep)
    at = uniform * n
    cell = min(int(at), n - 1)
    return cell if at - cell < keep[cell] else alias[cell]


@kernel
def multinomial_iid(weights, uniforms, out):
    """Independent draws in independent order, by an alias table, from m uniforms."""
    n = len(weights)
    keep = np.empty(n)
    alias = np.empty(n, np.int64)
    alias_table(weights, keep, alias)
    for k in range(len(out)):
        out[k] = alias_pick(keep, alias, uniforms[k])


@kernel
def residual(weights, uniforms, out):
    """floor(m W_i) copies of each, the rest multinomial with the fractional parts; takes m + 1 uniforms."""
    n = len(weights)
    m = len(out)
    total = 0.0
    for i in range(n):
        total += weights[i]
    rest = np.empty(n)
    k = 0
    for i in range(n):
        share = m * (weights[i] / total)
        copies = int(share)
        rest[i] = share - copies
        for _ in range(min(copies, m - k)):
            out[k] = i
            k += 1
    if k < m:
        some = 0.0
        for i in range(n):
            some += rest[i]
        # Fractional parts that vanish in rounding: their owners are as good as any.
        multinomial(rest if some > 0.0 else weights, uniforms[: m - k + 1], out[k:])


@kernel
def ssp(weights, uniforms, out):
    """Srinivasan sampling: floor or ceil of m W_i copies, fractional parts settled in pairs; takes n - 1 uniforms.

    Gerber, Chopin and Whiteley (2019), Negative association, ordering and convergence of resampling methods.
    """
    n = len(weights)
    m = len(out)
    total = 0.0
    for i in range(n):
        total += weights[i]
    copies = np.empty(n, np.int64)
    rest = np.empty(n)
    missing = m
    for i in range(n):
        share = m * (weights[i] / total)
        copies[i] = int(share)
        rest[i] = share - copies[i]
        missing -= copies[i]
    i = 0
    for j in range(1, n):
        up = min(rest[j], 1.0 - rest[i])
        down = min(rest[i], 1.0 - rest[j])
        if uniforms[j - 1] * (up + down) < down:
            # Mass moves from j to i until one of them is whole.
            if rest[j] <= 1.0 - rest[i]:
                rest[i] += rest[j]
            else:
                rest[j] -= 1.0 - rest[i]
                copies[i] += 1
                missing -= 1
                i = j
        elif rest[i] <= 1.0 - rest[j]:
            rest[j] += rest[i]
            i = j
        else:
            rest[i] -= 1.0 - rest[j]
            copies[j] += 1
            missing -= 1
    # The last part is 0 or 1 up to rounding.
    copies[i] += missing
    k = 0
    for j in range(n):
        for _ in range(copies[j]):
            out[k] = j
            k += 1


@kernel
def killing(weights, uniforms, out):
    """Particle i stays with probability w_i / max w and is otherwise drawn anew; takes 2 n uniforms, m = n."""
    n = len(weights)
    top = 0.0
    for i in range(n):
        top = max(top, weights[i])
    multinomial_iid(weights, uniforms[n:], out)
    for i in range(n):
        if uniforms[i] * top < weights[i]:
            out[i] = i


# Scheme -> its kernel, and the uniforms that it takes to draw m of n particles.
SCHEMES: dict[str, tuple[Callable[..., None], Callable[[int, int], int]]] = {
    "systematic": (systematic, lambda n, m: 1),
    "stratified": (stratified, lambda n, m: m),
    "multinomial": (multinomial, lambda n, m: m + 1),
    "multinomial_iid": (multinomial_iid, lambda n, m: m),
    "residual": (residual, lambda n, m: m + 1),
    "ssp": (ssp, lambda n, m: n - 1),
    "killing": (killing, lambda n, m: 2 * n),
}
