"""
A model of your own: did the Nile slide or jump?
================================================

A random walk says that the Nile's level slid to where it is since 1900. Perhaps it jumped: then most years bring next
to no change, and a few bring a large one. No built-in model says that, and no Kalman filter can. It takes twenty lines:
how a state begins, how it moves, and how likely an observation is.
"""

# %%
# Functions are of one particle and take plain numbers. ``noise`` holds two standard normal numbers that the filter
# draws: the size of a change, and whether it is a jump, 3 years in 100. ``theta`` has the parameters in order. The
# density of a move, up to a factor, is for smoothing, and its bound makes smoothing fast. All of it is compiled.
from math import exp, log, pi

import numpy as np

from mcstat.core.plots import axes
from mcstat.datasets import load_nile
from mcstat.state_space import KalmanFilter, LocalLevel, ParticleFilter, ParticleSmoother, StateSpaceModel


def move(t, level, noise, theta):
    jumps = noise[1] > 1.88
    return level + (theta[1] if jumps else theta[0]) * noise[0]


def log_move(t, before, level, theta):
    slide, jump = (level - before) / theta[0], (level - before) / theta[1]
    return log(0.97 * exp(-0.5 * slide**2) / theta[0] + 0.03 * exp(-0.5 * jump**2) / theta[1] + 1e-300)


model = StateSpaceModel(
    initial=lambda noise, theta: 1000.0 + 300.0 * noise[0],
    transition=move,
    observation_log_density=lambda t, level, y, theta: (
        -0.5 * ((y - level) / theta[2]) ** 2 - log(theta[2]) - 0.5 * log(2 * pi)
    ),
    transition_log_density=log_move,
    transition_log_bound=lambda theta: log(0.97 / theta[0] + 0.03 / theta[1] + 1e-300),
    theta={"slide": 5.0, "jump": 200.0, "sigma_y": 125.0},
    noise_dim=2,
)

# %%
# Which model do the flows prefer? A filter knows the likelihood up to an error that its replicates tell. The random
# walk has its best parameters, the jumps have a guess.
flow = load_nile()
walk = KalmanFilter(LocalLevel(38.0, 123.0, initial_level=1000.0, initial_sd=300.0)).fit(flow).loglik_
jumps = ParticleFilter(model, 5000, n_replicates=8, random_state=0, verbose=False).fit(flow).estimate()
print(f"log-likelihood of the walk {walk:.1f}; of jumps {float(jumps):.1f}, standard error {jumps.std_error[0]:.2f}")

# %%
# Smoothed, the level is flat, falls once, and is flat again.
smoother = ParticleSmoother(
    model, n_particles=2000, n_replicates=4, quantiles=(0.025, 0.975), random_state=0, verbose=False
).fit(flow)
ax = smoother.plot()
ax.plot(flow.to_numpy(), ".", color="0.4", markersize=4)
ax.set_xticks(range(9, 100, 20), [str(year) for year in flow.index[9::20]])
_ = ax.set(xlabel="year", ylabel="flow, $10^8$ m$^3$")

# %%
# When? Each drawn path has its own jumps. A fall by more than 100 within a year is one.
paths = smoother.paths_[:, :, 0]
falls = np.mean(np.diff(paths, axis=1) < -100.0, axis=0)
ax = axes(figsize=(8.0, 2.4))
ax.bar(flow.index[1:], falls)
_ = ax.set(xlabel="year", ylabel="probability of a fall", ylim=(0, 1))
print({int(year): round(float(falls[year - 1872]), 2) for year in range(1896, 1902)})
