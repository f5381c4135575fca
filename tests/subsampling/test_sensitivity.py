"""Sensitivities: bounded on both sides by feasible points, and between the known multiples of Lewis weights."""

import numpy as np
import pytest
from scipy.optimize import minimize

from mcstat.core.errors import InvalidParameter
from mcstat.subsampling import leverage_scores, lewis_weights, lp_sensitivities, total_sensitivity

X = np.random.default_rng(5).normal(size=(150, 3))
X[:3] *= 20
ORDERS = [1, 1.5, 2, 3, 4, 6]


@pytest.mark.parametrize("p", ORDERS)
def test_certificate_closes(p):
    lower, upper = lp_sensitivities(X, p, rows=[0, 2, 50, 149], certify=True)
    assert (lower <= upper * (1 + 1e-12)).all()
    np.testing.assert_allclose(lower, upper, rtol=1e-4 if p == 1 else 1e-5)


@pytest.mark.parametrize("p", [1.5, 3])
def test_equals_a_general_optimiser(p):
    row = X[50]

    def log_ratio(x):
        return np.log((np.abs(X @ x) ** p).sum()) - p * np.log(abs(row @ x))

    starts = np.random.default_rng(0).normal(size=(5, 3))
    best = min(minimize(log_ratio, start, method="BFGS", options={"gtol": 1e-9}).fun for start in starts)
    np.testing.assert_allclose(lp_sensitivities(X, p, rows=[50]), np.exp(-best), rtol=1e-5)


@pytest.mark.parametrize("p", ORDERS)
def test_between_multiples_of_lewis_weights(p):
    sigma, w, factor = lp_sensitivities(X, p), lewis_weights(X, p), 3 ** (p / 2 - 1)
    low, high = min(1, factor), max(1, factor)
    assert (sigma >= low * w * (1 - 1e-4)).all()
    assert (sigma <= high * w * (1 + 1e-4)).all()
    assert min(3, 3 ** (p / 2)) * (1 - 1e-4) <= sigma.sum() <= max(3, 3 ** (p / 2)) * (1 + 1e-4)
    tau = leverage_scores(X)
    assert (tau <= sigma ** (2 / p) * (1 + 1e-4)).all() if p >= 2 else (sigma <= tau ** (p / 2) * (1 + 1e-4)).all()


@pytest.mark.parametrize("p", [1, 1.5])
def test_buckets_are_seldom_too_low(p):
    tall = np.random.default_rng(6).normal(size=(1200, 3))
    tall[:4] *= 30
    sigma = lp_sensitivities(tall, p, method="coreset", random_state=3)
    bucketed = lp_sensitivities(tall, p, method="bucket", random_state=3)
    # The same coreset in both; each of 1200 rows is missed by all of 20 sums with probability 1e-6.
    assert (bucketed >= sigma * (1 - 1e-6)).mean() > 0.99
    assert len(np.unique(bucketed)) == 6
    if p == 1:
        # Sums of shares: at most the bucket's.
        assert bucketed.max() <= sigma.sum()
        assert np.median(bucketed) < 200 * sigma.sum() / 1200
    with pytest.raises(InvalidParameter, match="bucket"):
        lp_sensitivities(tall, 3, method="bucket")


def test_order_two_one_column_and_the_identity():
    np.testing.assert_allclose(lp_sensitivities(X, 2), leverage_scores(X), rtol=1e-12)
    share = np.abs(X[:, :1]) ** 3 / (np.abs(X[:, :1]) ** 3).sum()
    np.testing.assert_allclose(lp_sensitivities(X[:, :1], 3), share[:, 0], rtol=1e-9)
    for p in (1, 1.5, 4):
        np.testing.assert_allclose(lp_sensitivities(np.eye(4), p), 1.0, rtol=1e-5)


@pytest.mark.parametrize("p", [1, 4])
def test_splitting_a_row_splits_its_sensitivity(p):
    split = np.vstack([np.tile(X[7] * 4 ** (-1 / p), (4, 1)), np.delete(X, 7, axis=0)])
    np.testing.assert_allclose(lp_sensitivities(split, p, rows=[0]) * 4, lp_sensitivities(X, p, rows=[7]), rtol=1e-4)


def test_rows_come_in_the_order_asked_for_and_zero_rows_have_none():
    with_zeros = np.vstack([X, np.zeros((1, 3))])
    whole = lp_sensitivities(with_zeros, 1.5)
    np.testing.assert_allclose(lp_sensitivities(with_zeros, 1.5, rows=[9, 3, 150, 3]), whole[[9, 3, 150, 3]])
    assert whole[150] == 0


def test_bound_is_above_and_a_coreset_is_near():
    tall = np.random.default_rng(2).standard_t(3, size=(3_000, 3))
    rows = np.arange(0, 3_000, 100)
    for p in (1.5, 4):
        exact = lp_sensitivities(tall, p, rows=rows, method="exact")
        assert (lp_sensitivities(tall, p, rows=rows, method="bound") >= exact * (1 - 1e-4)).all()
        near = lp_sensitivities(tall, p, rows=rows, method="coreset", random_state=1)
        assert np.median(np.abs(np.log(near / exact))) < 0.3


@pytest.mark.parametrize("p", [1, 3])
def test_total_is_within_its_error(p):
    wanted = lp_sensitivities(X, p).sum()
    total = total_sensitivity(X, p, random_state=0)
    # |t| > 6 with 199 degrees of freedom: under 1e-8.
    assert abs(float(total) - wanted) < 6 * float(total.std_error[0]) + 1e-6
    assert total.std_error[0] < 0.05 * wanted


def test_chebyshev_total():
    design = np.polynomial.chebyshev.chebvander(np.cos(np.pi * (np.arange(8000) + 0.5) / 8000), 5)
    total = total_sensitivity(design, 1, n_samples=60, random_state=0)
    assert abs(float(total) - 4.1) < 0.2


def test_bad_input():
    with pytest.raises(InvalidParameter, match="p must be"):
        lp_sensitivities(X, 0.5)
    with pytest.raises(InvalidParameter, match="rows must be"):
        lp_sensitivities(X, 1, rows=[150])
    with pytest.raises(InvalidParameter, match="certify"):
        lp_sensitivities(X, 3, method="coreset", certify=True)
    with pytest.raises(InvalidParameter, match="n_samples"):
        total_sensitivity(X, 1, n_samples=1)
