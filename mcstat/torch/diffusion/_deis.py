"""DEIS: Adams-Bashforth on uneven nodes, in x / alpha over s = sigma / alpha where the sampling ODE is dx/ds = eps.

Zhang, Chen (2023). Fast sampling of diffusion models with exponential integrator. ICLR. arXiv:2204.13902.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mcstat.core.checks import check_option
from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._coefficients import check_final, check_order, lagrange, orders
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._solvers import Multistep, Row, State, Table, straight

__all__ = ["DEIS"]

FloatArray = NDArray[np.float64]
_CLOCKS = ("time", "lambda", "ratio")
# The quadrature in lambda within one step.
_PLACES, _SIZES = np.polynomial.legendre.leggauss(48)


class DEIS(Multistep):
    """Exponential integrator of the polynomial through the last predicted noises.

    Parameters
    ----------
    order : {1, 2, 3, 4}
        Noises that the polynomial goes through; 1 is DDIM.
    clock : {"time", "lambda", "ratio"}
        What it is a polynomial of: time ("tAB", the paper's choice), half the log signal-to-noise ratio (as in
        diffusers) or sigma / alpha ("rhoAB": Adams-Bashforth, with the weights of the nodes as they are). On grids
        uniform in lambda "lambda" is the best of them, on others it can be by far the worst.
    lower_order_final : bool or "diffusers"
        True takes no step of higher order than steps are left; "diffusers" only in grids of fewer than 15 steps.

    Notes
    -----
    One question a step. The weights are integrals over each step, by 48 Gauss points in lambda, once a grid. Where
    :class:`PLMS` assumes equal steps in sigma / alpha this one keeps its order on every grid. A last step to clean data
    is of order 1.

    References
    ----------
    Zhang, Chen (2023). Fast sampling of diffusion models with exponential integrator. ICLR. arXiv:2204.13902.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import DEIS, GaussianMixtureDenoiser, make_grid, sample
    >>> denoiser = GaussianMixtureDenoiser([1, 1], [[-2.0], [2.0]], 0.01)
    >>> grid = make_grid(denoiser.schedule, 10)
    >>> sample(DEIS(order=3), denoiser, torch.tensor([[-1.0], [1.0]]), grid).samples.round().tolist()
    [[-2.0], [2.0]]
    """

    def __init__(self, order: int = 3, clock: str = "time", *, lower_order_final: bool | str = False) -> None:
        self.order = order
        self.clock = clock
        self.lower_order_final = lower_order_final

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid."""
        if grid.schedule is None:
            grid = Grid(grid.t, grid.lam, grid.alpha, grid.sigma, denoiser.schedule)
        return super().init(x, grid, denoiser, generator)

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid, which must know its schedule."""
        order = check_order(self.order, 4, grid.n_steps)
        check_option("clock", self.clock, _CLOCKS)
        factor, delta = straight(grid)
        predict: list[Row] = []
        for i, p in enumerate(orders(grid, order, check_final(self.lower_order_final))):
            weights = [float(delta[i])] if p == 1 else self._weights(grid, i, p)
            predict.append((float(factor[i]), *weights))
        return Table(form="eps", predict=predict, correct=[None] * grid.n_steps, noise=[0.0] * grid.n_steps)

    def _weights(self, grid: Grid, i: int, p: int) -> list[float]:
        """alpha_{i+1} times the integrals over s from node i to the next of the Lagrange polynomials, newest first."""
        start, end = float(grid.lam[i]), float(grid.lam[i + 1])
        lam = 0.5 * (end + start) + 0.5 * (end - start) * _PLACES
        # ds = -e^-lambda dlambda.
        sizes = -0.5 * (end - start) * _SIZES * np.exp(-lam)
        nodes = self._at(grid, grid.lam[i - np.arange(p)])
        integrals = lagrange(nodes, self._at(grid, lam)) @ sizes
        return [float(grid.alpha[i + 1] * integral) for integral in integrals]

    def _at(self, grid: Grid, lam: FloatArray) -> FloatArray:
        """The clock at half log signal-to-noise ratios."""
        if self.clock == "lambda":
            return lam
        if self.clock == "ratio":
            return np.exp(-lam)
        if grid.schedule is None:
            raise InvalidParameter("grid must know its schedule for clock='time': make_grid and Grid.from_ratio do")
        return grid.schedule.t_of_lam(lam)
