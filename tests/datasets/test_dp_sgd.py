"""DP-SGD on the digits: its accountant against integrals and published figures, its attack against theory."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from mcstat.core.errors import InvalidParameter
from mcstat.datasets import dp_sgd_epsilon, make_dp_sgd_attack
from mcstat.datasets._dp_sgd import _ORDERS, renyi_divergences
from tests.stat_asserts import binomial_p_value


@pytest.mark.parametrize(("sigma", "q"), [(1.0, 0.1), (0.7, 0.02), (3.0, 0.5), (2.0, 1.0)])
def test_renyi_divergences_are_the_integrals(sigma, q):
    found = dict(zip(_ORDERS.tolist(), renyi_divergences(sigma, q), strict=True))
    for order in (2, 3, 8, 20):

        def integrand(x, order=order):
            # Powers of the ratio of (1 - q) N(0, s^2) + q N(1, s^2) to N(0, s^2), under the latter.
            log_ratio = np.logaddexp(np.log1p(-q) if q < 1 else -np.inf, np.log(q) + (2 * x - 1) / (2 * sigma**2))
            return np.exp(order * log_ratio + norm.logpdf(x, scale=sigma))

        moment = quad(integrand, -40, 80, points=[0, 1, order], limit=500, epsabs=0, epsrel=1e-11)[0]
        assert found[order] == pytest.approx(np.log(moment) / (order - 1), rel=1e-8)


def test_full_batches_are_the_gaussian_mechanism():
    np.testing.assert_allclose(renyi_divergences(2.0, 1.0), _ORDERS / 8.0, rtol=1e-12)


@pytest.mark.parametrize(("sigma", "epochs", "published"), [(1.3, 15, 1.19), (1.1, 60, 3.01), (0.7, 45, 7.10)])
def test_published_figures_of_mnist(sigma, epochs, published):
    # The tutorials of TensorFlow Privacy: 60 000 images, batches of 256, delta 1e-5, and the older conversion
    # rdp - log(delta) / (order - 1) over orders that are not all whole: a whole one is up to 0.5 % worse.
    n_iter = -(-epochs * 60_000 // 256)
    classic = np.min(n_iter * renyi_divergences(sigma, 256 / 60_000) - np.log(1e-5) / (_ORDERS - 1))
    assert published - 0.005 <= classic <= 1.005 * published + 0.005
    # The newer conversion is better.
    assert dp_sgd_epsilon(sigma, 256 / 60_000, n_iter) < classic


def test_epsilon_bounds_the_exact_one_from_above():
    from mcstat.privacy import gdp_to_eps

    for sigma, n_iter in ((3.0, 20), (10.0, 50), (2.0, 1)):
        exact = float(gdp_to_eps(np.sqrt(n_iter) / sigma, 1e-5))
        assert exact < dp_sgd_epsilon(sigma, 1.0, n_iter) < 1.2 * exact


def test_attack_sees_the_expected_shift():
    # Full batches: the canary's gradient is the same at each step as long as its label is not learnt.
    attack = make_dp_sgd_attack(60, 40, noise_multiplier=5.0, sample_rate=1.0, n_iter=25, random_state=1)
    inside, outside = attack.scores[attack.membership], attack.scores[~attack.membership]
    shift = (inside.mean() - outside.mean()) / outside.std()
    # mu = sqrt(25) / 5 = 1; the standard error of the shift is about sqrt(2 / 1200 + 1 / 4800) = 0.043.
    assert abs(shift - 1.0) < 6 * 0.043
    assert binomial_p_value(int(attack.membership.sum()), attack.membership.size, 0.5) > 1e-6
    assert attack.accuracy.shape == (60,)
    assert attack.accuracy.min() > 0.6


def test_same_seed_same_bits_for_any_number_of_jobs():
    one = make_dp_sgd_attack(3, 2, n_iter=5, random_state=4)
    two = make_dp_sgd_attack(4, 2, n_iter=5, n_jobs=2, random_state=4)
    assert np.array_equal(one.scores, two.scores[:6])
    assert np.array_equal(one.membership, two.membership[:6])
    assert two.models.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert not np.array_equal(one.scores, make_dp_sgd_attack(3, 2, n_iter=5, random_state=5).scores)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_models", 0), ("n_canaries", 0.5), ("noise_multiplier", 0.0), ("sample_rate", 1.5), ("n_iter", 0)],
)
def test_bad_settings_are_refused(name, value):
    with pytest.raises(InvalidParameter, match=name):
        make_dp_sgd_attack(**{name: value})
