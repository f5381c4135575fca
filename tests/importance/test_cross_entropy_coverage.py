"""Intervals of rare-event probabilities cover as often as they say: two-stage tests (false-alarm rate < 1e-6 each)."""

import numpy as np
import pytest
from scipy.special import ndtr

from mcstat.importance import CrossEntropy
from tests.importance.test_cross_entropy import FOUR_BRANCHES, P, four_branches, half_space, two_sided
from tests.stat_asserts import two_stage_coverage

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")]

SETTINGS = {
    "half-space, d = 2": (2, half_space, P, {}),
    "half-space, d = 2, classical": (2, half_space, P, {"levels": "quantile", "family": "gaussian"}),
    "half-space, d = 20": (20, half_space, P, {}),
    "two modes, d = 2": (2, two_sided, 2 * P, {}),
    "two modes, d = 20": (20, two_sided, 2 * P, {}),
    "four branches": (2, four_branches, FOUR_BRANCHES, {}),
    "tail of the normal law": (1, lambda x: 5.0 - x[:, 0], ndtr(-5.0), {}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_intervals_cover(setting, seed):
    d, g, truth, options = SETTINGS[setting]

    def covered(start, n):
        count = 0
        for k in range(start, start + n):
            sampler = CrossEntropy(d, random_state=np.random.SeedSequence([seed, k]), verbose=False, **options)
            lower, upper = sampler.fit(g).estimate().conf_int().to_numpy()[0]
            count += lower <= truth <= upper
        return count

    two_stage_coverage(covered, 0.95)
