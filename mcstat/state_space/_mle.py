"""Maximum likelihood for state-space models by stochastic approximation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks
from mcstat.core.rng import RandomState
from mcstat.state_space._additive import Functional, additive
from mcstat.state_space._ascent import (
    Ascent,
    ClimbMoves,
    MaximiseMoves,
    MaximiseStep,
    ScoreMoves,
    Steps,
)
from mcstat.state_space._information import (
    Information,
    inverse_square_root,
    mean_score,
    points_around,
    products_of,
    sampled_information,
)
from mcstat.state_space._mcmc import ChainEstimator
from mcstat.state_space._model import Model
from mcstat.state_space._parameters import Parameters, parameters_of
from mcstat.state_space._paris_kernels import Plan
from mcstat.state_space._paris_run import Backward, filter_settings, plan_of
from mcstat.state_space._passes import Conditional, PathDensity
from mcstat.state_space._score import PathScore, ScorePass
from mcstat.state_space._sweep import Setup

__all__ = ["ParticleMLE"]

FloatArray = NDArray[np.float64]
_METHODS = ("gradient", "msc", "saem")
# Monte Carlo error over standard error, beyond which more iterations are worth their while.
_UNFINISHED = 0.25
# Paths of each chain for the rough information; particles, at the least, for the better one, where many in a sweep are
# worth more than many sweeps.
_PILOT, _MANY = 100, 250
# Relative error of the information beyond which standard errors are not to be trusted.
_VAGUE = 0.3


class ParticleMLE(ChainEstimator):
    """Maximum likelihood of a state-space model's parameters, with standard errors from the observed information.

    Several chains climb from where they begin: each iteration draws a path of states given the observations and the
    current parameters, and steps along an estimate of the score. The answer is the average of the iterates; the spread
    between chains is its Monte Carlo error.

    Parameters
    ----------
    model : StateSpaceModel or a built-in model
        With densities of initial state and transition; its parameters are where chains begin.
    parameters : sequence of str, optional
        Those to learn; the others keep the model's values. Default all.
    method : {"gradient", "msc", "saem"}
        The score smoothed by PaRIS around the path of the last iteration (Parisian particle Gibbs); Markov score
        climbing, the score at one drawn path, cheaper and noisier; or stochastic approximation EM, for models whose
        maximisation you know.
    n_particles : int
        At least 2.
    n_iter : int
        Iterations with steps that decrease; their second half is averaged.
    n_warmup : int
        Iterations before, with steps of full size.
    n_chains : int
        Two or more tell the Monte Carlo error.
    n_backward : int
        Backward draws a particle and step, as of :class:`ParisSmoother`.
    n_sweeps, burn_in : int
        Sweeps in each iteration of ``"gradient"``, and how many of them do not count.
    conditional : bool
        False: plain passes of PaRIS instead of sweeps around a path. Their score is biased; for comparison.
    decay : float
        In (0.5, 1]: the j-th step has size j^-decay, those of the warm-up size 1.
    statistics : str, callable, or list of these, optional
        For ``"saem"``: additive functionals, as of :class:`ParisSmoother`.
    m_step : callable, optional
        For ``"saem"``: ``m_step(statistics, theta)`` takes a dict of the functionals' values and one of the parameters,
        and returns a dict of the parameters that maximise the expected complete log-likelihood.
    n_information : int
        Sweeps of each chain for the information, at each of 2 k points near the answer, with at least 250 particles; 0
        gives no standard errors.
    initial_theta : array_like, shape (k,) or (n_chains, k), optional
        Where chains begin, instead of the model's values.
    n_jobs : int, optional
        Chains that run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    iterates_ : ndarray, shape (n_chains, n_iter, k)
        Parameters after each iteration, those of the warm-up left out.
    model_ : Model
        With the parameters found.
    information_ : ndarray, shape (k, k)
        Observed information of the parameters.
    n_iter_ : int
        Iterations that all chains have finished.

    Warns
    -----
    ReliabilityWarning
        Where a Monte Carlo error exceeds a quarter of the standard error, or the information is not positive definite.

    Notes
    -----
    O(n_chains n_iter T N M) time, O(T N) memory for each chain that runs. Steps are made on a scale without bounds:
    the score over the information, of states and observations together during warm-up (to first order a step of the EM
    algorithm), of the observations after it. Gradients are central differences of log densities. The
    information is from differences of the score half a standard error up and down; a first guess of it by Louis's
    identity over paths says how far that is. Where the likelihood rises towards the end of a parameter's interval
    (a spread of 0, say), iterates drift there without end: the warnings tell.

    References
    ----------
    .. [1] Cardoso, G., Janati El Idrissi, Y., Le Corff, S., Moulines, E. and Olsson, J. (2023). State and parameter
       learning with PARIS particle Gibbs. ICML. arXiv:2301.00900.
    .. [2] Naesseth, C., Lindsten, F. and Blei, D. (2020). Markovian score climbing: variational inference with
       KL(p||q). NeurIPS 33. arXiv:2003.10374.
    .. [3] Delyon, B., Lavielle, M. and Moulines, E. (1999). Convergence of a stochastic approximation version of the
       EM algorithm. Annals of Statistics 27, 94-128. doi:10.1214/aos/1018031103.
    .. [4] Louis, T. A. (1982). Finding the observed information matrix when using the EM algorithm. Journal of the
       Royal Statistical Society B 44, 226-233. doi:10.1111/j.2517-6161.1982.tb01203.x.

    Examples
    --------
    >>> from mcstat.state_space import LocalLevel, ParticleMLE
    >>> x, y = LocalLevel(0.5, 1.0).simulate(60, random_state=0)
    >>> found = ParticleMLE(LocalLevel(), n_particles=20, n_iter=60, n_warmup=30, n_chains=2, random_state=0).fit(y)
    >>> found.estimate().names
    ('sigma_level', 'sigma_y')
    """

    _length: ClassVar[str] = "n_iter"
    _unit: ClassVar[str] = "iterations"
    # Set by fit: a root of the inverse information that is roughly known, and its products with the one of each chain.
    _moves: Ascent
    _root_information: FloatArray
    _products: FloatArray | None

    def __init__(
        self,
        model: Model,
        parameters: Sequence[str] | None = None,
        method: str = "gradient",
        n_particles: int = 50,
        n_iter: int = 200,
        n_warmup: int = 50,
        n_chains: int = 4,
        *,
        n_backward: int = 2,
        n_sweeps: int = 1,
        burn_in: int = 0,
        conditional: bool = True,
        decay: float = 0.6,
        statistics: Functional | None = None,
        m_step: MaximiseStep | None = None,
        n_information: int = 20,
        initial_theta: ArrayLike | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = 0,
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.parameters = parameters
        self.method = method
        self.n_particles = n_particles
        self.n_iter = n_iter
        self.n_warmup = n_warmup
        self.n_chains = n_chains
        self.n_backward = n_backward
        self.n_sweeps = n_sweeps
        self.burn_in = burn_in
        self.conditional = conditional
        self.decay = decay
        self.statistics = statistics
        self.m_step = m_step
        self.n_information = n_information
        self.initial_theta = initial_theta
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _make_moves(self, y: FloatArray) -> Ascent:
        check_integer("n_information", self.n_information, 0)
        method = check_option("method", self.method, _METHODS)
        n = check_integer("n_particles", self.n_particles, 2)
        n_backward = check_integer("n_backward", self.n_backward, 1)
        plan = plan_of(Backward("auto", n_backward, None), self.model, n)
        if plan.is_mcmc and n_backward < 2:
            raise InvalidParameter(f"n_backward must be at least 2 where the model has no bound, got {n_backward}")
        n_sweeps, burn_in = check_integer("n_sweeps", self.n_sweeps, 1), check_integer("burn_in", self.burn_in, 0)
        if burn_in >= n_sweeps:
            raise InvalidParameter(f"burn_in must be below n_sweeps, {n_sweeps}, got {burn_in}")
        if not isinstance(self.conditional, (bool, np.bool_)):
            raise InvalidParameter(f"conditional must be True or False, got {self.conditional!r}")
        steps = Steps(self._warmup, check_real("decay", self.decay, 0.5, 1.0, closed="right"))
        parameters, density = self._parameters(), PathDensity(self.model, y)
        parts = (parameters, density, steps)
        if self.n_information > 0:
            self._score_pass = ScorePass(parameters, max(n, _MANY), n_backward, y)
        if method == "msc":
            return ClimbMoves(*parts, conditional=Conditional(self.model, n, "bootstrap", True, y))
        if method == "saem":
            return self._maximiser(parts, n, plan, y)
        return ScoreMoves(
            *parts,
            score_pass=ScorePass(parameters, n, n_backward, y),
            n_sweeps=n_sweeps,
            burn_in=burn_in,
            conditional_passes=bool(self.conditional),
        )

    def _maximiser(self, parts: tuple[Any, ...], n: int, plan: Plan, y: FloatArray) -> Ascent:
        if self.statistics is None or not callable(self.m_step):
            raise InvalidParameter('method="saem" wants statistics and a function m_step, got none')
        settings = filter_settings(n, "bootstrap", "multinomial_iid", 1.0, store_history=True)
        setup = Setup(self.model, settings, additive(self.statistics, self.model), plan, y)
        return MaximiseMoves(*parts, setup=setup, m_step=self.m_step)

    def _parameters(self) -> Parameters:
        known, given = self.model.theta_names, self.parameters
        listed = isinstance(given, Sequence) and not isinstance(given, str)
        names = tuple(given) if given is not None and listed else known if given is None else ()
        if not names or len(set(names)) < len(names) or not set(names) <= set(known):
            raise InvalidParameter(f"parameters must name some of {known}, none twice, got {given!r}")
        return parameters_of(self.model, names)

    def _forget_end(self) -> None:
        self._products = None

    def _finish(self) -> None:
        """The information at the answer, from every chain's path on."""
        n = self.n_information
        if n == 0:
            return
        moves = self._moves
        parameters, free = moves.parameters, self._averages().mean(axis=0)
        at = PathScore(parameters, moves.density, free)
        places = [(chain.state.path, chain.seed) for chain in self._chains]
        rough = self._each(
            sampled_information, [(at, moves.next_path, free, path, _PILOT, seed) for path, seed in places]
        )
        root = Information(*(np.mean(part, axis=0) for part in zip(*rough, strict=True))).inverse_root(observed=True)
        # Noise is least where directions are as long as a standard error: a first look says how long they are.
        first = self._measured_products(free, root, n // 4 + 1)
        root = root @ inverse_square_root(first.mean(axis=0))
        self._root_information, self._products = root, self._measured_products(free, root, n)

    def _measured_products(self, free: FloatArray, root: FloatArray, n: int) -> FloatArray:
        """R^T I R of each chain (n_chains, k, k)."""
        points = list(enumerate(points_around(free, root)))
        tasks = [
            (self._score_pass, at, chain.state.path, n, chain.seed, which)
            for chain in self._chains
            for which, at in points
        ]
        scores = np.reshape(self._each(mean_score, tasks), (len(self._chains), len(points), len(free)))
        return np.array([products_of(one, root) for one in scores])

    def _each(self, function: Any, tasks: list[Any]) -> list[Any]:
        return map_tasks(function, tasks, n_jobs=self.n_jobs, label="information", verbose=self.verbose)

    def _averages(self) -> FloatArray:
        """Means (n_chains, k) of the second half of the free iterates."""
        iterates = self._stack("free")
        return np.asarray(iterates[:, iterates.shape[1] // 2 :].mean(axis=1))

    @property
    def n_iter_(self) -> int:
        """Iterations that all chains have finished."""
        self._check_fitted()
        return len(self._records[0])

    @property
    def iterates_(self) -> FloatArray:
        """Parameters after each iteration (n_chains, n_iter, k)."""
        parameters = self._moves.parameters
        return np.array([[parameters.values(free) for free in chain] for chain in self._stack("free")])

    @property
    def model_(self) -> Model:
        """The model with the parameters found."""
        parameters = self._moves.parameters
        return self.model.with_theta(parameters.full(parameters.values(self._averages().mean(axis=0))))

    @property
    def information_(self) -> FloatArray:
        """Observed information (k, k) of the parameters."""
        self._check_fitted()
        if self._products is None:
            raise AttributeError("this needs n_information > 0 and a fit that was not interrupted")
        return np.asarray(np.linalg.inv(self._covariance()))

    def _doubts(self) -> list[str]:
        doubts = []
        cov, mcse = self._covariance(), self._errors()[1]
        if self._products is not None and np.isnan(cov).any():
            doubts.append("the information is not positive definite: take more n_information, or iterate on")
        if self._information_error() > _VAGUE:
            doubts.append(
                f"the information has a relative error of {self._information_error():.0%}: take more n_information"
            )
        far = mcse > _UNFINISHED * np.sqrt(np.diag(cov))
        names = [name for name, bad in zip(self._moves.names, far, strict=True) if bad]
        if names:
            doubts.append(f"the Monte Carlo error of {', '.join(names)} is more than {_UNFINISHED:g} standard errors")
        return doubts

    def _covariance(self) -> FloatArray:
        """Inverse information, (k, k) of NaN where there is none."""
        k = len(self._moves.names)
        products = None if self._products is None else self._products.mean(axis=0)
        if products is None or np.linalg.eigvalsh(products)[0] <= 0.0:
            return np.full((k, k), np.nan)
        values = self._errors()[0]
        root = self._moves.parameters.slopes(values)[:, None] * self._root_information
        cov = root @ np.linalg.inv(products) @ root.T
        return np.asarray((cov + cov.T) / 2.0)

    def _information_error(self) -> float:
        """Relative error of the information, from the spread of chains: twice that of the standard errors."""
        if self._products is None or len(self._products) == 1:
            return np.nan
        whiten = inverse_square_root(self._products.mean(axis=0))
        spread = np.std(whiten.T @ self._products @ whiten, axis=0, ddof=1)
        return float(np.max(np.diagonal(spread)) / np.sqrt(len(self._products)))

    def _errors(self) -> tuple[FloatArray, FloatArray]:
        """Values (k,) and their Monte Carlo errors, NaN of one chain."""
        parameters = self._moves.parameters
        averages = self._averages()
        values = parameters.values(averages.mean(axis=0))
        if len(averages) == 1:
            return values, np.full(len(values), np.nan)
        spread = averages.std(axis=0, ddof=1) / np.sqrt(len(averages))
        return values, spread * parameters.slopes(values)

    def _make_estimate(self) -> Estimate:
        """The average of the iterates; errors from the observed information."""
        self._check_fitted()
        values, mcse = self._errors()
        notes = self._interrupted() + self._doubts()
        if len(self._chains) == 1:
            notes.append("one chain does not know its Monte Carlo error: n_chains of 4 or more gives one")
        if self._products is None:
            notes.append("no standard errors without the information: n_information > 0 and a finished fit give it")
        diagnostics = {
            "n_chains": len(self._chains),
            "n_iter": self.n_iter_,
            "n_warmup": self._warmup,
            "information_error": self._information_error(),
        }
        return Estimate(
            value=values,
            cov=self._covariance(),
            mcse=mcse,
            names=self._moves.names,
            kind="frequentist",
            estimand="parameters that maximise the likelihood",
            method="ParticleMLE",
            diagnostics=diagnostics,
            warnings=tuple(notes),
            info=self._run_info(),
        )
