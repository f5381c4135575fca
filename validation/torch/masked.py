"""Masked diffusion: the law of the first-hitting sampler, its cost, and what float32 does to Gumbel noise.

    python -m validation.torch.masked [--quick]

Bands were set before measuring (card of the method and issue of the room). CPU seconds, one thread. About five CPU
minutes; quick three seconds.
"""

from __future__ import annotations

import argparse
from math import inf, nan
from time import process_time

import numpy as np
import torch

from mcstat.core.parallel import single_threaded
from mcstat.study import Claim, ClaimTable
from mcstat.torch.diffusion import (
    AncestralSampler,
    FirstHittingSampler,
    TabularMaskedModel,
    masked_nelbo,
    sample_categorical,
    truncated_gumbel_law,
)

ISSUE = "issue of the room"


def exactness(quick: bool) -> list[Claim]:
    """Chi-square of 81 sequences of four dependent tokens, and the bound of the exact model against the entropy."""
    from scipy.stats import chi2

    n = 3000 if quick else 60_000
    joint = np.random.default_rng(0).exponential(size=(3,) * 4)
    joint /= joint.sum()
    model = TabularMaskedModel(joint)
    fit = FirstHittingSampler(model, 4, 3, n_samples=n, batch_size=n, random_state=0, verbose=False).fit()
    counts = np.bincount(np.ravel_multi_index(fit.samples_.numpy().T, joint.shape), minlength=81)
    expected = n * joint.ravel()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    sequences = torch.tensor(list(np.ndindex(joint.shape)))
    bound = masked_nelbo(model, sequences, 3, None)
    entropy = float(-(joint * np.log(joint)).sum())
    return [
        Claim(
            name="p-value of the chi-square test of the law",
            setting=f"4 tokens of 3 kinds, {n} sequences",
            source=f"{ISSUE}; card, exact checks",
            published="60.0 on 67 degrees of freedom (prototype)",
            measured=float(chi2.sf(statistic, 80)),
            mcse=nan,
            band=(1e-4, 1.0),
            note=f"{statistic:.1f} on 80 degrees of freedom",
        ),
        Claim(
            name="bound of the exact model minus the entropy",
            setting="all 81 sequences, all masks",
            source="card, exact checks",
            published="0 to 1e-15",
            measured=float(joint.ravel() @ (bound.value[0] + bound.influence[:, 0]) - entropy),
            mcse=nan,
            band=(-1e-12, 1e-12),
        ),
    ]


def toy_network(vocab_size: int, width: int = 128, blocks: int = 2):
    """Random embeddings through residual blocks that mix neighbours: the work of a small network, not its skill."""
    source = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn((rows, columns), generator=source) / rows**0.5

    embed, read = matrix(vocab_size + 1, width), matrix(width, vocab_size)
    layers = [(matrix(width, width), matrix(width, width)) for _ in range(blocks)]

    def model(tokens: torch.Tensor) -> torch.Tensor:
        h = embed[tokens] * vocab_size**0.5
        for own, neighbour in layers:
            h = h + torch.relu(h @ own + h.roll(1, dims=1) @ neighbour)
        return torch.softmax(h @ read / h.square().mean(-1, keepdim=True).sqrt(), dim=-1)

    return model


def timed(sampler) -> tuple[float, float]:
    """CPU seconds of a fit, and network evaluations a sequence."""
    started = process_time()
    with single_threaded():
        sampler.fit()
    return process_time() - started, sampler.n_evaluations_ / sampler.n_samples


def cost(quick: bool, length: int, vocab_size: int, steps: tuple[int, ...], n: int) -> list[Claim]:
    """First hitting against ancestral steps: network calls and CPU time."""
    model = toy_network(vocab_size)
    base = {"n_samples": n, "batch_size": n, "random_state": 0, "verbose": False}
    timed(FirstHittingSampler(model, 4, vocab_size, **base))  # first use of everything
    times = [timed(FirstHittingSampler(model, length, vocab_size, **base)) for _ in range(1 if quick else 5)]
    seconds, calls = min(times)
    setting = f"{length} tokens of {vocab_size} kinds, {n} sequences"
    found = [
        Claim(
            name="network calls of the first-hitting sampler",
            setting=setting,
            source=ISSUE,
            measured=calls,
            mcse=nan,
            band=(length, length),
            note=f"{seconds:.2f} CPU s",
        )
    ]
    ways = {"gumbel, each step asked": ("gumbel", False), "gumbel, cached": ("gumbel", True)}
    ways |= {"two stages, cached": ("two_stage", True)}
    for n_steps in steps:
        for label, (draw, cached) in ways.items():
            sampler = AncestralSampler(model, length, vocab_size, n_steps=n_steps, draw=draw, cached=cached, **base)
            other, other_calls = timed(sampler)
            plain = length == 64 and draw == "gumbel" and not cached and not quick
            found.append(
                Claim(
                    name="CPU time of ancestral steps over first hitting",
                    setting=f"{setting}, {n_steps} steps, {label}",
                    source="card, claims row 1" if plain else ISSUE,
                    published="up to 20" if plain else None,
                    measured=other / seconds,
                    mcse=0.1 * other / seconds,
                    band=(5.0, inf) if plain else None,
                    note=f"{other:.2f} CPU s, {other_calls:.0f} network calls a sequence against {calls:.0f}",
                )
            )
    return found


def gumbel(quick: bool) -> list[Claim]:
    """The law of truncated noise by Monte Carlo, and the entropy that float32 leaves over the number of steps."""
    n = 100_000 if quick else 2_000_000
    p, source = np.array([0.5, 0.3, 0.15, 0.04, 0.01]), torch.Generator().manual_seed(1)
    law, count = truncated_gumbel_law(p, 1.5), np.zeros(5)
    for _ in range(n // 100_000):
        u = torch.rand((100_000, 5), generator=source, dtype=torch.float64) * np.exp(-np.exp(-1.5))
        winner = (torch.log(torch.tensor(p)) - torch.log(-torch.log(u))).argmax(1)
        count += winner.bincount(minlength=5).numpy()
    z = (count - n * law)[:4] / np.sqrt(n * law * (1 - law))[:4]
    found = [
        Claim(
            name="largest |frequency - formula| / standard error, truncated Gumbel noise",
            setting=f"level 1.5, 5 classes, {n} draws",
            source="card, claims row 3",
            published="within 4",
            measured=float(np.abs(z).max()),
            mcse=nan,
            band=(0.0, 4.0),
        )
    ]
    zipf = 1 / np.arange(1, 5001)
    zipf /= zipf.sum()
    for n_steps in (100, 1000, 10_000, 100_000):
        entropies = []
        for bits in (24, 53):
            tokens = truncated_gumbel_law(np.append(zipf / n_steps, 1 - 1 / n_steps), bits * np.log(2))[:-1]
            tokens = tokens / tokens.sum()
            entropies.append(float(-(tokens[tokens > 0] * np.log(tokens[tokens > 0])).sum()))
        found.append(
            Claim(
                name="entropy of written tokens, float64 less float32",
                setting=f"Zipf's law on 5000 tokens, N = {n_steps}, by the formula",
                source="card, claims row 2",
                published="float32 falls as N rises" if n_steps == 100_000 else None,
                measured=entropies[1] - entropies[0],
                mcse=nan,
                band=(0.05, inf) if n_steps == 100_000 else None,
                unit="nats",
                note=f"{entropies[0]:.4f} and {entropies[1]:.4f}",
            )
        )
    return [*found, lost_transitions(quick)]


def lost_transitions(quick: bool) -> Claim:
    """Draws of torch in float32: how many steps write a token, against the formula."""
    size, n_steps, n = (1024, 4096, 20_000) if quick else (1024, 4096, 1_000_000)
    p = np.append(np.full(size, 1 / (size * n_steps)), 1 - 1 / n_steps)
    rows, source, written = torch.tensor(p).expand(2000, -1), torch.Generator().manual_seed(2), 0
    for _ in range(n // 2000):
        written += int((sample_categorical(rows, source, "gumbel", "float32") < size).sum())
    share = truncated_gumbel_law(p)[:-1].sum()
    return Claim(
        name="steps that write a token in float32, over those that should",
        setting=f"{size} tokens alike, N = {n_steps}, {n} draws",
        source="ours",
        published=f"{share * n_steps:.3f} by the formula",
        measured=written / n * n_steps,
        mcse=float(np.sqrt(share / n) * n_steps),
        band=(share * n_steps - 5 * np.sqrt(share / n) * n_steps, share * n_steps + 5 * np.sqrt(share / n) * n_steps),
        scale_ok=not quick,
        note="a handful of draws" if quick else "",
    )


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """All claims; ``quick`` in three seconds. One job: CPU times are compared."""
    found = exactness(quick)
    found += cost(quick, 64, 64, (64,) if quick else (1024,), 2 if quick else 8)
    if not quick:
        found += cost(quick, 256, 64, (1024, 2048, 4096, 8192), 4)
    table = ClaimTable([*found, *gumbel(quick)])
    return table.first_look() if quick else table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(claims(parser.parse_args().quick))


if __name__ == "__main__":
    main()
