"""map_tasks on a Dask cluster: order, and the bits of a serial run."""

import os

import numpy as np
import pytest
from joblib import parallel_config

from mcstat.core.parallel import map_tasks
from mcstat.study import SimulationStudy, sbc
from mcstat.subsampling import LpSampler, leverage_scores, lewis_weights
from tests.contract.cases import bits, fitted, methods_with, quiet
from tests.study.methods import NoisyMean, normal_data, numbers, t_interval

distributed = pytest.importorskip("distributed", reason="the dask extra is not installed")
pytestmark = pytest.mark.dask


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes on this machine."""
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "processes": True}
    with distributed.LocalCluster(**settings) as local, distributed.Client(local):
        yield local


def where(k):
    return k, os.getpid()


def test_order_and_other_processes(cluster):
    seen = []
    with parallel_config("dask"):
        results = map_tasks(where, range(60), on_result=seen.append)
    assert [k for k, _ in results] == list(range(60))
    assert seen == results
    assert os.getpid() not in {pid for _, pid in results}


def test_a_study_has_the_bits_of_a_serial_run(cluster):
    study = SimulationStudy(normal_data, {"noisy": NoisyMean(), "t": t_interval}, truth=2.0)
    serial = numbers(study.run(40, random_state=3))
    with parallel_config("dask"):
        spread = numbers(study.run(40, random_state=3))
    assert serial.equals(spread)


def prior(rng):
    return {"value": rng.normal(2.0, 1.0)}


def simulate(rng, theta):
    return {"x": rng.normal(theta["value"], 1.0, size=12)}


def test_sbc_has_the_bits_of_a_serial_run(cluster):
    serial = sbc(prior, simulate, t_interval, 40, random_state=3)
    with parallel_config("dask"):
        spread = sbc(prior, simulate, t_interval, 40, random_state=3)
    np.testing.assert_array_equal(serial.ranks, spread.ranks)


def test_row_blocks_have_the_law_of_the_matrix_in_memory(cluster):
    array = pytest.importorskip("dask.array", reason="the dask extra is not installed")
    matrix = np.random.default_rng(0).standard_t(3, size=(30_000, 4))
    chunked = array.from_array(matrix, chunks=(7_000, 4))
    np.testing.assert_allclose(leverage_scores(chunked), leverage_scores(matrix), rtol=1e-10)
    np.testing.assert_allclose(lewis_weights(chunked, 1.0), lewis_weights(matrix, 1.0), rtol=1e-5)
    here, there = (LpSampler(p=1, n_samples=300, random_state=5).fit(X) for X in (matrix, chunked))
    # One in a million decisions could hang on the last digits of a score.
    assert len(np.setxor1d(here.indices_, there.indices_)) <= 1
    np.testing.assert_allclose(here.estimate().value, there.estimate().value, rtol=1e-2)


@methods_with("n_jobs")
@quiet
@pytest.mark.slow
def test_a_method_has_the_bits_of_a_serial_run(cluster, card):
    wanted = bits(fitted(card, n_jobs=1).estimate())
    with parallel_config("dask"):
        assert bits(fitted(card, n_jobs=2).estimate()) == wanted


def test_an_error_comes_through(cluster):
    with parallel_config("dask"), pytest.raises(ZeroDivisionError):
        map_tasks(lambda k: 1 / k, range(3))
