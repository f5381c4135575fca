"""A list of marginals, sampled on normal scores: bounded, positive and discrete inputs; the same answer throughout."""

import math

import numpy as np
import pytest
from scipy.stats import beta, expon, lognorm, norm, poisson, uniform

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.importance import AdaptiveImportanceSampler


class Independent:
    """Marginals as one law."""

    def __init__(self, *marginals):
        self.marginals = marginals

    def rvs(self, size, random_state):
        return np.column_stack([one.rvs(size=size, random_state=random_state) for one in self.marginals])

    def logpdf(self, x):
        return sum(one.logpdf(column) for one, column in zip(self.marginals, x.T, strict=True))


def fitted(law, func, **settings):
    return AdaptiveImportanceSampler(law=law, **({"budget": 8_000, "random_state": 0} | settings)).fit(func)


def quiet(law, func, **settings):
    return fitted(law, func, verbose=False, **settings).estimate()


class TestAgainstTheory:
    def test_inputs_on_an_interval(self):
        # E[prod 4 x_i^3] = 1 for uniform inputs, E[(x_1 x_2)^2] = 1/9.
        est = fitted([uniform()] * 2, lambda x: np.column_stack([np.prod(4 * x**3, axis=1), np.prod(x**2, axis=1)]))
        est = est.estimate()
        assert np.all(np.abs(est.value - [1.0, 1 / 9]) < 6 * est.std_error)
        assert np.all(est.std_error < 0.02 * est.value)

    def test_inputs_of_many_kinds(self):
        law = [lognorm(0.5), expon(), beta(2, 3), norm(1, 2)]
        est = fitted(law, lambda x: x**2).estimate()
        truth = np.array([math.exp(0.5), 2.0, 6 / 30, 5.0])
        assert np.all(np.abs(est.value - truth) < 6 * est.std_error)

    def test_discrete_inputs(self):
        # P(X_1 + X_2 >= 12) for Poisson inputs of mean 2 and 3: the sum is Poisson of mean 5.
        est = fitted([poisson(2.0), poisson(3.0)], lambda x: (x.sum(axis=1) >= 12) * 1.0).estimate()
        assert abs(float(est) - poisson.sf(11, 5.0)) < 6 * est.std_error[0]

    def test_every_point_is_inside(self):
        def func(x):
            assert x.min() > 0
            assert x.max() < 1
            return x

        sampler = fitted([uniform()], func)
        assert sampler.sample_.min() > 0
        assert sampler.sample_.max() < 1
        np.testing.assert_allclose(sampler.values_, sampler.sample_)

    @pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
    def test_is_centred_and_its_errors_are_true(self):
        # E[(4 x^3)^2] = 16 / 7. Mean z over 40 seeds below 6 / sqrt(40), 2e-9; mean square below 3.1, 1e-9.
        z = []
        for seed in range(40):
            est = quiet([uniform()], lambda x: 16 * x**6, budget=2_000, random_state=seed)
            z.append((float(est) - 16 / 7) / est.std_error[0])
        assert abs(np.mean(z)) < 6 / math.sqrt(40)
        assert np.mean(np.square(z)) < 3.1


class TestSameAnswer:
    # Card, exact check 6: an invertible change of the inputs changes nothing.
    def test_units(self):
        plain = quiet([norm(), norm()], lambda x: x**2)
        moved = quiet([norm(3e6, 1e6), norm(-5, 0.1)], lambda x: ((x - [3e6, -5]) / [1e6, 0.1]) ** 2)
        np.testing.assert_allclose(moved.value, plain.value, rtol=1e-9)

    def test_a_law_and_its_exponential(self):
        plain = quiet([norm(0, 0.5)], lambda x: np.exp(2 * x))
        moved = quiet([lognorm(0.5)], lambda x: x**2)
        np.testing.assert_allclose(moved.value, plain.value, rtol=1e-10)
        np.testing.assert_allclose(moved.std_error, plain.std_error, rtol=1e-8)

    def test_with_and_without_scores(self):
        # Two independent samples: |z| of the difference below 6.
        law = [norm(1, 2), uniform(-1, 2)]
        one = fitted(law, lambda x: np.exp(0.3 * x)).estimate()
        other = fitted(Independent(*law), lambda x: np.exp(0.3 * x), random_state=1).estimate()
        assert np.all(np.abs(one.value - other.value) < 6 * np.hypot(one.std_error, other.std_error))

    def test_other_laws(self):
        sampler = fitted([uniform(), lognorm(0.5)], lambda x: x**2)
        est = sampler.for_laws([Independent(beta(2, 1), lognorm(0.4)), Independent(uniform(), lognorm(0.5))])
        truth = [1 / 2, math.exp(2 * 0.16), 1 / 3, math.exp(2 * 0.25)]
        assert np.all(np.abs(est.value[2:] - truth) < 6 * est.std_error[2:])

    def test_control_variates_and_names(self):
        sampler = AdaptiveImportanceSampler(law=[expon()], budget=2_000, random_state=0)
        sampler.fit(lambda x: 2 + 3 * x, control_variates=lambda x: x, control_means=1.0)
        assert float(sampler.estimate()) == pytest.approx(5.0, rel=1e-12)
        sampler = AdaptiveImportanceSampler(law=[expon(), norm()], budget=2_000, random_state=0).fit(names=["a", "b"])
        assert sampler.estimate().names == ("a", "b")

    def test_to_arviz_shows_inputs(self):
        pytest.importorskip("arviz")
        sampler = AdaptiveImportanceSampler(law=[expon(), uniform()], budget=2_000, random_state=0).fit(
            names=["a", "b"]
        )
        data = sampler.to_arviz()
        assert set(data.posterior.data_vars) == {"a", "b"}
        assert float(data.posterior["b"].max()) < 1


@pytest.mark.parametrize(
    ("law", "error", "words"),
    [
        ([], InvalidParameter, "law must hold at least one marginal"),
        ([norm(), 3.0], InvalidParameter, r"law\[1\] must have ppf\(u\) and isf\(u\)"),
        ([norm(scale=-1.0)], InvalidData, r"law\[0\]\.ppf must be finite"),
    ],
)
def test_bad_marginals(law, error, words):
    with pytest.raises(error, match=words):
        fitted(law, lambda x: x)


def test_discrete_inputs_have_no_other_laws():
    sampler = fitted([poisson(2.0)], lambda x: x)
    with pytest.raises(InvalidParameter, match=r"law\[0\] must have logpdf\(x\) to be compared"):
        sampler.for_laws([norm()])
