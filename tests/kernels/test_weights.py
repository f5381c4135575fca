"""Weight and quantile kernels against their slow twins, at the edges, and in other units."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcstat.core._intervals import weighted_quantiles
from mcstat.core.checks import frozen_view
from mcstat.kernels.weights import effective_sample_size, fit_generalised_pareto, logsumexp
from tests.naive import weights as naive

logs = st.lists(st.floats(-30, 30) | st.just(-math.inf), min_size=1, max_size=30)


def view(values):
    return frozen_view(np.array(values, dtype=float))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(logs)
def test_logsumexp(values):
    assert logsumexp(view(values)) == pytest.approx(naive.logsumexp(values), rel=1e-12, abs=1e-12)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(logs.filter(lambda values: max(values) > -math.inf))
def test_effective_sample_size(values):
    size = effective_sample_size(view(values))
    assert size == pytest.approx(naive.effective_sample_size(values), rel=1e-12)
    assert 1 - 1e-12 <= size <= len(values) + 1e-9


@pytest.mark.parametrize("shift", [-1e5, 1e5])
def test_a_common_factor_does_not_matter(shift):
    values = np.random.default_rng(0).normal(size=100)
    assert effective_sample_size(view(values + shift)) == pytest.approx(effective_sample_size(view(values)), rel=1e-9)
    assert logsumexp(view(values + shift)) == pytest.approx(logsumexp(view(values)) + shift, rel=1e-14)


def test_edges():
    assert logsumexp(view([-np.inf, -np.inf])) == -np.inf
    assert logsumexp(view([np.inf, 0.0])) == np.inf
    assert effective_sample_size(view([0.0])) == 1.0
    assert effective_sample_size(view(np.zeros(50))) == 50.0
    assert effective_sample_size(view([0.0, -np.inf, 0.0])) == 2.0


@pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 1.2])
@pytest.mark.parametrize("n", [5, 20, 200])
def test_generalised_pareto_fit(shape, n):
    u = np.random.default_rng(n).random(n)
    x = np.sort(2.0 * np.expm1(-shape * np.log1p(-u)) / shape)
    np.testing.assert_allclose(fit_generalised_pareto(view(x)), naive.generalised_pareto_fit(x.tolist()), rtol=1e-9)


@pytest.mark.parametrize("n", [5, 99, 100, 110, 120, 121, 700])
def test_generalised_pareto_fit_of_equal_exceedances(n):
    # From 100 to 120 of them, and about 700, one point of the grid is exactly 0, where the likelihood is 0/0.
    equal = fit_generalised_pareto(view(np.ones(n)))
    np.testing.assert_allclose(equal, naive.generalised_pareto_fit([1.0] * n), rtol=1e-9)
    nearly = fit_generalised_pareto(view(np.linspace(1.0, 1.0 + 1e-9, n)))
    np.testing.assert_allclose(equal, nearly, rtol=1e-5)
    assert equal[0] < 0


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_generalised_pareto_fit_in_other_units(unit):
    x = np.sort(np.random.default_rng(0).pareto(2.0, size=200))
    shape, scale = fit_generalised_pareto(view(x))
    np.testing.assert_allclose(fit_generalised_pareto(view(unit * x)), (shape, unit * scale), rtol=1e-9)


def test_generalised_pareto_fit_finds_the_law():
    # The estimate's sd is about (1 + shape) / sqrt(n) = 0.015 here; six of them.
    u = np.random.default_rng(0).random(10_000)
    x = np.sort(3.0 * np.expm1(-0.5 * np.log1p(-u)) / 0.5)
    shape, scale = fit_generalised_pareto(view(x))
    assert abs(shape - 0.5) < 0.09
    assert abs(scale - 3.0) < 0.4


pairs = st.lists(
    st.tuples(st.floats(-5, 5).map(lambda v: round(v, 1)), st.floats(0.01, 1) | st.just(0.0)), min_size=1, max_size=20
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(pairs.filter(lambda rows: any(w > 0 for _, w in rows)), st.floats(0, 1))
def test_weighted_quantiles(rows, p):
    values, weights = (np.array(column) for column in zip(*rows, strict=True))
    fast = weighted_quantiles(values, weights, np.array([p]))[0]
    assert fast == pytest.approx(naive.weighted_quantile(values, weights, p), rel=1e-9, abs=1e-9)


def test_weighted_quantiles_of_equal_values_in_any_order():
    values, weights = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.5, 1.0])
    at = np.array([0.5])
    assert weighted_quantiles(values, weights, at) == weighted_quantiles(values[[1, 0, 2]], weights[[1, 0, 2]], at)


def test_equal_weights_give_hazen_quantiles():
    values = np.random.default_rng(0).normal(size=37)
    at = np.array([0.0, 0.025, 0.5, 0.9, 1.0])
    wanted = np.quantile(values, at, method="hazen")
    np.testing.assert_allclose(weighted_quantiles(values, np.full(37, 1 / 37), at), wanted, rtol=1e-12)
