"""Diffusion solvers beside diffusers: the same numbers at the same nodes, and the CPU time around the model.

    python -m validation.peers.diffusion_speed [--quick]

Under a CPU minute, on one thread. The model is left out: both are given the same tensor for an answer. Needs the
``peers`` extra.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from math import inf, nan
from time import process_time
from typing import Any

import numpy as np
import torch

from mcstat.core.extras import import_extra
from mcstat.study import Claim, ClaimTable
from mcstat.torch.diffusion import (
    Denoiser,
    DPMSolver,
    GaussianMixtureDenoiser,
    Grid,
    Solver,
    UniPC,
    VPDiscrete,
    sample,
)
from validation.torch.problem import eight_modes, noise

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
STEPS = 20


def scheduler(name: str, **settings: Any) -> Any:
    """One of theirs."""
    return getattr(import_extra("diffusers", "peers"), name)(**BETAS, **settings)


def pairs() -> list[tuple[str, Solver, Any]]:
    """Solvers that must give the same numbers."""
    found: list[tuple[str, Solver, Any]] = []
    for order in (1, 2, 3):
        ours = DPMSolver(order, variant="diffusers", lower_order_final="diffusers")
        found.append((f"DPM-Solver++ {order}", ours, scheduler("DPMSolverMultistepScheduler", solver_order=order)))
    unipc = [(f"UniPC-{p}", UniPC(p), scheduler("UniPCMultistepScheduler", solver_order=p)) for p in (2, 3)]
    return found + unipc


def agreement() -> ClaimTable:
    """Largest difference of any coordinate of 256 points in float64."""
    mixture = eight_modes()
    denoiser = GaussianMixtureDenoiser(mixture.weights, mixture.means, mixture._variances, VPDiscrete.scaled_linear())
    x_T, found = noise(256), []
    for n in (10, 20, 50):
        for name, solver, theirs in pairs():
            theirs.set_timesteps(n)
            nodes = Grid.from_ratio(denoiser.schedule, theirs.sigmas.double().numpy())
            x = x_T
            for i, t in enumerate(theirs.timesteps):
                x = theirs.step(denoiser.output(x, nodes.level(i), "eps"), t, x).prev_sample
            apart = float((sample(solver, denoiser, x_T, nodes).samples - x).abs().max())
            found.append(
                Claim(
                    name=f"{name}, largest difference from diffusers", setting=f"{n} steps to clean data, 256 points",
                    source="issue of the room", published="within 1e-5", measured=apart, mcse=nan, band=(0.0, 1e-5),
                    note="diffusers keeps its nodes in float32",
                )
            )  # fmt: skip
    return ClaimTable(found)


def seconds(work: Callable[[], Any], times: int) -> float:
    """CPU seconds a call."""
    started = process_time()
    for _ in range(times):
        work()
    return (process_time() - started) / times


def overhead(quick: bool) -> ClaimTable:
    """CPU time of 20 steps without the model over diffusers', in turns."""
    x = torch.randn((256, 2), generator=torch.Generator().manual_seed(0))
    answer = torch.randn((256, 2), generator=torch.Generator().manual_seed(1))
    denoiser = Denoiser(lambda x, t: answer, VPDiscrete.scaled_linear())
    found = []
    for name, solver, theirs in pairs()[1:4:2]:
        theirs.set_timesteps(STEPS)
        nodes = Grid.from_ratio(denoiser.schedule, theirs.sigmas.double().numpy())

        def run_theirs(theirs: Any = theirs) -> torch.Tensor:
            theirs.set_timesteps(STEPS)
            y = x
            for t in theirs.timesteps:
                y = theirs.step(answer, t, y).prev_sample
            return y

        def run_ours(solver: Solver = solver, nodes: Grid = nodes) -> torch.Tensor:
            return sample(solver, denoiser, x, nodes).samples

        times = np.array([(seconds(run_ours, 20), seconds(run_theirs, 20)) for _ in range(4 if quick else 16)][1:])
        ratios = times[:, 0] / times[:, 1]
        found.append(
            Claim(
                name=f"CPU time of {name} over diffusers' (median)",
                setting=f"{STEPS} steps, 256 x 2 float32, model excluded, in turns", source="issue of the room",
                published="at most 1/4", measured=float(np.median(ratios)), mcse=float(ratios.std(ddof=1)),
                band=(0.0, 0.25) if name.startswith("DPM") else None, unit="ratio",
                note=f"{1e3 * np.median(times[:, 0]):.2f} ms against {1e3 * np.median(times[:, 1]):.2f} ms",
            )
        )  # fmt: skip
    return ClaimTable(found)


def faults() -> ClaimTable:
    """Two faults of diffusers 0.42.1 that the card names: 1 where the same run works here."""
    mixture = eight_modes()
    denoiser = GaussianMixtureDenoiser(mixture.weights, mixture.means, mixture._variances, VPDiscrete.scaled_linear())
    theirs = scheduler("UniPCMultistepScheduler", solver_type="bh1")
    theirs.set_timesteps(10)
    nodes = theirs.sigmas.double().numpy()
    clean = bool(torch.isfinite(sample(UniPC(2, "bh1"), denoiser, noise(256), nodes).samples).all())
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        double = bool(torch.isfinite(sample(UniPC(2), denoiser, noise(256), nodes).samples).all())
    finally:
        torch.set_default_dtype(before)
    rows = [
        ("UniPC bh1 to clean data", "NaN there", clean),
        ("UniPC, float64 by default", "an error there", double),
    ]
    return ClaimTable(
        Claim(
            name=name, setting="10 steps", source="overview card, peer faults", published=published,
            measured=float(works), mcse=nan, band=(1.0, inf),
        )
        for name, published, works in rows
    )  # fmt: skip


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Agreement, faults, CPU time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            # diffusers reads torch tensors in a way that NumPy 2 deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            return agreement() + faults() + overhead(quick)
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    print(claims(parser.parse_args().quick))


if __name__ == "__main__":
    main()
