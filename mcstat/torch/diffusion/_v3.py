"""DPM-Solver-v3: an exponential integrator in the variables that a model's statistics choose.

Zheng, Lu, Chen, Zhu (2023). DPM-Solver-v3: improved diffusion ODE solver with empirical model statistics. NeurIPS.
arXiv:2310.13268.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import factorial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mcstat.core.errors import InvalidParameter
from mcstat.torch.diffusion._coefficients import check_order, orders
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._grids import Grid
from mcstat.torch.diffusion._solvers import Multistep, State, Table
from mcstat.torch.diffusion._statistics import EMS

__all__ = ["DPMSolverV3"]

FloatArray = NDArray[np.float64]


class DPMSolverV3(Multistep):
    """Multistep solver of f = (sigma eps - l x) / alpha, with f' = s f + b + (little).

    Parameters
    ----------
    ems : EMS
        The model's statistics, from :func:`estimate_ems`; they serve every grid in their range.
    order : {1, 2, 3}
        3 for plain models; 2 for guided ones.
    corrector : bool or "half"
        Do the step again with f at the predicted x, at no extra question; "half" only in the noisier half of the
        clock.
    pseudo : bool
        Derivatives of f by plain divided differences, steadier in very few steps.
    lower_order_final : bool
        Take no step of higher order than steps are left.

    Notes
    -----
    One question a step. The integrals are those of cubic splines through the statistics, so that nodes may lie
    between the statistics' nodes; published code moves them there instead and uses the trapezoidal rule. A last step
    to clean data is x = x0.
    """

    def __init__(
        self,
        ems: EMS,
        order: int = 3,
        corrector: bool | str = True,
        pseudo: bool = False,
        lower_order_final: bool = True,
    ) -> None:
        self.ems = ems
        self.order = order
        self.corrector = corrector
        self.pseudo = pseudo
        self.lower_order_final = lower_order_final

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid; coefficients are tensors that go with x."""
        if not isinstance(self.ems, EMS):
            raise InvalidParameter(f"ems must be an EMS, got {type(self.ems).__name__}")
        if self.ems.schedule != repr(denoiser.schedule):
            raise InvalidParameter(f"ems must be of {denoiser.schedule!r}, got statistics of {self.ems.schedule}")
        d = self.ems.l.shape[1]
        if d not in (1, x[0].numel()):
            raise InvalidParameter(f"ems must be of {x[0].numel()} coordinates, got {d}")
        state = super().init(x, grid, denoiser, generator)
        shape = (1, *x.shape[1:]) if d > 1 else (1,) * x.ndim

        def on(row: Any) -> Any:
            if row is None:
                return None
            return [torch.tensor(factor, dtype=x.dtype, device=x.device).reshape(shape) for factor in row]

        table: Table = state.table
        predict, correct = ([on(row) for row in rows] for rows in (table.predict, table.correct))
        state.table = replace(table, predict=predict, correct=correct)
        state.memory["l"] = on(_Variables(self.ems).l(np.minimum(grid.lam, self.ems.lam[-1])))
        return state

    def coefficients(self, grid: Grid) -> Table:
        """The coefficients on a grid: the constant and the factors of x and of the f, newest first, each (d,)."""
        order = check_order(self.order, 3, grid.n_steps)
        if self.corrector not in (True, False, "half"):
            raise InvalidParameter(f"corrector must be True, False or 'half', got {self.corrector!r}")
        _check_range(self.ems, grid)
        variables, last = _Variables(self.ems), grid.n_steps - 1
        predict: list[Any] = []
        correct: list[Any] = []
        for i, p in enumerate(orders(grid, order, bool(self.lower_order_final))):
            before = [i - k for k in range(1, p)]
            clean = bool(np.isinf(grid.lam[i + 1]))
            predict.append(_to_clean(grid, variables) if clean else self._row(grid, variables, i, before))
            again = p > 1 and i < last and self._corrects(grid, i + 1)
            # The published corrector has as many nodes as the predictor; without mixing it has one more.
            ahead = [i + 1, *before] if self.pseudo else [i + 1, *before[:-1]]
            correct.append(self._row(grid, variables, i, ahead) if again else None)
        return Table(form="eps", predict=predict, correct=correct, noise=[0.0] * grid.n_steps)

    def _corrects(self, grid: Grid, node: int) -> bool:
        return bool(self.corrector) and (self.corrector != "half" or bool(grid.t[node] > 0.5 * grid.t[0]))

    def _row(self, grid: Grid, variables: _Variables, i: int, others: list[int]) -> list[FloatArray]:
        """Step from node i to the next with f at node i and at ``others``.

        x_j = alpha_j / alpha_i e^(L_i - L_j) x_i - alpha_j e^(L_i - L_j) (E_0 f_i + K + sum_k E_k g^(k)), where
        g_q = e^(S_i - S_q) f_q - e^(S_i) (B_q - B_i) and g^(k) are its derivatives at node i, by interpolation.
        """
        lam, factor = grid.lam, float(grid.alpha[i + 1])
        step = variables.step(float(lam[i]), float(lam[i + 1]), len(others))
        keep = factor / float(grid.alpha[i]) * step.decay
        gain = -factor * step.decay
        # Weight of g_q - g_i for each of the others.
        derivatives = _derivatives(lam[others] - lam[i], self.pseudo)
        weights = np.einsum("kd,kq->qd", step.moments[1:], derivatives)
        constant = step.moments[0] * 0.0 + step.shift
        factors = {i: step.moments[0] - weights.sum(axis=0)}
        for q, weight in zip(others, weights, strict=True):
            scale, offset = variables.between(float(lam[i]), float(lam[q]))
            factors[q] = weight * scale
            constant = constant - weight * offset
        newest_first = [gain * factors[q] for q in sorted(factors, reverse=True)]
        return [gain * constant, keep, *newest_first]

    def _ask(self, state: State, x: torch.Tensor, node: int) -> torch.Tensor:
        level = state.grid.level(node)
        eps = state.denoiser.output(x, level, "eps")
        l: torch.Tensor = state.memory["l"][node]  # noqa: E741
        return (level.sigma * eps - l * x) / level.alpha

    def _combine(self, state: State, row: Any, answers: Sequence[torch.Tensor], stage: str) -> torch.Tensor:
        out = torch.addcmul(row[0], row[1], state.x)
        for factor, answer in zip(row[2:], answers, strict=False):
            out = torch.addcmul(out, factor, answer)
        return out


class _Step(NamedTuple):
    """Integrals over one step, each (d,)."""

    decay: FloatArray  # e^(L_i - L_j)
    moments: FloatArray  # E_k = integral of w (lam - lam_i)^k / k!, (k, d), w = e^(L + S - L_i - S_i)
    shift: FloatArray  # K = integral of w e^(S_i) (B - B_i)


class _Variables:
    """L = integral of l, S = integral of s and B = integral of e^-S b, as functions of lambda."""

    def __init__(self, ems: EMS) -> None:
        from scipy.interpolate import CubicSpline

        self.lam = ems.lam
        self.l = CubicSpline(ems.lam, ems.l)
        self.L = self.l.antiderivative()
        self.S = CubicSpline(ems.lam, ems.s).antiderivative()
        self.B = CubicSpline(ems.lam, np.exp(-self.S(ems.lam)) * ems.b).antiderivative()

    def step(self, start: float, end: float, highest: int) -> _Step:
        """Integrals from ``start`` to ``end``: three Gauss points between the nodes of the statistics."""
        inside = self.lam[(self.lam > start) & (self.lam < end)]
        edges = np.concatenate([[start], inside, [end]])
        places, sizes = np.polynomial.legendre.leggauss(3)
        points = (0.5 * (edges[1:] + edges[:-1])[:, None] + 0.5 * np.diff(edges)[:, None] * places).ravel()
        sizes = (0.5 * np.diff(edges)[:, None] * sizes).ravel()[:, None]
        w = sizes * np.exp(self.L(points) - self.L(start) + self.S(points) - self.S(start))
        powers = [(points[:, None] - start) ** k / factorial(k) for k in range(highest + 1)]
        moments = np.stack([(w * power).sum(axis=0) for power in powers])
        shift = (w * np.exp(self.S(start)) * (self.B(points) - self.B(start))).sum(axis=0)
        return _Step(np.exp(self.L(start) - self.L(end)), moments, shift)

    def between(self, i: float, q: float) -> tuple[FloatArray, FloatArray]:
        """e^(S_i - S_q) and e^(S_i) (B_q - B_i)."""
        return np.exp(self.S(i) - self.S(q)), np.exp(self.S(i)) * (self.B(q) - self.B(i))


def _derivatives(places: FloatArray, pseudo: bool) -> FloatArray:
    """Weights (k, q) of the differences g_q - g_0 in the k-th derivative at 0; g_q is at ``places`` (q,).

    By the polynomial through all; or, for each k, k! times the divided difference over the first k.
    """
    count = len(places)
    if not pseudo:
        taylor = np.array([[place**k / factorial(k) for k in range(1, count + 1)] for place in places])
        return np.linalg.inv(taylor) if count else np.zeros((0, 0))
    weights = np.zeros((count, count))
    for k in range(1, count + 1):
        for q in range(k):
            others = [places[q]] + [places[q] - places[m] for m in range(k) if m != q]
            weights[k - 1, q] = factorial(k) / np.prod(others)
    return weights


def _to_clean(grid: Grid, variables: _Variables) -> list[FloatArray]:
    """X = alpha_j x0 with x0 = x / alpha - (f + l x / alpha) at the node before."""
    level = variables.l(grid.lam[-2])
    end = grid.alpha[-1] * np.ones_like(level)
    return [0.0 * end, end * (1.0 - level) / grid.alpha[-2], -end]


def _check_range(ems: EMS, grid: Grid) -> None:
    nodes = grid.lam[:-1] if grid.ends_clean else grid.lam
    slack = 1e-9 * float(ems.lam[-1] - ems.lam[0])
    if nodes[0] < ems.lam[0] - slack or nodes[-1] > ems.lam[-1] + slack:
        raise InvalidParameter(
            f"ems must cover the grid's lambda from {nodes[0]:.4g} to {nodes[-1]:.4g}, "
            f"got {ems.lam[0]:.4g} to {ems.lam[-1]:.4g}"
        )
