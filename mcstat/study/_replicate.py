"""One replicate of a study: draw a data set, let every method answer it, write down what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat.core._intervals import interval
from mcstat.core.checks import check_array, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, child_seed, stream
from mcstat.study._answer import answer

__all__ = ["Record", "Replication", "Truth", "clean_truth"]

FloatArray: TypeAlias = NDArray[np.float64]
Truth: TypeAlias = dict[str, float] | float | FloatArray | None


@dataclass
class Record:
    """What replicate ``k`` gave, as plain tuples: a DataFrame a replicate would cost more than the methods."""

    k: int
    # (replicate, method, term, truth, estimate, std_error, conf_low, conf_high, cpu_seconds)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    # (replicate, method, term, error, message); term "" where the whole method failed
    failures: list[tuple[Any, ...]] = field(default_factory=list)
    truth_names: frozenset[str] = frozenset()

    def add(self, name: str, est: Estimate, truth: FloatArray, ends: tuple[FloatArray, FloatArray], cpu: float) -> None:
        """Keep the finite quantities of a method's answer; one that is not finite is a failure of that term."""
        columns = (est.names, truth, est.value, est.std_error, *ends)
        lists = [column if isinstance(column, tuple) else column.tolist() for column in columns]
        for term, true, value, std_error, low, high in zip(*lists, strict=True):
            if np.isfinite(value):
                self.rows.append((self.k, name, term, true, value, std_error, low, high, cpu))
            else:
                self.failures.append((self.k, name, term, "NonFiniteEstimate", f"the estimate is {value}"))


@dataclass(frozen=True)
class Replication:
    """The task: replicate ``k`` as a function of the root seed and ``k`` alone, whoever runs it."""

    dgm: Callable[..., Mapping[str, Any]]
    methods: Mapping[str, Any]
    truth: Truth
    level: float
    root: SeedSequence

    def __call__(self, k: int) -> Record:
        """Run replicate ``k``. What a method raises is recorded; what ``dgm`` raises is raised."""
        try:
            data, truth = self._draw(k)
        except Exception as error:
            error.add_note(f"in the data-generating mechanism, replicate {k}")
            raise
        record = Record(k, truth_names=frozenset(truth) if isinstance(truth, dict) else frozenset())
        for name, method in self.methods.items():
            try:
                # Each method has its own copy: one that writes into its input must not change the next one's answer.
                # The stream is keyed by the method's name: neither order nor presence of other methods matters.
                seed = child_seed(self.root, f"SimulationStudy:{name}", Purpose.METHODS, k)
                est, cpu = answer(method, deepcopy(data), seed)
                band = interval(est, self.level, how=None, joint=False, sides="two")
            except Exception as error:
                record.failures.append((k, name, "", type(error).__name__, str(error)))
            else:
                record.add(name, est, _truth_of(est, truth, name), (band.lower, band.upper), cpu)
        return record

    def _draw(self, k: int) -> tuple[dict[str, Any], Truth]:
        drawn = self.dgm(stream(self.root, "SimulationStudy", Purpose.REPLICATES, k))
        if not isinstance(drawn, Mapping):
            raise InvalidData(f"dgm must return a mapping of arguments, got {type(drawn).__name__}")
        data = dict(drawn)
        if "truth" not in data:
            return data, self.truth
        if self.truth is not None:
            raise InvalidParameter("truth must come from the study or from dgm, got both")
        return data, clean_truth(data.pop("truth"))


def clean_truth(truth: Any) -> Truth:
    """A truth in one of its three forms: by name, one number, or an array in the Estimate's order."""
    if isinstance(truth, Mapping):
        return {str(name): check_real(f"truth[{name!r}]", number) for name, number in truth.items()}
    if isinstance(truth, Real):
        return check_real("truth", truth)
    array = check_array("truth", truth, (0, 1))
    return float(array) if array.ndim == 0 else array


def _truth_of(est: Estimate, truth: Truth, method: str) -> FloatArray:
    """Truth of each quantity, (q,), NaN where it is not known. A truth that does not fit is the study's error."""
    if truth is None:
        return np.full(len(est), np.nan)
    if isinstance(truth, dict):
        return np.array([truth.get(name, np.nan) for name in est.names])
    array = np.atleast_1d(truth)
    if len(array) != len(est):
        raise InvalidParameter(
            f"truth must be given by name or as an array of {len(est)} numbers, one a quantity of the Estimate of "
            f"method {method!r}; got {len(array)} number(s)"
        )
    return array
