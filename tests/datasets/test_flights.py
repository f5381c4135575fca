"""The flights are those of the source: counts and sums that were taken there."""

import numpy as np

from mcstat.datasets import load_flights


def test_numbers_of_the_source():
    flights = load_flights()
    assert flights.X.shape == (327_346, 3)
    assert flights.X.flags.c_contiguous
    # Mean arrival delay and the longest one, as the package's documentation has them.
    np.testing.assert_allclose(flights.y.mean(), 6.895377, atol=1e-6)
    assert flights.y.max() == 1272
    assert flights.X[0].tolist() == [2.0, 1400.0, 5.0]
    assert flights.y[0] == 11.0
    assert set(np.unique(flights.X[:, 2])) <= set(range(24))
