"""Chains of parameters: what particle Gibbs, particle marginal Metropolis-Hastings and score ascent share."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.chains import split_r_hat
from mcstat.core.checks import check_array, check_integer
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.extras import import_extra
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.progress import progress_bar
from mcstat.core.rng import Purpose, child_seed, entropy_of, root_seed, stream
from mcstat.state_space._model import Model

__all__ = ["Chain", "ChainEstimator", "Moves", "PosteriorEstimator"]

FloatArray = NDArray[np.float64]
# Particle-steps that a chain makes between two looks at Ctrl-C, and what an iteration, or a call of a user's array
# function, costs beside its particles.
_BLOCK, _OVERHEAD, _CALL = 500_000, 10_000, 1_000
_DISAGREE = 1.05


class Moves(Protocol):
    """One iteration of a chain; a pure function of state and generator."""

    names: tuple[str, ...]

    def start(self, theta: FloatArray | None, rng: np.random.Generator) -> Any:
        """State of a chain that begins at parameters ``theta`` (k,), or where the method likes."""

    def step(self, state: Any, rng: np.random.Generator, adapting: bool) -> tuple[Any, Any]:
        """The next state, and a record of it: a named tuple."""


class Chain(NamedTuple):
    """Where a chain stands: its seed, its state, and the number of iterations made."""

    seed: SeedSequence
    state: Any
    n_done: int


def go_on(task: tuple[Moves, Chain, int, int]) -> tuple[Chain, list[Any]]:
    """The next iterations of a chain and their records, those of the warm-up left out.

    A pure function of its task: each iteration has its own stream, so a chain that was interrupted goes on with the
    bits of one that was not.
    """
    moves, chain, n_iter, n_warmup = task
    state, found = chain.state, []
    for k in range(chain.n_done, chain.n_done + n_iter):
        state, record = moves.step(state, stream(chain.seed, "iteration", Purpose.SAMPLE, k), k < n_warmup)
        if k >= n_warmup:
            found.append(record)
    return Chain(chain.seed, state, chain.n_done + n_iter), found


class ChainEstimator(Estimator):
    """Runs chains of :class:`Moves` in blocks and keeps what is finished.

    A subclass says its moves (:meth:`_make_moves`), and has the settings n_warmup, n_chains, n_particles,
    initial_theta, n_jobs, random_state and verbose, and one that ``_length`` names: iterations after warm-up.
    """

    _length: ClassVar[str]
    _unit: ClassVar[str]

    model: Model
    n_warmup: int
    n_chains: int
    n_particles: int
    initial_theta: ArrayLike | None
    n_jobs: int | None
    random_state: Any
    verbose: bool

    # Set by fit: the state of each chain, and the records of its draws.
    _moves: Any
    _chains: list[Chain]
    _records: list[list[Any]]

    def _make_moves(self, y: FloatArray) -> Moves:
        """Check the settings and compile."""
        raise NotImplementedError

    def fit(self, y: ArrayLike) -> Self:
        """Run the chains on one series.

        Parameters
        ----------
        y : array_like, shape (T,) or (T, p)
            NaN is a missing observation.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        MissingDensityError
            Naming what the model lacks.
        """
        self._records = []
        length = check_integer(self._length, getattr(self, self._length), 2)
        self._warmup = check_integer("n_warmup", self.n_warmup, 0)
        n_chains = check_integer("n_chains", self.n_chains, 1)
        if not isinstance(self.model, Model):
            raise InvalidParameter(f"model must be a state-space model, got {type(self.model).__name__}")
        self._y = self.model.clean(y)
        self._moves = self._make_moves(self._y)
        self._root, self._seconds, self._planned = root_seed(self.random_state), 0.0, 0
        starts = self._starts(n_chains)
        with single_threaded():
            self._chains = [self._new_chain(k, theta) for k, theta in enumerate(starts)]
            self._records = [[] for _ in range(n_chains)]
            self._run(length)
        return self

    def extend(self, n_more: int) -> Self:
        """Run every chain on, or do what Ctrl-C prevented: the same bits as one longer fit."""
        self._check_fitted()
        with single_threaded():
            self._run(check_integer("n_more", n_more, 1))
        return self

    def _starts(self, n_chains: int) -> list[FloatArray | None]:
        if self.initial_theta is None:
            return [None] * n_chains
        k = len(self._moves.names)
        given = check_array("initial_theta", self.initial_theta, (1, 2))
        if given.shape not in ((k,), (n_chains, k)):
            raise InvalidParameter(f"initial_theta must have shape {(k,)} or {(n_chains, k)}, got {given.shape}")
        return list(np.broadcast_to(given, (n_chains, k)))

    def _new_chain(self, k: int, theta: FloatArray | None) -> Chain:
        seed = child_seed(self._root, type(self).__name__, Purpose.CHAINS, k)
        return Chain(seed, self._moves.start(theta, stream(seed, "start", Purpose.EXPLORE, 0)), 0)

    def _run(self, n_more: int) -> None:
        """Blocks of iterations, all chains in each; what is finished stays."""
        self._planned += n_more
        self._forget_end()
        goal = self._warmup + self._planned
        cost = self.n_particles * len(self._y) + _OVERHEAD + _CALL * len(self._y) * self.model.vectorized
        block = max(1, _BLOCK // cost)
        started = perf_counter()
        try:
            with progress_bar(goal - self._chains[0].n_done, self._unit, self.verbose) as advance:
                while self._chains[0].n_done < goal:
                    n_iter = min(block, goal - self._chains[0].n_done)
                    self._run_block(n_iter)
                    for _ in range(n_iter):
                        advance()
            self._finish()
        finally:
            self._seconds += perf_counter() - started
        for doubt in self._doubts():
            warnings.warn(doubt, ReliabilityWarning, stacklevel=3)

    def _finish(self) -> None:
        """What is measured once at the end."""

    def _forget_end(self) -> None:
        """Forget that: there will be more iterations, or Ctrl-C."""

    def _doubts(self) -> list[str]:
        """Reasons to doubt the answer."""
        return []

    def _interrupted(self) -> list[str]:
        n = len(self._records[0])
        return [f"interrupted: {n} of {self._planned} {self._unit} answer"] if n < self._planned else []

    def _run_info(self) -> dict[str, Any]:
        return {
            "seconds": self._seconds,
            "entropy": entropy_of(self._root),
            "mcstat": __version__,
            "parameters": self._settings(),
        }

    def _run_block(self, n_iter: int) -> None:
        tasks = [(self._moves, chain, n_iter, self._warmup) for chain in self._chains]
        results = map_tasks(go_on, tasks, n_jobs=self.n_jobs, verbose=False)
        for k, (chain, records) in enumerate(results):
            self._records[k] += records
            self._chains[k] = chain

    def __sklearn_is_fitted__(self) -> bool:
        """Every chain has two records."""
        records = getattr(self, "_records", [])
        return bool(records) and len(records[0]) > 1

    def _stack(self, name: str) -> NDArray[Any]:
        """One record of all iterations after warm-up, (n_chains, n, ...)."""
        self._check_fitted()
        return np.array([[getattr(one, name) for one in records] for records in self._records])


class PosteriorEstimator(ChainEstimator):
    """Chains whose law is the posterior: reports the parameters, and how the chains agree."""

    _length: ClassVar[str] = "n_draws"
    _unit: ClassVar[str] = "draws"
    n_draws: int

    @property
    def n_draws_(self) -> int:
        """Draws that all chains have after warm-up."""
        self._check_fitted()
        return len(self._records[0])

    @property
    def theta_(self) -> FloatArray:
        """Draws of the parameters (n_chains, n_draws, k)."""
        return self._stack("theta")

    @property
    def r_hat_(self) -> FloatArray:
        """Rank-normalised split R-hat of each parameter (k,)."""
        return split_r_hat(self.theta_)

    @property
    def acceptance_(self) -> float:
        """Share of proposals of parameters that were accepted."""
        return float(self._stack("accepted").mean())

    def _doubts(self) -> list[str]:
        """Reasons to doubt the draws."""
        names, r_hat = self._moves.names, self.r_hat_
        bad = [f"{name} {value:.2f}" for name, value in zip(names, r_hat, strict=True) if value > _DISAGREE]
        return [f"the chains do not agree (R-hat of {', '.join(bad)}): extend() them"] if bad else []

    def _make_estimate(self) -> Estimate:
        """Posterior mean and standard deviation of the parameters."""
        draws = self.theta_
        estimate = Estimate.from_draws(draws, names=self._moves.names)
        # Batch means miss what moves slower than a batch is long; chains that disagree show it.
        between = draws.mean(axis=1).std(axis=0, ddof=1) / np.sqrt(len(draws)) if len(draws) > 1 else 0.0
        sd, mcse = estimate.std_error, np.maximum(estimate.mcse, between)
        effective = np.divide(sd**2, mcse**2, out=np.full(len(sd), np.nan), where=mcse > 0.0)
        return Estimate.from_draws(
            draws,
            names=self._moves.names,
            mcse=mcse,
            estimand="parameters given the observations",
            method=type(self).__name__,
            diagnostics={
                "n_chains": len(draws),
                "n_draws": draws.shape[1],
                "n_warmup": self._warmup,
                "acceptance": self.acceptance_,
                "r_hat": self.r_hat_.tolist(),
                "effective_draws": effective.tolist(),
                **self._own_diagnostics(),
            },
            warnings=self._interrupted() + self._doubts(),
            info=self._run_info(),
        )

    def _own_diagnostics(self) -> dict[str, Any]:
        return {}

    def _statistics(self) -> tuple[str, ...]:
        """Records that ArviZ gets as statistics of the draws."""
        return ("loglik", "accepted")

    def _arrays(self) -> dict[str, FloatArray]:
        """What ArviZ gets of the posterior beside the parameters; dimension "time" is next, then "state"."""
        return {}

    def to_arviz(self) -> Any:
        """Draws with sample statistics and the observations, as ArviZ data (extra ``arviz``)."""
        theta = self.theta_
        posterior = {name: theta[:, :, k] for k, name in enumerate(self._moves.names)} | self._arrays()
        groups = {
            "posterior": posterior,
            "sample_stats": {name: self._stack(name) for name in self._statistics()},
            "observed_data": {"y": self._y},
        }
        coords = {
            "time": np.arange(len(self._y)),
            "state": np.arange(self.model.dims[0]),
            "observation": np.arange(self._y.shape[1]),
        }
        dims = {"x": ["time", "state"], "y": ["time", "observation"]}
        arviz = import_extra("arviz", "arviz")
        try:
            data = arviz.from_dict(**groups, coords=coords, dims=dims)
        except TypeError:
            data = arviz.from_dict(groups, coords=coords, dims=dims)
        data["posterior"].attrs.update({"method": type(self).__name__, "n_particles": self.n_particles})
        return data
