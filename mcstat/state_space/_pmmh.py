"""Particle marginal Metropolis-Hastings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.rng import Purpose, RandomState, stream
from mcstat.kernels.resampling import SCHEMES
from mcstat.state_space._mcmc import PosteriorEstimator
from mcstat.state_space._model import METHODS, Model
from mcstat.state_space._parameters import Posterior, Prior, read_prior
from mcstat.state_space._passes import Likelihood, Normals
from mcstat.state_space._random_walk import Walk, first_walk
from mcstat.state_space._run import FilterSettings

__all__ = ["PMMH"]

FloatArray = NDArray[np.float64]
_NOISY, _STUCK, _PASSES, _TRIES = 1.7, 0.05, 20, 100


class State(NamedTuple):
    """Of a chain: parameters (k,), their log prior and estimated log-likelihood, and the walk.

    ``normals`` are the numbers behind the likelihood estimate where they are kept, else None.
    """

    theta: FloatArray
    log_prior: float
    loglik: float
    walk: Walk
    normals: Normals | None


class Record(NamedTuple):
    """Of a draw."""

    theta: FloatArray
    loglik: float
    accepted: bool


class MarginalMoves:
    """Metropolis-Hastings on the parameters with the likelihood replaced by its unbiased estimate."""

    def __init__(self, posterior: Posterior, likelihood: Likelihood, correlation: float) -> None:
        self.posterior, self.likelihood, self.correlation = posterior, likelihood, correlation
        self.names = posterior.parameters.names

    def start(self, theta: FloatArray | None, rng: np.random.Generator) -> State:
        """At ``theta``, or at a draw from the prior where the likelihood is positive."""
        parameters = self.posterior.parameters
        for _ in range(_TRIES):
            values = self.posterior.draw(rng) if theta is None else parameters.checked("initial_theta", theta)
            normals = self.likelihood.normals(rng) if self.correlation > 0.0 else None
            log_prior, loglik = self.posterior.log_prior(values), self._loglik(values, normals, rng)
            if log_prior + loglik > -np.inf:
                return State(values, log_prior, loglik, first_walk(parameters.free(values)), normals)
        raise InvalidParameter(
            f"initial_theta must be parameters of positive prior density and likelihood, got none in {_TRIES} tries"
        )

    def step(self, state: State, rng: np.random.Generator, adapting: bool) -> tuple[State, Record]:
        """Propose parameters, estimate their likelihood, accept or stay."""
        parameters = self.posterior.parameters
        if adapting:
            # A lucky estimate would hold the chain up, and the walk would learn from that.
            state = self._estimated_anew(state, rng)
        theta = parameters.values(state.walk.propose(parameters.free(state.theta), rng))
        log_prior, loglik, normals = self.posterior.log_prior(theta), -np.inf, None
        if log_prior > -np.inf:
            if state.normals is not None:
                normals = self._near(state.normals, rng)
            loglik = self._loglik(theta, normals, rng)
        chance = float(np.exp(min(0.0, log_prior + loglik - state.log_prior - state.loglik)))
        accepted = rng.random() < chance
        if accepted:
            state = State(theta, log_prior, loglik, state.walk, normals)
        if adapting:
            state = state._replace(walk=state.walk.adapted(parameters.free(state.theta), chance))
        return state, Record(state.theta, state.loglik, accepted)

    def _estimated_anew(self, state: State, rng: np.random.Generator) -> State:
        normals = None if state.normals is None else self.likelihood.normals(rng)
        loglik = self._loglik(state.theta, normals, rng)
        return state if loglik == -np.inf else state._replace(loglik=loglik, normals=normals)

    def _loglik(self, theta: FloatArray, normals: Normals | None, rng: np.random.Generator) -> float:
        packed = self.posterior.parameters.packed(theta)
        if normals is None:
            return self.likelihood.estimate(packed, rng)
        return self.likelihood.estimate_from(normals, packed, rng)

    def _near(self, normals: Normals, rng: np.random.Generator) -> Normals:
        """Normal numbers of that correlation with the old ones."""
        rest = np.sqrt(1.0 - self.correlation**2)
        noise, uniforms = self.likelihood.normals(rng)
        return self.correlation * normals[0] + rest * noise, self.correlation * normals[1] + rest * uniforms


class PMMH(PosteriorEstimator):
    """Posterior of a state-space model's parameters: Metropolis-Hastings with the likelihood from a particle filter.

    The estimate of the likelihood is unbiased, so the draws have the exact posterior law for any number of particles;
    a noisy estimate makes the chains stick. Steps are a normal random walk on a scale without bounds, whose covariance
    is learnt during warm-up and fixed after it.

    Parameters
    ----------
    model : StateSpaceModel or a built-in model
        Parameters without a prior keep its values.
    prior : mapping of str to law, or callable
        Independent laws of the parameters by name, frozen SciPy ones or anything with ``logpdf``, ``rvs`` and
        ``support``; cut off where the model's parameters end. Or ``prior(theta)``, the log density of all of the
        model's parameters, a dict of float, up to a constant.
    n_particles : int
        Enough for a standard deviation of the log-likelihood of 1 to 1.7; ``loglik_sd_`` tells.
    n_draws : int
        Draws of each chain after warm-up.
    n_warmup : int
        Iterations before, in which the walk adapts. They cost twice as much: the likelihood of where a chain stands is
        estimated anew, so that a lucky estimate does not hold it up.
    n_chains : int
    method : {"bootstrap", "guided", "auxiliary"}
        Of the filter, as of :class:`ParticleFilter`.
    resampling : str
        As of :class:`ParticleFilter`.
    ess_threshold : float
        As of :class:`ParticleFilter`.
    correlation : float
        In [0, 1). Above 0 the filter's random numbers move a little instead of being drawn anew (0.99, say), which
        takes far fewer particles for long series of one-dimensional states. They are kept in memory, T n_particles
        numbers a chain, and particles are sorted at each step.
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
    r_hat_ : ndarray, shape (k,)
        Rank-normalised split R-hat: 1 where the chains agree.
    acceptance_ : float
        Share of proposals that were accepted.
    loglik_sd_ : float
        Standard deviation of the log-likelihood estimate at the posterior mean, from 20 passes.
    n_draws_ : int
        Draws that all chains have.

    Warns
    -----
    ReliabilityWarning
        Where chains disagree, fewer than 5 % of the proposals were accepted, or ``loglik_sd_`` exceeds 1.7 (with
        correlation only the first two).

    Notes
    -----
    O(n_chains (n_warmup + n_draws) T N) time; O(N) memory for each chain, O(T N) with correlation.

    References
    ----------
    .. [1] Andrieu, C., Doucet, A. and Holenstein, R. (2010). Particle Markov chain Monte Carlo methods. Journal of
       the Royal Statistical Society B 72, 269-342. doi:10.1111/j.1467-9868.2009.00736.x.
    .. [2] Deligiannidis, G., Doucet, A. and Pitt, M. K. (2018). The correlated pseudomarginal method. Journal of the
       Royal Statistical Society B 80, 839-870. doi:10.1111/rssb.12280.

    Examples
    --------
    >>> from scipy.stats import halfnorm
    >>> from mcstat.state_space import PMMH, LocalLevel
    >>> x, y = LocalLevel(0.5, 1.0).simulate(30, random_state=0)
    >>> sampler = PMMH(LocalLevel(0.5), {"sigma_y": halfnorm()}, 100, n_draws=800, n_warmup=200, random_state=0)
    >>> sampler.fit(y).estimate().names
    ('sigma_y',)
    """

    def __init__(
        self,
        model: Model,
        prior: Prior,
        n_particles: int = 200,
        n_draws: int = 2000,
        n_warmup: int = 1000,
        n_chains: int = 4,
        *,
        method: str = "bootstrap",
        resampling: str = "systematic",
        ess_threshold: float = 0.5,
        correlation: float = 0.0,
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
        self.method = method
        self.resampling = resampling
        self.ess_threshold = ess_threshold
        self.correlation = correlation
        self.initial_theta = initial_theta
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    _moves: MarginalMoves

    def _make_moves(self, y: FloatArray) -> MarginalMoves:
        settings = FilterSettings(
            n_particles=check_integer("n_particles", self.n_particles, 1),
            method=check_option("method", self.method, METHODS),
            resampling=check_option("resampling", self.resampling, tuple(SCHEMES)),
            ess_threshold=check_real("ess_threshold", self.ess_threshold, 0.0, 1.0),
            quantiles=(),
            store_history=False,
        )
        correlation = check_real("correlation", self.correlation, 0.0, 1.0, closed="left")
        if correlation > 0.0 and self.model.noise == "generator":
            raise InvalidParameter('correlation wants a model whose noise is given, got one of noise="generator"')
        return MarginalMoves(read_prior(self.prior, self.model), Likelihood(self.model, settings, y), correlation)

    def _forget_end(self) -> None:
        self._noise = np.nan

    def _finish(self) -> None:
        self._noise = self._measure_noise()

    def _measure_noise(self) -> float:
        moves = self._moves
        theta = moves.posterior.parameters.packed(self.theta_.mean(axis=(0, 1)))
        rng = stream(self._root, "PMMH", Purpose.REPLICATES, self.n_draws_)
        return float(np.std([moves.likelihood.estimate(theta, rng) for _ in range(_PASSES)], ddof=1))

    @property
    def loglik_sd_(self) -> float:
        """Standard deviation of the log-likelihood estimate at the posterior mean; NaN after Ctrl-C."""
        self._check_fitted()
        return self._noise

    def _doubts(self) -> list[str]:
        doubts = super()._doubts()
        if self.acceptance_ < _STUCK:
            doubts.append(f"only {self.acceptance_:.1%} of the proposals were accepted: take more particles or warm-up")
        if self._noise > _NOISY and self._moves.correlation == 0.0:
            doubts.append(
                f"the log-likelihood estimate has standard deviation {self._noise:.1f} at the posterior mean, so "
                "chains stick: take more particles, a guided filter, or correlation=0.99"
            )
        return doubts

    def _own_diagnostics(self) -> dict[str, Any]:
        return {"loglik_sd": self._noise}
