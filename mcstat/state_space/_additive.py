"""Additive functionals: sums over time of terms h_t(x_{t-1}, x_t)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import InvalidParameter
from mcstat.state_space._model import Model

__all__ = ["NAMED", "Additive", "Functional", "additive"]

NAMED = ("sum_x", "sum_xx", "sum_cross")
Function = Callable[..., Any]
Functional = str | Function | Sequence[str | Function]


class Additive(NamedTuple):
    """Functionals, side by side; holds no compiled code, so it pickles.

    Named functionals are computed all three where there are several parts; that costs less than it would to choose.
    """

    parts: tuple[str | Function, ...]
    n_columns: int
    columns: NDArray[np.int64]
    names: tuple[str, ...]

    def function(self, model: Model) -> Any:
        """Batch function (see :mod:`._model`) ``(t, x_prev, sources, x, targets, y, theta, out)``.

        ``out`` (K, n_columns) gets h_t(x_prev[sources[q]], x[targets[q]]), of which ``columns`` are wanted.
        """
        functions = tuple(part for part in self.parts if not isinstance(part, str))
        if len(self.parts) == 1 and not functions:
            return _named(str(self.parts[0]), model)
        return _combined(functions, len(functions) < len(self.parts), model)


def additive(functional: Functional, model: Model) -> Additive:
    """Read what a user may give as ``functional``.

    Raises
    ------
    InvalidParameter
        If it is neither one of the names, nor a function, nor a list of these.
    """
    parts = _parts(functional)
    d = model.dims[0]
    functions = [part for part in parts if not isinstance(part, str)]
    if len(parts) == 1 and not functions:
        return Additive(parts, d, np.arange(d), _names(parts, d))
    n_named = 3 * d if len(functions) < len(parts) else 0
    columns: list[int] = []
    for part in parts:
        if isinstance(part, str):
            columns += range(NAMED.index(part) * d, (NAMED.index(part) + 1) * d)
        else:
            columns.append(n_named + functions.index(part))
    return Additive(parts, n_named + len(functions), np.array(columns), _names(parts, d))


def _parts(functional: Any) -> tuple[str | Function, ...]:
    several = isinstance(functional, (list, tuple))
    parts = tuple(functional) if several else (functional,)
    for part in parts:
        if not (callable(part) or (isinstance(part, str) and part in NAMED)):
            names = ", ".join(repr(name) for name in NAMED)
            raise InvalidParameter(f"functional must be one of {names}, a function, or a list of these, got {part!r}")
    if not parts or len(set(parts)) < len(parts):
        raise InvalidParameter(f"functional must hold at least one functional and none twice, got {functional!r}")
    return parts


def _names(parts: tuple[str | Function, ...], d: int) -> tuple[str, ...]:
    names: list[str] = []
    for k, part in enumerate(parts):
        if isinstance(part, str):
            names += [part] if d == 1 else [f"{part}[{component}]" for component in range(d)]
        else:
            name = getattr(part, "__name__", type(part).__name__)
            names.append(f"functional[{k}]" if name in ("<lambda>", *names) else name)
    return tuple(names)


def _named(name: str, model: Model) -> Any:
    if model.vectorized:
        return _ArrayTerms((), (name,))
    return _pointer_of(name)


@cache
def _pointer_of(name: str) -> Any:
    from mcstat.kernels._jit import pointer
    from mcstat.state_space import _additive_kernels, _signatures

    return pointer(getattr(_additive_kernels, name), _signatures.ADDITIVE)


def _combined(functions: tuple[Function, ...], named: bool, model: Model) -> Any:
    if model.vectorized:
        return _ArrayTerms(functions, NAMED if named else ())
    if not functions:
        return _pointer_of("one_of_each")
    d, _, p = model.dims
    return _compiled(functions, named, d, p)


@cache
def _compiled(functions: tuple[Function, ...], named: bool, d: int, p: int) -> Any:
    """Function pointer, compiled once a process."""
    from mcstat.kernels._jit import part, pointer
    from mcstat.state_space import _additive_kernels
    from mcstat.state_space._signatures import ADDITIVE

    batch = part(_additive_kernels.one_of_each if named else _nothing)
    for k, function in enumerate(functions):
        batch = part(_with_column(batch, _compiled_term(function, d, p), 3 * d * named + k, d, p))
    return pointer(batch.py_func, ADDITIVE, cached=False)


def _nothing(t, x_prev, sources, x, targets, y, theta, out):  # type: ignore[no-untyped-def]
    """The functional without terms."""


def _compiled_term(function: Function, d: int, p: int) -> Any:
    from numba import types

    from mcstat.kernels._jit import part
    from mcstat.state_space._signatures import array, read_only
    from mcstat.state_space._wrap import reason_of

    x = types.float64 if d == 1 else array(1)
    y = types.float64 if p == 1 else read_only(1)
    try:
        plain = getattr(function, "py_func", function)
        return part(plain, types.float64(types.int64, x, x, y, read_only(1)))
    except Exception as error:
        name = getattr(function, "__name__", "function")
        raise TypeError(
            f"functional ({name}) cannot be compiled: {reason_of(error)}. Write it as a number from "
            "(t, x_prev, x, y, theta) with what Numba knows"
        ) from error


def _with_column(before: Any, term: Any, column: int, d: int, p: int) -> Function:
    from mcstat.state_space._wrap import flat, seen_as

    states, seen = flat(d), seen_as(p)

    def batch(t, x_prev, sources, x, targets, y, theta, out):  # type: ignore[no-untyped-def]
        before(t, x_prev, sources, x, targets, y, theta, out)
        xs, previous, value = states(x), states(x_prev), seen(y)
        for q in range(len(out)):
            out[q, column] = term(t, previous[sources[q]], xs[targets[q]], value, theta)

    return batch


class _ArrayTerms:
    """The same for a model written for arrays: users' functions get (K,) or (K, d) arrays of states."""

    def __init__(self, functions: tuple[Function, ...], named: tuple[str, ...]) -> None:
        self.functions, self.named = functions, named

    def __call__(self, t: int, x_prev: Any, sources: Any, x: Any, targets: Any, y: Any, theta: Any, out: Any) -> None:
        before, after = x_prev[sources], x[targets]
        terms = {"sum_x": after, "sum_xx": after * after, "sum_cross": before * after if t > 0 else 0.0 * after}
        d = x.shape[1]
        for k, name in enumerate(self.named):
            out[:, k * d : (k + 1) * d] = terms[name]
        if d == 1:
            before, after = before[:, 0], after[:, 0]
        value = float(y[0]) if len(y) == 1 else y
        for k, function in enumerate(self.functions):
            out[:, d * len(self.named) + k] = function(t, before, after, value, theta)
