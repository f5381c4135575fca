"""Same seed, same bits: whatever the number of jobs, the backend, the chunks, and what was run before."""

import pickle
import random
import warnings

import joblib
import numpy as np
import pytest
from numpy.random import SeedSequence
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from tests.contract.cases import bits, every_method, fitted, methods_with, quiet

pytestmark = quiet


@every_method
def test_refit_and_clone_give_the_same_bits(card):
    first = fitted(card)
    wanted = bits(first.estimate())
    case = card.load_case()
    assert bits(first.fit(**case.fit).estimate()) == wanted
    copy = clone(first)
    assert not copy.__sklearn_is_fitted__()
    assert bits(copy.fit(**case.fit).estimate()) == wanted


@every_method
def test_estimate_is_pure(card):
    one = fitted(card)
    assert bits(one.estimate()) == bits(one.estimate())


@methods_with("n_jobs")
@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_jobs_and_backends(card, backend):
    wanted = bits(fitted(card, n_jobs=1).estimate())
    with joblib.parallel_config(backend=backend):
        assert bits(fitted(card, n_jobs=2).estimate()) == wanted


@methods_with("chunk_size", "budget")
@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_chunks(card, chunk_size):
    wanted = bits(fitted(card).estimate())
    # One row at a time is slow in Python: a small budget shows as much.
    assert chunk_size == 1 or bits(fitted(card, chunk_size=chunk_size).estimate()) == wanted
    if chunk_size == 1:
        small = {"budget": 400}
        assert bits(fitted(card, chunk_size=1, **small).estimate()) == bits(fitted(card, **small).estimate())


@every_method
def test_blas_threads(card):
    with threadpool_limits(1):
        wanted = bits(fitted(card).estimate())
    with threadpool_limits(2):
        assert bits(fitted(card).estimate()) == wanted


@methods_with("random_state")
def test_seeds(card):
    root = SeedSequence(5)
    seeds = [0, 1, *root.spawn(2), np.random.default_rng(0)]
    values = [bits(fitted(card, random_state=seed).estimate()) for seed in seeds]
    assert len(set(values)) == len(values)
    assert bits(fitted(card, random_state=np.random.default_rng(0)).estimate()) == values[-1]
    # Fresh seeds may meet at one answer where answers are few (an audit's counts); their entropies do not.
    entropies = [fitted(card, random_state=None).estimate().info["entropy"] for _ in range(2)]
    assert entropies[0] != entropies[1]


@methods_with("random_state")
def test_entropy_replays_a_run_without_seed(card):
    est = fitted(card, random_state=None).estimate()
    entropy = est.info["entropy"]
    again = fitted(card, random_state=SeedSequence(entropy["entropy"], spawn_key=entropy["spawn_key"]))
    assert bits(again.estimate()) == bits(est)


@every_method
def test_global_state_is_left_alone(card):
    fitted(card)  # what is imported at the first use is not the fit's doing
    before = (
        pickle.dumps(np.random.get_state()),  # noqa: NPY002  (the state that must not move)
        random.getstate(),
        np.geterr(),
        list(warnings.filters),
    )
    fitted(card).estimate()
    after = (pickle.dumps(np.random.get_state()), random.getstate(), np.geterr(), list(warnings.filters))  # noqa: NPY002
    assert after == before


@every_method
def test_pickle(card):
    one = fitted(card)
    copy = pickle.loads(pickle.dumps(one))  # noqa: S301  (our own bytes)
    assert bits(copy.estimate()) == bits(one.estimate())
    unfitted = pickle.loads(pickle.dumps(card.load_case().estimator))  # noqa: S301
    assert not unfitted.__sklearn_is_fitted__()


@every_method
def test_case_is_right(card):
    # |z| < 6 (Student's t where df is small: the critical value at the same level).
    from scipy.stats import norm, t

    est = fitted(card).estimate()
    limit = 6.0 if est.df is None else t.isf(norm.sf(6.0), est.df)
    for name, truth in card.load_case().truth.items():
        one = est[name]
        assert abs(float(one) - truth) <= limit * one.std_error[0], name
