"""The small network: it learns, repeatably, and is kept without pickle."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidFileError, InvalidParameter
from mcstat.torch.diffusion import (
    VE,
    Denoiser,
    DPMSolver,
    VPCosine,
    VPDiscrete,
    VPLinear,
    digits_data,
    load_denoiser,
    make_grid,
    sample,
    save_denoiser,
    train_denoiser,
)
from tests.torch.problems import eight_modes, noise


@pytest.fixture(scope="module")
def trained():
    data = eight_modes().sample(4000, random_state=0, dtype=torch.float32)
    return train_denoiser(data, width=64, n_iter=1500, learning_rate=5e-3, random_state=0, verbose=False)


def test_it_learns_the_score(trained):
    exact = eight_modes()
    x = exact.sample(2000, t=0.5, random_state=1, dtype=torch.float32)
    error = (trained.eps(x, 0.5) - exact.eps(x, 0.5)).square().mean()
    nothing = (float(exact.schedule.sigma(0.5)) * x - exact.eps(x, 0.5)).square().mean()
    # The best linear guess for standardised data is sigma x.
    assert error < 0.5 * nothing


def test_samples_lie_where_the_data_do(trained):
    x = sample(DPMSolver(2), trained, noise(500, dtype=torch.float32), make_grid(trained.schedule, 15)).samples
    radius = x.norm(dim=1)
    assert float((radius - 4 / 3).abs().median()) < 0.3


def test_training_is_repeatable_and_leaves_the_global_generator_alone():
    data = noise(100, 3, dtype=torch.float64)
    before = torch.get_rng_state()
    runs = [train_denoiser(data, VPCosine(), width=8, n_iter=5, random_state=k, verbose=False) for k in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    first, again, other = (run.x0(data, 0.4) for run in runs)
    assert first.dtype == torch.float64
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_classes_can_be_asked_for(tmp_path):
    data = torch.cat([noise(300, 2, seed=1) - 4.0, noise(300, 2, seed=2) + 4.0]).float()
    labels = np.repeat([0, 1], 300)
    d = train_denoiser(data / 4.0, VPDiscrete.linear(), labels=labels, width=32, n_iter=400, random_state=0)
    x = torch.zeros(4, 2)
    sides = [Denoiser(d.fn, d.schedule, "v", cond=c).x0(x, 0.6).mean() for c in (0, 1)]
    assert sides[0] < -0.3 < 0.3 < sides[1]
    each = Denoiser(d.fn, d.schedule, "v", cond=torch.tensor([0, 0, 1, 1])).x0(x, 0.6)
    assert (each[:2] < -0.3).all()
    assert (each[2:] > 0.3).all()
    guided = Denoiser(
        d.fn, d.schedule, "v", cond=torch.ones(4, dtype=torch.int64), uncond=torch.full((4,), 2), guidance_scale=2.0
    )
    assert guided.x0(x, 0.6).mean() > sides[1] - 0.3
    assert guided.n_calls == 2
    save_denoiser(d, tmp_path / "net.npz")
    back = load_denoiser(tmp_path / "net.npz", VPDiscrete.linear())
    with pytest.raises(InvalidFileError, match="got one of <VPDiscrete"):
        load_denoiser(tmp_path / "net.npz")
    assert torch.equal(back.x0(x, 0.3), d.x0(x, 0.3))


def test_digits():
    images, labels = digits_data()
    assert images.shape == (1797, 1, 8, 8)
    assert (float(images.min()), float(images.max())) == (-1.0, 1.0)
    assert labels.bincount().min() > 170


def test_bad_input(tmp_path):
    data = noise(10)
    with pytest.raises(InvalidParameter, match="preserve variance"):
        train_denoiser(data, VE())
    with pytest.raises(TypeError, match="data"):
        train_denoiser(data.numpy())
    with pytest.raises(InvalidData, match="labels"):
        train_denoiser(data, labels=np.zeros(3))
    with pytest.raises(InvalidData, match="labels"):
        train_denoiser(data, labels=np.full(10, 0.5))
    for settings in ({"n_iter": 0}, {"width": 0}, {"batch_size": 0}, {"learning_rate": 0.0}):
        with pytest.raises(InvalidParameter):
            train_denoiser(data, **settings)
    with pytest.raises(InvalidParameter, match="train_denoiser"):
        save_denoiser(Denoiser(lambda x, t: x, VPLinear()), tmp_path / "net.npz")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(InvalidFileError, match="save_denoiser"):
        load_denoiser(tmp_path / "other.npz")
