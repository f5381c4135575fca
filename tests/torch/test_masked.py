"""Masked diffusion: exact laws by enumeration, the likelihood's bound, and Gumbel noise in single precision."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion import (
    AncestralSampler,
    FirstHittingSampler,
    TabularMaskedModel,
    masked_nelbo,
    sample_categorical,
    sentence_entropy,
    truncated_gumbel_law,
)
from tests.naive import masked as naive
from tests.stat_asserts import assert_mean_close, assert_proportion


def dependent(length=4, size=3, seed=0):
    """Joint law of strongly dependent tokens, some sequences impossible."""
    rng = np.random.default_rng(seed)
    joint = rng.exponential(size=(size,) * length) ** 3 * (rng.random((size,) * length) < 0.9)
    return joint / joint.sum()


def counts_of(tokens, joint):
    return np.bincount(np.ravel_multi_index(tokens.numpy().T, joint.shape), minlength=joint.size).reshape(joint.shape)


def assert_law(counts, law):
    """Chi-square test, false alarms 1e-7; what is impossible does not happen."""
    from scipy.stats import chi2

    possible = law > 1e-12
    assert counts[~possible].sum() == 0
    expected = counts.sum() * law[possible]
    rare = expected < 5
    seen, expected = (np.append(a[~rare], a[rare].sum()) for a in (counts[possible], expected))
    seen, expected = seen[expected > 0], expected[expected > 0]
    assert chi2.sf(((seen - expected) ** 2 / expected).sum(), len(seen) - 1) > 1e-7


def source(seed=0):
    return torch.Generator().manual_seed(seed)


# The law of the samplers --------------------------------------------------------------------------------------------


def test_one_token_at_a_time_is_the_joint_law(seed):
    joint = dependent()
    settings = {"n_samples": 60_000, "batch_size": 60_000, "random_state": seed}
    fit = FirstHittingSampler(TabularMaskedModel(joint), 4, 3, **settings).fit()
    assert (fit.n_calls_, fit.n_evaluations_) == (4, 240_000)
    assert_law(counts_of(fit.samples_, joint), joint)
    np.testing.assert_allclose(naive.first_hitting_law(joint, 1), joint)


@pytest.mark.parametrize("tokens_per_step", [2, 3])
def test_several_tokens_at_a_time_have_the_law_of_the_twin(tokens_per_step, seed):
    joint = dependent()
    settings = {"n_samples": 20_000, "batch_size": 20_000, "random_state": seed}
    fit = FirstHittingSampler(TabularMaskedModel(joint), 4, 3, tokens_per_step=tokens_per_step, **settings).fit()
    assert fit.n_calls_ == 2
    law = naive.first_hitting_law(joint, tokens_per_step)
    assert np.abs(law - joint).sum() > 0.02
    assert_law(counts_of(fit.samples_, joint), law)


@pytest.mark.parametrize("draw", ["two_stage", "inverse", "gumbel"])
@pytest.mark.parametrize("cached", [True, False])
def test_ancestral_steps_have_the_law_of_the_twin(draw, cached, seed):
    joint = dependent(3)
    settings = {"n_samples": 20_000, "batch_size": 20_000, "draw": draw, "cached": cached, "random_state": seed}
    fit = AncestralSampler(TabularMaskedModel(joint), 3, 3, n_steps=5, **settings).fit()
    assert_law(counts_of(fit.samples_, joint), naive.ancestral_law(joint, 5))


@pytest.mark.parametrize("draw", ["two_stage", "gumbel"])
def test_ancestral_steps_of_the_cosine_schedule(draw, seed):
    joint = dependent(3)
    settings = {"n_samples": 20_000, "batch_size": 20_000, "draw": draw, "random_state": seed}
    fit = AncestralSampler(TabularMaskedModel(joint), 3, 3, n_steps=5, schedule="cosine", **settings).fit()
    law = naive.ancestral_law(joint, 5, lambda t: np.cos(0.5 * np.pi * (1 - t)))
    assert np.abs(law - naive.ancestral_law(joint, 5)).sum() > 0.005
    assert_law(counts_of(fit.samples_, joint), law)


def test_ancestral_bias_falls_with_the_steps_and_is_none_for_independent_tokens():
    joint = dependent(3)
    distances = [0.5 * np.abs(naive.ancestral_law(joint, n) - joint).sum() for n in (5, 10, 20)]
    assert distances[0] / distances[1] == pytest.approx(2.0, abs=0.3)
    assert distances[1] / distances[2] == pytest.approx(2.0, abs=0.2)
    p = np.array([0.6, 0.3, 0.1])
    free = np.einsum("i,j->ij", p, p[::-1])
    np.testing.assert_allclose(naive.ancestral_law(free, 3), free)


def test_a_cache_changes_calls_and_not_tokens(seed):
    model = TabularMaskedModel(dependent())
    fits = {}
    for draw in ("two_stage", "gumbel"):
        for cached in (True, False):
            settings = {"n_samples": 50, "n_steps": 200, "draw": draw, "cached": cached, "random_state": seed}
            fits[draw, cached] = AncestralSampler(model, 4, 3, **settings).fit()
        assert torch.equal(fits[draw, True].samples_, fits[draw, False].samples_)
        assert fits[draw, False].n_evaluations_ == 50 * 200
        # At most one call a token, and for draws among tokens and mask one at the start.
        assert fits[draw, True].n_evaluations_ <= 50 * 4


def test_times_of_the_first_reveal(seed):
    settings = {"n_samples": 20_000, "batch_size": 20_000, "random_state": seed}
    uniform = TabularMaskedModel(np.full((2,) * 5, 1 / 32))
    fit = FirstHittingSampler(uniform, 5, 2, **settings).fit()
    times = np.sort(fit.hit_times_, axis=1)
    # Order statistics of five uniforms: 5/6 is the mean of the largest.
    wanted = np.arange(1, 6) / 6
    assert_mean_close(times.mean(0), wanted, times.std(0) / 20_000**0.5)
    assert_mean_close(fit.hit_times_.mean(0), 0.5, fit.hit_times_.std(0) / 20_000**0.5)


def test_given_tokens_stay_and_others_follow_them(seed):
    joint = dependent()
    settings = {"n_samples": 20_000, "batch_size": 20_000, "prompt": [3, 1, 3, 3], "random_state": seed}
    fit = FirstHittingSampler(TabularMaskedModel(joint), 4, 3, **settings).fit()
    given = np.zeros_like(joint)
    given[:, 1] = joint[:, 1] / joint[:, 1].sum()
    assert_law(counts_of(fit.samples_, joint), given)
    assert np.isnan(fit.hit_times_[:, 1]).all()
    assert not np.isnan(fit.hit_times_[:, [0, 2, 3]]).any()
    # A prompt of its own for each sequence, with as many masks as it likes.
    prompts = np.tile([[3, 3, 3, 3], [0, 1, 3, 3], [0, 0, 0, 0], [3, 2, 0, 3]], (5, 1))
    for tokens_per_step in (1, 3):
        settings = {"n_samples": 20, "prompt": prompts, "tokens_per_step": tokens_per_step, "random_state": seed}
        tokens = FirstHittingSampler(TabularMaskedModel(joint), 4, 3, **settings).fit().samples_.numpy()
        assert (tokens < 3).all()
        assert (tokens[prompts < 3] == prompts[prompts < 3]).all()
    steps = AncestralSampler(TabularMaskedModel(joint), 4, 3, n_samples=20, prompt=prompts, n_steps=7, random_state=0)
    tokens = steps.fit().samples_.numpy()
    assert (tokens[prompts < 3] == prompts[prompts < 3]).all()


def test_temperature_and_top_p(seed):
    p = np.array([0.4, 0.3, 0.2, 0.1])
    settings = {"n_samples": 20_000, "batch_size": 20_000, "random_state": seed}
    cold = FirstHittingSampler(TabularMaskedModel(p), 1, 4, temperature=0.5, **settings).fit()
    assert_law(counts_of(cold.samples_, p), p**2 / (p**2).sum())
    likely = FirstHittingSampler(TabularMaskedModel(p), 1, 4, top_p=0.65, **settings).fit()
    assert_law(counts_of(likely.samples_, p), np.array([4 / 7, 3 / 7, 0, 0]))


def test_mean_entropy_of_a_sequence():
    tokens = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 1]])
    np.testing.assert_allclose(sentence_entropy(tokens, 5).numpy(), [0, np.log(4), np.log(2)], atol=1e-15)


# The bound on the likelihood ----------------------------------------------------------------------------------------


def test_the_bound_of_the_exact_model_is_the_entropy(seed):
    joint = dependent(seed=1) + 1e-3
    joint /= joint.sum()
    model, p = TabularMaskedModel(joint), joint.ravel()
    sequences = torch.tensor(list(np.ndindex(joint.shape)))
    est = masked_nelbo(model, sequences, 3, None)
    each = est.value[0] + est.influence[:, 0]
    assert p @ each == pytest.approx(-p @ np.log(p), rel=1e-12)
    np.testing.assert_allclose(each, -np.log(p), rtol=1e-10)
    # The exact model's bound has no spread over orders, but masks of the same size differ.
    drawn = masked_nelbo(model, sequences.repeat(20, 1), 3, 8, random_state=seed)
    error = (drawn.influence[:, 0] - np.tile(est.influence[:, 0], 20) + drawn.value - est.value).std() / 1620**0.5
    assert_mean_close(drawn.value, est.value, error)
    assert drawn.info["n_evaluations"] == 1620 * 8


# Gumbel noise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["inverse", "gumbel"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_categorical_draws(method, precision, seed):
    p = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0], dtype=torch.float64)
    drawn = sample_categorical(p.repeat(50_000, 1), source(seed), method, precision)
    assert_law(np.bincount(drawn.numpy(), minlength=6), p.numpy())


def test_law_of_truncated_noise(seed):
    p, level, n = np.array([0.5, 0.15, 0.3, 0.01, 0.04]), 1.5, 200_000
    law = truncated_gumbel_law(p, level)
    assert law.sum() == pytest.approx(1.0, abs=1e-12)
    # The card's Monte Carlo: (.6297, .2949, .0750, .00039, 6e-12) for the ordered classes.
    np.testing.assert_allclose(law[[0, 2, 1]], [0.6297, 0.2949, 0.0750], atol=5e-5)
    u = torch.rand((n, 5), generator=source(seed), dtype=torch.float64) * np.exp(-np.exp(-level))
    winners = (torch.log(torch.tensor(p)) - torch.log(-torch.log(u))).argmax(1).bincount(minlength=5).tolist()
    for k in range(5):
        assert_proportion(winners[k], n, law[k])
    np.testing.assert_allclose(truncated_gumbel_law(p, 40.0), p, rtol=1e-8)
    np.testing.assert_allclose(truncated_gumbel_law(np.full(6, 1 / 6), 0.5), 1 / 6)
    assert truncated_gumbel_law([0.7, 0.3, 0.0], 2.0)[2] == 0.0


def test_single_precision_loses_rare_tokens_and_double_does_not(seed):
    # All uniforms of float32 are multiples of 2^-24, so the noise ends at the level that the law below is for.
    u = torch.rand(1_000_000, generator=source(seed), dtype=torch.float32).double() * 2**24
    assert torch.equal(u, u.round())
    # A step of 1/N, N = 2^14, of a mask and 4096 tokens alike: transitions of 2^-26 each.
    p = np.append(np.full(4096, 2.0**-26), 1 - 2.0**-14)
    assert truncated_gumbel_law(p)[:-1].sum() < 0.05 * p[:-1].sum()
    assert truncated_gumbel_law(p, 53 * np.log(2))[:-1].sum() == pytest.approx(p[:-1].sum(), rel=1e-6)
    # Double precision draws a rare token as often as it should.
    p = torch.tensor([2e-6, 1.0 - 2e-6], dtype=torch.float64).repeat(1_000_000, 1)
    rng = source(seed)
    wins = sum(int((sample_categorical(p, rng, "gumbel") == 0).sum()) for _ in range(8))
    assert_proportion(wins, 8_000_000, 2e-6)


def test_bad_input():
    model = TabularMaskedModel(dependent(2))
    with pytest.raises(InvalidData, match=r"shape \(10, 2, 4\), got torch.float64 \(10, 2, 3\)"):
        FirstHittingSampler(model, 2, 4, n_samples=10).fit()
    with pytest.raises(InvalidParameter, match="mask_id must not be one of the 3 tokens"):
        FirstHittingSampler(model, 2, 3, mask_id=2).fit()
    with pytest.raises(InvalidData, match="prompt must hold tokens below 3"):
        FirstHittingSampler(model, 2, 3, prompt=[0, 4]).fit()
    with pytest.raises(InvalidData, match=r"prompt must hold integers of shape \(2,\)"):
        FirstHittingSampler(model, 2, 3, prompt=[0, 1, 2]).fit()
    with pytest.raises(InvalidParameter, match="model must be callable"):
        FirstHittingSampler(3, 2, 3).fit()
    for spoil in (lambda p: 2 * p, lambda p: p - 0.1, lambda p: p * torch.nan):
        for sampler in (FirstHittingSampler, AncestralSampler):
            with pytest.raises(InvalidData, match="finite, not negative and sum to 1"):
                sampler(lambda x, spoil=spoil: spoil(model(x)), 2, 3).fit()
    with pytest.raises(InvalidParameter, match="schedule must be one of 'linear', 'cosine'"):
        AncestralSampler(model, 2, 3, schedule="quadratic").fit()
    for p in ([0.5, -0.5], [0.5, torch.nan], [0.0, 0.0], [torch.inf, 1.0]):
        with pytest.raises(InvalidData, match="probabilities must be finite and not negative"):
            sample_categorical(torch.tensor([p]), source())
    tokens = torch.tensor([[0, 1], [2, 0]])
    for bad, message in [
        (tokens.float(), "int64 tensor"),
        (tokens[0], "int64 tensor"),
        (tokens + 1, "tokens must be below 3, without masks"),
        (tokens.numpy(), "int64 tensor"),
    ]:
        with pytest.raises(InvalidData, match=message):
            masked_nelbo(model, bad, 3)
    with pytest.raises(InvalidParameter, match="mask_id must not be one of the 3 tokens"):
        masked_nelbo(model, tokens, 3, mask_id=1)
    with pytest.raises(InvalidData, match="joint"):
        TabularMaskedModel(np.ones((2, 3)) / 6)
    with pytest.raises(InvalidData, match="joint"):
        TabularMaskedModel(np.ones((2, 2)))
    with pytest.raises(InvalidData, match="sum to 1"):
        truncated_gumbel_law([0.5, 0.6])
