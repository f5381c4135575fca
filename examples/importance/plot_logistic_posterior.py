"""
All posterior means of a logistic regression from one sample
============================================================

A Bayesian logistic regression on the breast-cancer data (569 patients, 30 standardised features, prior N(0, 1) on
every coefficient). The posterior is known up to its constant; no chain is run.
"""

# %%
# The log density is vectorised: many coefficient vectors in, one number each out.
import numpy as np

from mcstat.datasets import load_logistic_posterior
from mcstat.importance import AdaptiveImportanceSampler

posterior = load_logistic_posterior()
posterior.log_density(np.zeros((2, 31)))

# %%
# ``initial="laplace"`` finds the mode and starts from the Gaussian with its curvature. The sampler then adapts one
# Gaussian for each coefficient and chooses their shares; half of the budget at most is spent on that.
sampler = AdaptiveImportanceSampler(
    target=posterior.log_density,
    initial="laplace",
    start=np.zeros(31),
    weights="uniform",
    budget=40_000,
    random_state=0,
)
means = sampler.fit(names=posterior.names).estimate()
means.summary()

# %%
# A long MCMC run (320 000 draws) is the reference: the differences in units of their standard error.
z = (means.value - posterior.reference_mean) / np.hypot(means.std_error, posterior.reference_mcse)
print(f"root mean square z: {np.sqrt(np.mean(z**2)):.2f}, largest {np.abs(z).max():.2f}")

# %%
ax = means.plot()
ax.plot(posterior.reference_mean, np.arange(31), "D", color="C1", fillstyle="none", label="MCMC")
ax.legend()

# %%
# Any function of the means comes with the error that their joint covariance gives it.
means.transform(lambda m: m[21] - m[1], "worst radius - mean radius")

# %%
# How the sampler got there: the criterion by round, the shares of the mixture, the tail of the weights.
sampler.plot()
