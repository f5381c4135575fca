"""What a sampler's settings ask for: a law, many laws, or an unnormalised target with a law to start from."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcstat.core.checks import check_array, check_option
from mcstat.core.errors import InvalidParameter
from mcstat.importance._laplace import laplace_law
from mcstat.importance._laws import AdaptedLaw, Nominal


def nominal_of(law: Any, laws: Any, target: Any, initial: Any, start: Any) -> tuple[Nominal, int]:
    """What a sampler's settings ask for, and the calls of ``target`` that finding the start took."""
    given = [name for name, one in (("law", law), ("laws", laws), ("target", target)) if one is not None]
    if len(given) != 1:
        raise InvalidParameter(f"exactly one of law, laws and target must be given, got {given or 'none'}")
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
