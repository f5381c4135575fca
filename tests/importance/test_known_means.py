"""Users' control variates in AdaptiveImportanceSampler: exactness, unbiasedness, gain, bad input."""

import math

import numpy as np
import pytest
from scipy.stats import expon, norm, uniform

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.importance import AdaptiveImportanceSampler

POWERS = np.array([1, 2])


def powers(x):
    return x**POWERS


def fitted(func=lambda x: np.exp(x), law=None, means=(0.0, 1.0), **settings):
    sampler = AdaptiveImportanceSampler(law=law or norm(), **({"budget": 4_000, "random_state": 0} | settings))
    return sampler.fit(func, control_variates=powers, control_means=means)


class TestAgainstTheory:
    @pytest.mark.parametrize("control", ["own", "all", "crossfit", "none"])
    @pytest.mark.parametrize("signed", ["abs", "split"])
    @pytest.mark.parametrize(
        ("law", "means"),
        [(norm(), [0, 1]), (uniform(), [1 / 2, 1 / 3]), (expon(), [1, 2])],
        ids=["norm", "unif", "exp"],
    )
    def test_what_they_span_has_no_variance(self, law, means, signed, control):
        # Like the card's exact check 4: 3 + 2 x - 5 x^2 and x^2 are known without error.
        sampler = AdaptiveImportanceSampler(law=law, budget=2_000, control=control, signed=signed, random_state=0)
        sampler.fit(lambda x: np.hstack([3 + 2 * x - 5 * x**2, x**2]), control_variates=powers, control_means=means)
        est = sampler.estimate()
        np.testing.assert_allclose(est.value, [3 + 2 * means[0] - 5 * means[1], means[1]], rtol=1e-12)
        assert np.all(est.std_error < 1e-12)

    @pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
    @pytest.mark.parametrize("control", ["own", "crossfit"])
    def test_is_centred_and_its_errors_are_true(self, control):
        # E exp(X) = exp(1/2). Mean z over 40 seeds: |mean| < 6 / sqrt(40), 2e-9; mean square < 3.1, 1e-9.
        z = []
        for seed in range(40):
            est = fitted(budget=2_000, control=control, random_state=seed).estimate()
            z.append((float(est) - math.exp(0.5)) / est.std_error[0])
        assert abs(np.mean(z)) < 6 / math.sqrt(40)
        assert np.mean(np.square(z)) < 3.1

    def test_they_take_variance_away(self):
        def func(x):
            return np.hstack([np.exp(0.3 * x), np.cos(x)])

        plain = AdaptiveImportanceSampler(law=norm(), budget=4_000, random_state=0).fit(func).estimate()
        both = fitted(func).estimate()
        assert np.all(both.std_error < 0.5 * plain.std_error)
        assert np.all(np.abs(both.value - [math.exp(0.045), math.exp(-0.5)]) < 6 * both.std_error)

    def test_a_target_known_up_to_its_constant(self):
        sampler = AdaptiveImportanceSampler(target=lambda x: -0.5 * x[:, 0] ** 2, initial=norm(0, 1.5), random_state=0)
        sampler.fit(lambda x: np.hstack([np.cos(x), 1 + x]), control_variates=powers, control_means=[0, 1])
        est = sampler.estimate()
        assert abs(est.value[0] - math.exp(-0.5)) < 6 * est.std_error[0]
        assert est.value[1] == pytest.approx(1.0, rel=1e-12)


class TestAgainstItself:
    def test_what_is_stored_is_what_func_gave(self):
        sampler = fitted()
        np.testing.assert_allclose(sampler.values_, np.exp(sampler.sample_))
        est = sampler.for_laws([norm(0.2, 1)])
        assert abs(est.value[1] - math.exp(0.7)) < 6 * est.std_error[1]

    def test_extend_and_jobs(self):
        one = fitted(budget=12_000).extend(5_000).estimate()
        two = fitted(budget=12_000, n_jobs=2).extend(5_000).estimate()
        np.testing.assert_array_equal(one.value, two.value)

    def test_a_function_that_is_never_hit(self):
        with pytest.warns(ReliabilityWarning, match="zero at every point"):
            sampler = fitted(lambda x: (x > 50) * 1.0)
        assert np.isnan(sampler.estimate().std_error[0])


@pytest.mark.parametrize(
    ("settings", "given", "words"),
    [
        ({}, {"control_variates": powers}, "go together"),
        ({}, {"control_means": [0.0]}, "go together"),
        ({}, {"control_variates": 3.0, "control_means": [0.0]}, "go together"),
        ({}, {"control_variates": powers, "control_means": [0.0]}, r"shape \(200, 1\), a column for each"),
        ({}, {"control_variates": powers, "control_means": [0.0, np.nan]}, "control_means must be finite"),
        ({}, {"control_variates": lambda x: np.log(x - 9), "control_means": 0.0}, r"control_variates\(x\) must be fin"),
        ({}, {"control_variates": lambda x: x ** np.arange(1, 21), "control_means": np.zeros(20)}, "at most 19 means"),
        ({"law": None, "laws": [norm(), norm(1)]}, {"control_variates": powers, "control_means": [0, 1]}, "want law="),
        ({"signed": "nonneg"}, {"control_variates": powers, "control_means": [0, 1]}, "residuals of both signs"),
    ],
)
def test_bad_input(settings, given, words):
    sampler = AdaptiveImportanceSampler(**({"law": norm(), "budget": 2_000, "random_state": 0} | settings))
    with pytest.raises((InvalidParameter, InvalidData), match=words), np.errstate(invalid="ignore"):
        sampler.fit(np.exp, **given)
    assert not sampler.__sklearn_is_fitted__()
