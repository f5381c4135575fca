"""Particle Gibbs: parameters and states together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer, check_option, frozen_view
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.rng import RandomState
from mcstat.state_space._errors import ParticleDegeneracyError
from mcstat.state_space._mcmc import Moves, PosteriorEstimator
from mcstat.state_space._model import Model
from mcstat.state_space._parameters import Parameters, Posterior, Prior, named, parameters_of, read_prior
from mcstat.state_space._passes import Conditional, PathDensity, Swept
from mcstat.state_space._random_walk import Walk, first_walk

__all__ = ["ParticleGibbs"]

FloatArray = NDArray[np.float64]
Update = Callable[[FloatArray, FloatArray, dict[str, float], np.random.Generator], Mapping[str, float]]
_SLUGGISH, _ENOUGH, _TRIES = 0.05, 40, 100


class State(NamedTuple):
    """Of a chain: values (k,) of the parameters, the path (T, d), and the walk of the parameters, if there is one."""

    theta: FloatArray
    path: FloatArray
    walk: Walk | None


class Record(NamedTuple):
    """Of a draw; ``accepted`` is the share of the sweep's proposals of parameters."""

    theta: FloatArray
    path: FloatArray
    loglik: float
    ess_min: float
    accepted: float


class GibbsMoves:
    """Parameters given the path, then the path given the parameters."""

    def __init__(self, parameters: Parameters, conditional: Conditional) -> None:
        self.parameters, self.conditional = parameters, conditional
        self.names = parameters.names

    def start(self, theta: FloatArray | None, rng: np.random.Generator) -> State:
        """At ``theta``, or where the prior puts it; the first path is from a plain pass."""
        for _ in range(_TRIES):
            values = self.first(rng) if theta is None else self.parameters.checked("initial_theta", theta)
            try:
                path = self.sweep(values, None, rng).path
            except ParticleDegeneracyError:
                continue
            return State(values, path, self.first_walk(values))
        raise InvalidParameter(f"initial_theta must be parameters of positive likelihood, got none in {_TRIES} tries")

    def sweep(self, values: FloatArray, path: FloatArray | None, rng: np.random.Generator) -> Swept:
        """A path by the conditional particle filter."""
        return self.conditional.sweep(self.parameters.packed(values), path, rng)

    def step(self, state: State, rng: np.random.Generator, adapting: bool) -> tuple[State, Record]:
        """One sweep."""
        theta, walk, accepted = self.update(state, rng, adapting)
        swept = self.sweep(theta, state.path, rng)
        return State(theta, swept.path, walk), Record(theta, *swept, accepted)

    def first(self, rng: np.random.Generator) -> FloatArray:
        """Values of the parameters to begin with."""
        raise NotImplementedError

    def first_walk(self, values: FloatArray) -> Walk | None:
        """The walk to begin with."""
        return None

    def update(self, state: State, rng: np.random.Generator, adapting: bool) -> tuple[FloatArray, Walk | None, float]:
        """Parameters given the path; the walk, and the share of proposals that were accepted."""
        raise NotImplementedError


class WalkingMoves(GibbsMoves):
    """Parameters by Metropolis steps on their free scale."""

    def __init__(self, posterior: Posterior, conditional: Conditional, density: PathDensity, n_steps: int) -> None:
        super().__init__(posterior.parameters, conditional)
        self.posterior, self.density, self.n_steps = posterior, density, n_steps

    def first(self, rng: np.random.Generator) -> FloatArray:
        """From the prior."""
        return self.posterior.draw(rng)

    def first_walk(self, values: FloatArray) -> Walk:
        """From there."""
        return first_walk(self.parameters.free(values))

    def _log_target(self, theta: FloatArray, path: FloatArray) -> float:
        log_prior = self.posterior.log_prior(theta)
        if log_prior == -np.inf:
            return log_prior
        return log_prior + float(self.density(self.parameters.packed(theta)[None], path)[0])

    def update(self, state: State, rng: np.random.Generator, adapting: bool) -> tuple[FloatArray, Walk | None, float]:
        """A few steps of the walk."""
        theta, walk = state.theta, state.walk
        assert walk is not None  # noqa: S101  (set at the start)
        current, n_accepted = self._log_target(theta, state.path), 0
        for _ in range(self.n_steps):
            proposal = self.parameters.values(walk.propose(self.parameters.free(theta), rng))
            value = self._log_target(proposal, state.path)
            chance = float(np.exp(min(0.0, value - current)))
            if rng.random() < chance:
                theta, current, n_accepted = proposal, value, n_accepted + 1
            if adapting:
                walk = walk.adapted(self.parameters.free(theta), chance)
        return theta, walk, n_accepted / self.n_steps


class UserMoves(GibbsMoves):
    """Parameters by a user's function."""

    def __init__(self, parameters: Parameters, conditional: Conditional, update_theta: Update) -> None:
        super().__init__(parameters, conditional)
        self.update_theta = update_theta

    def first(self, rng: np.random.Generator) -> FloatArray:
        """The model's own."""
        return self.parameters.checked("theta of the model", self.parameters.at_model)

    def update(self, state: State, rng: np.random.Generator, adapting: bool) -> tuple[FloatArray, Walk | None, float]:
        """What the user says; the other parameters stay."""
        path, y = (frozen_view(a[:, 0] if a.shape[1] == 1 else a) for a in (state.path, self.conditional.y))
        theta = named(self.parameters, state.theta)
        new = self.update_theta(path, y, dict(theta), rng)
        if not isinstance(new, Mapping) or not set(new) <= set(theta):
            raise InvalidData(f"update_theta must return a mapping with names of {self.names}, got {new!r}")
        values = np.array([float(new.get(name, theta[name])) for name in self.names])
        return self.parameters.checked("what update_theta returns", values), None, 1.0


class ParticleGibbs(PosteriorEstimator):
    """Joint posterior of a state-space model's parameters and states: they take turns, each given the other.

    Given the parameters, a new path of states is drawn by a conditional particle filter around the old one, which
    leaves its law invariant for any number of particles. Given the path, the parameters are drawn by Metropolis steps
    under a prior, or by a function of yours.

    Parameters
    ----------
    model : StateSpaceModel or a built-in model
        With a prior, its densities of initial state and transition are needed.
    prior : mapping of str to law, or callable, optional
        Independent laws of the parameters by name, frozen SciPy ones or anything with ``logpdf``, ``rvs`` and
        ``support``; cut off where the model's parameters end. Or ``prior(theta)``, the log density of all of the
        model's parameters, a dict of float, up to a constant. Parameters without a prior keep the model's values.
    n_particles : int
        At least 2, the frozen one included.
    n_draws : int
        Draws of each chain after warm-up.
    n_warmup : int
        Sweeps before, in which the walk of the parameters adapts.
    n_chains : int
    update_theta : callable, optional
        Instead of a prior: ``update_theta(path, y, theta, rng)`` draws parameters given a path (T,) or (T, d) and the
        observations (T,) or (T, p), and returns a dict; those it leaves out stay. ``theta`` is a dict of all of them.
    n_steps : int
        Metropolis steps of the parameters in each sweep.
    ancestor_sampling : bool, optional
        Draw the ancestor of the frozen state anew at each step. Without it early states hardly move in long series.
        Default: where the model has a transition density.
    method : {"bootstrap", "guided"}
        How particles move.
    initial_theta : array_like, shape (k,) or (n_chains, k), optional
        Where chains begin; default draws from the prior's laws, or the model's values where there are none.
    n_jobs : int, optional
        Chains that run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    theta_ : ndarray, shape (n_chains, n_draws, k)
    paths_ : ndarray, shape (n_chains, n_draws, T, d)
    r_hat_ : ndarray, shape (k,)
        Rank-normalised split R-hat: 1 where the chains agree.
    acceptance_ : float
        Share of proposals of parameters that were accepted.
    path_update_rate_ : ndarray, shape (T,)
        Share of sweeps that changed the path at time t.
    n_draws_ : int
        Draws that all chains have.

    Warns
    -----
    ReliabilityWarning
        Where chains disagree, or fewer than 5 % of the sweeps changed the path at t = 0.

    Notes
    -----
    O(n_chains (n_warmup + n_draws) T N) time; O(T N) memory for each chain that runs, beside the paths. Parameters
    that the states determine closely, such as the spread of the noise of a long path, move slowly: look at R-hat, and
    use :class:`PMMH` where it stays high.

    References
    ----------
    .. [1] Andrieu, C., Doucet, A. and Holenstein, R. (2010). Particle Markov chain Monte Carlo methods. Journal of
       the Royal Statistical Society B 72, 269-342. doi:10.1111/j.1467-9868.2009.00736.x.
    .. [2] Lindsten, F., Jordan, M. I. and Schön, T. B. (2014). Particle Gibbs with ancestor sampling. Journal of
       Machine Learning Research 15, 2145-2184. arXiv:1401.0604.

    Examples
    --------
    >>> from scipy.stats import halfnorm
    >>> from mcstat.state_space import LocalLevel, ParticleGibbs
    >>> x, y = LocalLevel(0.5, 1.0).simulate(30, random_state=0)
    >>> prior = {"sigma_level": halfnorm(), "sigma_y": halfnorm()}
    >>> found = ParticleGibbs(LocalLevel(), prior, 20, n_draws=400, n_warmup=200, n_chains=2, random_state=0).fit(y)
    >>> found.paths_.shape
    (2, 400, 30, 1)
    """

    def __init__(
        self,
        model: Model,
        prior: Prior | None = None,
        n_particles: int = 50,
        n_draws: int = 1000,
        n_warmup: int = 500,
        n_chains: int = 4,
        *,
        update_theta: Update | None = None,
        n_steps: int = 5,
        ancestor_sampling: bool | None = None,
        method: str = "bootstrap",
        initial_theta: ArrayLike | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = 0,
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.prior = prior
        self.n_particles = n_particles
        self.n_draws = n_draws
        self.n_warmup = n_warmup
        self.n_chains = n_chains
        self.update_theta = update_theta
        self.n_steps = n_steps
        self.ancestor_sampling = ancestor_sampling
        self.method = method
        self.initial_theta = initial_theta
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _make_moves(self, y: FloatArray) -> Moves:
        model = self.model
        n = check_integer("n_particles", self.n_particles, 2)
        method = check_option("method", self.method, ("bootstrap", "guided"))
        n_steps = check_integer("n_steps", self.n_steps, 1)
        ancestors = self.ancestor_sampling
        if not isinstance(ancestors, (bool, np.bool_, type(None))):
            raise InvalidParameter(f"ancestor_sampling must be True, False or None, got {ancestors!r}")
        ancestors = model.has("log_transition") if ancestors is None else bool(ancestors)
        if self.update_theta is None:
            posterior = read_prior(self.prior, model)
            return WalkingMoves(posterior, Conditional(model, n, method, ancestors, y), PathDensity(model, y), n_steps)
        if self.prior is not None:
            raise InvalidParameter("prior must be None where update_theta draws the parameters")
        if not callable(self.update_theta):
            raise InvalidParameter(f"update_theta must be a function, got {type(self.update_theta).__name__}")
        parameters = parameters_of(model, model.theta_names)
        return UserMoves(parameters, Conditional(model, n, method, ancestors, y), self.update_theta)

    @property
    def paths_(self) -> FloatArray:
        """Paths of all draws (n_chains, n_draws, T, d)."""
        return self._stack("path")

    @property
    def path_update_rate_(self) -> FloatArray:
        """Share of sweeps that changed the path, (T,)."""
        paths = self.paths_
        return np.asarray((paths[:, 1:] != paths[:, :-1]).any(axis=3).mean(axis=(0, 1)))

    def _doubts(self) -> list[str]:
        doubts, rate = super()._doubts(), float(self.path_update_rate_[0])
        if self.n_draws_ >= _ENOUGH and rate < _SLUGGISH:
            doubts.append(f"only {rate:.1%} of the sweeps changed the path at time 0: take more particles")
        return doubts

    def _own_diagnostics(self) -> dict[str, Any]:
        return {"smallest_path_update_rate": float(self.path_update_rate_.min())}

    def _statistics(self) -> tuple[str, ...]:
        return ("loglik", "ess_min", "accepted")

    def _arrays(self) -> dict[str, FloatArray]:
        return {"x": self.paths_}
