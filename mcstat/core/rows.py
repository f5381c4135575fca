"""A tall matrix, read in blocks of rows as often as needed: in memory, on disk, sparse or on a Dask cluster.

Methods that need a few passes over the rows are written once, as a function of one block; where the block comes
from and where the function runs is settled here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData
from mcstat.core.extras import import_extra
from mcstat.core.frames import as_matrix

__all__ = ["RowBlocks"]

Result = TypeVar("Result")

# Bytes of a block: half of it is the block, half what is computed from it; both stay in a processor's second cache.
_BLOCK_BYTES = 1 << 18
_MOST_ROWS = 1 << 16


class RowBlocks:
    """Rows of a matrix (n, d), handed out in float64 blocks.

    Parameters
    ----------
    data : array_like, data frame, CSR matrix, memory map or Dask array, shape (n, d)
        Anything dense is taken as it is and turned into float64 a block at a time, so a float32 or memory-mapped
        matrix is never copied whole. A Dask array is computed a chunk of rows at a time where its chunks lie.
    name : str
        Name of the argument, for errors.

    Attributes
    ----------
    n_rows, n_columns : int
    names : tuple of str or None
        Column names of a data frame.
    """

    def __init__(self, data: Any, name: str = "X") -> None:
        from scipy.sparse import issparse

        self.name = name
        self.names: tuple[str, ...] | None = None
        self.kind: Literal["dense", "sparse", "dask"]
        self._data: Any
        if issparse(data) and hasattr(data, "tocsr"):
            self.kind, self._data = "sparse", data.tocsr()
        elif type(data).__module__.partition(".")[0] == "dask":
            if data.ndim == 2 and data.numblocks[1] > 1:
                data = data.rechunk({1: -1})
            self.kind, self._data = "dask", data
        elif isinstance(data, np.ndarray) and not isinstance(data, np.ma.MaskedArray) and data.dtype.kind in "fiub":
            self.kind, self._data = "dense", data
        else:
            self.kind = "dense"
            self._data, self.names = as_matrix(name, data)
        if self._data.ndim != 2:
            raise InvalidData(f"{name} must have 2 dimension(s), got shape {self._data.shape}")
        if self._data.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold real numbers, got dtype {self._data.dtype}")
        self.n_rows, self.n_columns = (int(size) for size in self._data.shape)
        if self.n_columns == 0 or self.n_rows == 0 or np.isnan(self._data.shape).any():
            raise InvalidData(f"{name} must have at least one row and one column, got shape {self._data.shape}")

    @property
    def block_rows(self) -> int:
        """Rows of a block; a function of the number of columns alone, so that results keep their bits."""
        return max(4 * self.n_columns, min(_MOST_ROWS, _BLOCK_BYTES // (8 * self.n_columns)))

    def map(self, function: Callable[..., Result], *along: NDArray[Any]) -> Iterator[Result]:
        """Call ``function(block, *parts)`` on every block, in order.

        Parameters
        ----------
        function : callable
            Takes a float64 block, (m, d) array or CSR matrix, which it must not change. Runs on the cluster for a
            Dask array and should return something small.
        *along : ndarray, shape (n, ...)
            Arrays with one entry a row; the function gets the m entries that belong to the block.

        Yields
        ------
        What the function returns, block by block.
        """
        if self.kind == "dask":
            yield from self._map_dask(function, along)
        else:
            yield from _map_chunk(function, self._data, self.name, 0, self.block_rows, along)

    def _map_dask(self, function: Callable[..., Result], along: tuple[NDArray[Any], ...]) -> Iterator[Result]:
        dask = import_extra("dask", "dask")
        stops = np.cumsum(self._data.chunks[0])
        tasks = [
            dask.delayed(_run_chunk)(
                function, chunk, self.name, int(stop - size), self.block_rows, [a[stop - size : stop] for a in along]
            )
            for chunk, size, stop in zip(self._data.to_delayed()[:, 0], self._data.chunks[0], stops, strict=True)
        ]
        for results in dask.compute(*tasks):
            yield from results

    def take(self, indices: NDArray[np.intp]) -> Any:
        """Chosen rows as float64: (m, d) array, or CSR matrix where the data are sparse. ``indices`` ascending."""
        if self.kind == "dask":
            return np.asarray(self._data[indices].compute(), dtype=np.float64)
        chosen = self._data[indices]
        return chosen.astype(np.float64) if self.kind == "sparse" else np.asarray(chosen, dtype=np.float64)


def _map_chunk(
    function: Callable[..., Result], chunk: Any, name: str, start: int, size: int, along: Sequence[NDArray[Any]]
) -> Iterator[Result]:
    """Work through rows in blocks; ``start`` is where they lie in the whole."""
    for first in range(0, chunk.shape[0], size):
        part = slice(first, first + size)
        yield function(_as_block(chunk[part], name, start + first), *[array[part] for array in along])


def _run_chunk(*args: Any) -> list[Any]:
    """One Dask chunk, which may be far larger than a cache."""
    return list(_map_chunk(*args))


def _as_block(block: Any, name: str, start: int) -> Any:
    """A block in float64, refused where it is not finite."""
    if hasattr(block, "toarray"):
        block = block.astype(np.float64, copy=False)
        values = block.data
    else:
        block = values = np.ascontiguousarray(block, dtype=np.float64)
    # One pass that vectorises: a sum is finite only where all terms are, unless it overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(values.sum())
    if suspicious and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(block.sum(axis=1)))[0])
        raise InvalidData(f"{name} must be finite, got NaN or infinity in row {start + row}")
    return block
