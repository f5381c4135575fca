"""The room's demo: digits from a small network by three solvers, and two ways to combine models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mcstat.core._svg import Figure, image_rows, line_chart
from mcstat.core.errors import InvalidFileError
from mcstat.core.estimate import Estimate
from mcstat.core.page import Section
from mcstat.core.parallel import single_threaded
from mcstat.torch.diffusion import (
    DDIM,
    EDM,
    Denoiser,
    DPMSolver,
    FeynmanKacCorrector,
    GaussianMixtureDenoiser,
    SuperDiff,
    UniPC,
    digits_data,
    load_denoiser,
    make_grid,
    mmd2,
    ode_error,
    sample,
    save_denoiser,
    train_denoiser,
)

_SOLVERS: dict[str, Any] = {"DDIM": DDIM(), "DPM++ 2M": DPMSolver(order=2), "UniPC": UniPC(order=2)}
_COUNTS = (5, 10, 20)
# Settings of the network, in the name of its file.
_WIDTH, _N_ITER = 256, 8000
_ANY = 10


def run() -> Section:
    """About two minutes on two cores the first time, most of them to train the network; then half a minute."""
    images, labels = digits_data()
    # One thread: on a busy machine two are slower.
    with single_threaded():
        network = _network(images, labels)
        pictures, curve, distance = _solvers(network, images)
        guided, exact, alone = _guidance()
        either, both = _three_and_eight(network, images, labels)
    text = (
        "A small network learns scikit-learn's 1797 handwritten digits, and is kept for the next time "
        f"({_cache_file()}). Three solvers ask it 5, 10 and 20 times for the same noise; all digits are asked to be a "
        "3, with guidance 2. Below, how far they are from what 200 questions give, and how far 1000 digits without "
        "guidance are from the real ones in law, after 10 questions to UniPC."
        "\n\n"
        "Guidance mixes the scores of two models and hopes for the product of powers -1 and 2. On two mixtures on the "
        f"line that law has mean {exact:.3f}; the mixed score alone gives {alone:.3f}, populations of weighted "
        "particles what their Estimate says."
        "\n\n"
        "The same network told to draw a 3 and told to draw an 8 are two models. Superposed as one OR the other, at "
        "odds of one to three, a quarter of the samples should be threes (a logistic regression looks at them); as one "
        "AND the other, they are as likely under both."
    )
    items = [pictures, curve, distance.summary(), guided.summary(), either.summary(), both]
    return Section(title="Diffusion: few questions to a model, and several models at once", text=text, items=items)


def _cache_file() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcstat"
    return folder / f"digits-{_WIDTH}-{_N_ITER}.npz"


def _network(images: torch.Tensor, labels: torch.Tensor) -> Denoiser:
    """From the file, or trained."""
    path = _cache_file()
    try:
        return load_denoiser(path)
    except (FileNotFoundError, InvalidFileError):
        network = train_denoiser(images, labels=labels, width=_WIDTH, n_iter=_N_ITER, random_state=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_denoiser(network, path)
    except OSError:
        # A home that cannot be written to: train again next time.
        pass
    return network


def _noise(n: int, seed: int) -> torch.Tensor:
    return torch.randn((n, 1, 8, 8), generator=torch.Generator().manual_seed(seed))


def _asked(network: Denoiser, digit: int, guidance_scale: float = 1.0) -> Denoiser:
    return Denoiser(network.fn, network.schedule, "v", cond=digit, uncond=_ANY, guidance_scale=guidance_scale)


def _solvers(network: Denoiser, images: torch.Tensor) -> tuple[Figure, Figure, Estimate]:
    """Digits, the solvers' errors, and a distance between laws."""
    threes, few, many = _asked(network, 3, 2.0), _noise(8, 1), _noise(200, 2)
    grids = {n: make_grid(network.schedule, n) for n in (*_COUNTS, 200)}
    rows = {
        f"{name}, {n}": sample(solver, threes, few, grids[n]).samples[:, 0].numpy()
        for name, solver in _SOLVERS.items()
        for n in _COUNTS
    }
    truth = sample(UniPC(3), threes, many, grids[200]).samples
    errors = {
        name: [float(ode_error(sample(solver, threes, many, grids[n]).samples, truth)) for n in _COUNTS]
        for name, solver in _SOLVERS.items()
    }
    drawn = sample(_SOLVERS["UniPC"], network, _noise(1000, 3), grids[10]).samples
    return (
        image_rows(rows, caption="The same noise by solver and number of questions to the network."),
        line_chart(
            _COUNTS,
            errors,
            caption="Root mean square distance of a pixel (white -1, black 1) from 200 questions, same noise.",
            xlabel="questions to the network",
            log_y=True,
        ),
        mmd2(drawn, images, "energy"),
    )


def _guidance() -> tuple[Estimate, float, float]:
    """The corrected mean, the exact one by quadrature, and that of the mixed score alone."""
    schedule = EDM(sigma_min=0.02)
    pair = [
        GaussianMixtureDenoiser([0.3, 0.7], [[-2.0], [1.5]], [[0.5], [0.3]], schedule),
        GaussianMixtureDenoiser([0.5, 0.5], [[0.0], [2.5]], [[0.6], [0.4]], schedule),
    ]
    powers, grid = [-1.0, 2.0], make_grid(schedule, 200, "karras")
    corrected = FeynmanKacCorrector(pair, powers, grid, n_particles=2000, random_state=0).fit()
    alone = FeynmanKacCorrector(pair, powers, grid, ess_threshold=0.0, extrapolate=False, random_state=0).fit()
    x = torch.linspace(-4, 10, 2001, dtype=torch.float64)[:, None]
    density = np.exp(sum(b * model.logp(x, 0.02).numpy() for b, model in zip(powers, pair, strict=True)))
    exact = float(np.average(x[:, 0].numpy(), weights=density))
    return corrected.estimate(lambda x: x, ["mean"]), exact, float(alone.samples_.mean())


def _three_and_eight(network: Denoiser, images: torch.Tensor, labels: torch.Tensor) -> tuple[Estimate, Figure]:
    """The share of threes among threes or eights, and pictures of both."""
    from sklearn.linear_model import LogisticRegression

    kept = (labels == 3) | (labels == 8)
    judge = LogisticRegression(max_iter=1000).fit(images[kept].flatten(1).numpy(), labels[kept].numpy() == 3)
    pair, grid = [_asked(network, 3), _asked(network, 8)], make_grid(network.schedule, 200)
    settings: dict[str, Any] = {"shape": (1, 8, 8), "dtype": "float32", "random_state": 0}
    either = SuperDiff(pair, grid, "or", bias=np.log([1, 3]), n_samples=500, **settings).fit()
    both = SuperDiff(pair, grid, "and", n_samples=8, **settings).fit()
    share = either.estimate(lambda x: torch.tensor(judge.predict(x.flatten(1).numpy())).double(), ["share of threes"])
    rows = {"3 OR 8": either.samples_[:8, 0].numpy(), "3 AND 8": both.samples_[:, 0].numpy()}
    return share, image_rows(rows, caption="Two models superposed in two ways.")
