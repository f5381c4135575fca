"""Mechanisms and methods that the tests of the study share."""

import numpy as np

from mcstat import Estimate
from mcstat.core.base import Estimator
from mcstat.core.rng import root_seed


def normal_data(rng):
    return {"x": rng.normal(2.0, 1.0, size=12)}


def t_interval(x):
    return Estimate(value=x.mean(), std_error=x.std(ddof=1) / np.sqrt(len(x)), df=len(x) - 1)


def two_moments(x):
    return Estimate(value=[x.mean(), x.var(ddof=1)], std_error=[0.3, 0.4], names=["mean", "variance"])


class NoisyMean(Estimator):
    """A mean that adds noise from its own seed."""

    def __init__(self, scale=0.1, random_state=None):
        self.scale = scale
        self.random_state = random_state

    def fit(self, x):
        rng = np.random.default_rng(root_seed(self.random_state))
        self.mean_ = x.mean() + self.scale * rng.standard_normal()
        return self

    def _make_estimate(self):
        return Estimate(value=self.mean_, std_error=0.3)


class Wrapper(Estimator):
    """An estimator around another one, as a pipeline is."""

    def __init__(self, inner):
        self.inner = inner

    def fit(self, x):
        self.inner.fit(x)
        self.done_ = True
        return self

    def _make_estimate(self):
        return self.inner.estimate()


def numbers(result):
    """The replicates without the seconds, which are the only column that may differ between two runs."""
    return result.replicates.drop(columns="cpu_seconds")
