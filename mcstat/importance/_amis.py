"""Adaptive multiple importance sampling for a density known up to a constant: no point is ever thrown away.

1. draw n_1 points from the initial law                                               [_one_round]
2. weigh ALL points so far by target / sum_t (n_t / N) h_t, the mixture of everything drawn from     [Recycled]
3. fit a mixture of Student t laws to the weighted points: the next proposal          [_next_proposal]
4. draw n_t points from it; back to 2, n_iter rounds in all
5. the answer: self-normalised means over all points with their last weights
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Protocol, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_option, check_real, frozen_view
from mcstat.core.errors import DegenerateWeightsError, InvalidParameter
from mcstat.core.jit import Pointwise
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.importance._components import Component, ComponentFitter
from mcstat.importance._evaluation import Integrand, Points, given_laws
from mcstat.importance._laplace import laplace_law
from mcstat.importance._laws import AdaptedLaw
from mcstat.importance._proposal import BLOCK, coordinates
from mcstat.importance._strata import apportion
from mcstat.importance._stratified import StratifiedSampler
from mcstat.importance._student_mixture import StudentMixture

__all__ = ["AMIS"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Function = Callable[[FloatArray], ArrayLike]

_RIDGE = 1e-6
# Rounds are numbered far enough apart for any budget.
_MOST_BLOCKS = 1_000_000


class AMIS(StratifiedSampler):
    """Expectations under a density known up to a constant, by adaptive multiple importance sampling.

    Round by round, a mixture of Student t laws is fitted to all points so far and drawn from; at the end of each round
    all points, past and present, are weighted anew by the mixture of all proposals used. So a bad start costs little,
    and a lucky hit of an early round does not keep an enormous weight.

    Parameters
    ----------
    target : callable
        Log density up to a constant: (n, d) to (n,).
    initial : law or "laplace"
        Where sampling starts: anything with ``rvs(size, random_state)`` and ``logpdf(x)`` that covers the target, or
        "laplace", the Gaussian at the mode found from ``start``.
    start : array_like, shape (d,), optional
        Where the search for the mode begins.
    df : float or None
        Degrees of freedom of the proposals, above 2; None makes them Gaussian. Small ones keep the weights bounded
        where the target's tails are heavy.
    n_components : int
        Laws in each fitted mixture.
    covariance : {"full", "diag"}
    n_iter : int
        Rounds, the first one included; the budget is divided evenly.
    budget : int
        Number of sampled points in all, all of which answer; none left over. Each round must get d + 2 at least.
    vectorized : bool
        False: func takes one point (d,) and gives a number; it is compiled where Numba can.
    chunk_size : int, optional
        Most points handed to func at once. It does not change the numbers.
    n_jobs : int, optional
        Blocks of 4096 points of a round run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    proposals_ : list
        What each round was drawn from, with ``rvs(size, random_state)`` and ``logpdf(x)``.
    sample_, values_, log_weights_ : ndarray, shapes (N, d), (N, J), (N, 1)
    strata_ : ndarray, shape (N,)
        Round in which each point was drawn.
    history_ : dict
        Per round: points so far and effective sample size of all of them.
    n_calls_ : int
        Points sampled; func is called at those where the target has density.

    Notes
    -----
    What is promised is less than for :class:`AdaptiveImportanceSampler`. The proposals depend on the very points that
    they re-weight, so the estimates, beyond the bias of order 1/N of every self-normalised mean, have one that the
    theory does not bound; whether they are consistent for a fixed number of rounds was left open by the paper [1]_ and
    shown for a variant only [2]_. The standard error treats the proposals as given and counts the variance within each
    round. Measured over 1000 runs of 4000 points in ten rounds (``validation/importance/amis.py``), 95 % intervals held
    the truth, farthest of means and log normaliser, in 94 % on a normal target, 95 % on Gumbel laws, 94 % on two far
    modes (bias 0.4 true errors) and 50 % on the paper's banana (bias 1.2), where the proposals miss the tails; there a
    warning came in 11 of 30 runs, and with 20 000 points, coverage 77 %, in 27 of 30. The standard errors of the first
    four are 0.7 to 1.6 %.

    Costs N n_iter log densities of mixtures, O(N n_iter C d^2); memory N (J + d).

    References
    ----------
    .. [1] Cornuet, J.-M., Marin, J.-M., Mira, A. and Robert, C. P. (2012). Adaptive multiple importance sampling.
       Scandinavian Journal of Statistics 39, 798-812. arXiv:0907.1254.
    .. [2] Marin, J.-M., Pudlo, P. and Sedki, M. (2012). Consistency of the adaptive multiple importance sampling.
       arXiv:1211.2548.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from mcstat.importance import AMIS
    >>> amis = AMIS(lambda x: -0.5 * ((x[:, 0] - 3) / 0.1) ** 2, initial=norm(scale=10), budget=10_000, random_state=0)
    >>> mean = amis.fit().estimate()
    >>> bool(abs(float(mean) - 3) < 5 * mean.std_error[0] < 0.01)
    True
    """

    def __init__(
        self,
        target: Function,
        *,
        initial: Any,
        start: ArrayLike | None = None,
        df: float | None = 3.0,
        n_components: int = 1,
        covariance: str = "full",
        n_iter: int = 10,
        budget: int = 20_000,
        vectorized: bool = True,
        chunk_size: int | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.target = target
        self.initial = initial
        self.start = start
        self.df = df
        self.n_components = n_components
        self.covariance = covariance
        self.n_iter = n_iter
        self.budget = budget
        self.vectorized = vectorized
        self.chunk_size = chunk_size
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, func: Function | None = None, *, names: Sequence[str] | None = None) -> Self:
        """Run all rounds: the whole budget is spent here.

        Parameters
        ----------
        func : callable, optional
            (n, d) to (n, J), vectorised. Default: the coordinates of the points themselves.
        names : sequence of str, optional
            Names of the expectations. Default: the column names, where func gives a data frame.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        DegenerateWeightsError
            When the target is 0 at every point of the first round.
        """
        started = perf_counter()
        self._recycled: Recycled | None = None
        self._answer, self._seconds, self._names = None, 0.0, names
        self._root = root_seed(self.random_state)
        self._check_parameters()
        func = coordinates if func is None else func if self.vectorized else Pointwise(func)
        with single_threaded():
            self._integrand = Integrand(func, given_laws(None, None, self.target), self.target, self.chunk_size)
            self._initial, self._laplace_calls = starting_law(self.target, self.initial, self.start)
            check_integer("budget", self.budget, self.n_iter * (self._initial.dim + 2))
            try:
                for n in apportion(np.full(self.n_iter, 1 / self.n_iter), self.budget).tolist():
                    self._one_round(n)
            except Exception:
                # What is left would be the rounds that did not meet the bad point: a biased choice.
                self._recycled = None
                raise
        return self._finished(started)

    def extend(self, n: int | None = None) -> Self:
        """Go on with rounds of the same size until ``n`` more points are drawn.

        Parameters
        ----------
        n : int, optional
            How many; default what an interrupted fit left of its budget.
        """
        self._check_fitted()
        started = perf_counter()
        left = self.budget - self.n_calls_
        if n is None and left <= 0:
            raise InvalidParameter("extend() wants n, a number of points: the budget is spent")
        # A round of one point has no variance of its own.
        n = left if n is None else check_integer("n", n, 2)
        rounds = max(1, round(n * self.n_iter / self.budget))
        with single_threaded():
            for size in apportion(np.full(rounds, 1 / rounds), n).tolist():
                self._one_round(size)
        return self._finished(started)

    @property
    def n_calls_(self) -> int:
        """Points sampled."""
        return 0 if self._recycled is None else len(self._recycled.labels)

    @property
    def proposals_(self) -> list[AdaptedLaw | FittedProposal]:
        """What each round was drawn from."""
        return list(self._rounds.proposals)

    @property
    def history_(self) -> dict[str, list[float]]:
        """Points so far, and the effective sample size of all of them, after each round."""
        points = np.cumsum(np.bincount(self._rounds.labels)).tolist()
        return {"n_points": points, "ess": list(self._rounds.ess)}

    def __sklearn_is_fitted__(self) -> bool:
        """A round is finished."""
        return getattr(self, "_recycled", None) is not None

    # The algorithm --------------------------------------------------------------------------------------------

    def _one_round(self, n: int) -> None:
        """Steps 1 to 4: ``n`` points from the next proposal, and new weights for all."""
        proposal = self._initial if self._recycled is None else self._next_proposal(self._recycled)
        k = 0 if self._recycled is None else len(self._recycled.proposals)
        pieces = map_tasks(
            partial(self._draw, proposal),
            [(k * _MOST_BLOCKS + i, min(BLOCK, n - at)) for i, at in enumerate(range(0, n, BLOCK))],
            n_jobs=self.n_jobs,
            label=f"round {k + 1} ({n} points)",
            verbose=self.verbose,
        )
        points = Points.joined(pieces)
        self._recycled = Recycled.first(proposal, points) if k == 0 else self._rounds.and_round(proposal, points)

    def _draw(self, proposal: AdaptedLaw | FittedProposal, block: tuple[int, int]) -> Points:
        k, n = block
        return self._integrand.at(proposal.rvs(n, stream(self._root, "AMIS", Purpose.SAMPLE, k)))

    def _next_proposal(self, sample: Recycled) -> FittedProposal:
        """Step 3: weighted maximum likelihood for Gaussians, then Student laws of the same moments."""
        first = sample.points.x[sample.labels == 0]
        centre, scale = first.mean(axis=0), first.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        fitter = ComponentFitter(self.n_components, self.covariance == "diag", _RIDGE)
        z = frozen_view((sample.points.x - centre) / scale)
        last = sample.proposals[-1]
        shrink_to = last.component.covariance() if isinstance(last, FittedProposal) else np.eye(z.shape[1])
        fitted = fitter.fit(z, sample.normalised_weights(), shrink_to)
        component = fitted if self.df is None else StudentMixture.with_moments(fitted, self.df)
        return FittedProposal(component, centre, scale)

    def _weighted_sample(self) -> tuple[Points, FloatArray, IntArray]:
        self._check_fitted()
        return self._rounds.points, self._rounds.log_weights[:, None], self._rounds.labels

    @property
    def _rounds(self) -> Recycled:
        self._check_fitted()
        assert self._recycled is not None  # noqa: S101  (for the type checker)
        return self._recycled

    def _check_parameters(self) -> None:
        check_option("covariance", self.covariance, ("full", "diag"))
        check_integer("n_components", self.n_components, 1)
        check_integer("n_iter", self.n_iter, 1)
        check_integer("budget", self.budget, self.n_iter)
        if self.df is not None:
            check_real("df", self.df, 2.0, closed="right")
        if self.chunk_size is not None:
            check_integer("chunk_size", self.chunk_size, 1)
        if self.target is None:
            raise InvalidParameter("target must be callable, got NoneType")


def starting_law(target: Function, initial: Any, start: ArrayLike | None) -> tuple[AdaptedLaw, int]:
    """The initial law, and how many points of the target its search took."""
    if isinstance(initial, str):
        check_option("initial", initial, ("laplace",))
        if start is None:
            raise InvalidParameter("initial='laplace' wants start, the point where the search for the mode begins")
        law, calls = laplace_law(target, np.atleast_1d(check_array("start", start, (0, 1))))
        return AdaptedLaw("initial", law), calls
    return AdaptedLaw("initial", initial), 0


class HasDensity(Protocol):
    """What weights need of a proposal."""

    def logpdf(self, x: FloatArray) -> FloatArray:
        """(n,) log densities at x (n, d)."""


@dataclass(frozen=True)
class FittedProposal:
    """A mixture in the user's coordinates: ``component`` lives in those of (x - centre) / scale."""

    component: Component
    centre: FloatArray
    scale: FloatArray

    def rvs(self, size: int, random_state: Generator) -> FloatArray:
        """(size, d) draws."""
        return np.asarray(self.centre + self.scale * self.component.rvs(size, random_state))

    def logpdf(self, x: FloatArray) -> FloatArray:
        """(n,) log densities at x, (n, d)."""
        z = frozen_view((x - self.centre) / self.scale)
        return np.asarray(self.component.logpdf(z) - np.log(self.scale).sum())


@dataclass(frozen=True)
class Recycled:
    """All rounds' points with log sum_t n_t h_t at each, (N,), and the effective sample size after each round."""

    points: Points
    labels: IntArray
    log_sum: FloatArray
    proposals: tuple[Any, ...]
    ess: tuple[float, ...]

    @staticmethod
    def first(proposal: HasDensity, points: Points) -> Recycled:
        """Round 1."""
        n = len(points.x)
        log_sum = proposal.logpdf(points.x) + np.log(n)
        if np.isneginf(points.log_laws).all():
            raise DegenerateWeightsError("target is -inf at every point of the first round; give another initial law")
        alone = Recycled(points, np.zeros(n, dtype=np.int64), log_sum, (proposal,), ())
        return alone._with_ess()

    def and_round(self, proposal: HasDensity, points: Points) -> Recycled:
        """One more round: the old points meet its density, its points meet the densities of all rounds before."""
        n, k = len(points.x), len(self.proposals)
        counts = np.bincount(self.labels)
        old = np.logaddexp(self.log_sum, np.log(n) + proposal.logpdf(self.points.x))
        new = np.log(n) + proposal.logpdf(points.x)
        for earlier, count in zip(self.proposals, counts, strict=True):
            new = np.logaddexp(new, np.log(count) + earlier.logpdf(points.x))
        longer = Recycled(
            Points.joined([self.points, points]),
            np.concatenate([self.labels, np.full(n, k)]),
            np.concatenate([old, new]),
            (*self.proposals, proposal),
            self.ess,
        )
        return longer._with_ess()

    @property
    def log_weights(self) -> FloatArray:
        """(N,) log of target over the mixture of all proposals, each in proportion to its points."""
        return np.asarray(self.points.log_laws[:, 0] - self.log_sum + np.log(len(self.labels)))

    def normalised_weights(self) -> FloatArray:
        """(N,) weights that sum to one."""
        logs = self.log_weights
        weights = np.exp(logs - logs.max())
        return np.asarray(weights / weights.sum())

    def _with_ess(self) -> Recycled:
        ess = 1 / float(np.sum(self.normalised_weights() ** 2))
        return Recycled(self.points, self.labels, self.log_sum, self.proposals, (*self.ess, ess))
