"""The sampling mixture: a share of the initial law, one part for each column, and a wide one over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from mcstat.core.checks import frozen_view
from mcstat.core.errors import InvalidData
from mcstat.core.rng import Purpose, stream
from mcstat.importance._adaptive_kernels import log_mixture
from mcstat.importance._checkpoint import Checkpoint
from mcstat.importance._components import Component
from mcstat.importance._known import KnownMeans
from mcstat.importance._laws import Nominal
from mcstat.importance._scores import NormalScores

FloatArray = NDArray[np.float64]

# Rows that one random stream draws: the unit of work. Any chunking or number of workers leaves the numbers alone.
BLOCK = 4096


@dataclass(frozen=True)
class Proposal:
    """h = shares[0] * initial law + sum_k shares[k] * components[k - 1], in the user's coordinates."""

    nominal: Nominal
    shares: FloatArray
    components: tuple[Component, ...]
    centre: FloatArray
    scale: FloatArray

    def rvs(self, size: int, random_state: Generator) -> FloatArray:
        """(size, d) independent draws, grouped by part."""
        counts = random_state.multinomial(size, self.shares)
        drawn = [self.nominal.rvs(int(counts[0]), random_state)] if counts[0] else []
        for component, count in zip(self.components, counts[1:], strict=True):
            if count:
                drawn.append(self.centre + self.scale * component.rvs(int(count), random_state))
        return np.concatenate(drawn)

    def log_parts(self, x: FloatArray, log_base: FloatArray) -> FloatArray:
        """(n, K + 1) log density of the initial law and of each component at x."""
        z = frozen_view((x - self.centre) / self.scale)
        parts = np.empty((len(self.components) + 1, len(x)))
        parts[0] = log_base
        for k, component in enumerate(self.components, start=1):
            parts[k] = component.logpdf(z)
        parts[1:] -= np.log(self.scale).sum()
        return np.ascontiguousarray(parts.T)

    def log_density(self, log_parts: FloatArray) -> FloatArray:
        """(n,) log h from :meth:`log_parts`."""
        out = np.empty(len(log_parts))
        with np.errstate(divide="ignore"):
            log_shares = np.log(self.shares)
        log_mixture(frozen_view(log_parts), frozen_view(log_shares), out)
        return out

    def logpdf(self, x: FloatArray) -> FloatArray:
        """(n,) log density at x, (n, d)."""
        return self.log_density(self.log_parts(x, self.nominal.log_densities(x)[0]))


@dataclass(frozen=True)
class Block:
    """Points x (n, d) with what was paid for: values (n, J), log densities of the initial law (n,), of the laws (n, L).

    ``drawn`` counts also the points that ``nan="drop"`` left out; ``names`` are those of a data frame's columns;
    ``controls`` are the user's control variates less their means, (n, M), where there are any.
    """

    x: FloatArray
    values: FloatArray
    log_base: FloatArray
    log_laws: FloatArray
    drawn: int
    names: tuple[str, ...] | None
    controls: FloatArray | None = None

    @staticmethod
    def joined(blocks: list[Block]) -> Block:
        """One block of the rows of several."""
        fields = ("x", "values", "log_base", "log_laws")
        joined = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in fields}
        controls = [block.controls for block in blocks if block.controls is not None]
        return Block(
            **joined,
            drawn=sum(block.drawn for block in blocks),
            names=blocks[0].names,
            controls=np.concatenate(controls) if controls else None,
        )


def coordinates(x: FloatArray) -> FloatArray:
    """The function whose expectations are the means of the points themselves."""
    return x


def column_names(table: Any) -> tuple[str, ...] | None:
    """Names of a data frame's columns (pandas, polars), where all are strings."""
    columns = tuple(getattr(table, "columns", ()))
    return columns if columns and all(isinstance(column, str) for column in columns) else None


@dataclass(frozen=True)
class PointSource:
    """Draws points from a proposal and calls the user's function on them.

    ``least`` are lower bounds that the user vouched for, ``n_columns`` what the first call gave, ``known`` the user's
    control variates; ``scores`` is there where points are normal scores of the inputs.
    """

    nominal: Nominal
    func: Callable[[FloatArray], Any]
    root: SeedSequence
    chunk_size: int | None
    nan: str
    least: FloatArray | None
    n_columns: int | None = None
    known: KnownMeans | None = None
    scores: NormalScores | None = None
    checkpoint: Checkpoint | None = None

    def draw(self, proposal: Proposal, purpose: Purpose, block: tuple[int, int]) -> Block:
        """Block (k, n): ``n`` points of stream ``k``, always the same for the same root seed and proposal."""
        k, n = block
        x = proposal.rvs(n, stream(self.root, "AdaptiveImportanceSampler", purpose, k))
        log_base, log_laws = self.nominal.log_densities(x)
        if not proposal.components and np.isneginf(log_base).any():
            point = x[int(np.argmax(np.isneginf(log_base)))].tolist()
            name = self.nominal.laws[0].name
            raise InvalidData(f"{name}.logpdf must be finite at the law's own draws, got -inf at {point}")
        # Where every law has density 0 the function need not be defined, and its value would not count.
        inside = ~np.isneginf(log_laws).all(axis=1)
        called, names = self._paid(purpose, k, x[inside])
        values = np.zeros((n, called.shape[1]))
        values[inside] = called
        kept = ~np.isnan(values[:, 0])
        controls = None
        if self.known is not None:
            controls = np.zeros((n, len(self.known.means)))
            controls[inside] = self.known(x[inside])
            controls = controls[kept]
        return Block(x[kept], values[kept], log_base[kept], log_laws[kept], n, names, controls)

    def _paid(self, purpose: Purpose, k: int, x: FloatArray) -> tuple[FloatArray, tuple[str, ...] | None]:
        """Values from the checkpoint where it holds them; else from func, and into it."""
        if self.checkpoint is None:
            return self._call(x)
        stored = self.checkpoint.load(purpose, k, x)
        if stored is None:
            stored = self._call(x)
            self.checkpoint.save(purpose, k, x, *stored)
        return stored

    def inputs(self, x: FloatArray) -> FloatArray:
        """Points as the user sees them."""
        return x if self.scores is None else self.scores.inputs(x)

    def _call(self, x: FloatArray) -> tuple[FloatArray, tuple[str, ...] | None]:
        """Values (n, J) chunk by chunk, and the names of their columns if func gives a data frame."""
        size = self.chunk_size or max(len(x), 1)
        pieces, names = [], None
        for at in range(0, max(len(x), 1), size):
            chunk = x[at : at + size]
            # A copy: a function that writes into its argument must not move the points of the weights.
            given = self.func(chunk.copy())
            names = column_names(given)
            pieces.append(self._checked(chunk, np.asarray(given)))
        return np.concatenate(pieces), names

    def _checked(self, x: FloatArray, raw: NDArray[Any]) -> FloatArray:
        if raw.dtype.kind not in "fiub":
            raise TypeError(f"func must give real numbers, got dtype {raw.dtype}")
        values = raw.astype(np.float64)
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2 or len(values) != len(x) or values.shape[1] == 0:
            raise InvalidData(f"func must give shape ({len(x)}, J) for points of shape {x.shape}, got {raw.shape}")
        if self.n_columns is not None and values.shape[1] != self.n_columns:
            raise InvalidData(
                f"func must give the same number of columns at every call, got {self.n_columns} and {values.shape[1]}"
            )
        self._check_bounds(x, values)
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any() and self.nan == "raise":
            first = int(np.argmax(bad))
            raise InvalidData(
                f"func must be finite, got {values[first].tolist()} at the point {x[first].tolist()} "
                f"({int(bad.sum())} of {len(x)} rows; nan='drop' leaves them out)"
            )
        values[bad] = np.nan
        return values

    def _check_bounds(self, x: FloatArray, values: FloatArray) -> None:
        if self.least is None:
            return
        if self.least.size not in (1, values.shape[1]):
            raise InvalidData(f"lower must hold {values.shape[1]} number(s), one a function, got {self.least.size}")
        below = np.any(values < self.least, axis=1)
        if below.any():
            first = int(np.argmax(below))
            raise InvalidData(
                "func must not be negative with signed='nonneg', nor below lower with signed='shift', "
                f"got {values[first].tolist()} at the point {x[first].tolist()}"
            )
