"""Exact intervals of counts."""

import numpy as np
import pytest
from scipy import stats

from mcstat.core.errors import InvalidData
from mcstat.core.laws import Binomial


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("sides", ["two", "lower", "upper"])
def test_clopper_pearson(level, sides):
    successes, trials = np.array([0, 1, 5, 10, 10**6]), np.array([10, 10, 10, 10, 10**7])
    lower, upper = Binomial(successes, trials).interval(level, sides)
    alternative = {"two": "two-sided", "lower": "greater", "upper": "less"}[sides]
    for i, (k, n) in enumerate(zip(successes, trials, strict=True)):
        ends = stats.binomtest(int(k), int(n), alternative=alternative).proportion_ci(level, method="exact")
        np.testing.assert_allclose([lower[i], upper[i]], [ends.low, ends.high], rtol=1e-8, atol=1e-14)


def test_some_of_them():
    law = Binomial([1, 2, 3], [10, 10, 10])[np.array([2, 0])]
    assert law.successes.tolist() == [3, 1]
    assert len(law) == 2


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (0, 0), ([1, 2], [3])])
def test_bad_counts(k, n):
    with pytest.raises(InvalidData):
        Binomial(k, n)
