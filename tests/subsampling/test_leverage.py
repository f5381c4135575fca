"""Leverage scores: the hat matrix's diagonal, for easy and for hard matrices and every way of holding them."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from mcstat.core.errors import InvalidData, InvalidParameter, RankWarning
from mcstat.subsampling import leverage_scores

RNG = np.random.default_rng(1)
X = RNG.normal(size=(700, 5))


def orthonormal(n, d):
    return np.linalg.qr(np.random.default_rng(2).normal(size=(n, d)))[0]


def test_is_the_diagonal_of_the_hat_matrix():
    hat = X @ np.linalg.solve(X.T @ X, X.T)
    np.testing.assert_allclose(leverage_scores(X), np.diag(hat), rtol=1e-12)


def test_sums_to_the_rank_and_ignores_a_change_of_basis():
    change = RNG.normal(size=(5, 5))
    scores = leverage_scores(X)
    assert abs(scores.sum() - 5) < 5e-12
    np.testing.assert_allclose(leverage_scores(X @ change), scores, rtol=1e-9)


def test_orthonormal_columns_have_their_squared_norms():
    q = orthonormal(300, 4)
    np.testing.assert_allclose(leverage_scores(q), (q**2).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(leverage_scores(np.eye(6)), 1.0)


@pytest.mark.parametrize(("condition", "error"), [(1e3, 1e-10), (1e5, 1e-9), (1e7, 1e-8), (1e10, 1e-4)])
@pytest.mark.parametrize("method", ["auto", "cholesky"])
def test_error_grows_only_with_the_condition_number(condition, error, method):
    u, v = orthonormal(5000, 20), orthonormal(20, 20)
    matrix = u * np.geomspace(1, 1 / condition, 20) @ v.T
    np.testing.assert_allclose(leverage_scores(matrix, method=method), (u**2).sum(axis=1), rtol=error)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_scales_of_matrix_and_columns(scale):
    wanted = leverage_scores(X)
    np.testing.assert_allclose(leverage_scores(X * scale), wanted, rtol=1e-12)
    np.testing.assert_allclose(leverage_scores(X * [scale, 1, 1 / scale, 1, 1]), wanted, rtol=1e-12)
    late = X.copy()
    late[:200, 0] = 0.0
    np.testing.assert_allclose(leverage_scores(late * [scale, 1, 1, 1, 1]), leverage_scores(late), rtol=1e-9)


def test_dependent_columns_are_named_and_worked_around():
    deficient = np.column_stack([X, X[:, 0] + X[:, 1], np.zeros(len(X))])
    with pytest.warns(RankWarning, match="rank 5 and 7 columns"):
        scores = leverage_scores(deficient)
    np.testing.assert_allclose(scores, leverage_scores(X), rtol=1e-9)


def test_rows_of_zeros_and_repeated_rows():
    np.testing.assert_allclose(leverage_scores(np.vstack([X, np.zeros((3, 5))]))[-3:], 0.0)
    np.testing.assert_allclose(leverage_scores(np.vstack([X, X])), np.tile(leverage_scores(X) / 2, 2), rtol=1e-12)


@pytest.mark.parametrize("ridge", [0.1, 100.0])
def test_ridge_scores(ridge):
    wanted = np.diag(X @ np.linalg.solve(X.T @ X + ridge * np.eye(5), X.T))
    np.testing.assert_allclose(leverage_scores(X, ridge=ridge), wanted, rtol=1e-11)
    np.testing.assert_allclose(leverage_scores(X, ridge=ridge, method="qr"), wanted, rtol=1e-11)


@pytest.mark.parametrize("ridge", [0.0, 50.0])
def test_sketch_is_near_for_dense_and_sparse(ridge):
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(4000, 6)) * (rng.random((4000, 6)) < 0.3)
    matrix[:10] *= 30
    wanted = leverage_scores(matrix, ridge=ridge)
    rows = np.linalg.norm(matrix, axis=1) > 0
    for held in (matrix, csr_array(matrix)):
        near = leverage_scores(held, method="sketch", ridge=ridge, random_state=1)
        # A sketch of 40 d rows keeps all norms within 3 (d / 240)^(1/2), and scores are squares.
        np.testing.assert_allclose(near[rows] / wanted[rows], 1.0, atol=0.5)
        assert (near[~rows] == 0).all()
        assert abs(np.median(near[rows] / wanted[rows]) - 1) < 0.2
    np.testing.assert_array_equal(
        near, leverage_scores(csr_array(matrix), method="sketch", ridge=ridge, random_state=1)
    )
    assert (near != leverage_scores(csr_array(matrix), method="sketch", ridge=ridge, random_state=2)).any()


def test_sketch_of_many_columns_and_of_dependent_ones():
    wide = np.random.default_rng(5).normal(size=(12_000, 260))
    near = leverage_scores(wide, method="sketch")
    ratio = near / leverage_scores(wide)
    # 200 random directions: relative standard deviation 0.1 beside the sketch's own.
    assert 0.05 < ratio.std() < 0.25
    assert abs(ratio.mean() - 1) < 0.1
    deficient = np.column_stack([X, X[:, 0] + X[:, 1]])
    with pytest.warns(RankWarning, match="rank 5 and 6 columns") as told:
        leverage_scores(deficient, method="sketch")
    assert told[0].filename == __file__


def test_every_way_of_holding_the_matrix(tmp_path):
    wanted = leverage_scores(X)
    path = tmp_path / "x.npy"
    np.save(path, X)
    np.testing.assert_array_equal(leverage_scores(np.load(path, mmap_mode="r")), wanted)
    np.testing.assert_allclose(leverage_scores(csr_array(X)), wanted, rtol=1e-12)
    np.testing.assert_allclose(leverage_scores(X, method="qr"), wanted, rtol=1e-12)
    np.testing.assert_allclose(leverage_scores(X.astype(np.float32)), wanted, rtol=1e-4)


def test_blocks_do_not_change_the_answer():
    tall = np.random.default_rng(3).normal(size=(40_000, 3))
    np.testing.assert_allclose(leverage_scores(tall)[:1], leverage_scores(tall, method="qr")[:1], rtol=1e-12)
    assert abs(leverage_scores(tall).sum() - 3) < 1e-11


@pytest.mark.dask
def test_dask_chunks_are_the_same_matrix():
    array = pytest.importorskip("dask.array", reason="needs the dask extra")
    chunked = array.from_array(X, chunks=(150, 2))
    np.testing.assert_allclose(leverage_scores(chunked), leverage_scores(X), rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_refused_with_its_row(bad):
    spoilt = X.copy()
    spoilt[411, 2] = bad
    with pytest.raises(InvalidData, match="row 411"):
        leverage_scores(spoilt)


def test_bad_input():
    with pytest.raises(InvalidData, match="at least one row"):
        leverage_scores(np.empty((0, 3)))
    with pytest.raises(InvalidData, match="2 dimension"):
        leverage_scores(X[:, 0])
    with pytest.raises(TypeError, match="real numbers"):
        leverage_scores(X + 1j)
    with pytest.raises(InvalidParameter, match="ridge"):
        leverage_scores(X, ridge=-1.0)
    with pytest.raises(InvalidParameter, match="method"):
        leverage_scores(X, method="svd")
