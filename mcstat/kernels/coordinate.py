"""Quadratic functions with an l1 penalty: coordinate descent in covariance form."""

from mcstat.kernels._jit import kernel


@kernel
def kkt_residual(gradient, l1, x):
    """Largest violation of optimality at x (q,) of a smooth function with this gradient plus sum_j l1_j |x_j|."""
    worst = 0.0
    for j in range(len(x)):
        if x[j] > 0.0:
            gap = abs(gradient[j] + l1[j])
        elif x[j] < 0.0:
            gap = abs(gradient[j] - l1[j])
        else:
            gap = max(abs(gradient[j]) - l1[j], 0.0)
        worst = max(worst, gap)
    return worst


@kernel
def update_coordinate(j, hessian, l1, x, gradient):
    """Minimise over x_j alone; the gradient follows. Gives the change of gradient_j that this made."""
    curvature = hessian[j, j]
    if not curvature > 0.0:
        return 0.0
    old = x[j]
    wanted = curvature * old - gradient[j]
    if wanted > l1[j]:
        new = (wanted - l1[j]) / curvature
    elif wanted < -l1[j]:
        new = (wanted + l1[j]) / curvature
    else:
        new = 0.0
    step = new - old
    if step == 0.0:
        return 0.0
    x[j] = new
    for k in range(len(x)):
        gradient[k] += hessian[j, k] * step
    return abs(curvature * step)


@kernel
def coordinate_descent(hessian, l1, x, gradient, tol, max_sweeps):
    """Minimise x'Hx/2 + b'x + sum_j l1_j |x_j| by cyclic descent, from x (q,) with gradient b + Hx there, in place.

    Sweeps over the coordinates that are not zero (or not penalised) until none moves, then one over all, which lets
    others in; done when the sweep over all moves no gradient by more than tol. Gives the number of sweeps.
    O(q) a coordinate that moves, O(1) one that stays.
    """
    q = len(x)
    sweeps = 0
    while sweeps < max_sweeps:
        moved = 0.0
        for j in range(q):
            moved = max(moved, update_coordinate(j, hessian, l1, x, gradient))
        sweeps += 1
        if moved <= tol:
            break
        while sweeps < max_sweeps:
            moved = 0.0
            for j in range(q):
                if x[j] != 0.0 or l1[j] == 0.0:
                    moved = max(moved, update_coordinate(j, hessian, l1, x, gradient))
            sweeps += 1
            if moved <= tol:
                break
    return sweeps
