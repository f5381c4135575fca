"""Labels, and passes over rows, against pandas and plain NumPy."""

import numpy as np
import pandas as pd
import pytest

from mcstat.causal._absorbed import beside_groups, group_means, within_groups
from mcstat.causal._folds import given_folds
from mcstat.causal._grams import as_they_are, block_moments
from mcstat.causal._linear import predict_rows
from mcstat.causal._panel_data import codes_of
from tests.causal.test_learners import plain


@pytest.mark.parametrize("low", [0, 7, -300, 10**15])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_are_coded_as_pandas_does(low, dtype):
    # Dense ranges are counted, wide ones sorted.
    rng = np.random.default_rng(0)
    for width in (20, 10_000):
        labels = low + rng.integers(0, width, size=100)
        if not np.iinfo(dtype).min <= labels.min() <= labels.max() <= np.iinfo(dtype).max:
            continue
        labels = labels.astype(dtype)
        codes, found = codes_of("unit", labels, 100)
        wanted, values = pd.factorize(labels, sort=True)
        np.testing.assert_array_equal(codes, wanted)
        np.testing.assert_array_equal(np.asarray(found, dtype=np.int64), values.astype(np.int64))
        assert codes.dtype == np.int64


def test_means_of_groups_and_what_is_left():
    rng = np.random.default_rng(0)
    values, codes, w = rng.normal(size=(200, 3)), rng.integers(0, 20, 200), rng.integers(0, 3, 200).astype(float)
    w[codes == 4] = 0.0
    means = group_means(values, codes, w, 25)
    for group in range(25):
        rows = (codes == group) & (w > 0)
        wanted = np.average(values[rows], axis=0, weights=w[rows]) if rows.any() else np.zeros(3)
        np.testing.assert_allclose(means[group], wanted, atol=1e-14)
    np.testing.assert_allclose(group_means(values[:, 0], codes, w, 25), means[:, 0], atol=1e-15)
    np.testing.assert_allclose(within_groups(values, codes, w, 25), values - means[codes], atol=1e-15)
    np.testing.assert_array_equal(beside_groups(values, means, codes), np.hstack([values, means[codes]]))
    assert group_means(np.zeros((5, 0)), np.zeros(5, dtype=np.int64), np.ones(5), 1).shape == (1, 0)


@pytest.mark.parametrize("p", [0, 3, 30])
def test_kernels_pass_over_rows_as_numpy_does(p):
    rng = np.random.default_rng(0)
    Z, targets, w = rng.normal(size=(300, p)) + 5.0, rng.normal(size=(300, 2)), rng.integers(0, 3, 300).astype(float)
    folds = given_folds(rng.integers(0, 3, 300), 300)
    one, other = (block_moments(how, Z, targets, w, folds.blocks, 3) for how in (as_they_are, plain))
    np.testing.assert_allclose(one.sums, other.sums, atol=1e-12)
    np.testing.assert_array_equal(one.rows, other.rows)
    intercepts, slopes = rng.normal(size=(3, 2)), rng.normal(size=(3, p, 2))
    one, other = (predict_rows(how, Z, folds, intercepts, slopes) for how in (as_they_are, plain))
    np.testing.assert_allclose(one, other, atol=1e-12)
