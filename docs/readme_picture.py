"""Draws the picture of the README: ``python docs/readme_picture.py`` (extra ``plot``)."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from mcstat.datasets import load_logistic_posterior, make_cantilever_beam
from mcstat.importance import AdaptiveImportanceSampler, SobolIndices

mpl.use("Agg")
import matplotlib.pyplot as plt

posterior = load_logistic_posterior()
sampler = AdaptiveImportanceSampler(
    target=posterior.log_density,
    initial="laplace",
    start=np.zeros(31),
    weights="uniform",
    budget=40_000,
    random_state=0,
)
means = sampler.fit(names=posterior.names).estimate()
beam = make_cantilever_beam()
shares = SobolIndices(beam.law, names=beam.names, random_state=0).fit(beam.model).estimate()

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5.6), layout="constrained", width_ratios=(3, 2))
means.plot(ax=left)
left.plot(
    posterior.reference_mean, np.arange(31), "D", color="C1", markersize=5, fillstyle="none", label="long MCMC run"
)
left.set_title("31 posterior means from one sample")
left.tick_params(axis="y", labelsize=8)
left.legend()
shares.plot(ax=right)
right.set_title("Sobol' indices of a beam")
figure.savefig(Path(__file__).parent / "_static" / "readme.png", dpi=110)
