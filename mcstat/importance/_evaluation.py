"""The user's function and the densities that its expectations refer to, at points that a sampler drew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.importance._laws import AdaptedLaw, checked_log_density
from mcstat.importance._proposal import column_names

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """x (n, d) with what was paid for: values (n, J) and log densities of the laws, or of the target, (n, L).

    ``names`` are those of a data frame's columns, where func gives one.
    """

    x: FloatArray
    values: FloatArray
    log_laws: FloatArray
    names: tuple[str, ...] | None

    @staticmethod
    def joined(pieces: Sequence[Points]) -> Points:
        """The rows of several pieces in one."""
        return Points(
            np.concatenate([piece.x for piece in pieces]),
            same_columns([piece.values for piece in pieces]),
            np.concatenate([piece.log_laws for piece in pieces]),
            pieces[0].names,
        )


@dataclass(frozen=True)
class Integrand:
    """The user's function under its laws, or under a target that is a density up to a constant."""

    func: Callable[[FloatArray], Any]
    laws: tuple[AdaptedLaw, ...]
    target: Callable[[FloatArray], Any] | None
    chunk_size: int | None

    def at(self, x: FloatArray) -> Points:
        """Values and log densities at x (n, d)."""
        if self.target is None:
            log_laws = np.stack([law.logpdf(x) for law in self.laws], axis=1)
        else:
            log_laws = checked_log_density("target", self.target, x)[:, None]
        # Where every law has density 0 the function need not be defined, and its value would not count.
        inside = ~np.isneginf(log_laws).all(axis=1)
        called, names = call("func", self.func, x[inside], self.chunk_size)
        values = np.zeros((len(x), called.shape[1]))
        values[inside] = called
        return Points(x, values, log_laws, names)


def given_laws(law: Any, laws: Sequence[Any] | None, target: Any) -> tuple[AdaptedLaw, ...]:
    """The laws of ``law=`` or ``laws=``; none where a ``target`` is given. Exactly one of the three must be."""
    named = {"law": law, "laws": laws, "target": target}
    given = [name for name, value in named.items() if value is not None]
    if len(given) != 1:
        raise InvalidParameter(f"exactly one of law, laws and target must be given, got {given or 'none'}")
    if target is not None:
        if not callable(target):
            raise InvalidParameter(f"target must be callable, got {type(target).__name__}")
        return ()
    if law is not None:
        return (AdaptedLaw("law", law),)
    adapted = tuple(AdaptedLaw(f"laws[{j}]", one) for j, one in enumerate(laws or ()))
    if not adapted:
        raise InvalidParameter("laws must hold at least one law, got none")
    return adapted


def call(
    name: str, func: Callable[[FloatArray], Any], x: FloatArray, chunk_size: int | None
) -> tuple[FloatArray, tuple[str, ...] | None]:
    """Values (n, J) of a user's function chunk by chunk, and the names of their columns if it gives a data frame."""
    if not callable(func):
        raise InvalidParameter(f"{name} must be callable, got {type(func).__name__}")
    size = chunk_size or max(len(x), 1)
    pieces, names = [], None
    for at in range(0, max(len(x), 1), size):
        chunk = x[at : at + size]
        # A copy: a function that writes into its argument must not move the points.
        given = func(chunk.copy())
        names = column_names(given)
        pieces.append(_checked(name, chunk, np.asarray(given)))
    return same_columns(pieces, name), names


def same_columns(pieces: Sequence[FloatArray], name: str = "func") -> FloatArray:
    """The rows of all pieces; each must have the same number of columns."""
    found = sorted({piece.shape[1] for piece in pieces})
    if len(found) > 1:
        raise InvalidData(f"{name} must give the same number of columns at every call, got {found}")
    return np.concatenate(pieces)


def _checked(name: str, x: FloatArray, raw: NDArray[Any]) -> FloatArray:
    if raw.dtype.kind not in "fiub":
        raise TypeError(f"{name} must give real numbers, got dtype {raw.dtype}")
    values = raw.astype(np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != len(x) or values.shape[1] == 0:
        raise InvalidData(f"{name} must give shape ({len(x)}, J) for points of shape {x.shape}, got {raw.shape}")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidData(
            f"{name} must be finite, got {values[first].tolist()} at the point {x[first].tolist()} "
            f"({int(bad.sum())} of {len(x)} rows)"
        )
    return values
