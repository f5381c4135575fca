"""Time grids: the N + 1 levels that N steps go through, from noise to data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion._level import Level
from mcstat.torch.diffusion._schedules import NoiseSchedule, VPDiscrete, check_schedule

__all__ = ["Grid", "as_grid", "make_grid"]

FloatArray = NDArray[np.float64]
_CONTINUOUS = ("logsnr", "time", "time_quadratic", "karras")
_INTEGER = ("trailing", "leading", "linspace")


@dataclass(frozen=True, eq=False, repr=False)
class Grid:
    """Levels in the order of sampling, all float64.

    Attributes
    ----------
    t, lam, alpha, sigma : ndarray, shape (N + 1,)
        Time, half log signal-to-noise ratio (inf where the last level is clean data), factors of data and noise.
    schedule : NoiseSchedule, optional
        Whose levels they are; by it a grid is refused that is not of the denoiser's schedule.
    """

    t: FloatArray
    lam: FloatArray
    alpha: FloatArray
    sigma: FloatArray
    schedule: NoiseSchedule | None = None

    @classmethod
    def from_lam(cls, schedule: NoiseSchedule, lam: ArrayLike) -> Self:
        """From ascending half log signal-to-noise ratios, of which the last may be infinite."""
        lam = np.asarray(lam, dtype=np.float64)
        log_alpha = schedule.log_alpha_of_lam(lam)
        return cls(schedule.t_of_lam(lam), lam, np.exp(log_alpha), np.exp(log_alpha - lam), schedule)

    @classmethod
    def from_ratio(cls, schedule: NoiseSchedule, ratio: ArrayLike) -> Self:
        """From falling ratios sigma / alpha, of which the last may be 0.

        Raises
        ------
        InvalidData
            Fewer than two nodes, not falling, not finite, or negative.
        """
        nodes = check_array("grid", ratio, 1)
        if len(nodes) < 2:
            raise InvalidData(f"grid must hold at least 2 nodes, got {len(nodes)}")
        if not (np.diff(nodes) < 0.0).all() or nodes[-1] < 0.0:
            raise InvalidData("grid must fall from node to node and end at 0 or above")
        with np.errstate(divide="ignore"):
            return cls.from_lam(schedule, -np.log(nodes))

    def __repr__(self) -> str:
        of = "" if self.schedule is None else f" of {self.schedule!r}"
        return f"<Grid: {self.n_steps} steps, sigma/alpha {self.ratio[0]:.4g} to {self.ratio[-1]:.4g}{of}>"

    @property
    def n_steps(self) -> int:
        """N."""
        return len(self.lam) - 1

    @property
    def ratio(self) -> FloatArray:
        """The ratio sigma / alpha at each node, in which every schedule is the same equation."""
        return np.exp(-self.lam)

    @property
    def ends_clean(self) -> bool:
        """Whether the last level is clean data."""
        return bool(np.isinf(self.lam[-1]))

    def level(self, i: int) -> Level:
        """Node i as a level."""
        return self._levels[i]

    @cached_property
    def _levels(self) -> list[Level]:
        return [Level(*node) for node in zip(self.t.tolist(), self.alpha.tolist(), self.sigma.tolist(), strict=True)]


def as_grid(grid: Any, schedule: NoiseSchedule) -> Grid:
    """A Grid as it is; an array is read as ratios sigma / alpha."""
    if not isinstance(grid, Grid):
        if np.ndim(grid) == 0:
            raise InvalidParameter(
                f"grid must be a Grid, as make_grid gives, or an array of sigma / alpha, got {grid!r}"
            )
        return Grid.from_ratio(schedule, grid)
    if grid.schedule is not None and grid.schedule != schedule:
        raise InvalidParameter(f"grid must be of the denoiser's schedule, {schedule!r}, got one of {grid.schedule!r}")
    return grid


def make_grid(
    schedule: NoiseSchedule,
    n: int,
    kind: str = "logsnr",
    t_start: float | None = None,
    t_end: float | None = None,
    *,
    final: str = "sigma_min",
    rho: float = 7.0,
    steps_offset: int = 0,
) -> Grid:
    """Levels for n steps.

    Parameters
    ----------
    schedule : NoiseSchedule
    n : int
        Steps; with ``final="denoise"`` one more is added.
    kind : str
        "logsnr" (uniform in lambda), "time", "time_quadratic" (uniform in the root of t), "karras" (uniform in the
        ``rho``-th root of sigma / alpha), or, for :class:`VPDiscrete`, diffusers' "trailing", "leading" or "linspace"
        over whole steps.
    t_start, t_end : float, optional
        Default: the schedule's t_max and t_min. Whole-step kinds take neither.
    final : {"sigma_min", "zero", "denoise"}
        The last node: at ``t_end``; clean data, in place of it; clean data after it.
    rho : float
    steps_offset : int
        Added to the steps of kind "leading".

    Returns
    -------
    Grid

    Raises
    ------
    InvalidParameter
        Unknown kind or final, n < 1, times outside the schedule's range or not falling, or a whole-step kind for
        another schedule than VPDiscrete.

    Examples
    --------
    >>> from mcstat.torch.diffusion import VPLinear, make_grid
    >>> make_grid(VPLinear(), 3).lam.round(2).tolist()
    [-5.02, -1.83, 1.36, 4.56]
    """
    check_schedule(schedule)
    n = check_integer("n", n, 1)
    check_option("kind", kind, _CONTINUOUS + _INTEGER)
    check_option("final", final, ("sigma_min", "zero", "denoise"))
    check_real("rho", rho, 0.0, closed="neither")
    if kind in _INTEGER:
        if t_start is not None or t_end is not None:
            raise InvalidParameter(f"t_start and t_end do not go with kind={kind!r}")
        lam = _whole_steps(schedule, n, kind, steps_offset)
        end = float(schedule.lam(schedule.t_min))
        tail = {"sigma_min": [end], "zero": [np.inf], "denoise": [end, np.inf]}[final]
    else:
        start = check_real("t_start", schedule.t_max if t_start is None else t_start, schedule.t_min, schedule.t_max)
        stop = check_real("t_end", schedule.t_min if t_end is None else t_end, schedule.t_min, schedule.t_max)
        if start <= stop:
            raise InvalidParameter(f"t_start must be above t_end, got {start} and {stop}")
        lam = _spread(schedule, n + (final != "zero"), kind, start, stop, rho)
        tail = {"sigma_min": [], "zero": [np.inf], "denoise": [np.inf]}[final]
    return Grid.from_lam(schedule, np.concatenate([lam, tail]))


def _spread(schedule: NoiseSchedule, count: int, kind: str, start: float, stop: float, rho: float) -> FloatArray:
    """``count`` half log signal-to-noise ratios; with one only the start."""
    ends = schedule.lam(np.array([start, stop]))
    if kind == "logsnr":
        return np.linspace(ends[0], ends[1], count)
    if kind == "karras":
        roots = np.exp(-ends / rho)
        lam = -rho * np.log(np.linspace(roots[0], roots[1], count))
    else:
        power = 1.0 if kind == "time" else 2.0
        lam = schedule.lam(np.linspace(start ** (1.0 / power), stop ** (1.0 / power), count) ** power)
    lam[0] = ends[0]
    if count > 1:
        lam[-1] = ends[1]
    return lam


def _whole_steps(schedule: NoiseSchedule, n: int, kind: str, offset: int) -> FloatArray:
    """Half log signal-to-noise ratios of the n whole steps that diffusers would take."""
    if not isinstance(schedule, VPDiscrete):
        raise InvalidParameter(f"kind={kind!r} needs a VPDiscrete schedule, got {type(schedule).__name__}")
    total = schedule.n_steps
    if n >= total:
        raise InvalidParameter(f"n must be below the schedule's {total} steps for kind={kind!r}, got {n}")
    if kind == "linspace":
        steps: FloatArray = np.linspace(0, total - 1, n + 1).round()[::-1][:-1]
    elif kind == "leading":
        steps = np.arange(n + 1.0)[:0:-1] * (total // (n + 1)) + check_integer("steps_offset", offset)
    else:
        steps = np.arange(total, 0, -total / n).round()[:n] - 1
    return schedule.lam((steps + 1.0) / total)
