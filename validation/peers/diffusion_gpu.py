"""Diffusion solvers on a CUDA device: time around the model, and no wait for the device within the step loop.

    python -m validation.peers.diffusion_gpu [--quick] [--out diffusion_gpu.json]

Needs a CUDA build of torch and a device; without one it says so. Every solver's steps run under torch's
synchronisation debug mode "error", which raises where the host would wait for the device.
"""

from __future__ import annotations

import argparse
import json
from math import nan
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from mcstat.core.errors import MissingExtraError
from mcstat.study import Claim, ClaimTable
from mcstat.torch import resampled_indices
from mcstat.torch.diffusion import (
    DDIM,
    EMS,
    GHVB,
    Denoiser,
    DPMSolver,
    DPMSolverV3,
    Grid,
    Heun,
    Solver,
    UniPC,
    VPDiscrete,
    make_grid,
)

STEPS = 20
SIZES = [(256, 2), (64, 4, 64, 64)]


def solvers() -> dict[str, Solver]:
    """Those whose steps must not wait."""
    return {
        "DDIM": DDIM(),
        "DPM-Solver++ 2M": DPMSolver(2),
        "DPM-Solver++ 2M, SDE": DPMSolver(2, algorithm="sde-dpmsolver++"),
        "DPM-Solver++ 3M": DPMSolver(3),
        "UniPC-2": UniPC(2),
        "UniPC-3": UniPC(3),
        "Heun": Heun(),
        "GHVB 2.8": GHVB(2.8),
        "v3, order 3": DPMSolverV3(EMS.constant("data", VPDiscrete.scaled_linear())),
    }


def run(solver: Solver, denoiser: Denoiser, x: torch.Tensor, grid: Grid) -> tuple[float, float, int]:
    """Seconds to launch the steps, seconds until they are done, and host waits in the loop (0 or 1)."""
    source = torch.Generator(device=x.device).manual_seed(0)
    with torch.no_grad():
        state = solver.init(x, grid, denoiser, source)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        started = perf_counter()
        waits = 0
        try:
            for i in range(grid.n_steps):
                state = solver.step(state, i)
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            waits = 1
        finally:
            torch.cuda.set_sync_debug_mode("default")
        launched = perf_counter() - started
        torch.cuda.synchronize()
    return launched, perf_counter() - started, waits


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Time a step and host waits of every solver; resampling on the device against the compiled kernels."""
    if not torch.cuda.is_available():
        raise MissingExtraError("this needs a CUDA device and a CUDA build of torch: none is here")
    device, schedule = torch.device("cuda"), VPDiscrete.scaled_linear()
    name, grid, found = torch.cuda.get_device_name(), make_grid(schedule, STEPS), []
    for size in SIZES[:1] if quick else SIZES:
        x = torch.randn(size, device=device, generator=torch.Generator(device=device).manual_seed(0))
        answer = torch.zeros_like(x)
        denoiser = Denoiser(lambda x, t, answer=answer: answer, schedule)
        setting = f"{'x'.join(map(str, size))} float32, {STEPS} steps, model excluded, {name}"
        for label, solver in solvers().items():
            turns = np.array([run(solver, denoiser, x, grid) for _ in range(5 if quick else 30)][2:])
            found.append(
                Claim(
                    name=f"{label}: host waits in the step loop", setting=setting, source="issue of the room",
                    published="none", measured=float(turns[:, 2].max()), mcse=nan, band=(0.0, 0.0),
                )
            )  # fmt: skip
            found.append(
                Claim(
                    name=f"{label}: time a step (median)", setting=setting, source="issue of the room",
                    measured=float(1e6 * np.median(turns[:, 1]) / STEPS),
                    mcse=float(1e6 * turns[:, 1].std(ddof=1) / STEPS), unit="us",
                    note=f"launched in {1e6 * np.median(turns[:, 0]) / STEPS:.1f} us",
                )
            )  # fmt: skip
    return ClaimTable(found) + resampling(device)


def resampling(device: torch.device) -> ClaimTable:
    """Share of indices that differ between the device's twin and the kernels, for the same uniforms."""
    source, found = torch.Generator().manual_seed(0), []
    weights = torch.rand((16, 4096), dtype=torch.float64, generator=source)
    for scheme, count in {"systematic": 1, "stratified": 4096, "multinomial": 4097}.items():
        uniforms = torch.rand((16, count), dtype=torch.float64, generator=source)
        here = resampled_indices(weights, uniforms, scheme)
        there = resampled_indices(weights.to(device), uniforms.to(device), scheme).cpu()
        found.append(
            Claim(
                name=f"{scheme} resampling: share of indices that differ from the CPU's", setting="16 x 4096 weights",
                source="issue of the room", published="none", measured=float((here != there).double().mean()), mcse=nan,
                band=(0.0, 1e-4), note="sums in another order round otherwise",
            )
        )  # fmt: skip
    return ClaimTable(found)


def main() -> None:
    """Print the claims and keep them as a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    try:
        table = claims(options.quick)
    except MissingExtraError as error:
        print(error)
        return
    print(table)
    if options.out is not None:
        options.out.write_text(json.dumps(table.to_frame().astype(str).to_dict("records"), indent=1) + "\n")


if __name__ == "__main__":
    main()
