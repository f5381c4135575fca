"""The small linear algebra of the kernels: against LAPACK, SciPy, rational arithmetic and naive twins."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcstat.kernels._jit import kernel
from mcstat.kernels.linalg import BLOCK, cholesky, log_gaussian, weighted_moments
from tests.naive import linalg as naive

few = settings(derandomize=True, max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 8)


def frozen(array):
    """The form in which callers hand arrays to kernels."""
    array = np.array(array, dtype=np.float64, order="C")
    array.flags.writeable = False
    return array


def covariance(d, rng, spread=1.0):
    """Random rotation of variances between 10**-spread and 10**spread."""
    rotation, _ = np.linalg.qr(rng.standard_normal((d, d)))
    a = (rotation * 10.0 ** rng.uniform(-spread, spread, d)) @ rotation.T
    return frozen((a + a.T) / 2)


def factor_of(a):
    # What the kernel leaves unwritten shows as NaN.
    out = np.full(a.shape, np.nan)
    return cholesky(frozen(a), out), out


def log_density(x, mean, factor):
    out = np.full(len(x), np.nan)
    log_gaussian(frozen(x), frozen(mean), frozen(factor), out)
    return out


def moments(x, weights):
    d = x.shape[1]
    mean, cov = np.full(d, np.nan), np.full((d, d), np.nan)
    weighted_moments(frozen(x), frozen(weights), mean, cov)
    return mean, cov


@pytest.mark.parametrize("d", [1, 2, 5, 30])
def test_cholesky_agrees_with_lapack(d):
    a = covariance(d, np.random.default_rng(d), spread=3.0)
    status, factor = factor_of(a)
    assert status == 0
    # Backward error of the factorisation (Higham, Accuracy and Stability, theorem 10.3).
    eps = np.finfo(float).eps
    sizes = np.sqrt(np.outer(np.diag(a), np.diag(a)))
    assert np.all(np.abs(factor @ factor.T - a) <= 4 * (d + 1) * eps * sizes)
    np.testing.assert_allclose(factor, np.linalg.cholesky(a), rtol=0, atol=1e-9 * np.abs(factor).max())
    assert np.all(np.triu(factor, 1) == 0)


def test_cholesky_of_integers_is_exact():
    lower = np.array([[2.0, 0, 0], [-1, 3, 0], [4, 5, 1]])
    status, factor = factor_of(lower @ lower.T)
    assert status == 0
    np.testing.assert_array_equal(factor, lower)


@few
@given(d=sizes, seed=seeds)
def test_cholesky_reads_the_lower_triangle_only(d, seed):
    a = covariance(d, np.random.default_rng(seed))
    garbage = np.tril(a) + np.triu(np.full((d, d), np.nan), 1)
    np.testing.assert_array_equal(factor_of(garbage)[1], factor_of(a)[1])


@few
@given(entries=st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_cholesky_status_is_the_first_leading_minor_that_is_not_positive(entries):
    d = int((np.sqrt(8 * len(entries) + 1) - 1) / 2)
    a = np.zeros((d, d))
    a[np.tril_indices(d)] = entries[: d * (d + 1) // 2]
    a = a + np.tril(a, -1).T + 2 * np.eye(d)
    assert factor_of(a)[0] == naive.cholesky_status(a)


@pytest.mark.parametrize(
    ("a", "status"),
    [
        ([[0.0]], 1),
        ([[-1.0]], 1),
        ([[np.nan]], 1),
        ([[1.0, 1.0], [1.0, 1.0]], 2),
        ([[1.0, 2.0], [2.0, 1.0]], 2),
        ([[1.0, np.nan], [np.nan, 1.0]], 2),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1e-300]], 3),
    ],
)
def test_cholesky_names_the_bad_pivot(a, status):
    assert factor_of(np.array(a))[0] == status


@pytest.mark.parametrize("d", [1, 2, 7, 30])
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_log_gaussian_agrees_with_scipy(d, spread):
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng([d, int(spread)])
    cov, mean = covariance(d, rng, spread), rng.standard_normal(d)
    factor = np.linalg.cholesky(cov)
    x = np.concatenate(
        [mean + rng.standard_normal((20, d)) @ factor.T, mean + 10 * rng.standard_normal((5, d)), [mean]]
    )
    truth = multivariate_normal(mean, cov).logpdf(x)
    # Covariances have condition numbers up to 1e6: so many digits are lost on both sides.
    np.testing.assert_allclose(log_density(x, mean, factor), np.atleast_1d(truth), rtol=1e-9)


@few
@given(d=sizes, n=st.integers(0, 5), seed=seeds)
def test_log_gaussian_agrees_with_its_naive_twin(d, n, seed):
    rng = np.random.default_rng(seed)
    cov, mean, x = covariance(d, rng), rng.standard_normal(d), rng.standard_normal((n, d))
    truth = [naive.log_gaussian(row, mean, cov) for row in x]
    np.testing.assert_allclose(log_density(x, mean, np.linalg.cholesky(cov)), truth, rtol=1e-11)


@pytest.mark.parametrize("d", [1, 3, 6])
@pytest.mark.parametrize("n", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_log_gaussian_of_a_point_does_not_depend_on_its_company(d, n):
    """Points are treated in blocks; chunks of any size give the same bits, and no point is left out."""
    rng = np.random.default_rng([d, n])
    cov, mean, x = covariance(d, rng), rng.standard_normal(d), rng.standard_normal((n, d))
    factor = np.linalg.cholesky(cov)
    together = log_density(x, mean, factor)
    alone = [log_density(row[None], mean, factor)[0] for row in x]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(together, [naive.log_gaussian(row, mean, cov) for row in x], rtol=1e-11)


def test_log_gaussian_loses_nothing_far_from_zero():
    rng = np.random.default_rng(8)
    # Multiples of 2**-20, so that adding 1e8 rounds nothing away.
    x = np.round(rng.standard_normal((10, 4)) * 2**20) / 2**20
    factor = np.linalg.cholesky(covariance(4, rng))
    np.testing.assert_array_equal(log_density(x + 1e8, np.full(4, 1e8), factor), log_density(x, np.zeros(4), factor))


def test_log_gaussian_far_in_the_tail_and_at_infinity():
    x = np.array([[1e150], [np.inf], [np.nan]])
    at_1e150, at_inf, at_nan = log_density(x, np.zeros(1), np.eye(1))
    assert at_1e150 == pytest.approx(-0.5e300)
    assert at_inf == -np.inf
    assert np.isnan(at_nan)


@few
@given(d=st.integers(1, 4), n=st.integers(1, 12), seed=seeds, location=st.sampled_from([0.0, 1.0, -1e8, 1e8]))
def test_weighted_moments_agree_with_rational_arithmetic(d, n, seed, location):
    rng = np.random.default_rng(seed)
    x, weights = location + rng.standard_normal((n, d)), rng.exponential(size=n)
    mean, cov = moments(x, weights)
    true_mean, true_cov = naive.weighted_moments(x, weights)
    eps = np.finfo(float).eps
    mean_error = 4 * n * eps * np.abs(x).max()
    np.testing.assert_allclose(mean, true_mean, rtol=0, atol=mean_error)
    # Two passes: an error of the mean enters once with a centred point (rounded at the size of x), once squared.
    np.testing.assert_allclose(cov, true_cov, rtol=1e-12, atol=4 * n * eps + 8 * mean_error)
    np.testing.assert_array_equal(cov, cov.T)


def test_weighted_moments_at_a_location_of_1e8():
    """Sums of squares would lose all 16 digits here: 1e8 squared is 1e16."""
    rng = np.random.default_rng(1)
    x = np.round(rng.standard_normal((500, 3)) * 2**20) / 2**20
    weights = rng.exponential(size=500)
    _, near = moments(x, weights)
    _, far = moments(x + 1e8, weights)
    np.testing.assert_allclose(far, near, rtol=0, atol=1e-10)


def test_weighted_moments_agree_with_numpy():
    rng = np.random.default_rng(2)
    x, weights = rng.standard_normal((1000, 6)), rng.exponential(size=1000)
    mean, cov = moments(x, weights)
    np.testing.assert_allclose(mean, np.average(x, axis=0, weights=weights), rtol=0, atol=1e-14)
    np.testing.assert_allclose(cov, np.cov(x.T, aweights=weights, ddof=0), rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_weighted_moments_depend_on_the_ratios_of_weights_only(scale):
    rng = np.random.default_rng(3)
    x, weights = rng.standard_normal((50, 2)), rng.exponential(size=50)
    for got, want in zip(moments(x, scale * weights), moments(x, weights), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)


def test_points_of_weight_zero_do_not_count():
    rng = np.random.default_rng(4)
    x, weights = rng.standard_normal((40, 3)), rng.exponential(size=40)
    weights[::2] = 0.0
    for got, want in zip(moments(x, weights), moments(x[1::2], weights[1::2]), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled under NUMBA_DISABLE_JIT")
@pytest.mark.parametrize("name", ["cholesky", "log_gaussian", "weighted_moments"])
def test_one_compiled_version_serves_all_shapes(name):
    """Read-only C-contiguous float64 in, writable out: one signature, whatever the sizes and slices."""
    compiled = {"cholesky": cholesky, "log_gaussian": log_gaussian, "weighted_moments": weighted_moments}[name]
    fresh = kernel(compiled.py_func)
    for n, d in [(4, 3), (1, 3), (4, 1), (1, 1)]:
        points = frozen(np.random.default_rng(0).standard_normal((2 * n, d)))[:n]
        eye, mean, weights = frozen(np.eye(d)), frozen(np.zeros(d)), frozen(np.ones(2 * n))[n:]
        if name == "cholesky":
            fresh(eye, np.empty((d, d)))
        elif name == "log_gaussian":
            fresh(points, mean, eye, np.empty(n))
        else:
            fresh(points, weights, np.empty(d), np.empty((d, d)))
    assert len(fresh.signatures) == 1
    n_outputs = {"cholesky": 1, "log_gaussian": 1, "weighted_moments": 2}[name]
    (signature,) = fresh.signatures
    assert [array.mutable for array in signature] == [False] * (len(signature) - n_outputs) + [True] * n_outputs
    assert all(array.layout == "C" and array.dtype == numba.float64 for array in signature)
