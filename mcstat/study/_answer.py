"""One method's answer to one data set: what every study asks of a method."""

from __future__ import annotations

from collections.abc import Mapping
from time import thread_time
from typing import Any

from numpy.random import SeedSequence

from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate

__all__ = ["answer", "check_method"]


def answer(method: Any, data: Mapping[str, Any], seed: SeedSequence) -> tuple[Estimate, float]:
    """The method's Estimate from ``data``, and the CPU seconds of this thread that it took.

    An estimator is copied first, and its random states are set from ``seed``; a function is called as it is.
    """
    if hasattr(method, "fit"):
        estimator = _seeded_clone(method, seed)
        start = thread_time()
        # Not chained: only scikit-learn's convention makes fit return self.
        estimator.fit(**data)
        est = estimator.estimate()
    else:
        start = thread_time()
        est = method(**data)
    cpu = thread_time() - start
    if not isinstance(est, Estimate):
        raise TypeError(f"a method must answer with an Estimate, got {type(est).__name__}")
    return est, cpu


def check_method(name: str, method: Any) -> None:
    """Refuse what neither fits and estimates nor can be called."""
    estimates = all(hasattr(method, part) for part in ("fit", "estimate"))
    if isinstance(method, type) or not (estimates or (callable(method) and not hasattr(method, "fit"))):
        raise InvalidParameter(
            f"{name} must be an object with fit and estimate, or a callable that returns an Estimate; got {method!r}"
        )


def _seeded_clone(method: Any, seed: SeedSequence) -> Any:
    """An unfitted copy whose ``random_state``, and those of its nested estimators, come from ``seed``.

    The states are 32-bit integers, which estimators of scikit-learn take as well as ours.
    """
    from sklearn.base import clone

    # safe=False deep-copies an object that is no scikit-learn estimator: fit and estimate are all it must have.
    estimator = clone(method, safe=False)
    if not hasattr(estimator, "get_params"):
        return estimator
    states = sorted(key for key in estimator.get_params() if key.split("__")[-1] == "random_state")
    if states:
        words = seed.generate_state(len(states))
        estimator.set_params(**{key: int(word) for key, word in zip(states, words, strict=True)})
    return estimator
