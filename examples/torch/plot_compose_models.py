"""
Combining diffusion models: guidance that is right, and one model or another
============================================================================

Guidance mixes the scores of two models and hopes for :math:`q_u^{1-w} q_c^w`. The samples have another law. Weights
along the way, carried by populations of particles, give the right one and its normaliser, with standard errors.
"""

# %%
# Two laws on the line, so that the answer is known by quadrature. Only their denoisers are used below; networks would
# do as well.
import matplotlib.pyplot as plt
import numpy as np
import torch

from mcstat.torch.diffusion import EDM, FeynmanKacCorrector, GaussianMixtureDenoiser, SuperDiff, make_grid

schedule = EDM(sigma_min=0.02)
unconditional = GaussianMixtureDenoiser([0.3, 0.7], [[-2.0], [1.5]], [[0.5], [0.3]], schedule)
conditional = GaussianMixtureDenoiser([0.5, 0.5], [[0.0], [2.5]], [[0.6], [0.4]], schedule)
grid = make_grid(schedule, 200, "karras")
w = 2.0

# %%
# Guidance with w = 2 is the product of powers -1 and 2. Ten populations give the errors; a second run on half as many
# steps takes the bias of the steps out.
pair, powers = [unconditional, conditional], [1 - w, w]
corrected = FeynmanKacCorrector(pair, powers, grid, n_particles=2000, random_state=0).fit()
corrected.estimate()

# %%
# The mean, against the one of the mixed score alone (the same simulation, without resampling and weights).
settings = {"ess_threshold": 0.0, "extrapolate": False}
alone = FeynmanKacCorrector(pair, powers, grid, n_particles=2000, random_state=0, **settings).fit()
x = torch.linspace(-4, 10, 2001, dtype=torch.float64)[:, None]
density = torch.exp((1 - w) * unconditional.logp(x, 0.02) + w * conditional.logp(x, 0.02)).numpy()
line = x[:, 0].numpy()
density /= np.trapezoid(density, line)
print(f"exact {np.trapezoid(density * line, line):.3f}, mixed score alone {float(alone.samples_.mean()):.3f}")
corrected.estimate(lambda x: x)

# %%
# The picture says it all: uncorrected guidance is off by two units.
weights = np.exp(corrected.log_weights_).ravel()
figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
bins = np.linspace(-4, 10, 90)
axis.hist(alone.samples_.ravel().numpy(), bins, density=True, alpha=0.4, label="mixed score alone")
axis.hist(corrected.samples_.ravel().numpy(), bins, weights=weights, density=True, alpha=0.4, label="corrected")
axis.plot(line, density, "k", label="exact")
axis.set(xlabel="x", ylabel="density")
axis.legend()

# %%
# One model *or* the other, at odds of one to three: the densities followed along each path decide.
either = SuperDiff(pair, grid, bias=np.log([1, 3]), n_samples=4000, random_state=0).fit()
either.estimate(lambda x: (x[:, 0] < 0.75).double(), names=["below 0.75"])

# %%
# The share below 0.75 under the mixture, by quadrature.
logs = torch.stack([model.logp(x, 0.02) for model in pair], dim=1) + torch.log(torch.tensor([0.25, 0.75]))
mixture = torch.exp(logs).sum(1).numpy()
print(f"{np.trapezoid(np.where(line < 0.75, mixture, 0.0), line):.3f}")
