"""Parisian particle Gibbs: PaRIS without its bias."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, check_integer, check_option
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.extras import import_extra
from mcstat.core.parallel import map_tasks
from mcstat.core.progress import progress_bar
from mcstat.core.rng import RandomState, entropy_of, root_seed
from mcstat.state_space._additive import Functional, additive
from mcstat.state_space._model import Model
from mcstat.state_space._paris_run import Backward, filter_settings, paris_tools, plan_of
from mcstat.state_space._sweep import Chain, Setup, Sweep, go_on, new_chain

__all__ = ["ParisianParticleGibbs"]

FloatArray = NDArray[np.float64]
# Particle-steps a chain makes between two looks at Ctrl-C, some .2 s: chains wait for each other after each block.
_BLOCK = 1_000_000
_BACKWARD = ("auto", "hybrid", "exact", "mcmc")
_SLUGGISH = 0.05


class ParisianParticleGibbs(Estimator):
    """Smoothed additive functionals with a bias that vanishes geometrically in the sweeps, for any number of particles.

    Each sweep runs PaRIS with one particle frozen on a path, takes its estimate, and draws the next path from it. At
    stationarity the expected estimate is the truth; the estimate of a chain is the mean of its sweeps after burn-in.

    Parameters
    ----------
    model : StateSpaceModel or a built-in model
        With a transition density, and for ``backward="hybrid"`` its bound.
    functional : str, callable, or list of these
        As of :class:`ParisSmoother`.
    n_particles : int
        At least 2, the frozen one included.
    n_iter : int
        Sweeps of each chain.
    burn_in : int, optional
        Sweeps that do not count; default ``n_iter // 4``.
    n_backward : int
        Backward draws a particle and step. At least 2 for ``backward="mcmc"``, whose first draw is no move.
    backward : {"auto", "hybrid", "exact", "mcmc"}
        As of :class:`ParisSmoother`; ``"auto"`` is hybrid where the model has a bound, otherwise mcmc.
    max_trials : int, optional
        As of :class:`ParisSmoother`.
    method : {"bootstrap", "guided"}
        How particles move.
    n_chains : int
        Independent chains; the spread of their estimates is the standard error.
    initial_path : array_like of shape (T,) or (T, d), optional
        First path of every chain; default is one from a plain pass of PaRIS for each.
    n_jobs : int, optional
        Chains that run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    sweep_estimates_ : ndarray, shape (n_chains, n_iter, k)
        Estimates of all sweeps, burn-in included.
    paths_ : ndarray, shape (n_chains, n_iter, T, d)
        Paths drawn at the end of all sweeps: after burn-in, dependent draws from the smoothing law.
    path_update_rate_ : ndarray, shape (T,)
        Share of sweeps that changed the path at time t.
    n_iter_ : int
        Sweeps that all chains have finished.

    Warns
    -----
    ReliabilityWarning
        Where fewer than 5 % of the sweeps changed the path at t = 0.

    Notes
    -----
    O(n_chains n_iter T N M) time; O(T N) memory for each chain that runs, beside the paths. At an equal budget it
    lowers the bias of PaRIS, not its mean squared error: use it where bias does the harm, with few particles, many
    averaged replicates, or gradients in a learning loop. Resampling is multinomial, at every step.

    References
    ----------
    .. [1] Cardoso, G., Janati El Idrissi, Y., Le Corff, S., Moulines, E. and Olsson, J. (2023). State and parameter
       learning with PARIS particle Gibbs. ICML. arXiv:2301.00900.

    Examples
    --------
    >>> from mcstat.state_space import KalmanFilter, LinearGaussian, ParisianParticleGibbs
    >>> model = LinearGaussian()
    >>> x, y = model.simulate(30, random_state=0)
    >>> found = ParisianParticleGibbs(model, "sum_x", n_particles=20, n_iter=40, random_state=0).fit(y).estimate()
    >>> bool(abs(float(found) - KalmanFilter(model).fit(y).sum_x_[0]) < 5 * found.std_error[0])
    True
    """

    # Set by fit: the state of each chain, and what its sweeps found.
    _chains: list[Chain]
    _sweeps: list[list[Sweep]]

    def __init__(
        self,
        model: Model,
        functional: Functional = "sum_x",
        n_particles: int = 50,
        n_iter: int = 60,
        burn_in: int | None = None,
        n_backward: int = 2,
        n_chains: int = 8,
        *,
        backward: str = "auto",
        max_trials: int | None = None,
        method: str = "bootstrap",
        initial_path: ArrayLike | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = 0,
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.functional = functional
        self.n_particles = n_particles
        self.n_iter = n_iter
        self.burn_in = burn_in
        self.n_backward = n_backward
        self.n_chains = n_chains
        self.backward = backward
        self.max_trials = max_trials
        self.method = method
        self.initial_path = initial_path
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

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
        BoundViolationError
            Where a transition density exceeds its bound.
        ParticleDegeneracyError
            Where all particles have weight zero, naming the time.
        """
        self._sweeps = []
        n_iter = check_integer("n_iter", self.n_iter, 1)
        self._check_burn_in(n_iter)
        n_chains = check_integer("n_chains", self.n_chains, 1)
        self._setup = self._prepare(y)
        self._root, self._seconds = root_seed(self.random_state), 0.0
        first = self._first_path()
        self._chains = [new_chain(self._root, k, first) for k in range(n_chains)]
        self._sweeps = [[] for _ in range(n_chains)]
        self._planned = 0
        return self._run(n_iter)

    def extend(self, n_iter: int) -> Self:
        """Make more sweeps, or those that Ctrl-C prevented: the same bits as one longer fit."""
        self._check_fitted()
        return self._run(check_integer("n_iter", n_iter, 1))

    def _prepare(self, y: ArrayLike) -> Setup:
        """Check everything and compile."""
        model = self.model
        if not isinstance(model, Model):
            raise InvalidParameter(f"model must be a state-space model, got {type(model).__name__}")
        n = check_integer("n_particles", self.n_particles, 2)
        backward = check_option("backward", self.backward, _BACKWARD)
        # Without a density "auto" would follow ancestors, which degenerate: ask for it.
        model.function("log_transition")
        plan = plan_of(Backward(backward, self.n_backward, self.max_trials), model, n)
        if plan.is_mcmc and plan.n_draws < 2:
            raise InvalidParameter(f"n_backward must be at least 2 for Metropolis steps, got {plan.n_draws}")
        method = check_option("method", self.method, ("bootstrap", "guided"))
        settings = filter_settings(n, method, "multinomial_iid", 1.0, store_history=True)
        functional = additive(self.functional, model)
        # Compiled here, not in threads.
        paris_tools(model, settings, functional, plan)
        return Setup(model, settings, functional, plan, model.clean(y))

    def _first_path(self) -> FloatArray | None:
        if self.initial_path is None:
            return None
        wanted = (len(self._setup.y), self.model.dims[0])
        path = check_array("initial_path", self.initial_path, (1, 2))
        path = path[:, None] if path.ndim == 1 else path
        if path.shape != wanted:
            raise InvalidParameter(f"initial_path must have shape {wanted}, got {np.shape(self.initial_path)}")
        return np.array(path)

    def _check_burn_in(self, n_iter: int) -> int:
        if self.burn_in is None:
            return n_iter // 4
        burn_in = check_integer("burn_in", self.burn_in, 0)
        if burn_in >= n_iter:
            raise InvalidParameter(f"burn_in must be below the number of sweeps, {n_iter}, got {burn_in}")
        return burn_in

    def _run(self, n_iter: int) -> Self:
        """Blocks of sweeps, all chains in each; what is finished stays."""
        self._planned += n_iter
        # Each chain's first path takes a sweep too.
        goal = self._planned + 1
        block = max(1, _BLOCK // (self._setup.settings.n_particles * len(self._setup.y)))
        started = perf_counter()
        try:
            with progress_bar(goal - self._chains[0].n_done, "sweeps", self.verbose) as advance:
                while self._chains[0].n_done < goal:
                    n_sweeps = min(block, goal - self._chains[0].n_done)
                    self._run_block(n_sweeps)
                    for _ in range(n_sweeps):
                        advance()
        finally:
            self._seconds += perf_counter() - started
        self._warn_if_sluggish()
        return self

    def _run_block(self, n_sweeps: int) -> None:
        tasks = [(self._setup, chain, n_sweeps) for chain in self._chains]
        results = map_tasks(go_on, tasks, n_jobs=self.n_jobs, verbose=False)
        for k, (chain, sweeps) in enumerate(results):
            # The pass that gave the first path is no sweep.
            is_first = self._chains[k].n_done == 0
            self._sweeps[k] += sweeps[1:] if is_first else sweeps
            self._chains[k] = chain

    def _warn_if_sluggish(self) -> None:
        if self.n_iter_ >= 2 / _SLUGGISH and self.path_update_rate_[0] < _SLUGGISH:
            warnings.warn(
                f"only {self.path_update_rate_[0]:.1%} of the sweeps changed the path at time 0: take more particles",
                ReliabilityWarning,
                stacklevel=3,
            )

    def __sklearn_is_fitted__(self) -> bool:
        """Every chain has finished a sweep."""
        sweeps = getattr(self, "_sweeps", [])
        return bool(sweeps) and bool(sweeps[0])

    def _stack(self, name: str) -> NDArray[Any]:
        """One record of all sweeps, (n_chains, n_iter, ...)."""
        self._check_fitted()
        return np.array([[getattr(one, name) for one in sweeps] for sweeps in self._sweeps])

    @property
    def n_iter_(self) -> int:
        """Sweeps that all chains have finished."""
        self._check_fitted()
        return len(self._sweeps[0])

    @property
    def sweep_estimates_(self) -> FloatArray:
        """Estimates of all sweeps (n_chains, n_iter, k)."""
        return self._stack("estimate")

    @property
    def paths_(self) -> FloatArray:
        """Paths of all sweeps (n_chains, n_iter, T, d)."""
        return self._stack("path")

    @property
    def path_update_rate_(self) -> FloatArray:
        """Share of sweeps that changed the path, (T,)."""
        paths = self.paths_
        if paths.shape[1] < 2:
            return np.full(len(self._setup.y), np.nan)
        return np.asarray((paths[:, 1:] != paths[:, :-1]).any(axis=3).mean(axis=(0, 1)))

    def _make_estimate(self) -> Estimate:
        """Mean over chains of their means after burn-in; the error is from the spread of the chains."""
        n_done = self.n_iter_
        burn_in = min(self._check_burn_in(self._planned), n_done - 1)
        draws = self.sweep_estimates_[:, burn_in:]
        values = draws.mean(axis=1)
        n, notes = len(values), []
        if n_done < self._planned:
            notes.append(f"interrupted: {n_done} of {self._planned} sweeps answer")
        if n == 1:
            notes.append("one chain does not know its error: n_chains of 8 or more gives a standard error")
        spread: dict[str, Any] = {"std_error": np.full(len(values[0]), np.nan)}
        if n > 1:
            spread = {"cov": np.atleast_2d(np.cov(values, rowvar=False)) / n}
        return Estimate(
            value=values.mean(axis=0),
            **spread,
            draws=draws,
            names=self._setup.functional.names,
            kind="monte_carlo",
            df=n - 1 if n > 1 else None,
            estimand="expected additive functionals of the states given all observations",
            method="ParisianParticleGibbs",
            diagnostics={
                "n_chains": n,
                "n_iter": n_done,
                "burn_in": burn_in,
                "smallest_path_update_rate": float(self.path_update_rate_.min()),
            },
            warnings=tuple(notes),
            info={
                "seconds": self._seconds,
                "entropy": entropy_of(self._root),
                "mcstat": __version__,
                "parameters": self._settings(),
            },
        )

    def to_arviz(self) -> Any:
        """Paths and estimates of the sweeps after burn-in, with sample statistics, as ArviZ data (extra ``arviz``)."""
        estimate = self.estimate()
        burn_in = int(estimate.diagnostics["burn_in"])
        y = self._setup.y
        groups = {
            "posterior": {"x": self.paths_[:, burn_in:], "functional": self.sweep_estimates_[:, burn_in:]},
            "sample_stats": {name: self._stack(name)[:, burn_in:] for name in ("loglik", "ess_min", "exact_fraction")},
            "observed_data": {"y": y},
            "constant_data": {"path_update_rate": self.path_update_rate_},
        }
        coords = {
            "time": np.arange(len(y)),
            "state": np.arange(self.model.dims[0]),
            "term": list(estimate.names),
            "observation": np.arange(y.shape[1]),
        }
        dims = {
            "x": ["time", "state"],
            "functional": ["term"],
            "y": ["time", "observation"],
            "path_update_rate": ["time"],
        }
        arviz = import_extra("arviz", "arviz")
        try:
            data = arviz.from_dict(**groups, coords=coords, dims=dims)
        except TypeError:
            data = arviz.from_dict(groups, coords=coords, dims=dims)
        attributes = {"n_particles": self.n_particles, "n_backward": self.n_backward, "burn_in": burn_in}
        data["posterior"].attrs.update({"method": "ParisianParticleGibbs"} | attributes)
        return data
