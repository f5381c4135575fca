"""Guidance and divergence: what high order does to guided sampling, and what momentum mends.

``python -m validation.torch.guided [--quick]``

The condition is one half of the eight modes; both denoisers are exact. 2000 points (quick 100), errors against 2000
steps (quick 200) of the guided ODE itself.
"""

from __future__ import annotations

import argparse
import warnings
from functools import cache
from math import inf, nan

import numpy as np
import torch

from mcstat.core.errors import ReliabilityWarning
from mcstat.study import Claim, ClaimTable
from mcstat.torch.diffusion import (
    DDIM,
    GHVB,
    PLMS,
    VE,
    CascadePolynomialRegression,
    DCSolver,
    DPMSolver,
    GaussianMixtureDenoiser,
    GuidedDenoiser,
    HeavyBall,
    SinglestepDPMSolver,
    Solver,
    UniPC,
    make_grid,
    reference_solution,
    sample,
    stability_region,
)
from validation.torch.problem import SCHEDULE, eight_modes, logsnr, noise, ratio, reference, squares

SETTING = "modes 0 to 3 given, of 8 in the plane, exact denoisers"


def guided(w: float) -> GuidedDenoiser:
    """Guidance towards the first four modes."""
    whole = eight_modes()
    half = GaussianMixtureDenoiser(whole.weights[:4], whole.means[:4], whole._variances[:4], SCHEDULE)
    return GuidedDenoiser(half, whole, w)


@cache
def points(w: float, quick: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and where the guided ODE takes it."""
    x = noise(100 if quick else 2000, seed=2)
    return x, reference(guided(w), x, 200 if quick else 2000)


def steps_enough(quick: bool) -> ClaimTable:
    """2M in 20 steps over DDIM in 100 steps, uniform in time."""
    found = []
    for w in (2.0, 4.0, 8.0):
        x, target = points(w, quick)
        errors = [
            squares(solver, guided(w), x, make_grid(SCHEDULE, n, "time"), target)
            for solver, n in ((DPMSolver(2), 20), (DDIM(), 100))
        ]
        value, error = ratio(*errors)
        found.append(
            Claim(
                name=f"2M at 20 over DDIM at 100, w = {w:g}", setting=f"{SETTING}, uniform in time",
                source="card of DPM-Solver, claims row 1", published="15 to 20 steps are enough", measured=value,
                mcse=error, band=(0.0, 1.0), unit="ratio of RMSE",
            )
        )  # fmt: skip
    return ClaimTable(found)


def noise_form(quick: bool) -> ClaimTable:
    """Third order in predicted noise over DDIM and over 2M at w = 8."""
    x, target = points(8.0, quick)
    denoiser, found = guided(8.0), []
    for count in (12, 15, 18):
        grids = {1: make_grid(SCHEDULE, count, "time"), 3: make_grid(SCHEDULE, count // 3, "time")}
        third = squares(SinglestepDPMSolver(3, algorithm="dpmsolver"), denoiser, x, grids[3], target)
        for name, solver in (("DDIM", DDIM()), ("2M", DPMSolver(2))):
            value, error = ratio(third, squares(solver, denoiser, x, grids[1], target))
            found.append(
                Claim(
                    name=f"DPM-Solver-3 over {name} at {count}, w = 8", setting=f"{SETTING}, uniform in time",
                    source="card of DPM-Solver, claims row 2",
                    published="worse" if name == "DDIM" else None, measured=value, mcse=error,
                    band=(1.0, inf) if name == "DDIM" else None, unit="ratio of RMSE",
                )
            )  # fmt: skip
    return ClaimTable(found)


def artifacts(quick: bool) -> ClaimTable:
    """Share of trajectories whose predicted data leave four times the data's radius, with and without momentum."""
    denoiser, x = guided(8.0), noise(100 if quick else 2000, seed=3)
    contenders: dict[str, Solver] = {
        "PLMS4": PLMS(4), "GHVB 2.5": GHVB(2.5), "heavy ball on PLMS4, beta 0.5": HeavyBall(PLMS(4), 0.5),
    }  # fmt: skip
    counts = (6, 8, 10, 15)
    shares = {
        name: [_diverged(sample(solver, denoiser, x, make_grid(SCHEDULE, n, "time")).samples) for n in counts]
        for name, solver in contenders.items()
    }
    found = []
    for name in list(shares)[1:]:
        for n, ours, theirs in zip(counts, shares[name], shares["PLMS4"], strict=True):
            difference = ours - theirs
            calm = not theirs.any()
            found.append(
                Claim(
                    name=f"diverged under {name} minus under PLMS4 at {n}, w = 8",
                    setting=f"{SETTING}, uniform in time", source="card of GHVB, claims row 2",
                    published="fewer with momentum", measured=float(difference.mean()),
                    mcse=float(difference.std(ddof=1) / np.sqrt(len(x))), band=(-1.0, 0.0), unit="of the points",
                    note="PLMS4 does not diverge here" if calm else f"{theirs.mean():.3f} to {ours.mean():.3f}",
                    scale_ok=not calm,
                )
            )  # fmt: skip
    return ClaimTable(found)


def _diverged(x: torch.Tensor) -> np.ndarray:
    """Whether a sample lies beyond 4 radii of the means (n,)."""
    return (x.norm(dim=1) > 4 * 4 / 3).double().numpy()


# Velocities k, beta, published order.
RATES = {
    GHVB: ((1, 0.8, 1.0), (2, 0.8, 1.98), (2, 0.5, 1.96), (3, 0.8, 2.92), (4, 0.8, 3.5)),
    HeavyBall: ((2, 0.8, 1.0), (3, 0.8, 1.0), (4, 0.5, 1.0)),
}


def momentum_orders(quick: bool) -> ClaimTable:
    """Order of convergence with momentum on eight modes in noise from 3 down to 0.5, in equal steps."""
    whole = eight_modes()
    denoiser = GaussianMixtureDenoiser(whole.weights, whole.means, whole._variances, VE())
    x = 3.0 * noise(50 if quick else 500, seed=4)
    exact = reference_solution(denoiser, x, [3.0, 0.5], rtol=1e-11, atol=1e-11).samples
    coarse, found = (80 if quick else 160), []
    for kind, settings in RATES.items():
        for k, beta, published in settings:
            solver = GHVB(k, beta) if kind is GHVB else HeavyBall(PLMS(k), beta)
            coarser, finer = (
                (sample(solver, denoiser, x, np.linspace(3.0, 0.5, n + 1)).samples - exact).square().mean(1).numpy()
                for n in (coarse, 2 * coarse)
            )
            value, error = ratio(coarser, finer)
            # Of four velocities the first steps, of lower order, set the pace: the card gives what it measured.
            found.append(
                Claim(
                    name=f"order of {kind.__name__} with {k} velocities, beta {beta}",
                    setting=f"8 modes in the plane, noise 3 to 0.5, {coarse} to {2 * coarse} equal steps",
                    source="card of GHVB, claims row 1", published=f"{published:g}", measured=float(np.log2(value)),
                    mcse=error / value / np.log(2.0), band=(published - 0.15, published + 0.15),
                )
            )  # fmt: skip
    return ClaimTable(found)


def stability(quick: bool) -> ClaimTable:
    """Area of the region of stability over that of Adams-Bashforth."""
    fine = 1 if quick else 4
    plane = np.linspace(-8, 1, 90 * fine + 1)[:, None] + 1j * np.linspace(0, 4, 40 * fine + 1)
    found = []
    for k in (2, 3, 4):
        plain = stability_region(PLMS(k), plane).sum()
        for beta in (0.8, 0.5):
            for name, solver in (("GHVB", GHVB(k, beta)), ("heavy ball", HeavyBall(PLMS(k), beta))):
                found.append(
                    Claim(
                        name=f"area of stability of {name} over Adams-Bashforth {k}", setting=f"beta {beta}",
                        source="card of GHVB, claims row 3", published="larger",
                        measured=float(stability_region(solver, plane).sum() / plain), mcse=nan, band=(1.0, inf),
                    )
                )  # fmt: skip
    return ClaimTable(found)


def cascade(quick: bool) -> ClaimTable:
    """DC-Solver's ratios for an unseen scale and step count, from the regression, over UniPC-2."""
    settings = [(w, n) for w in (1.0, 2.0, 4.0, 8.0) for n in (5, 6, 8, 10)]
    ratios = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReliabilityWarning)
        for w, n in settings:
            solver = DCSolver(n_iter=20).fit(guided(w), logsnr(n), noise(200, seed=1), ref_steps=200)
            ratios.append(solver.ratios_)
    scales, counts = zip(*settings, strict=True)
    model = CascadePolynomialRegression().fit(scales, counts, ratios)
    x, target = points(3.0, quick)
    grid = logsnr(7)
    ours = squares(DCSolver(ratios=model.predict(3.0, 7)), guided(3.0), x, grid, target)
    value, error = ratio(ours, squares(UniPC(2), guided(3.0), x, grid, target))
    claim = Claim(
        name="DC-Solver by regression over UniPC-2, w = 3, 7 steps",
        setting=f"{SETTING}; searched at w 1, 2, 4, 8 in 5, 6, 8, 10 steps",
        source="card of DC-Solver, claims row 3",
        published="close to searched",
        measured=value,
        mcse=error,
        band=(0.0, 1.0),
        unit="ratio of RMSE",
    )
    return ClaimTable([claim])


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Every claim."""
    found = steps_enough(quick) + noise_form(quick) + artifacts(quick) + momentum_orders(quick)
    found += stability(quick) + cascade(quick)
    return found.first_look() if quick else found


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(claims(parser.parse_args().quick))


if __name__ == "__main__":
    main()
