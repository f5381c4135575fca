"""What the coefficients of exponential integrators are made of, in float64."""

from __future__ import annotations

from math import exp, expm1, factorial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer
from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._grids import Grid

__all__ = ["check_final", "check_order", "lagrange", "orders", "phi"]

# Up to this |z| the series is exact to rounding in this many terms; above it the recursion loses no more than a digit.
_SMALL, _TERMS = 1.0, 18
_INVERSE_FACTORIALS = [1.0 / factorial(j) for j in range(_TERMS + 6)]


def phi(k: int, z: float) -> float:
    """The k-th phi function, sum over j of z^j / (j + k)!: phi_0 = exp, phi_{k+1} = (phi_k - 1/k!) / z; k <= 6."""
    if abs(z) > _SMALL:
        value = expm1(z) / z if k > 0 else exp(z)
        for j in range(1, k):
            value = (value - _INVERSE_FACTORIALS[j]) / z
        return value
    value = 0.0
    for coefficient in reversed(_INVERSE_FACTORIALS[k : k + _TERMS]):
        value = value * z + coefficient
    return value


def check_order(order: int, highest: int, n_steps: int) -> int:
    """An order that the solver has and that the grid is long enough for."""
    check_integer("order", order, 1)
    if order > highest:
        raise InvalidParameter(f"order must be at most {highest}, got {order}")
    if n_steps < order:
        raise InvalidParameter(f"grid must have at least {order} steps for order {order}, got {n_steps}")
    return order


def check_final(value: Any) -> bool | str:
    """What ``lower_order_final`` may be."""
    if value is True or value is False or value == "diffusers":
        return value  # type: ignore[no-any-return]  # one of the three
    raise InvalidParameter(f"lower_order_final must be True, False or 'diffusers', got {value!r}")


def lagrange(nodes: NDArray[np.float64], at: ArrayLike) -> NDArray[np.float64]:
    """Weights (p, ...) of the values at ``nodes`` (p,) in the values at ``at`` (...) of the polynomial through them."""
    points = np.asarray(at, dtype=np.float64)[..., None]
    others = [np.delete(nodes, a) for a in range(len(nodes))]
    return np.stack(
        [np.prod((points - rest) / (node - rest), axis=-1) for node, rest in zip(nodes, others, strict=True)]
    )


def orders(grid: Grid, order: int, lower_order_final: bool | str) -> list[int]:
    """Order of each step: 1, 2, ... at the start, where there is no more history, and lower at the end where asked.

    ``lower_order_final`` True takes no step of higher order than steps are left. "diffusers" does so only in grids of
    fewer than 15 steps. A step to clean data is of order 1, as no polynomial in lambda reaches infinity.
    """
    n = grid.n_steps
    lower = lower_order_final is True or (lower_order_final == "diffusers" and n < 15)
    found = [min(order, i + 1, n - i if lower else order) for i in range(n)]
    if grid.ends_clean:
        found[-1] = 1
    return found
