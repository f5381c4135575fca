"""
The level of the Nile, seen through a century of noise
======================================================

How much water the Nile carried past Aswan was measured every year from 1871 to 1970. The flow varies much from year to
year; was there a lower *level* behind it from some year on? A local level that walks at random, seen through noise, is
linear and Gaussian: the Kalman smoother knows the exact answer, and shows what particles are worth.
"""

# %%
# Where does the search for the two spreads begin? Anywhere sensible. ``ParticleMLE`` climbs to their maximum likelihood
# and tells two errors: the standard error of the data, and what more computing would remove (mcse).
import numpy as np

from mcstat.datasets import load_nile
from mcstat.state_space import KalmanFilter, LocalLevel, ParticleMLE, ParticleSmoother

flow = load_nile()
start = LocalLevel(sigma_level=60.0, sigma_y=90.0, initial_level=1000.0, initial_sd=300.0)
learner = ParticleMLE(start, n_iter=150, n_chains=2, random_state=0, verbose=False).fit(flow)
print(learner.estimate().summary())

# %%
# For this model the likelihood is known exactly, so its maximum can be looked up on a grid.
grid = [(level, noise) for level in np.arange(20.0, 61.0) for noise in np.arange(100.0, 151.0)]
best = max(grid, key=lambda spreads: KalmanFilter(start.with_theta(spreads)).fit(flow).loglik_)
print("by Kalman's likelihood, to a whole number:", best)

# %%
# Given the spreads, what was the level? Backward simulation draws whole histories of it. Eight replicates tell the
# error of their means.
model = learner.model_
smoother = ParticleSmoother(model, n_replicates=8, quantiles=(0.025, 0.975), random_state=0, verbose=False).fit(flow)
level = smoother.estimate()
exact = KalmanFilter(model).fit(flow)
gap = level.value - exact.smoothed_mean_[:, 0]
print(f"largest distance from the exact mean: {np.abs(gap).max():.2f}, of a standard deviation of the level of about")
print(f"{np.sqrt(exact.smoothed_cov_[:, 0, 0]).mean():.0f}; Monte Carlo standard errors {level.std_error.mean():.2f}")

# %%
# The band holds the level of each year with probability 95 %; dashed are Kalman's ends.
ax = smoother.plot()
half = 1.96 * np.sqrt(exact.smoothed_cov_[:, 0, 0])
for end in (-half, half):
    ax.plot(exact.smoothed_mean_[:, 0] + end, "--", color="C1", linewidth=0.8)
ax.plot(flow.to_numpy(), ".", color="0.4", markersize=4)
ax.set_xticks(range(9, 100, 20), [str(year) for year in flow.index[9::20]])
_ = ax.set(xlabel="year", ylabel="flow, $10^8$ m$^3$")

# %%
# Paths answer what bands cannot. By how much did the level fall from before 1899, when the Aswan dam was begun, to
# after, and was the fall from 1897 to 1900 more than 150?
paths = smoother.paths_[:, :, 0]
year = flow.index.to_numpy()
fall = paths[:, year < 1899].mean(axis=1) - paths[:, year >= 1899].mean(axis=1)
steep = paths[:, year == 1897] - paths[:, year == 1900]
print(f"the level fell by {fall.mean():.0f} (sd {fall.std():.0f})")
print(f"P(it fell by more than 150 between 1897 and 1900) = {np.mean(steep > 150):.2f}")
