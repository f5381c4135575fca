"""S3: a search for the best solver schedule of a number of questions, guided by a predictor of its error."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.torch._bridge import check_sample
from mcstat.torch.diffusion._denoiser import BaseDenoiser
from mcstat.torch.diffusion._grids import make_grid
from mcstat.torch.diffusion._metrics import mmd2, ode_error
from mcstat.torch.diffusion._s3_predictors import PREDICTORS, Predict, rank_correlation
from mcstat.torch.diffusion._s3_space import Space, features
from mcstat.torch.diffusion._sample import sample
from mcstat.torch.diffusion._unipc import UniPC
from mcstat.torch.diffusion._usf import USFSolver
from mcstat.torch.diffusion._usf_schedule import SolverSchedule

__all__ = ["S3Search", "Trial"]

FloatArray = NDArray[np.float64]
Metric = Callable[[torch.Tensor, torch.Tensor], Estimate]

_METRICS: dict[str, Metric] = {"rmse": ode_error, "mmd": partial(mmd2, kernel="energy")}
_REFERENCE_STEPS = 1000
_FEWEST_NUMBERS = 1000
# How many are parents, compete to be one, and are born for each child that is run.
_PARENTS, _TOURNAMENT, _CHILDREN = 20, 5, 6
# Children of one round of regularised evolution.
_ROUND = 8


class Trial(NamedTuple):
    """One evaluated schedule.

    Attributes
    ----------
    schedule : SolverSchedule
    value : float
        Its metric on the search's noise; inf where samples were not finite.
    stage : int
        0 for the first population.
    origin : str
        Name of a preset, "random", or "evolved".
    """

    schedule: SolverSchedule
    value: float
    stage: int
    origin: str


class S3Search(Estimator):
    """Search a solver schedule for a denoiser and a number of questions [1]_.

    The first population holds the published solvers (DDIM, 2M, 3M, UniPC, DEIS on two grids) and random schedules.
    Then, stage after stage: a predictor learns the metrics of all schedules run so far, the best of these are crossed
    and mutated, and of many children those that the predictor likes best are run.

    Parameters
    ----------
    nfe : int
        Questions of a schedule, at least 2; all candidates ask exactly as many.
    metric : {"rmse", "mmd"}
        What is made small: the root mean square difference from a fine solution from the same noise, or the squared
        maximum mean discrepancy (energy kernel) from samples of the data.
    strategy : {"s3", "evolution", "random"}
        The paper's search; regularised evolution (the oldest dies), without predictor; random schedules alone.
    predictor : {"gp", "mlp", "none"}
        Of "s3": a Gaussian process on normal scores of the metric; a small network trained on pairs, as published;
        none, where any children are run.
    n_evaluations : int
        Schedules that are run in all.
    population_size : int
        Schedules of the first population, and alive in "evolution".
    n_stages : int
        How often the predictor is trained anew and new parents are chosen.
    validation : float
        Share of the noise kept from the search, on which :meth:`estimate` answers.
    t_start, t_end : float, optional
        Ends of all schedules; default the noise schedule's.
    random_state : None, int, SeedSequence or Generator
    n_jobs : int or None
        The schedule found does not depend on it.
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    best_schedule_ : SolverSchedule
        Of the smallest metric on the search's noise.
    best_value_ : float
        That metric. It is the least of many, so too small; :meth:`estimate` is not.
    history_ : list of Trial
        All that was run, in order.
    predictor_rank_corr_ : float
        Kendall's tau between prediction and metric of all schedules run, by 5-fold cross-validation. NaN without
        predictor.
    n_evaluations_ : int
        Schedules run.
    n_calls_ : int
        Questions asked in the search, each of the search's share of the noise.

    Notes
    -----
    ``n_evaluations`` times ``nfe`` questions on the search's noise, 1000 for the reference where it is not given, and
    O(n_evaluations^3) a stage for the Gaussian process. With few trajectories the schedule found fits these and not
    others: take at least 500 points in the plane for the search. :meth:`estimate` is of noise that the search has not
    seen; its diagnostics hold what the best published solver does there.

    References
    ----------
    .. [1] Liu, Ning, Yang, Wang (2024). A unified sampling framework for solver searching of diffusion
       probabilistic models. ICLR. arXiv:2312.07243.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import GaussianMixtureDenoiser, S3Search
    >>> denoiser = GaussianMixtureDenoiser([1, 2], [[-1.0, 0.0], [1.0, 0.0]], 0.05)
    >>> x_T = torch.randn((1200, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> search = S3Search(5, n_evaluations=60, population_size=30, random_state=0).fit(denoiser, x_T)
    >>> search.best_schedule_.nfe, search.n_evaluations_
    (5, 60)
    >>> bool(float(search.estimate()) < search.estimate().diagnostics["best preset's"])
    True
    """

    def __init__(
        self,
        nfe: int = 10,
        *,
        metric: str = "rmse",
        strategy: str = "s3",
        predictor: str = "gp",
        n_evaluations: int = 200,
        population_size: int = 64,
        n_stages: int = 16,
        validation: float = 0.5,
        t_start: float | None = None,
        t_end: float | None = None,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: bool = True,
    ) -> None:
        self.nfe = nfe
        self.metric = metric
        self.strategy = strategy
        self.predictor = predictor
        self.n_evaluations = n_evaluations
        self.population_size = population_size
        self.n_stages = n_stages
        self.validation = validation
        self.t_start = t_start
        self.t_end = t_end
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, denoiser: BaseDenoiser, x_T: torch.Tensor, reference: torch.Tensor | None = None) -> Self:
        """Search.

        Parameters
        ----------
        denoiser : BaseDenoiser
            It is not counted on.
        x_T : tensor of float32 or float64, shape (n, ...)
            Noise at the first level. A random share ``validation`` of the rows is kept from the search.
        reference : tensor, optional
            For "rmse" the exact solution from ``x_T``, row by row; default UniPC of order 3 in 1000 steps. For "mmd"
            samples of the data, which must be given and are split likewise.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData, TypeError
            Naming the argument, what it wants and what it got.
        """
        self._forget()
        space = self._checked_space(denoiser)
        check_sample("x_T", x_T)
        self._root = root_seed(self.random_state)
        started = perf_counter()
        with single_threaded():
            x, target = self._split(denoiser, space, x_T, reference)
            self._trials: list[Trial] = []
            run = partial(_run, copy.copy(denoiser), x[0], target[0], _METRICS[self.metric])
            self._tau = np.nan
            searches = {"s3": self._search_s3, "evolution": self._search_evolution, "random": self._search_random}
            try:
                self._first_population(space, run)
                searches[self.strategy](space, run)
            except KeyboardInterrupt:
                # What was run answers, if the presets are in it.
                if self._trials:
                    self._keep(denoiser, x[1], target[1], perf_counter() - started)
                raise
            self._keep(denoiser, x[1], target[1], perf_counter() - started)
        return self

    def _search_s3(self, space: Space, run: Callable[[SolverSchedule], float]) -> None:
        """Stage after stage: train the predictor, breed from the best so far, run the children that it likes best."""
        train = PREDICTORS.get(self.predictor)
        left = self.n_evaluations - len(self._trials)
        counts = [len(part) for part in np.array_split(np.arange(left), self.n_stages)]
        for stage, count in enumerate(filter(None, counts), start=1):
            rng = self._stream(Purpose.EXPLORE, stage)
            predict = None if train is None else train(*self._lessons(), rng)
            children = _children(rng, space, self._best(_PARENTS), count, predict)
            self._evaluate(run, children, stage, "evolved")
        if train is not None:
            self._tau = rank_correlation(train, *self._lessons(), self._stream(Purpose.FOLDS, 1))

    def _search_evolution(self, space: Space, run: Callable[[SolverSchedule], float]) -> None:
        """Regularised evolution: the best of a few gets a child, the oldest dies."""
        rng, stage = self._stream(Purpose.EXPLORE, 1), 0
        while (left := self.n_evaluations - len(self._trials)) > 0:
            stage += 1
            alive = self._trials[-self.population_size :]
            values = np.array([trial.value for trial in alive])
            parents = [alive[_tournament(rng, values)].schedule for _ in range(min(_ROUND, left))]
            self._evaluate(run, [space.mutated(rng, parent) for parent in parents], stage, "evolved")

    def _search_random(self, space: Space, run: Callable[[SolverSchedule], float]) -> None:
        """Random schedules."""
        rng = self._stream(Purpose.EXPLORE, 1)
        self._evaluate(run, [space.random(rng) for _ in range(self.n_evaluations - len(self._trials))], 1, "random")

    def _first_population(self, space: Space, run: Callable[[SolverSchedule], float]) -> None:
        """Presets, and random schedules beside them."""
        presets, rng = space.presets(), self._stream(Purpose.EXPLORE, 0)
        count = min(self.population_size, self.n_evaluations) - len(presets)
        others = [space.random(rng) for _ in range(count)]
        self._evaluate(run, presets.values(), 0, *presets)
        self._evaluate(run, others, 0, "random")

    def _evaluate(
        self, run: Callable[[SolverSchedule], float], schedules: Iterable[SolverSchedule], stage: int, *origins: str
    ) -> None:
        """Run schedules; ``origins`` is one name for all, or one each."""
        listed = [schedule.check_budget(self.nfe) for schedule in schedules]
        values = map_tasks(run, listed, n_jobs=self.n_jobs, label="schedules", verbose=self.verbose)
        named = origins if len(origins) == len(listed) else origins * len(listed)
        trials = zip(listed, values, named, strict=True)
        self._trials += [Trial(schedule, value, stage, origin) for schedule, value, origin in trials]

    def _lessons(self) -> tuple[FloatArray, FloatArray]:
        """What a predictor learns: features, and the metrics' normal scores, which heed ranks alone."""
        from scipy.stats import norm, rankdata

        x = np.array([features(trial.schedule, self.nfe) for trial in self._trials])
        ranks = rankdata([trial.value for trial in self._trials])
        return x, norm.ppf((ranks - 0.5) / len(ranks))

    def _best(self, count: int) -> list[Trial]:
        return sorted(self._trials, key=_value)[:count]

    def _stream(self, purpose: Purpose, k: int) -> Generator:
        return stream(self._root, type(self).__name__, purpose, k)

    def _checked_space(self, denoiser: Any) -> Space:
        """Check the settings; the schedules to search among."""
        nfe = check_integer("nfe", self.nfe, 2)
        check_option("metric", self.metric, tuple(_METRICS))
        check_option("strategy", self.strategy, ("s3", "evolution", "random"))
        check_option("predictor", self.predictor, (*PREDICTORS, "none"))
        check_integer("n_stages", self.n_stages, 1)
        check_real("validation", self.validation, 0.0, 1.0, closed="neither")
        if not isinstance(denoiser, BaseDenoiser):
            raise InvalidParameter(f"denoiser must be a Denoiser, got {type(denoiser).__name__}")
        ends = make_grid(denoiser.schedule, 1, t_start=self.t_start, t_end=self.t_end).lam
        space = Space(denoiser.schedule, nfe, float(ends[0]), float(ends[1]))
        for name in ("n_evaluations", "population_size"):
            # Room for the published solvers.
            check_integer(name, getattr(self, name), len(space.presets()))
        return space

    def _split(
        self, denoiser: BaseDenoiser, space: Space, x_T: torch.Tensor, reference: torch.Tensor | None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Noise and reference of the search and of the validation."""
        if reference is None:
            if self.metric == "mmd":
                raise InvalidData("reference must be given for metric='mmd': samples of the data")
            times = (float(space.noise.t_of_lam(lam)) for lam in (space.start, space.end))
            fine = make_grid(space.noise, _REFERENCE_STEPS, "logsnr", *times)
            reference = sample(UniPC(3, lower_order_final=False), copy.copy(denoiser), x_T, fine).samples
        check_sample("reference", reference)
        paired = self.metric == "rmse"
        if reference.shape[1:] != x_T.shape[1:] or (paired and len(reference) != len(x_T)):
            raise InvalidData(f"reference must have the shape of x_T, {tuple(x_T.shape)}, got {tuple(reference.shape)}")
        rng = self._stream(Purpose.FOLDS, 0)
        rows = self._parts(rng, "x_T", len(x_T))
        if len(rows[0]) * x_T[0].numel() < _FEWEST_NUMBERS:
            message = (
                f"a schedule found on {len(rows[0])} x {x_T[0].numel()} numbers fits these and not others; "
                f"give x_T so that at least {_FEWEST_NUMBERS} are searched on"
            )
            warnings.warn(message, ReliabilityWarning, stacklevel=3)
        of_reference = rows if paired else self._parts(rng, "reference", len(reference))
        return [x_T[part] for part in rows], [reference[part] for part in of_reference]

    def _parts(self, rng: Generator, name: str, n: int) -> list[torch.Tensor]:
        held = round(self.validation * n)
        if min(held, n - held) < 2:
            raise InvalidData(f"{name} must have at least 2 rows for the search and 2 for the validation, got {n}")
        return [torch.from_numpy(part) for part in np.split(rng.permutation(n), [n - held])]

    def _keep(self, denoiser: BaseDenoiser, x: torch.Tensor, target: torch.Tensor, seconds: float) -> None:
        """The best schedule, and what it and the best preset do on noise that the search has not seen."""
        best = self._best(1)[0]
        preset = min((one for one in self._trials if one.origin not in ("random", "evolved")), key=_value)
        metric = _METRICS[self.metric]
        self._validated = metric(_samples(denoiser, x, best.schedule), target)
        self._diagnostics = {
            "on the search's noise": best.value,
            "best preset": preset.origin,
            "best preset's": float(metric(_samples(denoiser, x, preset.schedule), target)),
        }
        self._seconds = seconds
        self.best_schedule_, self.best_value_ = best.schedule, best.value
        self.history_, self.predictor_rank_corr_ = self._trials, self._tau
        self.n_evaluations_ = len(self._trials)
        short = self.n_evaluations_ < self.n_evaluations
        self._notes = (f"interrupted: {self.n_evaluations_} of {self.n_evaluations} schedules were run",) * short
        self.n_calls_ = self.nfe * self.n_evaluations_

    def _make_estimate(self) -> Estimate:
        return Estimate(
            value=self._validated.value,
            std_error=self._validated.std_error,
            names=self._validated.names,
            kind="monte_carlo",
            estimand="the best schedule's metric on new noise",
            method=type(self).__name__,
            diagnostics=dict(self._diagnostics),
            warnings=self._notes,
            info={
                "parameters": self._settings(),
                "entropy": entropy_of(self._root),
                "n_calls": self.n_calls_,
                "seconds": self._seconds,
                "version": __version__,
            },
        )


def _value(trial: Trial) -> float:
    return trial.value


def _samples(denoiser: BaseDenoiser, x: torch.Tensor, schedule: SolverSchedule) -> torch.Tensor:
    # A copy: threads would lose counts of the user's.
    return sample(USFSolver(schedule), copy.copy(denoiser), x, schedule.grid).samples


def _run(
    denoiser: BaseDenoiser, x: torch.Tensor, target: torch.Tensor, metric: Metric, schedule: SolverSchedule
) -> float:
    """A schedule's metric; inf where it leaves the numbers."""
    try:
        value = float(metric(_samples(denoiser, x, schedule), target))
    except FloatingPointError:
        return np.inf
    return value if np.isfinite(value) else np.inf


def _children(
    rng: Generator, space: Space, parents: list[Trial], count: int, predict: Predict | None
) -> list[SolverSchedule]:
    """Of many children the ``count`` different ones that a predictor likes best; any where there is none."""
    schedules, values = [trial.schedule for trial in parents], np.array([trial.value for trial in parents])
    if predict is None:
        return [_child(rng, space, schedules, values) for _ in range(count)]
    known = {features(schedule, space.nfe).tobytes() for schedule in schedules}
    born: dict[bytes, tuple[SolverSchedule, FloatArray]] = {}
    while len(born) < _CHILDREN * count:
        child = _child(rng, space, schedules, values)
        look = features(child, space.nfe)
        if look.tobytes() not in known:
            born[look.tobytes()] = (child, look)
    listed = list(born.values())
    scores = predict(np.array([look for _, look in listed]))
    return [listed[i][0] for i in np.argsort(scores, kind="stable")[:count]]


def _child(rng: Generator, space: Space, schedules: list[SolverSchedule], scores: FloatArray) -> SolverSchedule:
    one, other = (schedules[_tournament(rng, scores)] for _ in range(2))
    return space.mutated(rng, space.crossed(rng, one, other) if rng.random() < 0.5 else one)


def _tournament(rng: Generator, values: FloatArray) -> int:
    """The best of a few."""
    drawn = rng.integers(len(values), size=_TOURNAMENT)
    return int(drawn[np.argmin(values[drawn])])
