"""Optional dependencies, imported where they are used and nowhere else."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mcstat.core.errors import MissingExtraError

__all__ = ["import_extra"]


def import_extra(module: str, extra: str) -> Any:
    """Import an optional module, or say which extra brings it.

    Raises
    ------
    MissingExtraError
        Naming the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(f"this needs {package}: python -m pip install 'mcstat[{extra}]'") from error
