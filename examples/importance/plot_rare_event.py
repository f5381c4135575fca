"""
How often does a beam bend too far?
===================================

A cantilever beam bends by 4 cm on a typical day. Beyond 30 cm it hits something. That happens a few times in a million:
plain Monte Carlo would need tens of millions of model calls to say how often, cross-entropy importance sampling needs
twenty thousand.
"""

# %%
# The limit state ``g`` is what is left of the allowed deflection; failure is ``g <= 0``. The law is a list of SciPy
# marginals, one an input.
import numpy as np
from scipy.special import ndtri

from mcstat.datasets import make_cantilever_beam
from mcstat.importance import CrossEntropy

beam = make_cantilever_beam()


def margin(x):
    return 0.30 - beam.model(x)


# %%
# ``fit`` climbs a ladder of easier events, from the law as it is to the failures themselves, and spends what is left of
# its budget on an independent sample there. Only that sample answers.
sampler = CrossEntropy(beam.law, budget=20_000, random_state=0)
failure = sampler.fit(margin).estimate()
print(failure.summary())

# %%
# Seldom did a point fail at first; at the end most do, and their weights give the probability back.
axes = sampler.plot()

# %%
# Engineers speak of the reliability index, minus the normal quantile of the probability. It falls where the probability
# rises, so the ends of the interval change places.
lower, upper = failure.conf_int().loc["probability"]
print(f"reliability index {-ndtri(float(failure)):.4f}, 95 % interval {-ndtri(upper):.4f} to {-ndtri(lower):.4f}")

# %%
# What does a failure look like? The failed points, weighted, have the law of the inputs given failure: a narrow, flat
# and long beam. Each input is shown in standard deviations of its own law.
failed = sampler.values_ <= 0
weights = np.exp(sampler.log_weights_[failed])
for name, law, column in zip(beam.names, beam.law, sampler.sample_[failed].T, strict=True):
    shift = (np.average(column, weights=weights) - law.mean()) / law.std()
    print(f"{name:4s} {shift:+.2f}")

# %%
# Sharper? ``extend`` draws more points from the same density.
print("relative error:", failure.diagnostics["coefficient_of_variation"])
print("with 100 000 more:", sampler.extend(100_000).estimate().diagnostics["coefficient_of_variation"])
