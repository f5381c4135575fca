"""Von Mises-Fisher-Nakagami mixtures: density, draws, weighted updates."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import psi

from mcstat.core.errors import InvalidParameter
from mcstat.importance import AdaptiveImportanceSampler
from mcstat.importance._components import ComponentFitter, DirectionalComponent
from mcstat.importance._vmfnm import Vmfnm, _log_bessel_series, _log_excess, weighted_vmfnm
from tests.naive import cross_entropy as naive
from tests.stat_asserts import assert_mean_close


def one_part(d, kappa, m, omega, direction=None):
    nu = np.eye(d)[0] if direction is None else direction / np.linalg.norm(direction)
    return Vmfnm(np.ones(1), nu[None], np.array([kappa]), np.array([m]), np.array([omega]))


class TestDensity:
    @pytest.mark.parametrize("d", [2, 5, 20, 100])
    def test_standard_normal_is_a_member(self, d):
        x = np.random.default_rng(0).standard_normal((500, d)) * 1.5
        wanted = -0.5 * (np.sum(x**2, axis=1) + d * np.log(2 * np.pi))
        np.testing.assert_allclose(one_part(d, 0.0, d / 2, float(d)).logpdf(x), wanted, rtol=1e-15, atol=1e-13)

    @pytest.mark.parametrize("d", [2, 3, 5])
    def test_naive_twin(self, d):
        rng = np.random.default_rng(1)
        nu = rng.standard_normal((3, d))
        nu /= np.linalg.norm(nu, axis=1, keepdims=True)
        fields = (np.array([0.2, 0.5, 0.3]), nu, np.array([0.0, 2.0, 9.0]), np.array([1.5, 4.0, 7.0]))
        fields = (*fields, np.array([3.0, 14.0, 8.0]))
        x = 2 * rng.standard_normal((20, d))
        wanted = [naive.vmfnm_density(point, *fields) for point in x]
        np.testing.assert_allclose(np.exp(Vmfnm(*fields).logpdf(x)), wanted, rtol=1e-12)

    @pytest.mark.parametrize("kappa", [0.0, 3.0, 80.0])
    def test_integrates_to_one_in_the_plane(self, kappa):
        law = one_part(2, kappa, 3.0, 9.0)

        def ring(r):
            angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)  # spectral accuracy for a periodic function
            points = r * np.column_stack([np.cos(angles), np.sin(angles)])
            return r * 2 * np.pi * np.exp(law.logpdf(points)).mean()

        assert quad(ring, 0, 20)[0] == pytest.approx(1.0, abs=1e-10)

    # log of Gamma(v + 1) (2 / kappa)^v I_v(kappa), v = d / 2 - 1, from mpmath 1.3 with 40 digits.
    @pytest.mark.parametrize(
        ("d", "kappa", "wanted"),
        [
            (2, 3.0, 1.585307621813421),
            (5, 40.0, 33.002388391896005),
            (20, 0.3, 0.002249769943873044),
            (100, 40.0, 7.473680403006445),
            (100, 500.0, 367.58668802985125),
            (1000, 0.3, 4.499999797904215e-05),
            (1000, 40.0, 0.7993626305899928),
            (5000, 5000.0, 1887.2192322439284),
        ],
    )
    def test_normaliser_in_any_dimension(self, d, kappa, wanted):
        assert _log_excess(d, np.array([kappa]))[0] == pytest.approx(wanted, rel=1e-13, abs=2e-12)

    def test_series_meets_bessel(self):
        from scipy.special import ive

        k = np.array([5.0, 60.0, 500.0])
        np.testing.assert_allclose(_log_bessel_series(60.0, k), np.log(ive(60.0, k)) + k, atol=2e-9)


class TestDraws:
    @pytest.mark.parametrize(("d", "kappa"), [(2, 0.0), (2, 3.0), (3, 200.0), (5, 0.7), (20, 15.0), (100, 40.0)])
    def test_moments(self, d, kappa, seed):
        rng = np.random.default_rng(seed)
        direction = rng.standard_normal(d)
        x = one_part(d, kappa, 0.7 * d, 1.1 * d, direction).rvs(20_000, rng)
        r = np.linalg.norm(x, axis=1)
        cosine = x @ direction / np.linalg.norm(direction) / r
        # The mean cosine is the derivative of the log normaliser.
        h = 1e-4 * max(kappa, 1.0)
        mean = 0.0
        if kappa > 0:
            mean = (_log_excess(d, np.array([kappa + h]))[0] - _log_excess(d, np.array([kappa - h]))[0]) / (2 * h)
        assert_mean_close(cosine.mean(), mean, cosine.std() / np.sqrt(len(x)) + 1e-7)
        assert_mean_close((r**2).mean(), 1.1 * d, (r**2).std() / np.sqrt(len(x)))
        assert_mean_close(np.var(r**2), (1.1 * d) ** 2 / (0.7 * d), np.std((r**2 - 1.1 * d) ** 2) / np.sqrt(len(x)))

    def test_across_the_mean_direction_all_are_equal(self, seed):
        x = one_part(5, 4.0, 3.0, 5.0).rvs(20_000, np.random.default_rng(seed))
        assert_mean_close(x[:, 1:].mean(axis=0), 0.0, x[:, 1:].std(axis=0) / np.sqrt(len(x)))
        squares = x[:, 1:] ** 2
        assert_mean_close(squares.mean(axis=0), squares.mean(), squares.std(axis=0) / np.sqrt(len(x)))

    def test_parts_in_proportion(self, seed):
        law = Vmfnm(
            np.array([0.3, 0.7]), np.array([[1.0, 0], [-1.0, 0]]), np.full(2, 50.0), np.full(2, 5.0), np.ones(2)
        )
        share = np.mean(law.rvs(10_000, np.random.default_rng(seed))[:, 0] > 0)
        assert_mean_close(share, 0.3, np.sqrt(0.21 / 10_000))


class TestUpdates:
    def test_naive_twin_for_many_points(self):
        rng = np.random.default_rng(2)
        x, weights = rng.standard_normal((4000, 4)) + 2.0, rng.uniform(size=4000)
        fit = weighted_vmfnm(x, weights[:, None])
        nu, kappa, m, omega = naive.vmfnm_update(x, weights)
        np.testing.assert_allclose(fit.directions[0], nu, rtol=1e-12)
        # They differ by what the sample's own mean flatters itself with, of order 1 / n.
        np.testing.assert_allclose(
            [fit.concentrations[0], fit.shapes[0], fit.spreads[0]], [kappa, m, omega], rtol=5 / 4000
        )

    @pytest.mark.parametrize(("d", "kappa"), [(2, 3.0), (5, 8.0), (20, 15.0), (100, 40.0), (100, 400.0)])
    def test_near_maximum_likelihood(self, d, kappa, seed):
        """Banerjee's kappa solves the likelihood equation to 6 % (in the plane, else to 1 %), moments find m to 6 %."""
        x = one_part(d, kappa, 0.7 * d, 1.1 * d).rvs(20_000, np.random.default_rng(seed))
        fit = weighted_vmfnm(x, np.ones((len(x), 1)))
        a = x / np.linalg.norm(x, axis=1, keepdims=True)
        R = np.linalg.norm(a.mean(axis=0))
        assert fit.concentrations[0] == pytest.approx(maximum_likelihood_kappa(d, R), rel=0.06)
        squares = np.sum(x**2, axis=1)
        assert fit.shapes[0] == pytest.approx(maximum_likelihood_shape(squares), rel=0.06)
        assert fit.spreads[0] == pytest.approx(squares.mean(), rel=1e-12)

    def test_few_points_do_not_flatter_themselves(self, seed):
        """40 directions without preference in 100 dimensions: naively R = 0.16, kappa = 16; here near 0."""
        x = np.random.default_rng(seed).standard_normal((40, 100))
        assert naive.vmfnm_update(x, np.ones(40))[1] > 10
        assert weighted_vmfnm(x, np.ones((40, 1))).concentrations[0] < 4

    def test_one_point_is_survived(self):
        fit = weighted_vmfnm(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 0.0]]))
        assert len(fit.weights) == 1
        assert np.isfinite([fit.concentrations[0], fit.shapes[0], fit.spreads[0]]).all()

    def test_mixture_finds_two_opposite_parts(self, seed):
        d = 30
        law = Vmfnm(
            np.array([0.4, 0.6]),
            np.vstack([np.eye(d)[0], -np.eye(d)[0]]),
            np.full(2, 30.0),
            np.full(2, 20.0),
            np.full(2, 40.0),
        )
        z = law.rvs(4000, np.random.default_rng(seed))
        fitted = ComponentFitter.of("vmfnm", 2, ridge=1e-6).fit(z, np.ones(len(z)), np.eye(d))
        assert isinstance(fitted, DirectionalComponent)
        order = np.argsort(fitted.directional.directions[:, 0])
        assert np.abs(fitted.directional.directions[order, 0] - [-1, 1]).max() < 0.05
        assert np.abs(fitted.directional.weights[order] - [0.6, 0.4]).max() < 6 * np.sqrt(0.24 / 4000)
        # The Gaussians beside it have its moments.
        np.testing.assert_allclose(fitted.covariance(), np.cov(z, rowvar=False, ddof=0), atol=0.05)


class TestInTheAdaptiveSampler:
    def test_rare_event_in_fifty_dimensions(self):
        from scipy.special import ndtr
        from scipy.stats import multivariate_normal

        d = 50
        law = multivariate_normal(np.zeros(d), np.eye(d))
        sampler = AdaptiveImportanceSampler(law, family="vmfnm", n_components=1, budget=20_000, random_state=0)
        est = sampler.fit(lambda x: x.sum(axis=1) > 2.5 * np.sqrt(d)).estimate()
        assert_mean_close(est.value, ndtr(-2.5), est.std_error)
        assert est.std_error[0] < 0.05 * ndtr(-2.5)

    def test_one_dimension_is_refused(self):
        from scipy.stats import norm

        with pytest.raises(InvalidParameter, match="family"):
            AdaptiveImportanceSampler(norm(), family="vmfnm", budget=2000, random_state=0).fit(lambda x: x**2)


def maximum_likelihood_kappa(d, R):
    """Where the mean cosine is R: derivative of the log normaliser, by bisection."""
    low, high = 1e-3, 1e5
    for _ in range(100):
        middle = np.sqrt(low * high)
        h = 1e-4 * middle
        slope = (_log_excess(d, np.array([middle + h]))[0] - _log_excess(d, np.array([middle - h]))[0]) / (2 * h)
        low, high = (middle, high) if slope < R else (low, middle)
    return middle


def maximum_likelihood_shape(squares):
    """Where log m - psi(m) is the log of the mean less the mean of the logs, by bisection."""
    gap = np.log(squares.mean()) - np.log(squares).mean()
    low, high = 1e-3, 1e6
    for _ in range(100):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if np.log(middle) - psi(middle) > gap else (low, middle)
    return middle
