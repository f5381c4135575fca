"""
How sure must we be of the inputs' laws?
========================================

A beam fails when it bends too far. Its failure probability depends on the laws that we assumed for its six inputs, and
those are known from a few measurements only. Perturbed-law indices say how much the probability would change if one
mean, or one variance, were a little different: one sample serves all of these laws, so that no beam is computed twice.
"""

# %%
# The inputs are the loads, Young's modulus, width, height and length; failure is a deflection of more than 8 cm.
from mcstat.datasets import make_cantilever_beam
from mcstat.importance import PerturbedLawIndices

beam = make_cantilever_beam()


def limit_state(x):
    return 0.08 - beam.model(x)


# %%
# ``deltas`` are shifts of a mean in standard deviations. The budget counts model calls; all 25 probabilities come from
# the same points.
pli = PerturbedLawIndices(
    beam.law, names=beam.names, deltas=[-0.5, -0.25, 0.25, 0.5], family="gmm", budget=20_000, random_state=0
)
indices = pli.fit(limit_state).estimate()
print("failure probability", pli.probabilities_["P"])
print(indices.to_frame()[["term", "estimate", "conf_low", "conf_high"]])

# %%
# An index of 1 means twice the probability, one of -1 half of it. The width and the length are what must be known.
ax = pli.plot()

# %%
# The same for the variances: how much would a tighter tolerance bring, how much would a wider one cost?
tolerance = PerturbedLawIndices(
    beam.law, names=beam.names, perturb="variance", deltas=[0.5, 0.75, 1.25], family="gmm", random_state=1
)
ax = tolerance.fit(limit_state).plot()
