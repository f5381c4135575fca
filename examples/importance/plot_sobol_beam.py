"""
Which tolerance of a beam matters?
==================================

A cantilever beam bends under two loads. Its maker can tighten the tolerances of its width, height and length, buy a
more even steel, or ask the client about the loads. Sobol' indices say how much of the deflection's variance each of
these six uncertain inputs explains: S alone, ST with all its interactions.
"""

# %%
# The model takes a matrix with one row a beam; the law is a list of SciPy marginals, one an input. Both come with
# mcstat here; your own function and laws go in the same way.
import numpy as np

from mcstat.datasets import make_cantilever_beam
from mcstat.importance import SobolIndices

beam = make_cantilever_beam()
print(beam.model(np.array([[556.8, 453.6, 200.0, 0.062, 0.0987, 4.29]])))

# %%
# ``fit`` spends the budget of model calls on eight independently scrambled Sobol' sequences. Their mean is the answer,
# their spread its uncertainty.
sobol = SobolIndices(beam.law, names=beam.names, budget=131_072, random_state=0)
indices = sobol.fit(beam.model).estimate()
print(indices.summary())

# %%
# Width and length decide: together they explain more than four fifths of the variance. One load and the modulus do
# little, the other load nothing that matters.
ax = indices.plot()
ax.set_xlabel("share of the variance of the deflection, 95 % interval")

# %%
# What an input does only together with others is ST - S. The difference is taken randomisation by randomisation, so
# its error is that of the difference.
interactions = indices.transform(lambda v: v[6:] - v[:6], names=beam.names)
print(interactions.conf_int())

# %%
# Not sharp enough? ``extend`` adds randomisations and keeps those that are there.
sharper = sobol.extend(3 * 131_072).estimate()
print("error of S[w]:", indices["S[w]"].std_error, "->", sharper["S[w]"].std_error)
