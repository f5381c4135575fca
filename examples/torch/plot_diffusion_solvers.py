"""
Ten questions to a diffusion model, not a thousand
==================================================

A diffusion model turns noise into data by an ordinary differential equation whose right-hand side is a network. Time
is spent in the network; what a solver makes of few answers decides how good the samples are. Here are three solvers on
real digits, and all of them on a problem whose answer is known.
"""

# %%
# A small network on scikit-learn's 8 x 8 digits, about half a minute on two cores. It predicts the velocity; a
# ``Denoiser`` gives noise, data or score from that, and counts how often it is asked.
import matplotlib.pyplot as plt
import numpy as np
import torch

from mcstat.torch.diffusion import (
    DDIM,
    Denoiser,
    DPMSolver,
    DPMSolverV3,
    GaussianMixtureDenoiser,
    UniPC,
    digits_data,
    estimate_ems,
    make_grid,
    mmd2,
    ode_error,
    sample,
    train_denoiser,
)

torch.set_num_threads(1)
images, labels = digits_data()
network = train_denoiser(images, labels=labels, width=256, n_iter=4000, random_state=0, verbose=False)

# %%
# The same noise under three solvers with 5, 10 and 20 questions. Guidance: every digit is asked to be a 3, twice as
# strongly as the network believes.
solvers = {"DDIM": DDIM(), "DPM-Solver++ 2M": DPMSolver(order=2), "UniPC": UniPC(order=2)}
threes = Denoiser(network.fn, network.schedule, "v", cond=3, uncond=10, guidance_scale=2.0)
x_T = torch.randn((8, 1, 8, 8), generator=torch.Generator().manual_seed(1))

fig, axes = plt.subplots(3, 3, figsize=(9, 2.6), constrained_layout=True)
for row, (name, solver) in zip(axes, solvers.items(), strict=True):
    for ax, n in zip(row, (5, 10, 20), strict=True):
        digits = sample(solver, threes, x_T, make_grid(network.schedule, n)).samples
        ax.imshow(np.hstack(digits[:, 0].numpy()), cmap="gray_r", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[], title=f"{name}, {n} questions")

# %%
# How far the samples' law is from the digits': an Estimate, so with its error. (Without guidance, which changes the
# law on purpose.)
x_T = torch.randn((1000, 1, 8, 8), generator=torch.Generator().manual_seed(2))
for name, solver in solvers.items():
    for n in (5, 20):
        distance = mmd2(sample(solver, network, x_T, make_grid(network.schedule, n)).samples, images, "energy")
        print(f"{name:16} {n:3} questions: MMD^2 {float(distance):.4f} +- {distance.std_error[0]:.4f}")

# %%
# Where the law is known, the solver's error is too. For a Gaussian mixture the denoiser has a closed form, and a run
# of 1000 steps is the truth. DPM-Solver-v3 measures the model once, and has the smallest error from 8 questions on.
k = np.arange(8)
mixture = GaussianMixtureDenoiser(
    weights=[1, 2, 3, 4, 1, 2, 3, 4],
    means=4 / 3 * np.column_stack([np.cos(2 * np.pi * k / 8), np.sin(2 * np.pi * k / 8)]),
    covs=np.column_stack([0.04 + 0.01 * k, np.full(8, 0.02)]),
)
x_T = torch.randn((1000, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
truth = sample(UniPC(3), mixture, x_T, make_grid(mixture.schedule, 1000)).samples
statistics = estimate_ems(mixture, mixture.sample(2048, random_state=0), n_data=2048, random_state=0)
contenders = solvers | {
    "UniPC, order 3": UniPC(order=3),
    "DPM-Solver-v3, order 2": DPMSolverV3(statistics, order=2),
    "DPM-Solver-v3, order 3": DPMSolverV3(statistics, order=3),
}
counts = [5, 8, 10, 15, 20, 30, 50]
fig, ax = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
for name, solver in contenders.items():
    runs = [sample(solver, mixture, x_T, make_grid(mixture.schedule, n)).samples for n in counts]
    errors = [ode_error(run, truth) for run in runs]
    ax.errorbar(counts, [float(e) for e in errors], [2 * e.std_error[0] for e in errors], label=name, capsize=2)
ax.set(xscale="log", yscale="log", xlabel="questions to the model", ylabel="root mean square error")
ax.set_xticks(counts, [str(n) for n in counts])
ax.minorticks_off()
ax.legend(fontsize=8)
plt.show()
