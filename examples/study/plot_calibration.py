"""
Is this posterior right?
========================

A posterior cannot be checked on one data set: there the truth is unknown. It can be checked on average over the prior.
Draw parameters from the prior, data from the parameters, and look where the true parameter falls among draws from the
posterior. If the posterior is right, every rank is equally likely. Here: the mean and variance of five normal numbers,
by the exact posterior and by a shortcut that takes the sample variance for the true one.
"""

import numpy as np

from mcstat import Estimate
from mcstat.study import Claim, ClaimTable, sbc

# %%
# **The model.** The conjugate prior of a normal sample: the variance is inverse gamma, and given it the mean is normal.
# ``simulate`` may return whatever the method takes; the seed is for the method's own draws.

shape, rate, strength = 3.0, 2.0, 0.5


def prior(rng):
    variance = rate / rng.gamma(shape)
    return {"mean": rng.normal(0.0, np.sqrt(variance / strength)), "variance": variance}


def simulate(rng, theta):
    return {"x": rng.normal(theta["mean"], np.sqrt(theta["variance"]), size=5), "seed": int(rng.integers(2**32))}


# %%
# **Two methods.** The first draws from the exact posterior; the second knows a normal law for the mean only.


def exact(x, seed):
    rng = np.random.default_rng(seed)
    n, total = len(x), strength + len(x)
    squares = np.sum((x - x.mean()) ** 2) + strength * n / total * x.mean() ** 2
    variance = (rate + squares / 2) / rng.gamma(shape + n / 2, size=200)
    mean = rng.normal(n * x.mean() / total, np.sqrt(variance / total))
    return Estimate.from_draws(np.column_stack([mean, variance]), names=["mean", "variance"])


def shortcut(x, seed):
    total = strength + len(x)
    error = np.sqrt(x.var(ddof=1) / total)
    return Estimate(value=len(x) * x.mean() / total, std_error=error, names=["mean"], kind="posterior")


# %%
# **The ranks.** The test is exact and simultaneous: uniform ranks leave its 99 % band in one run of a hundred.

right = sbc(prior, simulate, exact, n_replicates=1000, random_state=1)
print(right)

# %%
# The shortcut forgets that five numbers know little about their variance. Its posterior is too narrow, so the truth
# lies outside it too often: the spread of its ranks is above one.

wrong = sbc(prior, simulate, shortcut, n_replicates=1000, random_state=1)
print(wrong)

# %%
# **The picture.** Left, how often each rank occurred; right, the ranks' distribution function minus that of uniform
# ranks, in the band that it should not leave.

wrong.plot()

# %%
# **For the record.** A claim holds a figure beside the band that was set for it; ``report`` writes tables of them to a
# page of HTML.

claims = [
    Claim(
        name=f"ranks of the {name} are uniform (p-value)",
        setting="5 normal numbers, 1000 replicates",
        source="simulation-based calibration",
        measured=p_value,
        band=(0.001, 1.0),
    )
    for name, p_value in zip(right.names, right.p_values(), strict=True)
]
print(ClaimTable(claims))
