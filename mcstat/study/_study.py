"""Simulation studies: any estimator against any data-generating mechanism with a known truth."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from numpy.random import SeedSequence

from mcstat.core.checks import check_integer, check_level, check_real
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.parallel import map_tasks
from mcstat.core.rng import RandomState, entropy_of, root_seed
from mcstat.study._answer import check_method
from mcstat.study._replicate import Record, Replication, clean_truth
from mcstat.study._result import StudyResult

__all__ = ["SimulationStudy"]


class SimulationStudy:
    """Bias, coverage and the other measures of methods, on data whose truth is known.

    Each replicate draws a data set and gives a copy of it to every method.

    Parameters
    ----------
    dgm : callable
        Data-generating mechanism: ``dgm(rng)`` returns a mapping of arguments for ``fit``. Its key ``"truth"``, if
        present, is taken out and is that replicate's truth.
    methods : mapping of str to estimator or callable
        Any object with ``fit(**data)`` and ``estimate()``, copied in each replicate. Where it has ``get_params`` and
        ``set_params``, every ``random_state`` among the parameters, nested ones too, is set from the replicate's
        stream. An object without them cannot be seeded: a generator that it holds repeats its draws in every
        replicate. Callables are called as ``f(**data)`` and return an :class:`~mcstat.Estimate`.
    truth : mapping of str to float, float, or array_like of shape (q,), optional
        The truth by name of the Estimate's quantities, or in their order, where it is the same in all replicates.
        Measures that need it are NaN for quantities without one.
    level : float
        Level of the intervals.
    null : float
        Power is the share of intervals that exclude this value.

    Attributes
    ----------
    result_ : StudyResult
        The finished replicates of the last run, also after Ctrl-C or an error.

    Notes
    -----
    Replicate k depends on the seed and k alone. So the numbers are the same for every ``n_jobs``, backend and order
    of the methods, and the first replicates of a longer run are those of a shorter one.

    References
    ----------
    .. [1] Morris, T. P., White, I. R. and Crowther, M. J. (2019). Using simulation studies to evaluate statistical
       methods. Statistics in Medicine 38, 2074-2102.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat import Estimate
    >>> from mcstat.study import SimulationStudy
    >>> def dgm(rng):
    ...     return {"x": rng.normal(2.0, 1.0, size=30)}
    >>> def mean(x):
    ...     return Estimate(value=x.mean(), std_error=x.std(ddof=1) / np.sqrt(len(x)), df=len(x) - 1)
    >>> result = SimulationStudy(dgm, {"mean": mean}, truth=2.0).run(500, random_state=1)
    >>> float(result.to_frame()["coverage"][0])
    0.958
    """

    result_: StudyResult

    def __init__(
        self,
        dgm: Callable[..., Mapping[str, Any]],
        methods: Mapping[str, Any],
        *,
        truth: Any = None,
        level: float = 0.95,
        null: float = 0.0,
    ) -> None:
        if not callable(dgm):
            raise InvalidParameter(f"dgm must be a callable that takes a Generator, got {type(dgm).__name__}")
        self.dgm = dgm
        self.methods = _check_methods(methods)
        self.truth = None if truth is None else clean_truth(truth)
        self.level = check_level(level)
        self.null = check_real("null", null)

    def run(
        self,
        n_replicates: int,
        *,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        resume: StudyResult | None = None,
        verbose: bool = True,
    ) -> StudyResult:
        """Run the replicates.

        Parameters
        ----------
        n_replicates : int
            Their number, those in ``resume`` included.
        n_jobs : int or None
            Processes, unless a ``joblib.parallel_config`` chooses another backend.
        random_state : None, int, SeedSequence or Generator
            None takes fresh entropy, or that of ``resume``. The result keeps it.
        resume : StudyResult, optional
            An earlier result of this study, such as ``study.result_`` after Ctrl-C: only the missing replicates are
            run, and the result is that of an uninterrupted run.
        verbose : bool
            False switches the progress bar off.

        Returns
        -------
        StudyResult

        Raises
        ------
        InvalidParameter
            Bad arguments, a ``resume`` of another study or seed, a truth that fits no Estimate.
        Exception
            Whatever ``dgm`` raises, with the number of the replicate in a note. What methods raise is recorded in
            ``StudyResult.failures``.

        Warns
        -----
        ReliabilityWarning
            For a method that failed in every replicate.
        """
        n_replicates = check_integer("n_replicates", n_replicates, 1)
        root = self._root(random_state, resume)
        start = self._empty(root) if resume is None else resume
        if n_replicates < start.n_replicates:
            raise InvalidParameter(
                f"n_replicates must be at least the {start.n_replicates} that resume holds, got {n_replicates}"
            )
        task = Replication(self.dgm, self.methods, self.truth, self.level, root)
        records: list[Record] = []
        try:
            map_tasks(
                task,
                range(start.n_replicates, n_replicates),
                n_jobs=n_jobs,
                prefer="processes",
                label="simulation study",
                verbose=verbose,
                on_result=records.append,
            )
        finally:
            self.result_ = start.with_records(records)
        _check_truth_names(records, self.result_)
        _warn_of_total_failure(self.result_)
        return self.result_

    def _root(self, random_state: RandomState, resume: StudyResult | None) -> SeedSequence:
        if resume is None:
            return root_seed(random_state)
        if not isinstance(resume, StudyResult):
            raise InvalidParameter(f"resume must be a StudyResult, got {type(resume).__name__}")
        for name, mine in (("methods", tuple(self.methods)), ("level", self.level), ("null", self.null)):
            if getattr(resume, name) != mine:
                raise InvalidParameter(f"resume must be a result of this study: its {name} is {getattr(resume, name)}")
        if random_state is not None and entropy_of(root_seed(random_state)) != resume.entropy:
            raise InvalidParameter("random_state must be left out or be the seed of resume, got another seed")
        return SeedSequence(**resume.entropy)

    def _empty(self, root: SeedSequence) -> StudyResult:
        return StudyResult.from_rows([], [], tuple(self.methods), 0, self.level, self.null, entropy_of(root))


def _check_methods(methods: Any) -> dict[str, Any]:
    if not isinstance(methods, Mapping) or not methods:
        raise InvalidParameter(f"methods must be a mapping of at least one name to a method, got {methods!r}")
    for name, method in methods.items():
        if not isinstance(name, str) or not name:
            raise InvalidParameter(f"the names of methods must be non-empty strings, got {name!r}")
        check_method(f"methods[{name!r}]", method)
    return dict(methods)


def _check_truth_names(records: list[Record], result: StudyResult) -> None:
    """A name that no Estimate has is a slip of the pen, and would leave a column of NaN."""
    terms = set(result.replicates["term"]) | set(result.failures["term"]) - {""}
    unknown = frozenset().union(*(record.truth_names for record in records)) - terms
    if unknown and terms:
        raise InvalidParameter(
            f"truth must use the names of the Estimates ({', '.join(sorted(terms))}), got {', '.join(sorted(unknown))}"
        )


def _warn_of_total_failure(result: StudyResult) -> None:
    answered = set(result.replicates["method"])
    for name in result.methods:
        if name not in answered:
            first = result.failures[result.failures["method"] == name].iloc[0]
            warnings.warn(
                f"method {name!r} failed in all {result.n_replicates} replicates; first {first['error']}: "
                f"{first['message']}",
                ReliabilityWarning,
                stacklevel=3,
            )
