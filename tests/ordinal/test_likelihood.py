"""The cumulative link likelihood and its derivatives, beside plain formulas and differences."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import cauchy, norm

from mcstat.ordinal._likelihood import CumulativeLikelihood
from mcstat.ordinal._links import cumulative, density, link_function, survival
from mcstat.ordinal._ordinal_kernels import LINKS, logit_terms, other_terms
from mcstat.ordinal._structure import STRUCTURES, Structured
from tests.naive import ordinal as naive

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "ordinal_terms.json").read_text("utf-8"))


def terms(link, lower, upper, has_lower=True, has_upper=True):
    if link == "logit":
        return logit_terms(lower, upper, has_lower, has_upper)
    return other_terms(LINKS[link], lower, upper, has_lower, has_upper)


@pytest.mark.parametrize("link", LINKS)
def test_a_class_agrees_with_60_digits(link):
    records = [record for record in REFERENCE if record["link"] == link]
    assert len(records) == 13
    for record in records:
        lower, upper = record["lower"], record["upper"]
        found = terms(link, lower or 0.0, upper or 0.0, lower is not None, upper is not None)
        # Close boundaries: what is left is the rounding of their difference, amplified.
        rtol = 1e-10 if lower is None or upper is None or upper - lower > 1e-3 else 1e-8
        np.testing.assert_allclose(found, record["terms"], rtol=rtol, atol=1e-12, err_msg=str(record))


@pytest.mark.parametrize("link", LINKS)
def test_crossed_boundaries_are_outside_the_domain(link):
    assert terms(link, 0.5, 0.5)[0] == math.inf
    assert terms(link, 0.5, 0.4)[0] == math.inf


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("eta", [-800.0, 800.0])
def test_far_tails_do_not_overflow(link, eta):
    for has_lower, has_upper in [(True, False), (False, True)]:
        found = terms(link, eta, eta, has_lower, has_upper)
        assert not math.isnan(found[0])
        if link != "cloglog" and found[0] < math.inf:
            assert all(math.isfinite(number) for number in found)


@pytest.mark.parametrize("link", LINKS)
def test_links_agree_with_scipy(link):
    eta = np.array([-3.0, -0.5, 0.0, 0.7, 2.0])
    law = {"logit": None, "probit": norm, "cloglog": None, "cauchit": cauchy}[link]
    if law is not None:
        np.testing.assert_allclose(cumulative(link, eta), law.cdf(eta), rtol=1e-12)
        np.testing.assert_allclose(density(link, eta), law.pdf(eta), rtol=1e-12)
    np.testing.assert_allclose(cumulative(link, eta) + survival(link, eta), 1.0, rtol=1e-14)
    np.testing.assert_allclose(link_function(link, cumulative(link, eta)), eta, rtol=1e-9, atol=1e-12)
    step = 1e-6
    slope = (cumulative(link, eta + step) - cumulative(link, eta - step)) / (2 * step)
    np.testing.assert_allclose(density(link, eta), slope, rtol=1e-7)


def rows(n=40, p=2, n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    return 3.0 + 2.0 * rng.normal(size=(n, p)), codes, rng.uniform(0.5, 2.0, n)


@pytest.mark.parametrize("link", LINKS)
def test_value_is_that_of_the_plain_formula_on_raw_columns(link):
    X, codes, weights = rows()
    likelihood = CumulativeLikelihood(X, codes, weights, 4, link=link, standardize=True)
    boundaries = likelihood.null_boundaries()
    boundaries[:, 1:] = [[0.1, -0.1], [0.12, -0.1], [0.1, -0.05]]
    alpha, beta = likelihood.to_raw(boundaries)
    wanted = naive.mean_loss(link, X, codes, weights, alpha, beta)
    assert likelihood(boundaries).value == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_derivatives_agree_with_differences(link, name):
    X, codes, weights = rows()
    likelihood = CumulativeLikelihood(X, codes, weights, 4, link=link, standardize=True)
    structure = STRUCTURES[name](3, 3)
    smooth = Structured(likelihood, structure)
    theta = structure.parameters(likelihood.null_boundaries()) + 0.02 * np.arange(
        len(structure.parameters(np.zeros((3, 3))))
    )
    here, step = smooth(theta), 1e-5
    pairs = [(smooth(theta + step * unit), smooth(theta - step * unit)) for unit in np.eye(len(theta))]
    np.testing.assert_allclose(here.gradient, [(a.value - b.value) / (2 * step) for a, b in pairs], atol=2e-9)
    slopes = np.array([(a.gradient - b.gradient) / (2 * step) for a, b in pairs])
    np.testing.assert_allclose(here.hessian(), slopes, atol=1e-7)


@pytest.mark.parametrize("name", STRUCTURES)
def test_parameters_and_boundaries_are_inverse(name):
    structure = STRUCTURES[name](3, 3)
    theta = np.random.default_rng(0).normal(size=len(structure.parameters(np.zeros((3, 3)))))
    np.testing.assert_allclose(structure.parameters(structure.boundaries(theta)), theta, atol=1e-15)


def test_blocks_and_weights_of_zero_change_nothing(monkeypatch):
    X, codes, weights = rows(n=400)
    one = CumulativeLikelihood(X, codes, weights, 4, link="logit", standardize=True)
    more_rows = np.vstack([X, X[:7] + 1.0])
    padded = CumulativeLikelihood(
        more_rows, np.r_[codes, codes[:7]], np.r_[weights, np.zeros(7)], 4, link="logit", standardize=True
    )
    monkeypatch.setattr("mcstat.ordinal._likelihood._MOST_ROWS", 7)
    monkeypatch.setattr("mcstat.ordinal._likelihood._FEWEST_ROWS", 7)
    small = CumulativeLikelihood(X, codes, weights, 4, link="logit", standardize=True)
    boundaries = one.null_boundaries()
    boundaries[:, 1:] = 0.1
    for other in (padded, small):
        a, b = one(boundaries), other(boundaries)
        assert a.value == pytest.approx(b.value, rel=1e-13)
        np.testing.assert_allclose(a.gradient, b.gradient, atol=1e-14)
        np.testing.assert_allclose(a.hessian, b.hessian, atol=1e-14)
