"""Which estimator of the first-order index? Spread of the candidates on the same scrambled points.

Three models, 8 randomisations; the figures behind the table in the docstring of SobolIndices. About one CPU minute:

    python -m validation.importance.sobol_formulas
"""

from __future__ import annotations

import numpy as np

from mcstat.core.parallel import single_threaded
from mcstat.core.rng import root_seed
from mcstat.datasets import make_cantilever_beam, make_g_function, make_ishigami
from mcstat.importance._pick_freeze import Randomisation, indices

RUNS, SCRAMBLES = 200, 8
PROBLEMS = {
    "beam, 131 072 calls": (make_cantilever_beam(), 2048),
    "Ishigami, 81 920 calls": (make_ishigami(), 2048),
    "g-function, 81 920 calls": (make_g_function(), 1024),
    "beam, 4096 calls": (make_cantilever_beam(), 64),
}


def first_orders(y, u):
    """First-order indices by every candidate, each (d,)."""
    d = len(y) - 2
    y = y - y[:2].mean()
    a, b, mixed = y[0], y[1], y[2:]
    variance = np.mean((y[:2] - y[:2].mean()) ** 2)
    y = y - y.mean(axis=1, keepdims=True)
    a0, b0, mixed0 = y[0], y[1], y[2:]
    variance_a, variance_b, variance_mixed = a0 @ a0 / a0.size, b0 @ b0 / b0.size, np.mean(mixed0**2, axis=1)
    pair = (variance_b + variance_mixed) / 2
    repeated = 1 - np.mean((a0 - mixed0) ** 2, axis=1) / (variance_a + variance_mixed)
    return {
        "Saltelli 2010": np.mean(b * (mixed - a), axis=1) / variance,
        "Jansen": 1 - np.mean((b - mixed) ** 2, axis=1) / (2 * variance),
        "Martinez": np.mean(b0 * mixed0, axis=1) / np.sqrt(variance_b * variance_mixed),
        "Janon": np.mean(b0 * mixed0, axis=1) / pair,
        "Janon, control f(A)": (np.mean(b0 * mixed0, axis=1) - repeated * np.mean(a0 * b0)) / pair,
        "Janon, f(A) and additive effects": indices(y, u)[:d],
    }


def main():
    for label, (problem, n_base) in PROBLEMS.items():
        randomisation = Randomisation(problem.model, problem.law, n_base, root_seed(7))
        found = []
        for r in range(RUNS * SCRAMBLES):
            u = randomisation.points(r)
            found.append(first_orders(randomisation.outputs(u), u))
        print(f"{label}: spread of the mean of {SCRAMBLES} randomisations, times 1e-4 ({RUNS} runs)")
        for name in found[0]:
            runs = np.array([one[name] for one in found]).reshape(RUNS, SCRAMBLES, -1).mean(axis=1)
            print(f"  {name:34s}", " ".join(f"{1e4 * value:7.2f}" for value in runs.std(axis=0, ddof=1)))


if __name__ == "__main__":
    with single_threaded():
        main()
