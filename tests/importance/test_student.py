"""The wide part as a Student t: its density, its draws, and what it does for heavy tails."""

import math

import numpy as np
import pytest
from scipy.stats import chi2, kstest, multivariate_t, norm, t

from mcstat.core.errors import InvalidParameter
from mcstat.importance import AdaptiveImportanceSampler
from mcstat.importance._student import StudentComponent

FACTOR = np.array([[1.5, 0.0], [0.7, 0.4]])
PART = StudentComponent(np.ones(1), np.array([[1.0, -2.0]]), FACTOR[None], 4.0)


def log_student(x):
    """Multivariate t with 5 degrees of freedom, without its constant."""
    return -3.5 * np.log1p(np.sum(x**2, axis=1) / 5.0)


def fitted(df, seed=0, **settings):
    sampler = AdaptiveImportanceSampler(
        target=log_student, initial="laplace", start=np.zeros(2), df=df, budget=20_000, random_state=seed
    )
    return sampler.set_params(**settings).fit(lambda x: x**2)


def test_density_is_the_multivariate_t():
    z = np.random.default_rng(0).normal(size=(50, 2), scale=5)
    expected = multivariate_t(PART.means[0], FACTOR @ FACTOR.T, df=4.0).logpdf(z)
    np.testing.assert_allclose(PART.logpdf(z), expected, rtol=1e-12)


def test_draws_follow_the_density():
    # The first coordinate is t(4), scaled; Kolmogorov-Smirnov p-value below 1e-6 is a false alarm.
    z = PART.rvs(100_000, np.random.default_rng(0))
    assert kstest((z[:, 0] - 1.0) / 1.5, t(4.0).cdf).pvalue > 1e-6
    radius = np.sum(np.linalg.solve(FACTOR, (z - PART.means[0]).T) ** 2, axis=0) / 2
    from scipy.stats import f

    assert kstest(radius, f(2, 4).cdf).pvalue > 1e-6


@pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
def test_a_target_with_heavy_tails_becomes_easy():
    # Variances are 5/3; from a Gaussian start alone the weights have no variance, with the t they are bounded.
    gaussian, student = fitted(None).estimate(), fitted(3.0).estimate()
    assert np.all(np.abs(student.value - 5 / 3) < 6 * student.std_error)
    assert student.diagnostics["khat_max"] < 0.5
    assert gaussian.diagnostics["khat_max"] > student.diagnostics["khat_max"]


@pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
def test_errors_are_true():
    # Mean square of 30 z below 3.5: false-alarm rate 3e-10 an expectation.
    z = []
    for seed in range(30):
        est = fitted(3.0, seed, budget=4_000, verbose=False).estimate()
        z.append((est.value - 5 / 3) / est.std_error)
    assert np.all(np.mean(np.square(z), axis=0) < 3.5)
    assert np.all(np.abs(np.mean(z, axis=0)) < 6 / math.sqrt(30))
    assert chi2.sf(3.5 * 30, 30) < 1e-6


@pytest.mark.parametrize("df", [0.0, -1.0, "?", np.nan, True])
def test_bad_df_is_refused(df):
    with pytest.raises(InvalidParameter, match="df must be a number in"):
        AdaptiveImportanceSampler(law=norm(), df=df, budget=2_000).fit(lambda x: x)
