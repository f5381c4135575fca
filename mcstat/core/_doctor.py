"""What is installed, and whether the compiler works here: the first thing to ask when something is wrong."""

from __future__ import annotations

import platform
import re
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from mcstat._version import __version__

__all__ = ["examine", "versions"]

_BUNDLES = {"all", "dev"}


def examine() -> tuple[str, bool]:
    """Look at the installation.

    Returns
    -------
    report : str
    healthy : bool
        False when a core package is missing or a kernel does not compile and answer right.
    """
    core, extras = _requirements()
    missing = [name for name in core if _version(name) is None]
    lines = [f"Python {platform.python_version()}  {platform.platform()}", f"mcstat {__version__}", "", "core"]
    lines += [f"  {name:<16} {_version(name) or 'MISSING: python -m pip install mcstat'}" for name in core]
    lines += ["", "extras"]
    for extra, names in extras.items():
        lines += [f"  {extra:<8} {name:<20} {_version(name) or _hint(extra)}" for name in names]
    if missing:
        return "\n".join([*lines, "", f"missing: {', '.join(missing)}"]), False
    compiled, healthy = _compile_check()
    return "\n".join([*lines, "", *_machine(), compiled]), healthy


def versions() -> dict[str, str]:
    """Versions behind a number: Python, mcstat and the core packages, and the kind of machine."""
    core, _ = _requirements()
    packages = {name: _version(name) or "missing" for name in core}
    system = f"{platform.system()} {platform.machine()}"
    return {"python": platform.python_version(), "mcstat": __version__, **packages, "system": system}


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Names of the core packages and of each extra's, as the installed metadata (pyproject.toml) lists them."""
    core: list[str] = []
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires("mcstat") or []:
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        group = core if extra is None else extras.setdefault(extra[1], [])
        if name != "mcstat" and name not in group:
            group.append(name)
    return core, {extra: names for extra, names in extras.items() if extra not in _BUNDLES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _hint(extra: str) -> str:
    return f"not installed: python -m pip install 'mcstat[{extra}]'"


def _machine() -> Iterator[str]:
    import joblib
    import numba
    import scipy.linalg  # noqa: F401  (loads SciPy's own BLAS, so that it is listed too)
    from threadpoolctl import threadpool_info

    from mcstat.kernels._jit import cache_folder

    yield f"CPUs {joblib.cpu_count()}, Numba threads {numba.config.NUMBA_NUM_THREADS}"
    for pool in threadpool_info():
        yield f"{pool['user_api']}: {pool['internal_api']} {pool['version'] or ''} with {pool['num_threads']} thread(s)"
    folder = cache_folder()
    yield f"cache of compiled kernels: {folder} ({'writable' if _writable(folder) else 'NOT writable'})"


def _writable(folder: str) -> bool:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _sum_of_squares(values: Any) -> float:
    total = 0.0
    for value in values:
        total += value * value
    return total


def _compile_check() -> tuple[str, bool]:
    import numba
    import numpy as np

    start = time.perf_counter()
    try:
        answer = numba.njit(_sum_of_squares)(np.arange(4.0))  # noqa: TID251  (not cached: it must compile now)
    except Exception as error:  # whatever the compiler says is the finding
        return f"compile check: FAILED with {type(error).__name__}: {error}", False
    seconds = time.perf_counter() - start
    if answer != 14.0:
        return f"compile check: FAILED, 0 + 1 + 4 + 9 gave {answer}", False
    return f"compile check: good, {seconds:.1f} s", True
