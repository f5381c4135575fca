"""Seeds, Estimates and resampling across the bridge."""

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence

from mcstat.core.errors import DegenerateWeightsError, InvalidData
from mcstat.core.rng import Purpose
from mcstat.kernels.resampling import SCHEMES
from mcstat.torch import from_estimate, generator, resampled_indices, to_estimate
from mcstat.torch._bridge import check_sample
from mcstat.torch._resampling import torch_indices
from tests.torch.problems import noise


def test_generators_are_a_function_of_their_key_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    draws = {
        key: torch.rand(4, generator=generator(SeedSequence(seed), method, purpose, k)).tolist()
        for key in [(0, "A", Purpose.SAMPLE, 0), (0, "A", Purpose.SAMPLE, 1), (0, "B", Purpose.SAMPLE, 0)]
        for seed, method, purpose, k in [key]
    }
    assert len({tuple(values) for values in draws.values()}) == 3
    again = torch.rand(4, generator=generator(SeedSequence(0), "A", Purpose.SAMPLE, 1)).tolist()
    assert again == draws[0, "A", Purpose.SAMPLE, 1]
    assert torch.equal(before, torch.get_rng_state())


def test_an_estimate_of_plain_samples_is_mean_and_standard_error():
    x = noise(500)
    est = to_estimate(x, names=["a", "b"])
    np.testing.assert_allclose(est.value, x.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(est.std_error, x.numpy().std(0, ddof=1) / 500**0.5, rtol=1e-12)
    assert est.kind == "monte_carlo"
    assert est.names == ("a", "b")


def test_weights_are_self_normalised_with_the_delta_method():
    x, log_weights = noise(400), 0.5 * noise(400, 1, seed=1)[:, 0]
    est = to_estimate(x, log_weights + 700.0)
    w = np.exp(log_weights.numpy())
    w /= w.sum()
    mean = w @ x.numpy()
    np.testing.assert_allclose(est.value, mean, rtol=1e-12)
    error = np.sqrt((w**2) @ (x.numpy() - mean) ** 2 * 400 / 399)
    np.testing.assert_allclose(est.std_error, error, rtol=1e-12)
    assert est.diagnostics["ess"] == pytest.approx(1 / np.sum(w**2))
    assert est.diagnostics["khat"] < 0.7


def test_clusters_are_the_independent_units():
    x = noise(60, 1)
    repeated = x.repeat_interleave(5, dim=0)
    est = to_estimate(repeated, clusters=np.repeat(np.arange(60), 5))
    alone = to_estimate(x)
    np.testing.assert_allclose(est.cov, alone.cov, rtol=1e-12)


def test_numbers_of_an_estimate_come_back_as_a_tensor():
    est = to_estimate(noise(50))
    assert torch.equal(from_estimate(est), torch.tensor(est.value))
    assert from_estimate(est, "cov", dtype=torch.float32).dtype == torch.float32
    with pytest.raises(InvalidData, match="must hold draws"):
        from_estimate(est, "draws")


@pytest.mark.parametrize("scheme", ["systematic", "stratified", "multinomial", "residual"])
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_the_twin_gives_the_kernels_indices(scheme, n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        weights = rng.exponential(size=(3, n)) * (rng.random((3, n)) < 0.7)
        weights[:, rng.integers(n)] = 1.0
        uniforms = rng.random((3, SCHEMES[scheme][1](n, n)))
        got = resampled_indices(torch.tensor(weights), torch.tensor(uniforms), scheme)
        twin = torch_indices(torch.tensor(weights), torch.tensor(uniforms), scheme)
        wanted = np.empty((3, n), np.int64)
        for row in range(3):
            SCHEMES[scheme][0](weights[row], uniforms[row], wanted[row])
        np.testing.assert_array_equal(got.numpy(), wanted)
        np.testing.assert_array_equal(twin.numpy(), wanted)
        assert (np.take_along_axis(weights, wanted, 1) > 0).all()
    # Equal weights leave nothing to chance.
    if scheme == "residual":
        uniforms = torch.tensor(rng.random((1, n + 1)))
        assert torch_indices(torch.ones(1, n), uniforms, scheme).tolist() == [list(range(n))]


def test_bad_input():
    with pytest.raises(InvalidData, match=r"uniforms must have shape \(1,\)"):
        resampled_indices(torch.ones(4), torch.rand(4))
    with pytest.raises(DegenerateWeightsError):
        to_estimate(noise(5), torch.full((5,), -torch.inf))
    with pytest.raises(InvalidData, match=r"log_weights must have shape \(5,\)"):
        to_estimate(noise(5), torch.zeros(4))
    with pytest.raises(InvalidData, match="at least 2 samples"):
        to_estimate(noise(1))
    with pytest.raises(InvalidData, match="clusters"):
        to_estimate(noise(5), clusters=np.zeros(5))
    with pytest.raises(TypeError, match="float32 or float64"):
        check_sample("x_T", torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match="float32 or float64"):
        check_sample("x_T", np.ones((3, 2)))
    with pytest.raises(InvalidData, match="finite"):
        check_sample("x_T", torch.full((3, 2), torch.nan))
    with pytest.raises(InvalidData, match="shape"):
        check_sample("x_T", torch.ones(3))
