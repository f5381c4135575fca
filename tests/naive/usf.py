"""A solver schedule step by step: the polynomial through the m is integrated by quadrature."""

from math import exp, isinf

import numpy as np
from scipy.interpolate import lagrange

from mcstat.torch.diffusion import Grid

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


def run_schedule(schedule, denoiser, x):
    """X at the end of the schedule's grid."""
    lam = schedule.grid.lam.tolist()
    known = {}  # by node: x there when it was asked, and lambda
    for i, step in enumerate(schedule.steps):
        if i not in known:
            known[i] = _both(denoiser, x, lam[i])
        if isinf(lam[i + 1]):
            return known[i]["data"] if step.prediction == "data" else _clean(denoiser, x, known[i]["noise"], lam[i])
        order, h = schedule.orders[i], lam[i + 1] - lam[i]
        n_inner = {"multistep": 0, "singlestep": order - 1, "mixed": min(1, order - 1)}[step.derivative]
        shares = [(k + 1) / order if step.derivative == "singlestep" else 0.5 for k in range(n_inner)]
        past = [(lam[i - k], known[i - k][step.prediction]) for k in range(1, order - n_inner)]
        here = (lam[i], known[i][step.prediction])
        inner = []
        for share in shares:
            there = lam[i] + share * h
            u = _step(denoiser, step.prediction, x, lam[i], there, [here, *inner, *past], "full", "taylor")
            inner.append((there, _both(denoiser, u, there)[step.prediction]))
        points = [here, *inner, *past]
        new = _step(denoiser, step.prediction, x, lam[i], lam[i + 1], points, step.support, step.scale)
        if step.correct:
            known[i + 1] = _both(denoiser, new, lam[i + 1])
            points = [(lam[i + 1], known[i + 1][step.prediction]), *points]
            new = _step(denoiser, step.prediction, x, lam[i], lam[i + 1], points, "full", step.scale)
        x = new
    return x


def _numbers(denoiser, lam):
    grid = Grid.from_lam(denoiser.schedule, [lam])
    return float(grid.t[0]), float(grid.alpha[0]), float(grid.sigma[0])


def _both(denoiser, x, lam):
    t = _numbers(denoiser, lam)[0]
    return {"data": denoiser.x0(x, t), "noise": denoiser.eps(x, t)}


def _clean(denoiser, x, noise, lam):
    _, alpha, sigma = _numbers(denoiser, lam)
    return (x - sigma * noise) / alpha


def _step(denoiser, prediction, x, start, end, points, support, scale):
    """x_t = keep x + integral of the weight times the polynomial, the weight e^lambda or e^-lambda."""
    _, alpha_s, sigma_s = _numbers(denoiser, start)
    _, alpha_t, sigma_t = _numbers(denoiser, end)
    h, sign = end - start, 1.0 if prediction == "data" else -1.0
    outside, inside = (sigma_t, sigma_s) if prediction == "data" else (alpha_t, alpha_s)
    places = [(lam - start) / h for lam, _ in points]
    # Moments of u^k, u = (lambda - start) / h in [0, 1].
    u = 0.5 * (NODES + 1.0)
    weight = sign * outside * 0.5 * h * WEIGHTS * np.array([exp(sign * (start + h * v)) for v in u])
    moments = [float(weight @ u**k) for k in range(len(points))]
    if len(points) == 2 and scale != "taylor":
        whole = {"bh2": moments[0], "bh1": sign * outside * exp(sign * end) * h}[scale]
        moments[1] = 0.5 * whole
    out = outside / inside * x
    for k, moment in enumerate(moments):
        used = len(points) if support == "full" else k + 1
        for j in range(used):
            basis = lagrange(places[:used], np.eye(used)[j]).coef[::-1]
            factor = basis[k] if k < len(basis) else 0.0
            out = out + moment * factor * points[j][1]
    return out
