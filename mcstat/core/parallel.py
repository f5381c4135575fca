"""One way to run independent tasks: ``map_tasks``.

joblib does the work, so ``joblib.parallel_config("loky" | "threading" | "dask")`` chooses where it runs. We
write no scheduler. BLAS and OpenMP are pinned to one thread inside ``fit`` and inside every task: two BLAS
threads give other last bits than one, and on a busy machine they ran 30 times slower.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, Literal, TypeVar

from mcstat.core.progress import progress_bar

__all__ = ["map_tasks", "single_threaded"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Pin:
    """Counts who asked for one thread: the first one in sets the limit, the last one out lifts it.

    The limit is process-wide. A plain ``threadpool_limits`` in two threads would lift it while the other still works.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.holders = 0
        self.limiter: Any = None
        self.controller: Any = None
        self.n_modules = 0

    def acquire(self) -> None:
        with self.lock:
            if self.holders == 0:
                self.limiter = self.current_controller().limit(limits=1)
            self.holders += 1

    def current_controller(self) -> Any:
        """Of the libraries that are loaded: finding them takes 8 ms, so only again after another import."""
        if self.n_modules != len(sys.modules):
            from threadpoolctl import ThreadpoolController

            self.controller, self.n_modules = ThreadpoolController(), len(sys.modules)
        return self.controller

    def release(self) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                _take_control()
                self.limiter.restore_original_limits()
                self.limiter = None


def _take_control() -> None:
    """Let this thread lift a limit that another one set; threadpoolctl (since 3.8) heeds only the one that set it."""
    from threadpoolctl import OpenBLASController

    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


_PIN = _Pin()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Hold BLAS and OpenMP at one thread while the block runs. Re-entrant and safe across Python threads."""
    _PIN.acquire()
    try:
        yield
    finally:
        _PIN.release()


def _run(task: Callable[[Item], Result], home: int, item: Item) -> Result:
    if os.getpid() != home and _PIN.holders == 0:
        # A worker process does nothing else: pinned once for its life, not for a millisecond a task.
        _PIN.acquire()
    with single_threaded():
        return task(item)


def map_tasks(
    task: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    n_jobs: int | None = None,
    prefer: Literal["threads", "processes"] = "threads",
    label: str = "",
    verbose: bool = True,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Apply ``task`` to every item and return the results in order.

    Parameters
    ----------
    task : callable
        Pure function of its item: randomness comes from a stream named by the item, never from the worker.
    items : sequence
    n_jobs : int or None
        joblib's ``n_jobs``; None means 1 unless a ``joblib.parallel_config`` says otherwise.
    prefer : {"threads", "processes"}
        Where to run when no ``parallel_config`` chooses: threads for compiled work, processes for Python code.
    label : str
        Shown beside the progress bar (after one second, on a terminal or notebook).
    verbose : bool
        False switches the progress bar off.
    on_result : callable, optional
        Called in the main thread with each result, in order, as soon as it is there. After Ctrl-C what was
        passed to it is the finished work.

    Returns
    -------
    list
    """
    from joblib import Parallel, delayed

    results: list[Result] = []
    with single_threaded(), progress_bar(len(items), label, verbose) as advance:
        parallel = Parallel(n_jobs=n_jobs, prefer=prefer, return_as="generator")
        run = partial(_run, task, os.getpid())
        for result in parallel(delayed(run)(item) for item in items):
            results.append(result)
            if on_result is not None:
                on_result(result)
            advance()
    return results
