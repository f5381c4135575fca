"""CrossEntropy: levels, half-spaces of known probability in any dimension, several modes, bad input."""

import warnings

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import expon, lognorm, multivariate_normal, norm, uniform

from mcstat import Estimate
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.importance import CrossEntropy
from mcstat.importance._components import Component
from mcstat.importance._levels import QuantileLevels, SmoothLevels
from mcstat.importance._limit_state import Points, Tilted, UnitGaussians
from mcstat.importance._normal_space import normal_space
from tests.naive import cross_entropy as naive
from tests.stat_asserts import assert_mean_close

BETA = 3.5
P = ndtr(-BETA)


def half_space(x):
    return BETA * np.sqrt(x.shape[1]) - x.sum(axis=1)


def two_sided(x):
    return BETA - np.abs(x[:, 0])


def four_branches(x):
    near = 3 + 0.1 * (x[:, 0] - x[:, 1]) ** 2
    along, across = (x[:, 0] + x[:, 1]) / np.sqrt(2), x[:, 0] - x[:, 1]
    return np.minimum.reduce([near - along, near + along, 7 / np.sqrt(2) - across, 7 / np.sqrt(2) + across])


# By quadrature over the rotated axes, 1e-11: validation/importance/cross_entropy.py.
FOUR_BRANCHES = 2.2227769e-3


def fitted(law=2, g=half_space, **options):
    return CrossEntropy(law, **({"random_state": 0} | options)).fit(g)


def warned(text, **options):
    """The Estimate of a fit that warns of ``text``, also in the Estimate; it may warn of other things too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est = fitted(**options).estimate()
    said = [str(one.message) for one in caught if one.category is ReliabilityWarning]
    assert len(said) == len(caught)
    assert any(text in one for one in said)
    assert tuple(said) == est.warnings
    return est


def assert_right(est, truth, most_relative=0.1):
    assert_mean_close(est.value, truth, est.std_error)
    assert est.std_error[0] < most_relative * truth


class TestKnownProbabilities:
    @pytest.mark.parametrize("levels", ["smooth", "quantile"])
    @pytest.mark.parametrize("d", [2, 20, 100])
    def test_half_space(self, d, levels):
        sampler = fitted(d, levels=levels, n_components=1 if d == 100 else "auto")
        assert_right(sampler.estimate(), P)
        assert sampler.n_calls_ == 20_000

    @pytest.mark.parametrize("family", ["gaussian", "gmm", "vmfnm"])
    def test_families_in_the_plane(self, family):
        assert_right(fitted(family=family).estimate(), P, 0.02)

    @pytest.mark.parametrize(("d", "family"), [(2, "gmm"), (2, "vmfnm"), (20, "vmfnm")])
    def test_two_modes(self, d, family):
        sampler = fitted(d, two_sided, family=family)
        assert_right(sampler.estimate(), 2 * P, 0.04)
        failed = sampler.sample_[sampler.values_ <= 0]
        assert 0.3 < np.mean(failed[:, 0] > 0) < 0.7

    def test_four_modes(self):
        assert_right(fitted(2, four_branches).estimate(), FOUR_BRANCHES, 0.02)

    def test_not_rare_at_all(self):
        sampler = fitted(3, lambda x: x[:, 0])
        assert_right(sampler.estimate(), 0.5, 0.02)
        assert len(sampler.history_["level"]) == 1

    def test_very_rare(self):
        assert_right(fitted(4, lambda x: 7.0 - x[:, 0], budget=40_000, batch=0.025).estimate(), ndtr(-7.0), 0.03)

    def test_unbiased_with_honest_errors(self):
        """200 seeds: |z| of the mean below 6; the ratio of errors has standard error 5 %, so 0.3 is 6 of them."""
        runs = [fitted(budget=4000, family="gaussian", random_state=seed).estimate() for seed in range(200)]
        values = np.array([run.value[0] for run in runs])
        assert_mean_close(values.mean(), P, values.std(ddof=1) / np.sqrt(200))
        errors = np.array([run.std_error[0] for run in runs])
        assert np.sqrt(np.mean(errors**2)) == pytest.approx(values.std(ddof=1), rel=0.3)


class TestLaws:
    def test_marginals(self):
        """P(X1 + X2 > 15) of unit exponentials is 16 exp(-15)."""
        est = fitted([expon(), expon()], lambda x: 15 - x.sum(axis=1)).estimate()
        assert_right(est, 16 * np.exp(-15.0), 0.03)

    def test_dependent_normal_inputs(self):
        law = multivariate_normal([1.0, -2.0], [[4.0, 1.5], [1.5, 1.0]])
        sd = np.sqrt(4 + 1 + 2 * 1.5)
        assert_right(fitted(law, lambda x: -1 + 4 * sd - x.sum(axis=1)).estimate(), ndtr(-4.0), 0.03)

    def test_transforms(self):
        u = np.random.default_rng(0).standard_normal((1000, 3))
        x = normal_space([norm(1, 2), lognorm(0.5), uniform()])(u)
        np.testing.assert_allclose(
            x, np.column_stack([1 + 2 * u[:, 0], np.exp(0.5 * u[:, 1]), ndtr(u[:, 2])]), rtol=1e-9
        )

    def test_upper_tail_keeps_its_digits(self):
        u = np.array([[9.0], [20.0]])
        np.testing.assert_allclose(normal_space([norm()])(u), u, rtol=1e-12)

    def test_marginal_with_ppf_only(self):
        class Triangle:
            def ppf(self, p):
                return np.sqrt(p)

        x = normal_space([Triangle()])(np.array([[0.0], [1.0]]))
        np.testing.assert_allclose(x[:, 0], np.sqrt(ndtr([0.0, 1.0])))


class TestSteps:
    def points(self, seed=3, n=200):
        rng = np.random.default_rng(seed)
        return Points(rng.standard_normal((n, 2)), rng.standard_normal(n) + 2.5, 0.3 * rng.standard_normal(n))

    def test_quantile_level(self):
        points = self.points()
        step = QuantileLevels(0.1)(points, None)
        assert step.level == np.sort(points.g)[19]
        elite = points.g <= step.level
        np.testing.assert_array_equal(step.log_importance[elite], points.log_weights[elite])
        assert np.isneginf(step.log_importance[~elite]).all()
        assert not step.reached

    def test_quantile_level_stops_at_failure(self):
        points = self.points()
        step = QuantileLevels(0.5)(Points(points.u, points.g - 3, points.log_weights), None)
        assert step.level == 0.0
        assert step.reached

    def test_smooth_level_has_the_variation_asked_for(self):
        points = self.points()
        step = SmoothLevels(1.5)(points, None)
        weights = naive.smooth_weights(points.g, np.exp(points.log_weights), step.level)
        assert naive.variation(weights) == pytest.approx(1.5, rel=1e-6)
        np.testing.assert_allclose(np.exp(step.log_importance), weights, rtol=1e-10)

    def test_smooth_width_never_grows(self):
        step = SmoothLevels(1.5)(self.points(), 0.01)
        assert step.level <= 0.01

    def test_smooth_level_stops_where_indicator_and_smooth_one_agree(self):
        points = self.points()
        shifted = Points(points.u, points.g - 2.5, points.log_weights)
        failed = shifted.g <= 0
        ratio = failed / np.array(naive.smooth_weights(shifted.g, np.ones(len(failed)), 0.5))
        assert naive.variation(ratio) < 1.5
        assert SmoothLevels(1.5)(shifted, 0.5).reached
        assert not SmoothLevels(1.5)(points, 0.5).reached

    def test_constant_limit_state(self):
        est = warned("none of the", g=lambda x: np.ones(len(x)), budget=1000)
        assert est.value[0] == 0.0

    def test_companion_bounds_the_weights_of_a_half_space(self):
        """Without it the weight grows without bound where a narrow Gaussian does not reach."""
        narrow = Component(np.ones(1), np.array([[3.8]]), np.array([[[0.25]]]))
        u = np.linspace(3.5, 9.0, 50)[:, None]
        law = UnitGaussians(np.ones(1), np.zeros((1, 1))).logpdf(u)
        with_it = law - Tilted.around(narrow, 0.1).logpdf(u)
        assert np.exp(with_it).max() < 1.0
        assert np.exp(law - narrow.logpdf(u)).max() > 1e10

    def test_sampling_density(self, seed):
        """Draws of the mixture have its mean, and its density integrates to one."""
        part = Component(np.array([0.4, 0.6]), np.array([[3.0], [-2.0]]), np.array([[[0.5]], [[0.7]]]))
        tilted = Tilted.around(part, 0.25)
        x = tilted.rvs(20_000, np.random.default_rng(seed))
        assert_mean_close(x.mean(), 0.0, x.std() / np.sqrt(len(x)))
        grid = np.linspace(-12, 12, 20_001)
        assert np.trapezoid(np.exp(tilted.logpdf(grid[:, None])), grid) == pytest.approx(1.0, abs=1e-9)


class TestEstimate:
    def test_naive_twin(self):
        sampler = fitted(budget=2000)
        est = sampler.estimate()
        value, error = naive.probability(sampler.values_, sampler.log_weights_)
        np.testing.assert_allclose([est.value[0], est.std_error[0]], [value, error], rtol=1e-12)
        assert est.diagnostics["coefficient_of_variation"] == pytest.approx(error / value)
        ends = est.conf_int().to_numpy()[0]
        np.testing.assert_allclose(
            ends, value * np.exp([-1.959964 * error / value, 1.959964 * error / value]), rtol=1e-6
        )

    def test_one_sided_interval(self):
        est = fitted(budget=2000).estimate()
        lower, upper = est.conf_int(sides="upper").to_numpy()[0]
        assert lower == 0.0
        assert upper < est.conf_int().to_numpy()[0, 1]

    def test_saved_and_loaded(self, tmp_path):
        est = fitted(budget=2000).estimate()
        est.save(tmp_path / "p.npz")
        assert Estimate.load(tmp_path / "p.npz").conf_int().equals(est.conf_int())

    def test_weights_are_law_over_proposal(self):
        sampler = fitted(budget=2000)
        wanted = norm.logpdf(sampler.sample_).sum(axis=1) - sampler.proposal_.logpdf(sampler.sample_)
        np.testing.assert_allclose(sampler.log_weights_, wanted, atol=1e-9)

    def test_calls_are_counted_and_capped(self):
        seen = []

        def counted(x):
            seen.append(len(x))
            return half_space(x)

        sampler = fitted(g=counted, budget=3001)
        assert sum(seen) == sampler.n_calls_ == sampler.estimate().info["model_calls"] == 3001
        sampler.extend(500)
        assert sum(seen) == sampler.n_calls_ == 3501

    def test_extend_sharpens(self):
        sampler = fitted(budget=4000)
        before = sampler.estimate().std_error[0]
        assert_right(sampler.extend(20_000).estimate(), P, 0.02)
        assert sampler.estimate().std_error[0] < 0.6 * before

    def test_no_failure_is_not_zero_with_certainty(self):
        est = warned("not known", g=lambda x: 50.0 - x[:, 0], budget=300)
        assert est.value[0] == 0.0
        assert np.isnan(est.std_error[0])
        assert est.conf_int().isna().to_numpy().all()

    def test_too_few_points_are_warned_of(self):
        warned("relative standard error", law=20, budget=700, levels="quantile", random_state=1)

    def test_levels_that_do_not_arrive_are_warned_of(self):
        warned("did not reach", g=lambda x: 8.0 - x[:, 0], max_explore=0.1)

    def test_interrupted_on_the_way_answers_from_the_last_level(self):
        calls = []

        def stopped(x):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return half_space(x)

        sampler = CrossEntropy(2, random_state=0)
        with pytest.raises(KeyboardInterrupt):
            sampler.fit(stopped)
        est = sampler.estimate()
        assert sampler.n_calls_ == 3000
        assert est.info["final_points"] == 1000
        assert est.warnings[0].startswith("interrupted")
        assert "did not reach" in est.warnings[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReliabilityWarning)
            assert sampler.extend().n_calls_ == 20_000
        assert_right(sampler.estimate(), P, 0.1)

    def test_affine_change_of_g_changes_nothing(self):
        for levels in ("smooth", "quantile"):
            one, other = fitted(levels=levels), fitted(g=lambda x: 1024.0 * half_space(x), levels=levels)
            np.testing.assert_allclose(one.estimate().value, other.estimate().value, rtol=1e-6)

    def test_pointwise_limit_state(self):
        one = fitted(g=lambda x: 3.5 - x[0], vectorized=False, budget=2000).estimate()
        np.testing.assert_allclose(one.value, fitted(g=lambda x: 3.5 - x[:, 0], budget=2000).estimate().value)

    @pytest.mark.parametrize("d", [2, 5])
    def test_plot(self, d):
        from matplotlib import pyplot

        axes = fitted(d, budget=2000).plot()
        assert len(axes) == 2
        assert axes[1].get_legend() is not None
        pyplot.close("all")


class TestBadInput:
    @pytest.mark.parametrize("law", ["?", [], 0, -1, None, 2.5, [norm(), 3], norm()])
    def test_law(self, law):
        with pytest.raises(InvalidParameter, match="law"):
            fitted(law)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("levels", "?"),
            ("family", "student"),
            ("rho", 0.0),
            ("rho", 1.0),
            ("target_cv", 0.0),
            ("batch", 0.0),
            ("batch", 0.6),
            ("max_explore", 1.0),
            ("defensive", 0.5),
            ("defensive", -0.1),
            ("budget", 39),
            ("n_components", 2000),
            ("n_components", "many"),
            ("chunk_size", 0),
        ],
    )
    def test_parameters(self, name, value):
        with pytest.raises(InvalidParameter, match=name):
            fitted(**{name: value})

    def test_directions_on_a_line(self):
        with pytest.raises(InvalidParameter, match="family"):
            fitted(1, family="vmfnm")

    def test_singular_law(self):
        law = multivariate_normal([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], allow_singular=True)
        with pytest.raises(InvalidParameter, match="positive definite"):
            fitted(law)

    def test_not_callable(self):
        with pytest.raises(InvalidParameter, match="g must be callable"):
            fitted(g=3.0)

    @pytest.mark.parametrize("g", [lambda x: x, lambda x: 1.0, lambda x: x[:-1, 0]])
    def test_shapes(self, g):
        with pytest.raises(InvalidData, match="g must give shape"):
            fitted(g=g)

    def test_nan_names_the_point_and_leaves_nothing(self):
        sampler = CrossEntropy(2, random_state=0)
        with pytest.raises(InvalidData, match="at the point"):
            sampler.fit(lambda x: np.where(x[:, 0] > 3.6, np.nan, half_space(x)))
        assert not sampler.__sklearn_is_fitted__()

    def test_nan_in_extend_keeps_what_was_there(self):
        bad = []
        sampler = CrossEntropy(2, budget=2000, random_state=0)
        sampler.fit(lambda x: np.full(len(x), np.nan) if bad else half_space(x))
        before = sampler.estimate().value[0]
        bad.append(True)
        with pytest.raises(InvalidData, match="finite"):
            sampler.extend(10_000)
        assert sampler.estimate().value[0] == before

    def test_model_that_writes_into_its_argument(self):
        def rude(x):
            values = half_space(x)
            x[:] = 0.0
            return values

        assert fitted(g=rude, budget=2000).estimate().value == fitted(budget=2000).estimate().value
