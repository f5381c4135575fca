"""Agreement with diffusers at the same nodes, which it keeps in float32."""

import numpy as np
import pytest
import torch

from mcstat.torch.diffusion import DEIS, DPMSolver, Grid, UniPC, VPDiscrete, sample
from tests.torch.problems import eight_modes, noise

diffusers = pytest.importorskip("diffusers", reason="compares with diffusers")
# diffusers reads torch tensors in a way that NumPy 2 deprecates.
pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
]

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def theirs(scheduler, denoiser, x, n, double=False):
    """Their samples and the nodes that they went through; ``double`` makes those float64."""
    scheduler.set_timesteps(n)
    if double:
        scheduler.sigmas = scheduler.sigmas.double()
    nodes = Grid.from_ratio(denoiser.schedule, scheduler.sigmas.double().numpy())
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(denoiser.output(x, nodes.level(i), "eps"), t, x).prev_sample
    return x, nodes


def apart(solver, scheduler, n, double=False):
    denoiser, x = eight_modes(VPDiscrete.scaled_linear()), noise(256)
    wanted, nodes = theirs(scheduler, denoiser, x, n, double)
    assert torch.isfinite(wanted).all()
    return float((sample(solver, denoiser, x, nodes).samples - wanted).abs().max())


@pytest.mark.parametrize("final", ["sigma_min", "zero"])
@pytest.mark.parametrize("n", [10, 20, 50])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_dpm_solver(order, n, final):
    scheduler = diffusers.DPMSolverMultistepScheduler(**BETAS, solver_order=order, final_sigmas_type=final)
    ours = DPMSolver(order, variant="diffusers", lower_order_final="diffusers")
    assert apart(ours, scheduler, n) < 1e-5


@pytest.mark.parametrize("n", [10, 20, 50])
def test_dpm_solver_taylor(n):
    scheduler = diffusers.DPMSolverMultistepScheduler(**BETAS, solver_type="heun")
    assert apart(DPMSolver(2, solver_type="taylor", lower_order_final="diffusers"), scheduler, n) < 1e-5


@pytest.mark.parametrize(("kind", "final"), [("bh2", "zero"), ("bh2", "sigma_min"), ("bh1", "sigma_min")])
@pytest.mark.parametrize("n", [10, 20, 50])
@pytest.mark.parametrize("order", [2, 3])
def test_unipc(order, n, kind, final):
    scheduler = diffusers.UniPCMultistepScheduler(
        **BETAS, solver_order=order, solver_type=kind, final_sigmas_type=final
    )
    assert apart(UniPC(order, kind), scheduler, n) < 1e-5


@pytest.mark.parametrize("n", [10, 20])
def test_unipc_without_the_first_corrector(n):
    scheduler = diffusers.UniPCMultistepScheduler(**BETAS, disable_corrector=[0])
    assert apart(UniPC(2, disable_corrector=[0]), scheduler, n) < 1e-5


@pytest.mark.parametrize("n", [10, 20, 50])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis(order, n):
    scheduler = diffusers.DEISMultistepScheduler(**BETAS, solver_order=order)
    # In float32 their weights lose up to five digits to cancellation: 6e-4 in the samples at order 3 and 50 steps.
    assert apart(DEIS(order, "lambda", lower_order_final="diffusers"), scheduler, n, double=True) < 1e-8


def test_their_fault_bh1_to_clean_data_works_here():
    denoiser, x = eight_modes(VPDiscrete.scaled_linear()), noise(64)
    scheduler = diffusers.UniPCMultistepScheduler(**BETAS, solver_type="bh1", final_sigmas_type="zero")
    wanted, nodes = theirs(scheduler, denoiser, x, 10)
    assert torch.isnan(wanted).all(), "diffusers has mended it: say so in the guide"
    got = sample(UniPC(2, "bh1"), denoiser, x, nodes).samples
    assert torch.isfinite(got).all()
    # The step before the last is as without the last.
    np.testing.assert_allclose(got.norm(dim=1).numpy(), 4 / 3, atol=1.0)


def test_their_fault_float64_by_default_works_here():
    denoiser, x = eight_modes(VPDiscrete.scaled_linear()), noise(64)
    torch.set_default_dtype(torch.float64)
    try:
        scheduler = diffusers.UniPCMultistepScheduler(**BETAS, solver_order=2)
        with pytest.raises(RuntimeError, match="dtype"):
            theirs(scheduler, denoiser, x, 10)
        nodes = scheduler.sigmas.double().numpy()
        got = sample(UniPC(2), denoiser, x, nodes).samples
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(got, sample(UniPC(2), denoiser, x, nodes).samples)
