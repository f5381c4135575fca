"""R-hat: 1 for chains that agree, more for chains that do not."""

import numpy as np
import pytest

from mcstat.core.chains import split_r_hat


def test_agrees_with_arviz(seed):
    arviz = pytest.importorskip("arviz")
    rng = np.random.default_rng(seed)
    draws = np.stack([rng.standard_normal((4, 101)), rng.standard_cauchy((4, 101))], axis=2)
    draws[0, :, 0] += 0.7
    draws[1, :, 1] *= 3.0
    found = split_r_hat(draws)
    wanted = [float(arviz.rhat(draws[:, :, k])) for k in range(2)]
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_far_apart_constant_and_short():
    rng = np.random.default_rng(0)
    far = rng.standard_normal((2, 100, 1)) + 10.0 * np.arange(2)[:, None, None]
    assert split_r_hat(far)[0] > 1.5
    assert split_r_hat(np.ones((2, 100, 1)))[0] == 1.0
    stuck = np.broadcast_to(np.arange(2.0)[:, None, None], (2, 100, 1))
    assert split_r_hat(stuck)[0] == np.inf
    assert np.isnan(split_r_hat(np.ones((2, 3, 1)))[0])
    # Chains of different spread about one centre.
    wide = rng.standard_normal((2, 400, 1)) * np.array([1.0, 5.0])[:, None, None]
    assert split_r_hat(wide)[0] > 1.1
