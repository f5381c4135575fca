"""What users hand in: any array kind is the same answer; what cannot be used is refused by name."""

import inspect

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import NotFittedError

from mcstat.core.errors import MCStatError
from tests.contract.cases import bits, every_method, fitted, quiet

pytestmark = quiet


def _strided(array):
    wide = np.zeros((array.shape[0], *[2 * n for n in array.shape[1:]])) if array.ndim > 1 else np.zeros(2 * len(array))
    view = wide[..., ::2]
    view[...] = array
    return view


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


EXACT = {
    "read-only": _read_only,
    "Fortran": np.asfortranarray,
    "strided": _strided,
    "negative strides": lambda array: array[::-1].copy()[::-1],
    "big-endian": lambda array: array.astype(">f8"),
    "pandas": lambda array: pd.DataFrame(array) if array.ndim == 2 else pd.Series(array),
    "polars": lambda array: pl.DataFrame(array) if array.ndim == 2 else pl.Series(array),
    "longdouble": lambda array: array.astype(np.longdouble),
}


def _changed(case, change):
    """The case's fit arguments with every array, and every array that a function returns, changed."""

    def wrap(value):
        if callable(value):
            return lambda *args: change(np.asarray(value(*args), dtype=float))
        return change(value) if isinstance(value, np.ndarray) else value

    return {name: wrap(value) for name, value in case.fit.items()}


@every_method
@pytest.mark.parametrize("kind", EXACT)
def test_array_kinds_give_the_same_bits(card, kind):
    case = card.load_case()
    assert bits(case.estimator.fit(**_changed(case, EXACT[kind])).estimate()) == bits(fitted(card).estimate())


@every_method
def test_single_precision_is_close(card):
    case = card.load_case()
    est = case.estimator.fit(**_changed(case, lambda array: array.astype(np.float32))).estimate()
    wanted = fitted(card).estimate()
    np.testing.assert_allclose(est.value, wanted.value, rtol=1e-4, atol=1e-5)


@every_method
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(card, bad):
    def spoil(array):
        array = array.copy()
        array[0] = bad
        return array

    case = card.load_case()
    with pytest.raises((MCStatError, ValueError), match="finite"):
        case.estimator.fit(**_changed(case, spoil))


@every_method
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("strings", lambda array: array.astype(str)),
        ("objects", lambda array: np.full(array.shape, None, dtype=object)),
        ("complex", lambda array: array + 1j),
        ("datetime", lambda array: np.full(array.shape, np.datetime64("2020-01-01"))),
        ("too few rows", lambda array: array[:1]),
        ("too many dimensions", lambda array: array[..., None, None]),
    ],
)
def test_wrong_kinds_are_refused(card, kind, change):
    case = card.load_case()
    with pytest.raises((MCStatError, TypeError)):
        case.estimator.fit(**_changed(case, change))


NONSENSE = ["?", -3, 0.5, np.nan, None, True, [], object()]
MUST_REFUSE = {
    "budget": ["?", -3, 0.5, 1e3, np.nan, True, None, []],
    "n_randomisations": ["?", -3, 0.5, 1, np.nan, True, None, []],
    "n_components": ["?", 0, 0.5, np.nan, True, None],
    "random_state": ["?", -1, 0.5, np.random.RandomState(0)],
    "level": ["?", 0.0, 1.0, np.nan, None, True],
    "tol": ["?", -1.0, np.nan, None, True],
    "max_iter": ["?", 0, 0.5, True, None],
    "n_samples": ["?", 0, 0.5, True, None, []],
    "n_folds": ["?", 1, 0.5, True, None, []],
    "n_particles": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "n_iter": ["?", 0, 0.5, True, None, []],
    "delta": ["?", -0.1, 1.0, np.nan, None, []],
    "n_draws": ["?", -1, 0.5, True, None, []],
    "max_explore": ["?", 0.0, 1.0, np.nan, None, True],
    "chunk_size": ["?", 0, 0.5, True],
    "prior": ["?", 1.0, None, (0.0, 1.0), (1.0,), (1.0, np.nan)],
    "threshold": ["?", np.nan, True, []],
    "split": ["?", 0.0, 1.0, np.nan, None, True],
    "n_guesses": ["?", 0, 0.5, np.nan, True, []],
    "rho": ["?", 0.0, 1.0, np.nan, None, True],
    "target_cv": ["?", 0.0, -1.0, np.nan, None, True],
    "functional": [*NONSENSE, [], ["sum_x", "sum_x"], ["sum_x", 3]],
    "n_backward": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "backward": NONSENSE,
    "n_paths": ["?", 0, -3, 0.5, np.nan, True, []],
    "lag": ["?", -1, 0.5, np.nan, True, None, []],
    "filter_method": NONSENSE,
    "max_trials": ["?", -1, 0.5, np.nan, True, []],
    "burn_in": ["?", -1, 0.5, np.nan, True, []],
    "n_warmup": ["?", -1, 0.5, np.nan, True, None, []],
    "n_steps": ["?", 0, 0.5, np.nan, True, None, []],
    "n_sweeps": ["?", 0, 0.5, np.nan, True, None, []],
    "n_information": ["?", -1, 0.5, np.nan, True, None, []],
    "decay": ["?", 0.5, 1.1, np.nan, None, True],
    "conditional": ["?", 1, 0.5, np.nan, None, []],
    "parameters": ["?", [], ["?"], ["sigma_y", "sigma_y"], 3],
    "correlation": ["?", -0.1, 1.0, np.nan, None, True, []],
    "ancestor_sampling": ["?", 1, 0.5, np.nan, []],
    "initial_theta": ["?", [np.nan], [[[0.0]]], 0.5, [-1.0]],
    "n_chains": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "initial_path": ["?", [np.nan], [[[0.0]]], 0.5],
    "n_replicates": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "ratio": ["?", 0.0, 1.1, np.nan, True, None, []],
    "n_rounds": ["?", 0, -3, 0.5, True, None, []],
    "n_evaluations": ["?", 0, 0.5, True, None, []],
    "tau": ["?", 0.0, -1.0, np.nan, None, True],
    "ess_threshold": ["?", -0.1, 1.1, np.nan, None, True, []],
    "approach": NONSENSE,
    "base_period": NONSENSE,
    "splitter": NONSENSE,
    "vcov": NONSENSE,
    "learner_y": NONSENSE,
    "learner_d": NONSENSE,
    "learner_outcome": NONSENSE,
    "learner_propensity": NONSENSE,
    "clip": ["?", 0.0, 0.5, np.nan, None, True],
    "n_rep": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "quantiles": [[0.0], [1.0], ["?"], [np.nan]],
    **dict.fromkeys(
        ["control", "covariance", "design", "family", "interval", "levels", "method", "model", "resampling", "score"],
        NONSENSE,
    ),
    "spread": NONSENSE,
    "n_populations": ["?", 1, -3, 0.5, np.nan, True, None, []],
    "exponents": ["?", None, [], [np.nan], -1.0, [[1.0]]],
    "noise_scale": ["?", -0.1, np.nan, True, []],
    "integrator": NONSENSE,
    "weight_interval": ["?", 1.0, (1.0, 1.0), (1.0,), (1.0, np.nan)],
    "mode": NONSENSE,
    "length": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "vocab_size": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "mask_id": ["?", -1, 1, 0.5, np.nan, True, []],
    "tokens_per_step": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "prompt": ["?", [0.5], [7], 0],
    "top_p": ["?", 0.0, 1.1, np.nan, True, None, []],
    "batch_size": ["?", 0, -3, 0.5, np.nan, True, []],
    "draw": NONSENSE,
    "precision": NONSENSE,
    "cached": ["?", 1, 0.5, np.nan, None, []],
    "temperature": ["?", 0.0, -1.0, np.nan, True, None, []],
    "bias": ["?", [np.nan], [[0.0]], 0.5],
    "lift": ["?", [np.nan], [[0.0]], 0.5],
    "kappa_clip": ["?", 0.0, -1.0, np.nan, True, []],
    "nfe": ["?", 1, -3, 0.5, np.nan, True, None, []],
    "metric": NONSENSE,
    "predictor": NONSENSE,
    "population_size": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "n_stages": ["?", 0, -3, 0.5, np.nan, True, None, []],
    "validation": ["?", 0.0, 1.0, np.nan, None, True, []],
    "t_start": ["?", -1.0, np.nan, True, []],
    "t_end": ["?", -1.0, np.nan, True, []],
}


@every_method
def test_bad_parameters_are_refused_in_fit_by_name(card):
    case = card.load_case()
    known = [name for name in case.estimator.get_params(deep=False) if name in MUST_REFUSE]
    assert known
    for name in known:
        for value in MUST_REFUSE[name]:
            estimator = type(case.estimator)(**(case.estimator.get_params(deep=False) | {name: value}))
            with pytest.raises((MCStatError, TypeError), match=name):
                estimator.fit(**case.fit)
            assert not estimator.__sklearn_is_fitted__()


@every_method
def test_a_failed_refit_forgets_the_old_answer(card):
    one = fitted(card)
    case = card.load_case()
    name = next(name for name in MUST_REFUSE if name in one.get_params(deep=False))
    one.set_params(**{name: MUST_REFUSE[name][0]})
    with pytest.raises((MCStatError, TypeError)):
        one.fit(**case.fit)
    with pytest.raises(NotFittedError):
        one.estimate()


@every_method
def test_estimate_before_fit(card):
    with pytest.raises(NotFittedError):
        card.load_case().estimator.estimate()


# The one spelling stands on the right; the others are what users of other libraries might try.
SYNONYMS = {"seed", "rng", "alpha", "confidence", "N", "num_samples", "n_threads", "n_workers", "n_cores", "n_sim"}
SYNONYMS |= {"nsim", "n_iterations", "maxiter", "num_particles", "n_boot", "eps", "show_progress", "progress"}


@every_method
def test_one_spelling(card):
    cls = card.load_class()
    functions = [getattr(cls, name) for name in ("__init__", "fit", "estimate", "extend") if hasattr(cls, name)]
    used = {name for function in functions for name in inspect.signature(function).parameters}
    assert not used & SYNONYMS


@every_method
def test_init_only_stores(card):
    case = card.load_case()
    params = case.estimator.get_params(deep=False)
    marked = {name: object() for name in params}
    made = type(case.estimator)(**marked)
    assert {name: getattr(made, name) for name in params} == marked
    assert set(vars(made)) == set(params)
