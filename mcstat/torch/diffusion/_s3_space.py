"""The schedules that S3 searches among: all that ask a given number of questions between two levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.torch.diffusion._grids import Grid, make_grid
from mcstat.torch.diffusion._schedules import NoiseSchedule
from mcstat.torch.diffusion._usf_schedule import OPTIONS, SolverSchedule, StepConfig

__all__ = ["Space", "features"]

FloatArray = NDArray[np.float64]

# Nodes nearer than this share of an even step are drawn again: two equal ones are no grid.
_NEAREST = 0.02
# Extra questions within a step are rarely worth their price.
_RARE = {"multistep": 0.9, "singlestep": 0.05, "mixed": 0.05}


@dataclass(frozen=True)
class Space:
    """Schedules of ``nfe`` questions from level ``start`` to level ``end`` of a noise schedule, both in lambda."""

    noise: NoiseSchedule
    nfe: int
    start: float
    end: float

    def presets(self) -> dict[str, SolverSchedule]:
        """The published solvers, uniform in lambda and in time."""
        found: dict[str, SolverSchedule] = {}
        for kind in ("logsnr", "time"):
            times = (float(self.noise.t_of_lam(lam)) for lam in (self.start, self.end))
            grid = make_grid(self.noise, self.nfe, kind, *times)
            named = {"DDIM": SolverSchedule.ddim(grid)}
            if self.nfe >= 2:
                named |= {"2M": SolverSchedule.dpmpp_2m(grid), "UniPC-2": SolverSchedule.unipc(grid, 2)}
                named |= {"DEIS-2": SolverSchedule.deis(grid, 2)}
            if self.nfe >= 3:
                named |= {"3M": SolverSchedule.dpmpp_3m(grid), "UniPC-3": SolverSchedule.unipc(grid, 3)}
                named |= {"DEIS-3": SolverSchedule.deis(grid, 3)}
            found |= {f"{name}, {kind}": schedule for name, schedule in named.items()}
        return found

    def random(self, rng: Generator) -> SolverSchedule:
        """Any schedule: steps drawn one by one, in one prediction or in both, on a bent and shaken grid."""
        both = ("data", "noise")
        predictions = [both, both[:1], both[1:]][rng.integers(3)]
        fields = {**OPTIONS, "prediction": predictions}
        steps = [_draw(rng, fields) for _ in range(self.nfe)]
        shares = np.linspace(0.0, 1.0, self.nfe + 1) ** np.exp(0.3 * rng.standard_normal())
        lam = self.start + (self.end - self.start) * shares
        return self.repaired(rng, steps, _shaken(rng, lam, np.ones(self.nfe - 1, dtype=bool), 0.3))

    def mutated(self, rng: Generator, schedule: SolverSchedule) -> SolverSchedule:
        """One to three changes: of a field of a step, of a field of all steps, of a node, or of the whole grid."""
        steps, lam = list(schedule.steps), schedule.grid.lam.copy()
        for _ in range(rng.integers(1, 4)):
            kind = rng.choice(4, p=[0.4, 0.1, 0.35, 0.15])
            if kind < 2:
                name = rng.choice(list(OPTIONS))
                value = _value(rng, name, OPTIONS[name])
                changed = [rng.integers(len(steps))] if kind == 0 else range(len(steps))
                for i in changed:
                    steps[i] = replace(steps[i], **{name: value})
            elif kind == 2 and len(lam) > 2:
                lam = _shaken(rng, lam, np.arange(len(lam) - 2) == rng.integers(len(lam) - 2), 0.5)
            else:
                shares = ((lam - self.start) / (self.end - self.start)).clip(0.0, 1.0)
                lam = self.start + (self.end - self.start) * shares ** np.exp(0.15 * rng.standard_normal())
        return self.repaired(rng, steps, lam)

    def crossed(self, rng: Generator, one: SolverSchedule, other: SolverSchedule) -> SolverSchedule:
        """Each step's settings from one parent or the other; nodes of the one, or between where both have as many."""
        n, m = len(one.steps), len(other.steps)
        coins = rng.random(n) < 0.5
        steps = [one.steps[i] if coin else other.steps[i * m // n] for i, coin in enumerate(coins)]
        lam = one.grid.lam
        if n == m:
            share = rng.choice([0.0, 1.0, rng.random()])
            lam = share * one.grid.lam + (1.0 - share) * other.grid.lam
        return self.repaired(rng, steps, lam)

    def repaired(self, rng: Generator, steps: Sequence[StepConfig], lam: FloatArray) -> SolverSchedule:
        """A valid schedule of exactly ``nfe`` questions: nodes sorted and apart, some dropped or put in between."""
        steps, lam = list(steps), self._apart(rng, np.sort(lam))
        while True:
            steps[-1] = replace(steps[-1], correct=False)
            schedule = SolverSchedule(steps, Grid.from_lam(self.noise, lam))
            if schedule.nfe == self.nfe:
                return schedule
            if schedule.nfe < self.nfe:
                widest = int(np.argmax(np.diff(lam)))
                lam = np.insert(lam, widest + 1, 0.5 * (lam[widest] + lam[widest + 1]))
                steps.insert(widest, replace(steps[widest], derivative="multistep"))
            elif len(steps) > 1:
                gone = int(rng.integers(len(steps) - 1))
                lam = np.delete(lam, gone + 1)
                del steps[gone]
            else:
                steps[0] = replace(steps[0], order=steps[0].order - 1)

    def _apart(self, rng: Generator, lam: FloatArray) -> FloatArray:
        """The nodes with those drawn again that are too near another, and the ends in place."""
        nearest = _NEAREST * (self.end - self.start) / (len(lam) - 1)
        lam = lam.copy()
        lam[0], lam[-1] = self.start, self.end
        while (close := np.flatnonzero(np.diff(lam) < nearest)).size:
            lam[min(close[0] + 1, len(lam) - 2)] = rng.uniform(self.start, self.end)
            lam.sort()
        return lam


def _draw(rng: Generator, fields: dict[str, tuple[Any, ...]]) -> StepConfig:
    return StepConfig(**{name: _value(rng, name, values) for name, values in fields.items()})


def _value(rng: Generator, name: str, values: tuple[Any, ...]) -> Any:
    if name == "derivative":
        return str(rng.choice(list(_RARE), p=list(_RARE.values())))
    return values[rng.integers(len(values))]


def _shaken(rng: Generator, lam: FloatArray, moved: NDArray[np.bool_], size: float) -> FloatArray:
    """Interior nodes moved by ``size`` of the mean of the steps beside them, about, and sorted."""
    beside = 0.5 * (lam[2:] - lam[:-2])
    shaken = lam.copy()
    shaken[1:-1] += size * np.where(moved, beside * rng.standard_normal(len(beside)), 0.0)
    return np.sort(shaken)


def features(schedule: SolverSchedule, nfe: int) -> FloatArray:
    """What a predictor sees, at 2 nfe even places in lambda: the step there, how far the run is, and its pace.

    Schedules of other nodes and numbers of steps are so compared place by place. Settings without effect are 0.
    """
    lam, n = schedule.grid.lam, len(schedule.steps)
    shares = (lam - lam[0]) / (lam[-1] - lam[0])
    settings = []
    for step, order, inner in zip(schedule.steps, schedule.orders, schedule.inner, strict=True):
        of_two = step.scale if order == 2 or (order == 1 and step.correct) else ""
        asked = (len(inner) >= 1, len(inner) == 2)
        scale = (of_two == "bh1", of_two == "bh2")
        low = order == 3 and step.support == "low"
        settings.append((order >= 2, order == 3, step.prediction == "noise", low, step.correct, *asked, *scale))
    places = (np.arange(2 * nfe) + 0.5) / (2 * nfe)
    here = np.searchsorted(shares, places, side="right") - 1
    node = nfe / n * np.interp(places, shares, np.arange(n + 1.0))
    pace = np.log(nfe * np.diff(shares))[here]
    return np.concatenate([np.array(settings, dtype=np.float64)[here].ravel(), node, pace])
