"""DC-Solver: the newest answer is moved along its own history by a ratio that a few trajectories teach.

A corrected x and the answer at its prediction do not belong together. DC replaces the answer by the value of the
polynomial through the last ones at another time, one ratio a step.

Zhao, Wang, Zhou, Lu (2024). DC-Solver: improving predictor-corrector diffusion sampler via dynamic compensation. ECCV.
arXiv:2409.03755.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.torch._bridge import check_sample
from mcstat.torch.diffusion._coefficients import lagrange
from mcstat.torch.diffusion._deis import DEIS
from mcstat.torch.diffusion._denoiser import BaseDenoiser, check_denoiser
from mcstat.torch.diffusion._dpm import DPMSolver
from mcstat.torch.diffusion._grids import Grid, as_grid
from mcstat.torch.diffusion._momentum import PLMS
from mcstat.torch.diffusion._sample import sample
from mcstat.torch.diffusion._solvers import DDIM, Euler, Multistep, Row, State, Table, combine
from mcstat.torch.diffusion._unipc import UniPC

__all__ = ["DCSolver"]

FloatArray = NDArray[np.float64]
_FEWEST_NUMBERS = 200
_BASES = (UniPC, DPMSolver, DDIM, DEIS, PLMS, Euler)


class DCSolver(Multistep):
    """A multistep solver with dynamic compensation.

    Parameters
    ----------
    base : UniPC, DPMSolver, DDIM, DEIS, PLMS or Euler, optional
        Default ``UniPC(2)``.
    dc_order : int
        K: the polynomial in t goes through K + 1 answers, so the first K steps have none.
    ratios : array_like, shape (N,), optional
        One a step: 1 leaves the answer, 0 takes the one before. Given, they need no :meth:`fit`; the first K are not
        looked at.
    optimizer : {"brent", "adamw"}
        How a ratio is searched. "brent" needs no gradients; "adamw" is the paper's, with gradients through the network.
    n_iter : int
        Values that are tried for each ratio.
    lr : float
        Learning rate of "adamw", on p where the ratio is 1 + b tanh(p), b the bound on p's side.
    bounds : (float, float)
        Interval of the ratios; it must hold 1.
    l2 : float
        Adds l2 (ratio - 1)^2 to the mean square error.
    validation : float
        Share of the trajectories kept from the search; a ratio that is no better than 1 on them becomes 1.

    Attributes
    ----------
    ratios_ : ndarray, shape (N,)
        After :meth:`fit`; plain numbers for ``ratios`` of another solver, or a JSON file.
    loss_path_ : ndarray, shape (N, 2)
        Loss of each step at 1 and at the ratio found; NaN in the first K.

    Notes
    -----
    Sampling costs a sum of K + 1 tensors a step more than the base. The search takes the reference (``ref_steps``
    questions) and up to ``n_iter`` + 2 questions a step, on ``x_T``. The best ratio tried is kept, not the last.
    """

    def __init__(
        self,
        base: Multistep | None = None,
        dc_order: int = 2,
        ratios: ArrayLike | None = None,
        *,
        optimizer: str = "brent",
        n_iter: int = 40,
        lr: float = 0.1,
        bounds: tuple[float, float] = (0.5, 1.5),
        l2: float = 0.0,
        validation: float = 0.0,
    ) -> None:
        self.base = base
        self.dc_order = dc_order
        self.ratios = ratios
        self.optimizer = optimizer
        self.n_iter = n_iter
        self.lr = lr
        self.bounds = bounds
        self.l2 = l2
        self.validation = validation

    def fit(
        self, denoiser: BaseDenoiser, grid: Any, x_T: torch.Tensor, *, reference: str = "unipc3", ref_steps: int = 1000
    ) -> Self:
        """Search the ratios, step after step, that bring ``x_T`` closest to a reference.

        Parameters
        ----------
        denoiser : BaseDenoiser
        grid : Grid or array_like
            The grid that the ratios are for.
        x_T : tensor, shape (n, ...)
            The paper takes ten; data of few coordinates need more.
        reference : {"unipc3", "ddim"}
            Solver of the reference trajectories.
        ref_steps : int
            About how many steps they have; each interval of the grid is divided.

        Returns
        -------
        self

        Raises
        ------
        InvalidData
            Fewer than two trajectories, or a loss that is not finite.
        """
        check_denoiser(denoiser)
        nodes = as_grid(grid, denoiser.schedule)
        check_sample("x_T", x_T)
        held = self._check_search(nodes, x_T)
        target = _reference(denoiser, nodes, x_T, reference, check_integer("ref_steps", ref_steps, 1))
        train = slice(0, len(x_T) - held)
        ratios, losses = np.ones(nodes.n_steps), np.full((nodes.n_steps, 2), np.nan)
        with torch.no_grad():
            state = self._start(x_T, nodes, denoiser, ratios)
            for i in range(nodes.n_steps):
                if i >= self.dc_order:
                    self._ask_newest(state, i)
                    ratios[i], losses[i] = self._search(state, i, target[i + 1], train)
                    state.memory["ratios"] = ratios.tolist()
                self.step(state, i)
        self.ratios_, self.loss_path_ = ratios, losses
        return self

    def init(
        self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, generator: torch.Generator | None = None
    ) -> State:
        """State at node 0 of the grid."""
        ratios = self.ratios if self.ratios is not None else getattr(self, "ratios_", None)
        if ratios is None:
            raise InvalidParameter("ratios must be given, or found by fit")
        values = check_array("ratios", ratios, 1)
        if len(values) != grid.n_steps:
            raise InvalidParameter(f"ratios must hold one for each of the {grid.n_steps} steps, got {len(values)}")
        return self._start(x, grid, denoiser, values)

    def coefficients(self, grid: Grid) -> Table:
        """Those of the base."""
        base = UniPC(2) if self.base is None else self.base
        if not isinstance(base, _BASES) or base.stochastic:
            names = ", ".join(kind.__name__ for kind in _BASES)
            raise InvalidParameter(f"base must be one of {names}, without noise, got {self.base!r}")
        if grid.n_steps <= check_integer("dc_order", self.dc_order, 1):
            raise InvalidParameter(f"dc_order must be below the grid's {grid.n_steps} steps, got {self.dc_order}")
        return base.coefficients(grid)

    def _start(self, x: torch.Tensor, grid: Grid, denoiser: BaseDenoiser, ratios: FloatArray) -> State:
        memory = {"ratios": ratios.tolist()}
        return State(x=x, grid=grid, denoiser=denoiser, generator=None, table=self.coefficients(grid), memory=memory)

    def _combine(self, state: State, row: Row, answers: Sequence[torch.Tensor], stage: str) -> torch.Tensor:
        ratio = state.memory["ratios"][state.node] if stage == "predict" else 1.0
        plain = not isinstance(ratio, torch.Tensor) and ratio == 1.0
        if plain or len(state.history) <= self.dc_order:
            return combine(row, state.x, answers)
        times = state.grid.t[state.node - np.arange(self.dc_order + 1)]
        moved = _moved(times, ratio, state.history)
        # It stays in the history, for the corrector and the steps to come.
        state.history = [moved, *state.history[1:]]
        return combine(row, state.x, state.history)

    def _remember(self, state: State, answer: torch.Tensor, node: int) -> None:
        state.history = [answer, *state.history[: max(state.table.depth - 1, self.dc_order)]]
        state.node = node

    def _ask_newest(self, state: State, i: int) -> None:
        if state.node != i:
            self._remember(state, self._ask(state, state.x, i), i)

    def _search(self, state: State, i: int, target: torch.Tensor, train: slice) -> tuple[float, tuple[float, float]]:
        """The ratio of step i, and the losses at 1 and at it."""

        def error(ratio: Any, rows: slice) -> torch.Tensor:
            ratios = [*state.memory["ratios"][:i], ratio, *state.memory["ratios"][i + 1 :]]
            trial = replace(state, history=list(state.history), memory={"ratios": ratios})
            squares: torch.Tensor = (self.step(trial, i).x - target)[rows].square()
            return squares.mean()

        tried: dict[float, float] = {}

        def loss(ratio: Any) -> torch.Tensor:
            value: torch.Tensor = error(ratio, train) + self.l2 * (ratio - 1.0) ** 2
            at, number = (ratio.item() if isinstance(ratio, torch.Tensor) else float(ratio)), value.item()
            if not np.isfinite(number):
                raise InvalidData(f"the loss of step {i} must be finite, got {number} at ratio {at:.4g}")
            tried[at] = number
            return value

        plain = loss(1.0).item()
        search = _by_brent if self.optimizer == "brent" else _by_adamw
        search(loss, self.bounds, self.n_iter, self.lr)
        best = min(tried, key=tried.__getitem__)
        kept = slice(train.stop, None)
        if self.validation > 0.0 and not error(best, kept) < error(1.0, kept):
            best = 1.0
        return best, (plain, tried[best])

    def _check_search(self, grid: Grid, x_T: torch.Tensor) -> int:
        """Check the settings of the search; how many trajectories are kept from it."""
        check_option("optimizer", self.optimizer, ("brent", "adamw"))
        check_real("lr", self.lr, 0.0, closed="neither")
        check_integer("n_iter", self.n_iter, 1)
        check_real("l2", self.l2, 0.0)
        low, high = self.bounds
        if not check_real("bounds[0]", low, high=1.0) < check_real("bounds[1]", high, low=1.0):
            raise InvalidParameter(f"bounds must be an interval around 1, got {self.bounds!r}")
        share = check_real("validation", self.validation, 0.0, 1.0, closed="left")
        held = int(np.ceil(share * len(x_T)))
        if len(x_T) - held < 2:
            raise InvalidData(f"x_T must leave at least 2 trajectories to the search, got {len(x_T) - held}")
        if (len(x_T) - held) * x_T[0].numel() < _FEWEST_NUMBERS:
            message = (
                f"ratios found on {len(x_T) - held} x {x_T[0].numel()} numbers fit these and not others; "
                f"give at least {_FEWEST_NUMBERS}"
            )
            warnings.warn(message, ReliabilityWarning, stacklevel=3)
        return held


def _moved(times: FloatArray, ratio: Any, answers: Sequence[torch.Tensor]) -> torch.Tensor:
    """The value at ratio t_0 + (1 - ratio) t_1 of the polynomial through the answers at ``times``."""
    if not isinstance(ratio, torch.Tensor):
        weights = lagrange(times, ratio * times[0] + (1.0 - ratio) * times[1])
        return combine(tuple(weights.tolist()), answers[0], answers[1:])
    # The same, through which gradients flow to the ratio.
    at = ratio * times[0] + (1.0 - ratio) * times[1]
    moved = torch.zeros_like(answers[0])
    for a, answer in zip(range(len(times)), answers, strict=False):
        rest = np.delete(times, a)
        factors = [(at - float(other)) / float(times[a] - other) for other in rest]
        moved = moved + torch.stack(factors).prod() * answer
    return moved


def _by_brent(loss: Callable[[Any], torch.Tensor], bounds: tuple[float, float], n_iter: int, _: float) -> None:
    """Try ratios between the bounds."""
    from scipy.optimize import minimize_scalar

    minimize_scalar(
        lambda ratio: loss(float(ratio)).item(), bounds=bounds, method="bounded", options={"maxiter": n_iter}
    )


def _by_adamw(loss: Callable[[Any], torch.Tensor], bounds: tuple[float, float], n_iter: int, lr: float) -> None:
    """Go down the gradient from the ratio 1."""
    p = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([p], lr=lr)
    with torch.enable_grad():
        for _ in range(n_iter):
            optimizer.zero_grad()
            side = bounds[1] - 1.0 if p.item() >= 0.0 else 1.0 - bounds[0]
            loss(1.0 + side * torch.tanh(p)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def _reference(denoiser: BaseDenoiser, grid: Grid, x: torch.Tensor, solver: str, steps: int) -> list[torch.Tensor]:
    """X at the grid's nodes, by a solver on a grid that divides each of its intervals."""
    check_option("reference", solver, ("unipc3", "ddim"))
    parts = max(1, -(-steps // grid.n_steps))
    noisy = grid.lam[:-1] if grid.ends_clean else grid.lam
    between = np.interp(np.arange((len(noisy) - 1) * parts + 1) / parts, np.arange(len(noisy)), noisy)
    lam = np.append(between, np.inf) if grid.ends_clean else between
    nodes = [x]

    def keep(i: int, at: torch.Tensor) -> None:
        if i % parts == 0 or i == len(lam) - 1:
            nodes.append(at)

    fine = Grid.from_lam(denoiser.schedule, lam)
    chosen = UniPC(min(3, fine.n_steps)) if solver == "unipc3" else DDIM()
    sample(chosen, denoiser, x, fine, callback=keep)
    return nodes
