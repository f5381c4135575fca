"""
A rare loss from several proposals, and an option price sharpened by what is known
==================================================================================

Two textbook problems of finance. A portfolio of two positions loses a lot in two different ways, and no single
importance sampling law covers both: several laws together do. And an Asian option, whose price has no formula, looks
so much like its geometric twin, whose price has one, that the twin takes nearly all the noise away.
"""

# %%
# Two positions, short options on the same underlying: a large move up or down costs money. The move is Student t with
# 4 degrees of freedom; a loss beyond 40 is what we ask for.
import numpy as np
from scipy.stats import norm, t

from mcstat.importance import ControlVariates, MultipleImportanceSampler

move = t(4)


def loss(x):
    """Grows faster than the move beyond 2 on either side."""
    up, down = np.maximum(x - 2, 0), np.maximum(-x - 2, 0)
    return 2 * up**1.5 + 3 * down**1.2


def large_loss(x):
    return np.column_stack([loss(x) > 40, loss(x) * (loss(x) > 40)])


# %%
# The truth by the quantile where each side begins: the loss passes 40 at 2 + 20^(2/3) and at -2 - (40/3)^(1/1.2).
exact = move.sf(2 + 20 ** (2 / 3)) + move.cdf(-2 - (40 / 3) ** (1 / 1.2))

# %%
# One proposal is the law itself, two more stand where the losses are. The balance heuristic weighs a point by all of
# them, so none needs to cover everything. The new ones have heavier tails than the law, because the loss has no bound.
proposals = [move, t(2, loc=11, scale=3), t(2, loc=-12, scale=3)]
names = ["P(loss > 40)", "E[loss; loss > 40]"]
sampler = MultipleImportanceSampler(proposals, law=move, budget=20_000, random_state=0)
tail = sampler.fit(large_loss, names=names).estimate()
print(tail)
gain = exact * (1 - exact) / 20_000 / tail.std_error[0] ** 2
print(f"exact probability {exact:.6f}; variance below plain Monte Carlo's by {gain:.0f}")

# %%
# The expected shortfall is the ratio of the two, with the error of a ratio of dependent estimates.
print(tail.transform(lambda v: v[1] / v[0], names=["E[loss | loss > 40]"]))

# %%
# Where the points and the weight come from, and how the weights end: bounded, because the law is among the proposals.
sampler.plot()

# %%
# An Asian call pays the average of the price over 12 months less the strike. Prices are geometric Brownian motion, so
# the geometric average is lognormal and its call has a formula of Black and Scholes' kind.
spot, strike, rate, volatility, months = 100.0, 100.0, 0.03, 0.25, 12
step = 1 / months


def prices(z):
    """(n, 12) standard normals to (n, 12) monthly prices."""
    moves = (rate - volatility**2 / 2) * step + volatility * np.sqrt(step) * z
    return spot * np.exp(np.cumsum(moves, axis=1))


def asian_call(z):
    return np.exp(-rate) * np.maximum(prices(z).mean(axis=1) - strike, 0)


def geometric_call(z):
    return np.exp(-rate) * np.maximum(np.exp(np.log(prices(z)).mean(axis=1)) - strike, 0)


dates = step * np.arange(1, months + 1)
log_mean = np.log(spot) + (rate - volatility**2 / 2) * dates.mean()
log_sd = volatility * np.sqrt(np.minimum.outer(dates, dates).mean())
d1 = (log_mean - np.log(strike) + log_sd**2) / log_sd
known = np.exp(-rate) * (np.exp(log_mean + log_sd**2 / 2) * norm.cdf(d1) - strike * norm.cdf(d1 - log_sd))

# %%
# The same 16 384 payoffs, independent or on 32 scrambled Sobol' sequences, without and with the twin. ``means`` is what
# makes it a control variate; had we got the formula wrong, the Estimate would say that the points contradict it.
settings = {"means": known, "law": [norm()] * months, "budget": 16_384, "random_state": 0}
for points in ("mc", "rqmc"):
    price = ControlVariates(geometric_call, sampler=points, **settings).fit(asian_call, names=["price"]).estimate()
    gain, over_mc = (price.diagnostics[key][0] for key in ("variance_reduction", "variance_reduction_over_mc"))
    print(f"{points:5s} {float(price):.5f} +- {price.std_error[0]:.5f}; variance {gain:.0f} times lower by the twin, "
          f"{over_mc:.0f} times lower than plain Monte Carlo")  # fmt: skip
