"""The room's demo: a real posterior from one sample against long MCMC, and the sensitivity of a beam."""

from __future__ import annotations

import numpy as np

from mcstat.core._svg import forest
from mcstat.core.page import Section
from mcstat.datasets import load_logistic_posterior, make_cantilever_beam
from mcstat.importance import AdaptiveImportanceSampler, SobolIndices


def run() -> Section:
    """About 10 CPU seconds once compiled."""
    posterior = load_logistic_posterior()
    sampler = AdaptiveImportanceSampler(
        target=posterior.log_density,
        initial="laplace",
        start=np.zeros(len(posterior.names)),
        weights="uniform",
        budget=40_000,
        random_state=0,
    )
    coefficients = sampler.fit(names=posterior.names).estimate()
    beam = make_cantilever_beam()
    indices = SobolIndices(law=beam.law, names=beam.names, budget=131_072, random_state=0).fit(beam.model).estimate()

    gap = coefficients.value - posterior.reference_mean
    z = gap / np.hypot(coefficients.std_error, posterior.reference_mcse)
    interval, beam_interval = coefficients.conf_int(), indices.conf_int()
    text = (
        "Bayesian logistic regression on scikit-learn's breast-cancer data (569 patients, 30 standardised features, "
        "prior N(0, 1)): posterior means of all 31 coefficients from ONE adaptive importance sample of 40 000 points."
        "\n\n"
        f"Against a long MCMC run kept with the package: largest |z| {np.abs(z).max():.2f} of {len(z)} coefficients, "
        f"{int(np.sum(np.abs(z) < 1.96))} of {len(z)} within 1.96 combined errors; effective sample size "
        f"{coefficients.diagnostics['ess']:.0f} of {coefficients.info['final_points']} final points."
        "\n\n"
        "Sobol' indices of a cantilever beam's deflection (six inputs, 131 072 model calls): which input's uncertainty "
        "matters, alone (S) and with all its interactions (ST)."
    )
    return Section(
        title="Importance sampling: a posterior without a chain, and a beam",
        text=text,
        items=[
            coefficients.summary(),
            forest(
                coefficients.names,
                coefficients.value,
                interval["lower"].to_numpy(),
                interval["upper"].to_numpy(),
                caption="Posterior means with 95 % Monte Carlo intervals, and the MCMC reference.",
                xlabel="coefficient",
                reference=posterior.reference_mean,
                reference_label="long MCMC run",
            ),
            indices.summary(),
            forest(
                indices.names,
                indices.value,
                beam_interval["lower"].to_numpy(),
                beam_interval["upper"].to_numpy(),
                caption="First-order (S) and total (ST) Sobol' indices of the beam with 95 % intervals.",
                xlabel="share of the variance",
            ),
        ],
    )
