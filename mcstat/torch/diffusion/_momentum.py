"""Multistep methods in x / alpha over s = sigma / alpha, with momentum against divergence.

The sampling ODE there is dx/ds = eps. Adams-Bashforth methods of high order have small regions of stability; a moving
average of eps (a velocity) widens them.

Wizadwongsa, Chinchuthakun, Khungurn, Suwajanakorn (2024). Diffusion sampling with momentum for mitigating divergence
artifacts. ICLR. arXiv:2307.11118.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._dpm import DPMSolver
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._solvers import Multistep, Row, State, Table, combine, straight
from mcstat.torch.diffusion._unipc import UniPC

__all__ = ["GHVB", "PLMS", "HeavyBall", "stability_region"]

_MAX_ORDER = 5


class PLMS(Multistep):
    """Adams-Bashforth of order 1 to 5 in x / alpha over sigma / alpha (pseudo linear multistep).

    Parameters
    ----------
    order : {1, 2, 3, 4, 5}

    Notes
    -----
    The weights are those of equal steps in sigma / alpha, as published; on other grids the order drops.
    """

    def __init__(self, order: int = 4) -> None:
        self.order = order

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid."""
        return _table(grid, _check_count(self.order), 1.0)


class GHVB(Multistep):
    """Generalised heavy ball: Adams-Bashforth of a velocity, which keeps (nearly) its order.

    Parameters
    ----------
    order : float
        With a fraction, as 2.8: three velocities and beta = 0.8; a whole number has beta = 1, which is
        :class:`PLMS`.
    beta : float, optional
        In (0, 1], for whole orders: the velocity is v_n = (1 - beta) v_{n-1} + beta eps_n. Smaller is more stable
        and less accurate.

    Notes
    -----
    One question a step. The weights are those of equal steps in sigma / alpha. The first steps have fewer velocities
    and so a lower order, whose error stays: four velocities seldom reach order 4.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import GHVB, GaussianMixtureDenoiser, make_grid, sample
    >>> denoiser = GaussianMixtureDenoiser([1, 1], [[-2.0], [2.0]], 0.01)
    >>> grid = make_grid(denoiser.schedule, 20)
    >>> sample(GHVB(order=1.8), denoiser, torch.tensor([[-1.0], [1.0]]), grid).samples.round().tolist()
    [[-2.0], [2.0]]
    """

    def __init__(self, order: float = 2.8, beta: float | None = None) -> None:
        self.order = order
        self.beta = beta

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid."""
        count, beta = self._count_and_beta()
        return _table(grid, count, beta)

    def _count_and_beta(self) -> tuple[int, float]:
        order = check_real("order", self.order, 1.0, float(_MAX_ORDER))
        count = ceil(order)
        if self.beta is None:
            # What is left of 2.8 is not 0.8 to the last bit.
            return count, round(order - count + 1.0, 12)
        if order != count:
            raise InvalidParameter(f"order must be a whole number where beta is given, got {self.order!r}")
        return count, check_real("beta", self.beta, 0.0, 1.0, closed="right")

    def _remember(self, state: State, answer: torch.Tensor, node: int) -> None:
        _, beta = self._count_and_beta()
        if state.history and beta < 1.0:
            answer = torch.lerp(state.history[0], answer, beta)
        super()._remember(state, answer, node)


class HeavyBall(Multistep):
    """Polyak's or Nesterov's momentum on the direction of another solver: more stable, of first order.

    Parameters
    ----------
    base : PLMS, DPMSolver or UniPC, optional
        Default ``PLMS(4)``. Its step is x' = a x + b g with g a weighted mean of its answers.
    beta : float
        In (0, 1]; the velocity is v = (1 - beta) v + beta g and takes the place of g. 1 is the base.
    nesterov : bool
        Step with (1 - beta) v + beta g instead of v.

    Notes
    -----
    The predictor and the corrector of :class:`UniPC` have a velocity each.
    """

    def __init__(self, base: Multistep | None = None, beta: float = 0.8, nesterov: bool = False) -> None:
        self.base = base
        self.beta = beta
        self.nesterov = nesterov

    def coefficients(self, grid: Grid) -> Table:
        """Those of the base."""
        check_real("beta", self.beta, 0.0, 1.0, closed="right")
        base = PLMS(4) if self.base is None else self.base
        if not isinstance(base, PLMS | DPMSolver | UniPC) or base.stochastic:
            raise InvalidParameter(f"base must be PLMS, DPMSolver or UniPC without noise, got {self.base!r}")
        return base.coefficients(grid)

    def _combine(self, state: State, row: Row, answers: Sequence[torch.Tensor], stage: str) -> torch.Tensor:
        if self.beta == 1.0:
            return combine(row, state.x, answers)
        weight = sum(row[1:])
        direction = combine((row[1] / weight, *(b / weight for b in row[2:])), answers[0], answers[1:])
        before = state.memory.get(stage, direction)
        velocity = torch.lerp(before, direction, self.beta)
        state.memory[stage] = velocity
        if self.nesterov:
            velocity = torch.lerp(velocity, direction, self.beta)
        return combine((row[0], weight), state.x, [velocity])


def stability_region(solver: PLMS | GHVB | HeavyBall, z: ArrayLike) -> NDArray[np.bool_]:
    """Where x' = lambda x is solved without growth, z = step times lambda.

    Parameters
    ----------
    solver : PLMS, GHVB, or HeavyBall over PLMS without nesterov
    z : array_like of complex

    Returns
    -------
    ndarray of bool, shape of z
        Whether all roots of the method's polynomial lie in the unit disc.

    Raises
    ------
    InvalidParameter
        For another solver.
    """
    weights, beta = _method(solver)
    points = np.asarray(z, dtype=np.complex128)
    k = len(weights)
    # (E - 1) (E - 1 + beta) E^(k-1) = z beta sum_j w_j E^(k-j), E the shift; its companion matrix for each z.
    polynomial = np.zeros((*points.shape, k + 2), dtype=np.complex128)
    polynomial[..., :3] = [1.0, beta - 2.0, 1.0 - beta]
    polynomial[..., 1 : k + 1] -= beta * points[..., None] * np.array(weights)
    companion = np.zeros((*points.shape, k + 1, k + 1), dtype=np.complex128)
    companion[..., 0, :] = -polynomial[..., 1:]
    companion[..., np.arange(1, k + 1), np.arange(k)] = 1.0
    return np.asarray((np.abs(np.linalg.eigvals(companion)) <= 1.0 + 1e-9).all(axis=-1))


def _method(solver: Any) -> tuple[list[float], float]:
    """Weights of the velocities, newest first, and beta."""
    if isinstance(solver, PLMS):
        return _weights(_check_count(solver.order), 1.0), 1.0
    if isinstance(solver, GHVB):
        count, beta = solver._count_and_beta()
        return _weights(count, beta), beta
    if isinstance(solver, HeavyBall) and isinstance(solver.base, PLMS) and not solver.nesterov:
        return _weights(_check_count(solver.base.order), 1.0), solver.beta
    raise InvalidParameter(f"solver must be PLMS, GHVB or HeavyBall over PLMS, got {solver!r}")


def _check_count(order: Any) -> int:
    if check_integer("order", order, 1) > _MAX_ORDER:
        raise InvalidParameter(f"order must be at most {_MAX_ORDER}, got {order}")
    return int(order)


def _table(grid: Grid, count: int, beta: float) -> Table:
    """Rows of x and of the newest velocities, of which there are fewer at the start."""
    factor, delta = straight(grid)
    n = grid.n_steps
    predict: list[Row] = [
        (float(factor[i]), *(float(delta[i]) * weight for weight in _weights(min(count, i + 1), beta)))
        for i in range(n)
    ]
    return Table(form="eps", predict=predict, correct=[None] * n, noise=[0.0] * n)


def _weights(count: int, b: float) -> list[float]:
    """Weights of the newest velocities for equal steps; at b = beta = 1 those of Adams-Bashforth."""
    numerators, denominator = {
        1: ([1.0], 1.0),
        2: ([2 + b, b - 2], 2 * b),
        3: ([18 + 5 * b, 8 * b - 24, 6 - b], 12 * b),
        4: ([46 + 9 * b, 19 * b - 78, 42 - 5 * b, b - 10], 24 * b),
        5: ([1650 + 251 * b, 646 * b - 3420, 2880 - 264 * b, 106 * b - 1380, 270 - 19 * b], 720 * b),
    }[count]
    return [numerator / denominator for numerator in numerators]
