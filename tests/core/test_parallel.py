"""map_tasks: order, equality over backends, interruption, one BLAS thread."""

import threading
import time

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mcstat.core.parallel import map_tasks, single_threaded


def square(x):
    return x * x


def blas_threads(_=None):
    return max(info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas")


@pytest.mark.parametrize(("backend", "n_jobs"), [("threading", 1), ("threading", 2), ("loky", 2)])
def test_order(backend, n_jobs):
    seen = []
    with joblib.parallel_config(backend=backend):
        results = map_tasks(square, range(50), n_jobs=n_jobs, on_result=seen.append)
    assert results == seen == [x * x for x in range(50)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupt_keeps_the_finished_prefix(n_jobs):
    def task(k):
        if k == 30:
            raise KeyboardInterrupt
        return k

    seen = []
    with pytest.raises(KeyboardInterrupt):
        map_tasks(task, range(1000), n_jobs=n_jobs, on_result=seen.append)
    assert seen == list(range(len(seen)))
    assert len(seen) <= 30
    assert n_jobs > 1 or len(seen) == 30


def test_an_error_comes_through():
    with pytest.raises(ZeroDivisionError):
        map_tasks(lambda k: 1 / k, range(3))


def test_blas_runs_on_one_thread_inside():
    np.linalg.svd(np.eye(3))  # loads the library
    with threadpool_limits(2):
        outside = blas_threads()
        assert map_tasks(blas_threads, range(4), n_jobs=2) == [1, 1, 1, 1]
        with single_threaded():
            assert blas_threads() == 1
            with single_threaded():
                pass
            assert blas_threads() == 1
        assert blas_threads() == outside


def test_the_pin_holds_until_the_last_thread_leaves():
    np.linalg.svd(np.eye(3))
    with threadpool_limits(2):
        inside, leave, seen = threading.Event(), threading.Event(), []

        def hold():
            with single_threaded():
                inside.set()
                leave.wait(10)
                seen.append(blas_threads())

        thread = threading.Thread(target=hold)
        with single_threaded():
            thread.start()
            assert inside.wait(10)
        time.sleep(0.01)
        leave.set()
        thread.join()
        assert seen == [1]
        assert blas_threads() == 2


def test_no_tasks():
    assert map_tasks(square, []) == []
