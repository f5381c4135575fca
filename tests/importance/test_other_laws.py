"""The stored final sample under other laws: against theory, against a slow twin, and on bad input."""

import math
import warnings

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, uniform
from sklearn.exceptions import NotFittedError

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.importance import AdaptiveImportanceSampler

MEANS, SDS = np.array([-0.5, 0.3, 1.0, 0.0]), np.array([1.0, 1.0, 1.0, 1.5])
LAWS = [norm(mean, sd) for mean, sd in zip(MEANS, SDS, strict=True)]
TRUTH = np.stack([MEANS**2 + SDS**2, MEANS**4 + 6 * MEANS**2 * SDS**2 + 3 * SDS**4], axis=1).ravel()


def moments(x):
    return x ** np.array([2, 4])


def fitted(**settings):
    return AdaptiveImportanceSampler(law=norm(), **({"budget": 4_000, "random_state": 0} | settings)).fit(moments)


class TestAgainstTheory:
    def test_moments_of_other_normals(self):
        # |z| < 6 for 8 quantities: false-alarm rate 2e-8.
        est = fitted(budget=20_000).for_laws(LAWS)
        assert np.all(np.abs(est.value[2:] - TRUTH) < 6 * est.std_error[2:])
        assert np.all(est.std_error[2:] < 0.05 * TRUTH)

    @pytest.mark.parametrize("control", ["own", "none"])
    def test_is_centred_and_its_errors_are_true(self, control):
        # Mean z over 30 seeds: |mean| < 6 / sqrt(30), false-alarm rate 2e-9 a column. The mean square of 30 z is at
        # most 3.5 with probability 1 - 1e-8 (chi-squared).
        z = []
        for seed in range(30):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ReliabilityWarning)
                est = fitted(control=control, budget=2_000, random_state=seed).for_laws(LAWS)
            z.append((est.value[2:] - TRUTH) / est.std_error[2:])
        assert np.all(np.abs(np.mean(z, axis=0)) < 6 / math.sqrt(30))
        assert np.all(np.mean(np.square(z), axis=0) < 3.5)

    def test_a_target_known_up_to_its_constant(self):
        sampler = AdaptiveImportanceSampler(target=lambda x: -0.5 * x[:, 0] ** 2, initial=norm(0, 2), random_state=0)
        est = sampler.fit(moments).for_laws(LAWS[:1])
        assert np.all(np.abs(est.value - [1.0, 3.0, *TRUTH[:2]]) < 6 * est.std_error)


class TestAgainstNaive:
    def test_weighted_sample_by_hand(self):
        sampler = fitted(control="none")
        est = sampler.for_laws([LAWS[2]], names=["moved"])
        rows = []
        for x, values, log_h in zip(
            sampler.sample_[:, 0], sampler.values_, sampler.proposal_.logpdf(sampler.sample_), strict=True
        ):
            base, moved = math.exp(norm.logpdf(x) - log_h), math.exp(norm.logpdf(x, 1.0) - log_h)
            rows.append([base * values[0], base * values[1], moved * values[0], moved * values[1]])
        np.testing.assert_allclose(est.value, np.mean(rows, axis=0), rtol=1e-12)
        np.testing.assert_allclose(est.cov, np.cov(rows, rowvar=False) / len(rows), rtol=1e-10)
        assert est.names == ("I[0]", "I[1]", "I[0] under moved", "I[1] under moved")
        assert list(est.coords["law"]) == ["fit", "fit", "moved", "moved"]


class TestAgainstItself:
    def test_the_fits_own_answer_comes_first(self):
        sampler = fitted()
        est, own = sampler.for_laws(LAWS), sampler.estimate()
        np.testing.assert_array_equal(est.value[:2], own.value)
        np.testing.assert_allclose(est.cov[:2, :2], own.cov, rtol=1e-12)

    def test_the_fits_own_law_gives_its_own_answer(self):
        est = fitted(control="none").for_laws([norm()])
        np.testing.assert_allclose(est.value[2:], est.value[:2], rtol=1e-14)
        difference = est.transform(lambda v: v[1] - v[3])
        assert difference.std_error[0] < 1e-6 * est.std_error[1]

    def test_func_is_not_called(self):
        calls = []

        def func(x):
            calls.append(len(x))
            return x

        sampler = AdaptiveImportanceSampler(law=norm(), budget=2_000, random_state=0).fit(func)
        before = len(calls)
        est = sampler.for_laws(LAWS, names=list("abcd"))
        assert len(calls) == before
        assert est.names == ("expectation", "a", "b", "c", "d")


class TestDoubts:
    def test_a_law_out_of_reach(self):
        sampler = fitted()
        with pytest.warns(ReliabilityWarning, match="weights for far average .* and not 1"):
            est = sampler.for_laws([LAWS[0], norm(40, 1)], names=["near", "far"])
        assert len(est.warnings) == 1 + len(sampler.estimate().warnings)

    def test_a_law_in_the_thin_tail(self):
        sampler = AdaptiveImportanceSampler(law=multivariate_normal(np.zeros(5)), budget=2_000, random_state=0)
        sampler.fit(lambda x: x[:, :1] ** 2)
        with pytest.warns(ReliabilityWarning, match=r"laws\[0\]"):
            sampler.for_laws([multivariate_normal(np.full(5, 1.5), 0.1 * np.eye(5))])

    def test_points_at_which_func_was_not_called(self):
        sampler = AdaptiveImportanceSampler(law=uniform(), budget=2_000, random_state=0).fit(lambda x: x)
        with pytest.warns(ReliabilityWarning, match="wider has density at"):
            est = sampler.for_laws([uniform(0, 0.5), uniform(0, 1.5)], names=["inside", "wider"])
        assert np.isnan(est["wider"].std_error[0])
        assert abs(float(est["inside"]) - 0.25) < 6 * est["inside"].std_error[0]

    def test_a_function_that_is_zero_under_the_other_law(self):
        sampler = AdaptiveImportanceSampler(law=uniform(), budget=2_000, random_state=0).fit(lambda x: (x > 0.5) * 1.0)
        with pytest.warns(ReliabilityWarning, match="zero wherever left has density"):
            est = sampler.for_laws([uniform(0, 0.4)], names=["left"])
        assert est.value[1] == 0.0
        assert np.isnan(est.std_error[1])
        assert np.isfinite(est.std_error[0])

    def test_no_density_anywhere(self):
        sampler = AdaptiveImportanceSampler(law=uniform(), budget=2_000, random_state=0).fit(lambda x: x)
        with pytest.raises(InvalidData, match="gone has no density at any point"):
            sampler.for_laws([uniform(100, 1)], names=["gone"])


@pytest.mark.parametrize(
    ("laws", "names", "words"),
    [
        ([], None, "laws must be a list of at least one law"),
        (norm(), None, "laws must be a list of at least one law"),
        ([object()], None, r"laws\[0\] must have rvs"),
        ([norm()], ["a", "b"], r"names must be 1 string\(s\)"),
        ([multivariate_normal(np.zeros(2))], None, r"laws\[0\] must have the sample's dimension 1, got 2"),
    ],
)
def test_bad_input(laws, names, words):
    with pytest.raises((InvalidParameter, InvalidData), match=words):
        fitted(budget=400).for_laws(laws, names=names)


def test_before_fit():
    with pytest.raises(NotFittedError):
        AdaptiveImportanceSampler(law=norm()).for_laws(LAWS)
