"""
A sample that is as good as the data
====================================

How much later does a flight arrive when it leaves ten minutes late? On 327 346 flights out of New York the delays have
such tails that least squares mostly describes the worst days. Median and quantile regression do not, and a few
thousand rows are enough for them, if they are the right rows: two flights in a thousand go to Hawaii, and their
coefficient must not be lost.
"""

# %%
# All flights first. ``LpRegressor`` solves the problem on every row and proves how near it is to the optimum: no
# coefficients at all have a loss more than ``gap_`` below the one found.
import matplotlib.pyplot as plt
import numpy as np

from mcstat.datasets import load_flights
from mcstat.subsampling import LpRegressor, LpSampler, embedding_distortion

flights = load_flights()
hawaii = flights.X[:, 1] > 4000
X = np.column_stack([flights.X, hawaii])
full = LpRegressor(p=1).fit(X, flights.y)
print(full.estimate().to_frame()[["term", "estimate", "std_error"]].assign(term=["constant", *flights.names, "Hawaii"]))
print("gap", full.gap_, "steps", full.n_iter_)

# %%
# Now samples of rows, by Lewis weights and uniformly. The rows of [1, X, y] are scored, for then every residual's loss
# is kept and not only the fitted values. What counts is how far the loss on *all* rows is from its optimum. Some small
# uniform samples hold no flight to Hawaii at all; the fit says so in a warning.
rows = np.column_stack([np.ones(len(flights.y)), X, flights.y])
sizes = [250, 500, 1000, 2000, 4000, 8000]


def fit_sample(score, n_samples, seed):
    sampler = LpSampler(p=1, score=score, n_samples=n_samples, random_state=seed).fit(rows)
    small = sampler.rows_
    fit = LpRegressor(p=1, fit_intercept=False).fit(small[:, :5], small[:, 5], sample_weight=sampler.weights_)
    excess = np.abs(flights.y - rows[:, :5] @ fit.coef_).sum() / full.objective_ - 1
    return 100 * excess, abs(fit.coef_[4] - full.coef_[3]), np.sum(small[:, 4])


fig, ax = plt.subplots(layout="constrained")
for score, label in (("lewis", "Lewis weights"), ("uniform", "uniform")):
    found = np.array([[fit_sample(score, size, seed) for seed in range(5)] for size in sizes]).mean(axis=1)
    for size, (excess, error, count) in zip(sizes, found, strict=True):
        print(
            f"{label:14}{size:6} rows: loss +{excess:.2f} %, Hawaii off by {error:6.1f} minutes ({count:5.1f} flights)"
        )
    ax.loglog(sizes, found[:, 1], "o-", label=label)
ax.set(xlabel="rows in the sample", ylabel="mean error of Hawaii's coefficient, minutes")
ax.legend()

# %%
# In total loss a uniform sample is nearly as good here: most rows are alike, and the few flights to Hawaii weigh little
# in it. In what the fit says about them it is not.

# %%
# The other promise is about *all* coefficients at once: how far can the loss on the sample be from the loss on the
# data, for any line one may draw? ``embedding_distortion`` searches for the worst one. What it finds is a lower bound.
for score in ("lewis", "uniform"):
    sampler = LpSampler(p=1, score=score, n_samples=2000, random_state=0).fit(rows)
    worst = embedding_distortion(rows, sampler.sample_, 1)
    print(f"{score:8} largest error of the l1 norm found: {100 * worst.value:.1f} % ({worst.kind})")

# %%
# Quantiles. Flights that leave on time arrive early at the median; the slowest tenth lose what the fastest gain.
for quantile in (0.1, 0.5, 0.9):
    fit = LpRegressor(p=1, quantile=quantile).fit(X, flights.y)
    print(f"{quantile:.1f} quantile: constant {fit.intercept_:6.1f}, ten minutes late {10 * fit.coef_[0]:5.2f}")
