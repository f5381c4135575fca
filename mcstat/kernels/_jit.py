"""The one decorator for compiled functions.

Numba keys its cache by the file that holds a function, and does not see an edit to a kernel that is called from
another file: the caller keeps the old code. So the cache folder carries a hash of all kernel sources.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from types import CellType, FunctionType
from typing import Any, TypeVar

import numba

__all__ = ["cache_folder", "driver_part", "kernel", "part", "pointer", "with_helpers"]

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = Path(__file__).resolve().parent.parent


def _source_hash() -> str:
    digest = blake2b(digest_size=8)
    for path in sorted([*_PACKAGE.glob("kernels/*.py"), *_PACKAGE.rglob("*_kernels.py")]):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def cache_folder() -> str:
    """Folder of the compiled kernels: under ``NUMBA_CACHE_DIR`` if set, else beside the package, else the user's."""
    name = f"mcstat-{_source_hash()}"
    if numba.config.CACHE_DIR:
        return str(Path(numba.config.CACHE_DIR) / name)
    beside = _PACKAGE / "__pycache__"
    return str((beside if _writable(beside) else Path.home() / ".cache" / "mcstat") / name)


_CACHE_FOLDER = cache_folder()
_LOCK = RLock()


def kernel(function: Function, signature: Any = None) -> Function:
    """Compile a module-level function on its first call: cached, free of the GIL, NumPy's rules for division.

    No ``fastmath`` (it counts no NaN), no ``parallel`` (a sum differs between 1 and 2 threads). A signature compiles
    at once, so it is given only to drivers of users' functions, which are made inside the first ``fit``.
    """
    with _our_cache():
        compile_ = numba.njit(  # noqa: TID251  (the one place)
            signature, cache=True, nogil=True, error_model="numpy"
        )
        return compile_(function)  # type: ignore[no-any-return]


def pointer(function: Callable[..., Any], signature: Any, *, cached: bool = True) -> Any:
    """Compile into a function pointer, which a driver takes as an argument; ``cached`` for module-level functions."""
    with _our_cache():
        return numba.cfunc(signature, cache=cached, error_model="numpy")(function)


def part(function: Callable[..., Any], signature: Any = None) -> Any:
    """A function to be pasted into its callers, or with a signature compiled: a user's, which goes into a pointer.

    Pasted kernels cost less to compile: Numba optimises a callee's code again in each of its callers.
    """
    if signature is None:
        return numba.njit(inline="always", error_model="numpy")(function)  # noqa: TID251
    return numba.njit(signature, error_model="numpy")(with_helpers(function))  # noqa: TID251


def with_helpers(function: Callable[..., Any]) -> Callable[..., Any]:
    """A user's function in which the plain functions that it calls by name are compiled, and those that these call.

    Numba refuses to call a function that is not compiled. The function itself where it calls none, otherwise a copy.
    """
    return _with_helpers(function, {})


def _with_helpers(function: Callable[..., Any], done: dict[Any, Any]) -> Callable[..., Any]:
    def compiled(value: Any) -> Any:
        # NumPy's own are known to Numba.
        if not isinstance(value, FunctionType) or (value.__module__ or "").startswith("numpy."):
            return value
        if value not in done:
            # One that calls itself is left as it is, for Numba to refuse.
            done[value] = value
            done[value] = numba.njit(error_model="numpy")(_with_helpers(value, done))  # noqa: TID251
        return done[value]

    if not isinstance(function, FunctionType):
        return function
    names = function.__code__.co_names
    helpers = {name: value for name, value in function.__globals__.items() if name in names}
    around = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    if not any(isinstance(value, FunctionType) for value in (*helpers.values(), *around.values())):
        return function
    helpers = {name: compiled(value) for name, value in helpers.items()}
    cells = tuple(CellType(compiled(around[name])) for name in function.__code__.co_freevars)
    code, defaults = function.__code__, function.__defaults__
    return FunctionType(code, function.__globals__ | helpers, function.__name__, defaults, cells or None)


def driver_part(function: Function) -> Function:
    """A piece of a driver that takes function pointers: compiled within its callers, plain Python outside of them."""
    return numba.extending.register_jitable(function)  # type: ignore[no-any-return]


@contextmanager
def _our_cache() -> Iterator[None]:
    """Numba reads the folder when it decorates; restored at once, so that other people's caches stay where they are."""
    # The setting is process-wide: one thread at a time.
    with _LOCK:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = _CACHE_FOLDER
        try:
            yield
        finally:
            numba.config.CACHE_DIR = before
