"""One progress bar for long work: after a second, on a terminal or in a notebook, and never in logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


def _somebody_watches() -> bool:
    if "ipykernel" in sys.modules:
        return True
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress_bar(total: int, label: str = "", verbose: bool = True) -> Iterator[Callable[[], object]]:
    """Give a function to call once a finished unit; show a bar when it takes longer than a second.

    Parameters
    ----------
    total : int
        Number of units.
    label : str
    verbose : bool
        False shows nothing.
    """
    if not (verbose and _somebody_watches()):
        yield lambda: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, delay=1.0, leave=False) as bar:
        yield lambda: bar.update(1)
