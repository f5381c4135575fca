"""
A solver of one's own: searching steps and levels
=================================================

Published solvers take every step alike. With five or ten questions to a model they need not: each step may have its
own order, its own prediction and its own length. A search over such schedules takes seconds where the model is small,
and what it finds is measured on noise that the search has not seen.
"""

# %%
# A mixture of eight unequal modes, whose denoiser has a closed form, and noise: half of it is for the search, half
# for the answer.
import matplotlib.pyplot as plt
import numpy as np
import torch

from mcstat.torch.diffusion import (
    GaussianMixtureDenoiser,
    S3Search,
    SolverSchedule,
    UniPC,
    USFSolver,
    make_grid,
    ode_error,
    sample,
)

torch.set_num_threads(1)
k = np.arange(8)
mixture = GaussianMixtureDenoiser(
    weights=[1, 2, 3, 4, 1, 2, 3, 4],
    means=4 / 3 * np.column_stack([np.cos(2 * np.pi * k / 8), np.sin(2 * np.pi * k / 8)]),
    covs=np.column_stack([0.04 + 0.01 * k, np.full(8, 0.02)]),
)
x_T = torch.randn((2000, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(0))

# %%
# 200 schedules of eight questions. The published solvers are among the first 64; a Gaussian process learns from what
# was run which children of the best are worth running.
search = S3Search(nfe=8, random_state=0, verbose=False).fit(mixture, x_T)
search.estimate()

# %%
# The estimate is of new noise; its diagnostics hold what the best published solver of the first population does there.
for name, value in search.estimate().diagnostics.items():
    print(f"{name}: {value}")

# %%
# What was found, step by step. No setting is best everywhere.
best = search.best_schedule_
for step, order, start, end in zip(best.steps, best.orders, best.grid.lam[:-1], best.grid.lam[1:], strict=True):
    corrected = ", corrected" if step.correct else ""
    print(f"{start:5.2f} to {end:5.2f}: predicted {step.prediction}, order {order}, {step.derivative}{corrected}")

# %%
# The search's progress, and where it put its nodes beside those of an even grid.
own = ("random", "evolved")
kinds = np.array([trial.origin if trial.origin in own else "published" for trial in search.history_])
values = np.array([trial.value for trial in search.history_])
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=[2, 1], constrained_layout=True)
for kind, colour in zip(("published", "random", "evolved"), ("C1", "0.7", "C0"), strict=True):
    left.plot(np.flatnonzero(kinds == kind) + 1, values[kinds == kind], ".", color=colour, label=kind)
left.plot(np.arange(len(values)) + 1, np.minimum.accumulate(values), color="C3", lw=1, label="best so far")
left.set(yscale="log", ylim=(None, 1), xlabel="schedules run", ylabel="error on the search's noise")
left.legend(fontsize=8, ncols=2)
even = make_grid(mixture.schedule, 8)
for height, grid, colour in ((1, even, "C1"), (0, best.grid, "C0")):
    right.plot(grid.lam, np.full(len(grid.lam), height), "o-", color=colour, lw=1)
right.set(yticks=[0, 1], yticklabels=["searched", "even"], ylim=(-0.6, 1.6), xlabel="half log signal-to-noise")

# %%
# A schedule is plain data: it is kept as JSON, and needs no search where it is used.
again = SolverSchedule.from_json(best.to_json())
fresh = torch.randn((1000, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
truth = sample(UniPC(3), mixture, fresh, make_grid(mixture.schedule, 1000)).samples
for name, schedule in {"searched": again, "DEIS-3": SolverSchedule.deis(even, order=3)}.items():
    error = ode_error(sample(USFSolver(schedule), mixture, fresh, schedule.grid).samples, truth)
    print(f"{name:9}: {schedule.nfe} questions, error {float(error):.4f} +- {error.std_error[0]:.4f}")
plt.show()
