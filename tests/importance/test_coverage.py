"""Intervals of the room cover as often as they say: two-stage binomial tests (false-alarm rate < 1e-6 each)."""

import numpy as np
import pytest
from scipy.stats import norm

from mcstat.importance import AdaptiveImportanceSampler
from tests.stat_asserts import two_stage_coverage

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")]

POWERS = np.array([1, 2, 4])
TRUTH = {"normal": np.array([0.0, 1.0, 3.0]), "gumbel": np.full(2, np.euler_gamma)}


def log_gumbel(x):
    """Right tails heavier than any Gaussian's."""
    return np.sum(-x - np.exp(-x), axis=1)


SETTINGS = {
    "gaussian": ("normal", {}),
    "gmm": ("normal", {"family": "gmm"}),
    "split": ("normal", {"signed": "split"}),
    **{control: ("normal", {"control": control}) for control in ("all", "crossfit", "none")},
    "target": ("gumbel", {"law": None, "target": log_gumbel, "initial": "laplace", "start": np.zeros(2)}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_intervals_cover(setting, seed):
    problem, options = SETTINGS[setting]
    func = {"normal": lambda x: x**POWERS, "gumbel": None}[problem]
    covered = {}

    def covers(k):
        if k not in covered:
            sampler = AdaptiveImportanceSampler(**({"law": norm(), "budget": 4_000} | options))
            sampler.set_params(random_state=np.random.SeedSequence([seed, k]))
            ends = sampler.fit(func).estimate().conf_int().to_numpy()
            covered[k] = (ends[:, 0] <= TRUTH[problem]) & (TRUTH[problem] <= ends[:, 1])
        return covered[k]

    for j in range(len(TRUTH[problem])):
        two_stage_coverage(lambda start, n, j=j: sum(covers(k)[j] for k in range(start, start + n)), 0.95)
