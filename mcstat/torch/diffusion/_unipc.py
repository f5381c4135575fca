"""UniPC: a predictor and a corrector of one order more at no extra question.

Zhao, Bai, Rao, Zhou, Lu (2023). UniPC: a unified predictor-corrector framework. NeurIPS. arXiv:2302.04867.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import expm1, factorial

import numpy as np

from mcstat.core.checks import check_integer, check_option
from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._coefficients import check_order, orders, phi
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._solvers import Multistep, Row, Table

__all__ = ["UniPC"]


class UniPC(Multistep):
    """Predictor of order p in predicted data, corrector of order p + 1, one question a step.

    Parameters
    ----------
    order : {1, 2, 3}
        p.
    kind : {"bh1", "bh2"}
        B(h) = h or e^h - 1, which matters where the order is at most 2.
    corrector : bool
        False is "UniP".
    disable_corrector : sequence of int
        Steps without corrector, from 0; guided models often do without it in the first.
    lower_order_final : bool
        Take no step of higher order than steps are left.

    Notes
    -----
    What the denoiser answers at the predicted x serves the corrector and the next step: it is not asked again at the
    corrected x. The last step has no corrector. A last step to clean data is of order 1.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import GaussianMixtureDenoiser, UniPC, make_grid, sample
    >>> denoiser = GaussianMixtureDenoiser([1, 1], [[-2.0], [2.0]], 0.01)
    >>> grid = make_grid(denoiser.schedule, 10)
    >>> sample(UniPC(order=3), denoiser, torch.tensor([[-1.0], [1.0]]), grid).samples.round().tolist()
    [[-2.0], [2.0]]
    """

    def __init__(
        self,
        order: int = 2,
        kind: str = "bh2",
        *,
        corrector: bool = True,
        disable_corrector: Sequence[int] = (),
        lower_order_final: bool = True,
    ) -> None:
        self.order = order
        self.kind = kind
        self.corrector = corrector
        self.disable_corrector = disable_corrector
        self.lower_order_final = lower_order_final

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid."""
        order = check_order(self.order, 3, grid.n_steps)
        check_option("kind", self.kind, ("bh1", "bh2"))
        if not isinstance(self.lower_order_final, bool):
            raise InvalidParameter(f"lower_order_final must be True or False, got {self.lower_order_final!r}")
        predict: list[Row] = []
        correct: list[Row | None] = []
        last = grid.n_steps - 1
        if not isinstance(self.disable_corrector, Sequence):
            raise InvalidParameter(f"disable_corrector must be a sequence of steps, got {self.disable_corrector!r}")
        without = {check_integer("disable_corrector", i) for i in self.disable_corrector} | {last}
        for i, p in enumerate(orders(grid, order, self.lower_order_final)):
            predict.append(self._predictor(grid, i, p))
            correct.append(self._corrector(grid, i, p) if self.corrector and i not in without else None)
        return Table(form="x0", predict=predict, correct=correct, noise=[0.0] * grid.n_steps)

    def _predictor(self, grid: Grid, i: int, p: int) -> Row:
        if np.isinf(grid.lam[i + 1]):
            return (0.0, float(grid.alpha[i + 1]))
        h, r, b = self._system(grid, i, p)
        if p <= 2:
            rho = np.full(p - 1, 0.5)
        else:
            rho = np.linalg.solve(np.vander(r[:-1], p - 1, increasing=True).T, b[:-1])
        return self._row(grid, i, h, r[:-1], rho, newest=None)

    def _corrector(self, grid: Grid, i: int, p: int) -> Row:
        h, r, b = self._system(grid, i, p)
        rho = np.full(1, 0.5) if p == 1 else np.linalg.solve(np.vander(r, p, increasing=True).T, b)
        return self._row(grid, i, h, r[:-1], rho[:-1], newest=float(rho[-1]))

    def _system(self, grid: Grid, i: int, p: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Step h, places r of the p - 1 nodes before and of the next one in units of it, and the moments b."""
        h = float(grid.lam[i + 1] - grid.lam[i])
        r = np.array([(grid.lam[i - k] - grid.lam[i]) / h for k in range(1, p)] + [1.0])
        b = [-h * phi(k + 1, -h) * factorial(k) / self._scale(h) for k in range(1, p + 1)]
        return h, r, np.array(b)

    def _scale(self, h: float) -> float:
        return -h if self.kind == "bh1" else expm1(-h)

    def _row(self, grid: Grid, i: int, h: float, r: np.ndarray, rho: np.ndarray, newest: float | None) -> Row:
        """Factors of x, of the m at the predicted x (weight ``newest``), and of those at nodes i, i - 1, ..."""
        gain = -float(grid.alpha[i + 1]) * self._scale(h)
        differences = [float(gain * weight / place) for weight, place in zip(rho, r, strict=True)]
        ahead = [] if newest is None else [gain * newest]
        base = -float(grid.alpha[i + 1]) * expm1(-h) - sum(differences) - sum(ahead)
        return (float(grid.sigma[i + 1] / grid.sigma[i]), *ahead, base, *differences)
