"""The room's demo: the level of the Nile, and the volatility of the S&P 500 in the year of the crash."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, halfnorm, norm

from mcstat.core._svg import forest, line_chart
from mcstat.core.page import Section
from mcstat.datasets import load_nile, load_sp500
from mcstat.state_space import (
    PMMH,
    KalmanFilter,
    LocalLevel,
    ParticleMLE,
    ParticleSmoother,
    StochasticVolatility,
)


def run() -> Section:
    """About 12 CPU seconds once compiled."""
    flow = load_nile()
    start = LocalLevel(sigma_level=60.0, sigma_y=90.0, initial_level=1000.0, initial_sd=300.0)
    learner = ParticleMLE(start, n_particles=30, n_iter=100, n_chains=2, n_information=10, random_state=0).fit(flow)
    smoother = ParticleSmoother(learner.model_, n_replicates=8, quantiles=(0.025, 0.975), random_state=0).fit(flow)
    level, exact = smoother.estimate(), KalmanFilter(learner.model_).fit(flow)
    gap = np.abs(level.value - exact.smoothed_mean_[:, 0]).max()

    returns = load_sp500("2008-01-01", "2008-12-31")
    returns -= returns.mean()
    prior = {"mu": norm(0, 1), "rho": beta(20, 1.5), "sigma": halfnorm(scale=0.5)}
    learned = PMMH(StochasticVolatility(), prior, n_particles=100, n_draws=2500, n_chains=2, random_state=0).fit(
        returns
    )
    parameters = learned.estimate()
    ends = parameters.conf_int()
    model = StochasticVolatility(*parameters.value)
    paths = ParticleSmoother(model, n_particles=2000, random_state=0).fit(returns).paths_[..., 0]
    volatility = np.sqrt(252.0) * np.exp(paths / 2.0)
    days = np.arange(0.0, len(returns), 4.0)
    low, middle, high = np.quantile(volatility[:, ::4], [0.025, 0.5, 0.975], axis=0)

    text = (
        "The flow of the Nile at Aswan, 1871 to 1970, as a level that walks at random behind noise: both spreads by "
        "maximum likelihood, the level by backward simulation with 1000 particles, 8 times. "
        f"Kalman's smoother knows the exact level: the largest distance is {gap:.2f}, where the level's own standard "
        f"deviation is {np.sqrt(exact.smoothed_cov_).mean():.0f}."
        "\n\n"
        f"Daily returns of the S&P 500 in 2008 ({len(returns)} days): the log-variance of a return wanders unseen. Its "
        "parameters by particle marginal Metropolis-Hastings, its path given their posterior means by backward "
        f"simulation; the largest median volatility is {middle.max():.0f} % a year, the smallest {middle.min():.0f} %."
    )
    return Section(
        title="State space: the Nile's level, and the crash of 2008",
        text=text,
        items=[
            learner.estimate().summary(),
            line_chart(
                flow.index.to_numpy(dtype=np.float64),
                {
                    "2.5 %": smoother.quantiles_[:, 0, 0],
                    "smoothed level": level.value,
                    "97.5 %": smoother.quantiles_[:, 1, 0],
                },
                caption="The Nile's level given all flows.",
                xlabel="year",
                ylabel="10^8 cubic metres a year",
            ),
            parameters.summary(),
            forest(
                parameters.names,
                parameters.value,
                ends["lower"].to_numpy(),
                ends["upper"].to_numpy(),
                caption="Mean, persistence and spread of the daily log-variance: posterior means, 95 % intervals.",
            ),
            line_chart(
                days,
                {"2.5 %": low, "median": middle, "97.5 %": high},
                caption="Volatility of the S&P 500 in 2008, every fourth day.",
                xlabel="trading day",
                ylabel="% a year",
            ),
        ],
    )
