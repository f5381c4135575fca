"""What a sampler's settings ask for: what to draw from, what to call, shares, columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_array, check_names, check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.jit import Pointwise
from mcstat.importance._checkpoint import checkpoint_of
from mcstat.importance._exploration import Integrands
from mcstat.importance._known import known_means
from mcstat.importance._laplace import laplace_law
from mcstat.importance._laws import AdaptedLaw, Nominal
from mcstat.importance._proposal import PointSource, coordinates
from mcstat.importance._scores import AtInputs, StandardNormal, scores_of

if TYPE_CHECKING:
    from mcstat.importance._adaptive import AdaptiveImportanceSampler

FloatArray = NDArray[np.float64]


def nominal_of(law: Any, laws: Any, target: Any, initial: Any, start: Any) -> tuple[Nominal, int]:
    """What a sampler's settings ask for, and the calls of ``target`` that finding the start took."""
    given = [name for name, one in (("law", law), ("laws", laws), ("target", target)) if one is not None]
    if len(given) != 1:
        raise InvalidParameter(f"exactly one of law, laws and target must be given, got {given or 'none'}")
    scores = scores_of(law)
    if scores is not None:
        return Nominal([AdaptedLaw("law", StandardNormal(len(scores.marginals)))]), 0
    if law is not None:
        return Nominal([AdaptedLaw("law", law)]), 0
    if laws is not None:
        if len(laws) == 0:
            raise InvalidParameter("laws must hold at least one law, got none")
        return Nominal([AdaptedLaw(f"laws[{j}]", one) for j, one in enumerate(laws)]), 0
    if not callable(target):
        raise InvalidParameter(f"target must be callable, got {type(target).__name__}")
    if isinstance(initial, str):
        check_option("initial", initial, ("laplace",))
        if start is None:
            raise InvalidParameter("initial='laplace' wants start, the point where the search for the mode begins")
        found, n_calls = laplace_law(target, np.atleast_1d(check_array("start", start, (0, 1))))
        return Nominal([AdaptedLaw("initial", found)], target), n_calls
    if initial is None:
        raise InvalidParameter("target wants initial= a law, or 'laplace' with start=")
    return Nominal([AdaptedLaw("initial", initial)], target), 0


def point_source(
    sampler: AdaptiveImportanceSampler, nominal: Nominal, func: Any, control_variates: Any, control_means: Any
) -> PointSource:
    """The user's functions, as functions of what is drawn, with what the settings say about them."""
    scores = scores_of(sampler.law)
    func = coordinates if func is None else func if sampler.vectorized else Pointwise(func)
    many = sampler.laws is not None
    known = known_means(control_variates, control_means, signed=sampler.signed, many_laws=many)
    if scores is not None:
        func = AtInputs(func, scores)
        known = None if known is None else replace(known, func=AtInputs(known.func, scores))
    least = _lower_bounds(sampler.signed, sampler.lower)
    return PointSource(
        nominal,
        func,
        sampler._root,
        sampler.chunk_size,
        sampler.nan,
        least,
        known=known,
        scores=scores,
        checkpoint=checkpoint_of(sampler.checkpoint, sampler.random_state),
    )


def _lower_bounds(signed: str, lower: Any) -> FloatArray | None:
    """Bounds that the user vouched for, (1,) or (J,)."""
    if signed == "nonneg":
        return np.zeros(1)
    return None if lower is None else np.atleast_1d(check_array("lower", lower, (0, 1)))


def default_share(n_columns: int, budget: int, defensive: float) -> float:
    """Share below which a part's own region holds too few points for its ratio's variance to show."""
    wanted = max(1e-3, min(0.1, 20.0 * n_columns / budget))
    return min(wanted, 0.5 * (1 - 2 * defensive)) / n_columns


def check_columns(
    integrands: Integrands, names: Sequence[str] | None, weights: Any, alpha_min: float | None, defensive: float
) -> None:
    """What can be checked once the number of columns is known."""
    n_expectations = len(integrands.shift)
    if names is not None:
        check_names("names", names, n_expectations)
    n_weights = n_expectations if isinstance(weights, str) else np.size(weights)
    if n_weights != n_expectations:
        raise InvalidParameter(f"weights must hold {n_expectations} number(s), one an expectation, got {n_weights}")
    if alpha_min is not None:
        most = (1 - 2 * defensive) / len(integrands.centre)
        check_real("alpha_min", alpha_min, 0, most, closed="left")
