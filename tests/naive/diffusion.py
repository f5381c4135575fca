"""Diffusion solvers as their papers write them, one formula a step."""

import numpy as np


def _order(i, n, order, final, h):
    p = min(order, i + 1, n - i if final else order)
    return 1 if np.isinf(h) else p


def dpm_multistep(denoiser, x, grid, order, solver_type, algorithm, final):
    """Multistep DPM-Solver by finite differences D1, D2."""
    data = algorithm == "dpmsolver++"
    lam, answers = grid.lam, []
    for i in range(grid.n_steps):
        alpha_s, alpha_t, sigma_s, sigma_t = (float(a[j]) for a in (grid.alpha, grid.sigma) for j in (i, i + 1))
        answers.insert(0, denoiser.x0(x, grid.t[i]) if data else denoiser.eps(x, grid.t[i]))
        h = float(lam[i + 1] - lam[i])
        p = _order(i, grid.n_steps, order, final, h)
        if np.isinf(h):
            x = alpha_t * answers[0] if data else alpha_t * (x - sigma_s * answers[0]) / alpha_s
            continue
        phi1 = np.expm1(-h if data else h)
        phi2 = phi1 / h + 1 if data else phi1 / h - 1
        phi3 = phi2 / h - 0.5
        out = sigma_t / sigma_s * x if data else alpha_t / alpha_s * x
        scale = alpha_t if data else sigma_t
        sign = 1.0 if data else -1.0
        out = out - scale * phi1 * answers[0]
        if p == 2:
            difference = (answers[0] - answers[1]) / ((lam[i] - lam[i - 1]) / h)
            if solver_type == "midpoint":
                out = out - 0.5 * scale * phi1 * difference
            else:
                out = out + sign * scale * phi2 * difference
        if p == 3:
            r0, r1 = (lam[i] - lam[i - 1]) / h, (lam[i - 1] - lam[i - 2]) / h
            d10, d11 = (answers[0] - answers[1]) / r0, (answers[1] - answers[2]) / r1
            first = d10 + r0 / (r0 + r1) * (d10 - d11)
            second = 2 * (d10 - d11) / (r0 + r1)
            out = out + sign * scale * phi2 * first - scale * phi3 * second
        x = out
    return x


def unipc(denoiser, x, grid, order, kind, corrector):
    """UniPC with its linear systems solved in every step, twice."""
    lam, answers = grid.lam, [denoiser.x0(x, grid.t[0])]
    n = grid.n_steps
    for i in range(n):
        alpha_t, sigma_s, sigma_t = float(grid.alpha[i + 1]), float(grid.sigma[i]), float(grid.sigma[i + 1])
        h = float(lam[i + 1] - lam[i])
        p = _order(i, n, order, True, h)
        if np.isinf(h):
            x = alpha_t * answers[0]
            continue
        hh = -h
        scale = hh if kind == "bh1" else np.expm1(hh)
        r = [float(lam[i - k] - lam[i]) / h for k in range(1, p)]
        differences = [(answers[k] - answers[0]) / r[k - 1] for k in range(1, p)]
        places = np.array([*r, 1.0])
        rows, b, value, factor = [], [], np.expm1(hh) / hh - 1, 1
        for k in range(1, p + 1):
            rows.append(places ** (k - 1))
            b.append(value * factor / scale)
            factor *= k + 1
            value = value / hh - 1 / factor
        rows, b = np.array(rows), np.array(b)
        base = sigma_t / sigma_s * x - alpha_t * np.expm1(hh) * answers[0]
        weights = {1: [], 2: [0.5]}.get(p)
        if weights is None:
            weights = np.linalg.solve(rows[:-1, :-1], b[:-1])
        predicted = base - alpha_t * scale * sum(w * d for w, d in zip(weights, differences, strict=True))
        if p == 1:
            predicted = base
        if i == n - 1:
            return predicted
        answer = denoiser.x0(predicted, grid.t[i + 1])
        if corrector:
            weights = [0.5] if p == 1 else np.linalg.solve(rows, b)
            terms = [*differences, answer - answers[0]]
            x = base - alpha_t * scale * sum(w * d for w, d in zip(weights, terms, strict=True))
        else:
            x = predicted
        answers.insert(0, answer)
    return x
