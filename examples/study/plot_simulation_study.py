"""
Which interval for a skewed mean?
=================================

Twenty numbers from a skewed population: does the textbook's 95 % interval for their mean hold the truth in 95 % of
samples, and does a bootstrap do better? A simulation study answers, and says how well it knows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

from mcstat import Estimate
from mcstat.study import SimulationStudy

# %%
# **The mechanism.** The population is real: the standard errors of the area of cell nuclei in 569 tumours. We draw
# samples of it with replacement, so its mean is the truth, and no law had to be assumed.

data = load_breast_cancer()
population = data.data[:, list(data.feature_names).index("area error")]
truth = population.mean()
skewness = np.mean((population - truth) ** 3) / population.std() ** 3
print(f"mean {truth:.1f}, skewness {skewness:.1f}")


def dgm(rng):
    return {"x": rng.choice(population, size=20), "seed": int(rng.integers(2**32))}


# %%
# **The methods.** Each is a plain function of what the mechanism returns, and answers with an Estimate: Student's
# interval, and the bootstrap-t of Efron, which replaces Student's t by the law of the t statistic under resampling.


def student(x, seed):
    return Estimate(value=x.mean(), std_error=x.std(ddof=1) / np.sqrt(len(x)), df=len(x) - 1, names=["mean"])


def bootstrap_t(x, seed):
    resampled = np.random.default_rng(seed).choice(x, size=(999, len(x)))
    error = x.std(ddof=1) / np.sqrt(len(x))
    t = (resampled.mean(axis=1) - x.mean()) / (resampled.std(axis=1, ddof=1) / np.sqrt(len(x)))
    # Quantiles of mean - error * t are the ends of the bootstrap-t interval.
    draws = (x.mean() - error * t)[None, :, None]
    return Estimate(value=x.mean(), std_error=error, draws=draws, kind="bootstrap", names=["mean"])


# %%
# **The study.** Every measure comes with its Monte Carlo standard error, in brackets.

study = SimulationStudy(dgm, {"Student's t": student, "bootstrap-t": bootstrap_t}, truth={"mean": truth})
result = study.run(2000, random_state=1)
print(result.summary())

# %%
# The same numbers as a table, for further work.

table = result.to_frame().set_index("method")
print(table[["coverage", "coverage_mcse", "width", "width_mcse"]].round(4))

# %%
# **The picture.** A line to each side of a dot is what 2000 replicates leave open about the coverage.

fig, ax = plt.subplots(figsize=(6, 2))
result.plot_coverage(ax=ax)
fig.tight_layout()
