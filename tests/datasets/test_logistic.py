"""The logistic posterior: its density, and its reference moments against importance sampling."""

import json
import math
from importlib.resources import files

import numpy as np
import pytest

from mcstat.datasets import load_logistic_posterior


@pytest.fixture(scope="module")
def posterior():
    return load_logistic_posterior()


def test_log_density_agrees_with_a_plain_sum(posterior):
    points = np.random.default_rng(1).standard_normal((3, 31))
    truth = []
    for beta in points:
        margins = [sign * (row @ beta) for row, sign in zip(posterior.design, posterior.signs, strict=True)]
        truth.append(-math.fsum(math.log1p(math.exp(-m)) for m in margins) - 0.5 * math.fsum(beta**2))
    np.testing.assert_allclose(posterior.log_density(points), truth, rtol=1e-13)


def test_log_density_does_not_overflow(posterior):
    far = np.zeros((2, 31))
    far[:, 0] = [1e4, -1e4]
    n_malignant, n_benign = 212, 357
    np.testing.assert_allclose(posterior.log_density(far), -1e4 * np.array([n_malignant, n_benign]) - 0.5e8, rtol=1e-12)


def test_reference_belongs_to_these_coefficients(posterior):
    reference = json.loads(files("mcstat.datasets").joinpath("data/logistic_reference.json").read_text("utf-8"))
    assert tuple(reference["names"]) == posterior.names
    assert max(reference["split_rhat"]) < 1.001
    assert max(reference["mcse"]) < 0.003


def test_reference_moments_agree_with_importance_sampling(posterior):
    """From a Student t with the curvature at the reference mean: it tells the truth even if the reference does not.

    62 comparisons at 6 standard errors: false-alarm rate 62 * 2e-9 < 1e-6.
    """
    from scipy.special import expit
    from scipy.stats import multivariate_t

    signed = posterior.design * posterior.signs[:, None]
    right = expit(signed @ posterior.reference_mean)
    hessian = (signed.T * (right * (1 - right))) @ signed + np.eye(31)
    law = multivariate_t(posterior.reference_mean, np.linalg.inv(hessian), df=30, seed=np.random.default_rng(2))
    x = law.rvs(20_000)
    log_weights = posterior.log_density(x) - law.logpdf(x)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    # Enough equal draws for normal errors.
    assert 1 / np.sum(weights**2) > 3_000

    mean = weights @ x
    error = np.sqrt(weights**2 @ (x - mean) ** 2 + posterior.reference_mcse**2)
    assert np.all(np.abs(mean - posterior.reference_mean) < 6 * error)
    squares = (x - posterior.reference_mean) ** 2
    variance = weights @ squares
    error = np.sqrt(weights**2 @ (squares - variance) ** 2)
    assert np.all(np.abs(variance - posterior.reference_sd**2) < 6 * error)
