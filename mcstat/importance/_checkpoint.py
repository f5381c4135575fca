"""Paid calls on disk: a folder with one file a block of points, so that an interrupted fit need not pay again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData, InvalidFileError, InvalidParameter
from mcstat.core.rng import Purpose, RandomState

FloatArray = NDArray[np.float64]
Values = tuple[FloatArray, tuple[str, ...] | None]


@dataclass(frozen=True)
class Checkpoint:
    """Points (n, d), values (n, J) and column names of every finished block, by purpose and number."""

    folder: Path

    def load(self, purpose: Purpose, k: int, x: FloatArray) -> Values | None:
        """Values that were paid for at the points x, or None."""
        path = self._path(purpose, k, len(x))
        if not path.exists():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                points, values, names = stored["x"], stored["values"], stored["names"]
        except (BadZipFile, EOFError, KeyError, OSError, ValueError) as error:
            raise InvalidFileError(
                f"checkpoint {path} is damaged: delete it, and its points are drawn again"
            ) from error
        if not np.array_equal(points, x):
            raise InvalidData(
                f"checkpoint {self.folder} holds the points of a fit with other settings or another random_state; "
                "give a folder of its own to each"
            )
        return values, tuple(str(name) for name in names) or None

    def save(self, purpose: Purpose, k: int, x: FloatArray, values: FloatArray, names: tuple[str, ...] | None) -> None:
        """Write a block; it is there whole or not at all."""
        path = self._path(purpose, k, len(x))
        unfinished = path.with_suffix(f".{os.getpid()}")
        with unfinished.open("wb") as file:
            np.savez(file, x=x, values=values, names=np.array(names or (), dtype=np.str_))
        unfinished.replace(path)

    def _path(self, purpose: Purpose, k: int, n: int) -> Path:
        # A longer last block has other points throughout: it is another block.
        return self.folder / f"{purpose.name.lower()}-{k}-{n}.npz"


def checkpoint_of(folder: str | os.PathLike[str] | None, random_state: RandomState) -> Checkpoint | None:
    """The folder, made if need be."""
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)):
        raise InvalidParameter(f"checkpoint must be the path of a folder, got {folder!r}")
    if random_state is None:
        raise InvalidParameter("checkpoint wants a random_state: without it no fit draws the same points again")
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InvalidParameter(f"checkpoint must be the path of a folder, got the file {path}")
    path.mkdir(parents=True, exist_ok=True)
    return Checkpoint(path)
