"""Compiled vector steps of the interior point method: one pass over the rows each."""

from mcstat.kernels._jit import kernel


@kernel
def barrier_weights(a, room, z, w, q, pull):
    """Weights q (n,) of the normal equations and q (z - w) of their right side."""
    for i in range(len(a)):
        q[i] = 1.0 / (z[i] / a[i] + w[i] / room[i])
        pull[i] = q[i] * (z[i] - w[i])


@kernel
def predict(a, room, z, w, q, along, da):
    """Affine direction of a into da; the fastest relative shrinkage of primal and of dual variables."""
    primal = dual = 0.0
    for i in range(len(a)):
        da[i] = q[i] * (along[i] - z[i] + w[i])
        rate = da[i] / a[i]
        rate_room = da[i] / room[i]
        primal = max(primal, -rate, rate_room)
        dual = max(dual, 1.0 + rate, 1.0 - rate_room)
    return primal, dual


@kernel
def gap_after(a, room, z, w, da, primal, dual):
    """Duality gap that steps of these lengths along the affine direction would leave."""
    total = 0.0
    for i in range(len(a)):
        dz = -z[i] * (1.0 + da[i] / a[i])
        dw = -w[i] * (1.0 - da[i] / room[i])
        total += (z[i] + dual * dz) * (a[i] + primal * da[i]) + (w[i] + dual * dw) * (room[i] - primal * da[i])
    return total


@kernel
def corrected_pull(a, room, z, w, q, da, centre, pull):
    """Right side's weights after Mehrotra's correction for centring and curvature."""
    for i in range(len(a)):
        pull[i] = q[i] * (z[i] - w[i] - _correction(a[i], room[i], z[i], w[i], da[i], centre))


@kernel
def _correction(a, room, z, w, da, centre):
    product_z = -da * z * (1.0 + da / a)
    product_w = -da * w * (1.0 - da / room)
    return (centre - product_z) / a - (centre + product_w) / room


@kernel
def correct(a, room, z, w, q, along, centre, da, dz, dw):
    """Corrected directions, da in place of the affine one; the fastest relative shrinkages."""
    primal = dual = 0.0
    for i in range(len(a)):
        product_z = -da[i] * z[i] * (1.0 + da[i] / a[i])
        product_w = -da[i] * w[i] * (1.0 - da[i] / room[i])
        step = q[i] * (along[i] - z[i] + w[i] + _correction(a[i], room[i], z[i], w[i], da[i], centre))
        dz[i] = (centre - product_z - z[i] * step) / a[i] - z[i]
        dw[i] = (centre + product_w + w[i] * step) / room[i] - w[i]
        da[i] = step
        primal = max(primal, -step / a[i], step / room[i])
        dual = max(dual, -dz[i] / z[i], -dw[i] / w[i])
    return primal, dual


@kernel
def advance(a, room, z, w, da, dz, dw, primal, dual):
    """Take the step; the duality gap after it."""
    gap = 0.0
    for i in range(len(a)):
        a[i] += primal * da[i]
        room[i] -= primal * da[i]
        z[i] += dual * dz[i]
        w[i] += dual * dw[i]
        gap += z[i] * a[i] + w[i] * room[i]
    return gap
