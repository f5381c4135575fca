"""
How nervous was the market?
===========================

Returns of stocks are hardly predictable, but their size is: quiet and nervous times last. A stochastic volatility model
says that the log-variance of a day's return wanders around a mean, unseen. Its parameters and the daily volatility are
learnt together, from the S&P 500 through the crash of 2008.
"""

# %%
# Returns are in per cent. The priors are wide: the mean log-variance is near that of a return of 1 %, persistence is
# high, and the log-variance changes by less than 1 from day to day.
import numpy as np
from scipy.stats import beta, halfnorm, kstest, norm

from mcstat.core.plots import axes
from mcstat.datasets import load_sp500
from mcstat.state_space import ParticleFilter, ParticleGibbs, StochasticVolatility

returns = load_sp500("2007-01-01", "2009-12-31")
y = returns - returns.mean()
prior = {"mu": norm(0, 1), "rho": beta(20, 1.5), "sigma": halfnorm(scale=0.5)}

# %%
# Particle Gibbs takes turns: a path of volatilities given the parameters, parameters given the path. Twenty particles
# are enough, because the path is drawn around the last one. sigma is the slowest: R-hat tells whether chains agree.
gibbs = ParticleGibbs(
    StochasticVolatility(), prior, n_particles=20, n_draws=2000, n_chains=2, random_state=0, verbose=False
).fit(y)
print(gibbs.estimate().summary())
print("R-hat", gibbs.r_hat_.round(3), "; sweeps that change the path: at least", f"{gibbs.path_update_rate_.min():.0%}")

# %%
# The band is of the volatility of each day, in per cent a year, with the uncertainty of the parameters in it.
paths = gibbs.paths_[..., 0].reshape(-1, len(y))
low, middle, high = np.quantile(np.sqrt(252) * np.exp(paths / 2), [0.025, 0.5, 0.975], axis=0)
ax = axes(figsize=(8.0, 3.4))
ax.fill_between(y.index, low, high, alpha=0.25, linewidth=0, label="95 %")
ax.plot(y.index, middle, linewidth=1.2, label="volatility, median")
ax.plot(y.index, np.sqrt(252) * y.abs(), ".", color="0.6", markersize=2, label="size of the return")
ax.set(ylabel="% a year", ylim=(0, 130))
_ = ax.legend(frameon=False)

# %%
# Which month was the worst? Count the paths, each with its own answer.
months = y.index.to_period("M")
means = np.array([np.exp(paths[:, months == month] / 2).mean(axis=1) for month in months.unique()])
worst = months.unique()[means.argmax(axis=0)]
print(worst.value_counts(normalize=True).head(3).round(2).to_string())

# %%
# Is the model enough? If it is, the probability that the filter gave, a day ahead, to a lower return than the one that
# came is uniform over days. It is not quite: too few days below 40 %, more than one in a hundred below 1 %. Losses are
# fewer and larger than the model's symmetric shocks have them.
model = StochasticVolatility(*gibbs.estimate().value)
u = ParticleFilter(model, 10_000, store_history=True, random_state=0, verbose=False).fit(y).pit()
print(f"below 1 %: {np.mean(u < 0.01):.1%}, below 40 %: {np.mean(u < 0.4):.1%}")
print(f"p-value of uniformity {kstest(u, 'uniform').pvalue:.3f}")
