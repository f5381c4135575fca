"""Multiple importance sampling: several proposals, a fixed number of points from each, one set of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.jit import Pointwise
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.importance._evaluation import Integrand, Points, given_laws
from mcstat.importance._laws import AdaptedLaw
from mcstat.importance._proposal import BLOCK, coordinates
from mcstat.importance._strata import WEIGHTINGS, apportion, effective_log_density
from mcstat.importance._stratified import StratifiedSampler

__all__ = ["MultipleImportanceSampler"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Function = Callable[[FloatArray], ArrayLike]


class MultipleImportanceSampler(StratifiedSampler):
    """Expectations of many functions from points of several given proposals.

    Each proposal h_t gives a fixed number n_t of the N points. With the balance heuristic a point x, whoever drew it,
    weighs f(x) / sum_t (n_t / N) h_t(x): no proposal has to cover the law alone, only all of them together.

    Parameters
    ----------
    proposals : sequence of objects
        Anything with ``rvs(size, random_state)`` and ``logpdf(x)``, such as frozen SciPy distributions.
    law : object, optional
        What X is distributed by; of the kind of ``proposals``. Give exactly one of ``law``, ``laws`` and ``target``.
    laws : sequence of objects, optional
        J laws for the same function (one column) or for J functions, one each.
    target : callable, optional
        Log density up to a constant: (n, d) to (n,). The estimates are then self-normalised.
    weights : {"balance", "standard", "power", "partial"}
        "balance": all proposals together, as above. "standard": f / h_t, each proposal alone; every one must then
        cover the law. "power": as "balance", with the proposals' parts at a point in proportion to (n_t h_t)^power.
        "partial": "balance" within each group of proposals; every group must then cover the law.
    power : float
        Exponent of "power", at least 1.
    groups : sequence, shape (T,), optional
        Group of each proposal, for "partial".
    shares : array_like, shape (T,), optional
        Parts of the points that each proposal gives, in any unit; default equal ones.
    budget : int
        Number of points in all; divided by ``shares`` to the nearest whole numbers, none left over. Each proposal must
        get two points at least.
    vectorized : bool
        False: func takes one point (d,) and gives a number; it is compiled where Numba can.
    chunk_size : int, optional
        Most points handed to func at once. It does not change the numbers.
    n_jobs : int, optional
        Blocks of 4096 points run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    sample_, values_, log_weights_ : ndarray, shapes (N, d), (N, J), (N, number of laws or 1)
    strata_ : ndarray, shape (N,)
        Number of the proposal that drew each point.
    n_calls_ : int
        Points sampled; func is called at those where a law has density.

    Notes
    -----
    Unbiased for laws; for a target the bias is of order 1/N, small beside the standard error. Because the n_t are
    fixed, only the variance within each proposal's points counts, and the joint covariance is
    sum_t n_t S_t / N^2 with S_t the sample covariance of W phi among them.

    "balance" has never more variance than "standard" with equal n_t [2]_, and at most
    (1 / min_t n_t - 1 / N) I^2 more than any other weighting [1]_. Costs N T log densities; memory N (T + J + d).

    References
    ----------
    .. [1] Veach, E. and Guibas, L. J. (1995). Optimally combining sampling techniques for Monte Carlo rendering.
       SIGGRAPH '95, 419-428. doi:10.1145/218380.218498.
    .. [2] Elvira, V., Martino, L., Luengo, D. and Bugallo, M. F. (2019). Generalized multiple importance sampling.
       Statistical Science 34, 129-155. arXiv:1511.03095.

    Examples
    --------
    >>> from scipy.stats import norm
    >>> from mcstat.importance import MultipleImportanceSampler
    >>> sampler = MultipleImportanceSampler([norm(), norm(4)], law=norm(), budget=10_000, random_state=0)
    >>> tail = sampler.fit(lambda x: x > 4).estimate()
    >>> bool(abs(float(tail) - norm.sf(4)) < 5 * tail.std_error[0] < 1e-5)
    True
    """

    def __init__(
        self,
        proposals: Sequence[Any],
        law: Any = None,
        *,
        laws: Sequence[Any] | None = None,
        target: Function | None = None,
        weights: str = "balance",
        power: float = 2.0,
        groups: Sequence[Any] | None = None,
        shares: ArrayLike | None = None,
        budget: int = 20_000,
        vectorized: bool = True,
        chunk_size: int | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.proposals = proposals
        self.law = law
        self.laws = laws
        self.target = target
        self.weights = weights
        self.power = power
        self.groups = groups
        self.shares = shares
        self.budget = budget
        self.vectorized = vectorized
        self.chunk_size = chunk_size
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, func: Function | None = None, *, names: Sequence[str] | None = None) -> Self:
        """Draw all points: the whole budget is spent here.

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
        """
        started = perf_counter()
        self._blocks: list[_Block] = []
        self._joined: _Block | None = None
        self._answer, self._seconds, self._names = None, 0.0, names
        self._root = root_seed(self.random_state)
        self._drawn_from = self._checked_proposals()
        self._check_parameters(len(self._drawn_from))
        func = coordinates if func is None else func if self.vectorized else Pointwise(func)
        laws = given_laws(self.law, self.laws, self.target)
        _check_dimensions([*self._drawn_from, *laws])
        self._integrand = Integrand(func, laws, self.target, self.chunk_size)
        self._draw(self.budget)
        return self._finished(started)

    def extend(self, n: int | None = None) -> Self:
        """Draw more points, in the same shares, and pool them with those that are there.

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
        self._draw(left if n is None else check_integer("n", n, 1))
        return self._finished(started)

    @property
    def n_calls_(self) -> int:
        """Points sampled."""
        return sum(len(block.labels) for block in self._blocks)

    def __sklearn_is_fitted__(self) -> bool:
        """Every proposal has given the two points that a variance takes."""
        blocks = getattr(self, "_blocks", ())
        return bool(blocks) and bool(np.all(np.sum([block.counts for block in blocks], axis=0) >= 2))

    # The work -------------------------------------------------------------------------------------------------

    def _draw(self, n: int) -> None:
        """``n`` more points; blocks that are finished survive an interruption, but not an error in func."""
        kept, have = len(self._blocks), self.n_calls_
        totals = [*range(have, have + n, BLOCK), have + n]
        counts = [apportion(self._parts, total) for total in totals]
        tasks = [(kept + k, after - before) for k, (before, after) in enumerate(pairwise(counts))]
        try:
            with single_threaded():
                map_tasks(
                    _Drawer(self._root, self._drawn_from, self._integrand),
                    tasks,
                    n_jobs=self.n_jobs,
                    label=f"sample ({n} points)",
                    verbose=self.verbose,
                    on_result=self._blocks.append,
                )
                self._weighted_sample()
        except Exception:
            # What is left would be the blocks that did not meet the bad point: a biased choice.
            del self._blocks[kept:]
            raise

    def _weighted_sample(self) -> tuple[Points, FloatArray, IntArray]:
        self._check_fitted()
        if self._joined is None or len(self._joined.labels) != self.n_calls_:
            self._joined = _Block.joined(self._blocks)
        points, labels, log_h = self._joined.points, self._joined.labels, self._joined.log_h
        log_q = effective_log_density(log_h, labels, self.weights, power=self.power, groups=self._group_codes)
        return points, points.log_laws - log_q[:, None], labels

    def _sampling_warnings(self) -> list[str]:
        """Also of proposals whose support is too small for a weighting that uses them, or their group, alone."""
        found = super()._sampling_warnings()
        if self.weights not in ("standard", "partial"):
            return found
        assert self._joined is not None  # noqa: S101  (for the type checker)
        points, log_h = self._joined.points, self._joined.log_h
        counts = np.any(points.values != 0, axis=1) & ~np.isneginf(points.log_laws).all(axis=1)
        alone = np.arange(log_h.shape[1]) if self._group_codes is None else self._group_codes
        for group in np.unique(alone):
            if np.any(counts & np.isneginf(log_h[:, alone == group]).all(axis=1)):
                members = ", ".join(f"proposals[{t}]" for t in np.flatnonzero(alone == group))
                found.append(
                    f"{members} has density 0 where the law and func do not, so weights={self.weights!r} is biased; "
                    "use 'balance'"
                )
        return found

    # Settings -------------------------------------------------------------------------------------------------

    def _checked_proposals(self) -> tuple[AdaptedLaw, ...]:
        if not isinstance(self.proposals, Sequence) or isinstance(self.proposals, str) or len(self.proposals) == 0:
            raise InvalidParameter(f"proposals must be a list of laws, got {self.proposals!r}")
        return tuple(AdaptedLaw(f"proposals[{t}]", one) for t, one in enumerate(self.proposals))

    def _check_parameters(self, n_proposals: int) -> None:
        check_option("weights", self.weights, WEIGHTINGS)
        check_real("power", self.power, 1.0)
        check_integer("budget", self.budget, 2 * n_proposals)
        if self.chunk_size is not None:
            check_integer("chunk_size", self.chunk_size, 1)
        if (self.groups is None) == (self.weights == "partial"):
            raise InvalidParameter("groups goes with weights='partial', and only with it")
        self._group_codes = None
        if self.groups is not None:
            if len(self.groups) != n_proposals:
                raise InvalidParameter(f"groups must hold {n_proposals} labels, one a proposal, got {self.groups!r}")
            self._group_codes = np.unique(np.asarray(self.groups), return_inverse=True)[1].astype(np.int64)
        parts = np.ones(n_proposals) if self.shares is None else check_array("shares", self.shares, 1)
        if len(parts) != n_proposals or np.any(parts <= 0):
            raise InvalidParameter(f"shares must be {n_proposals} positive numbers, got {self.shares!r}")
        self._parts = parts / parts.sum()
        counts = apportion(self._parts, self.budget)
        if counts.min() < 2:
            raise InvalidParameter(
                f"budget must give each proposal 2 points at least, got {counts.tolist()} from budget={self.budget}"
            )


def _check_dimensions(laws: Sequence[AdaptedLaw]) -> None:
    dims = {law.name: law.dim for law in laws}
    if len(set(dims.values())) > 1:
        raise InvalidParameter(f"proposals and laws must be of one dimension, got {dims}")


@dataclass(frozen=True)
class _Block:
    """Points in the order of their proposals, whose number stands in ``labels``; log_h (n, T) at them."""

    points: Points
    labels: IntArray
    log_h: FloatArray
    counts: IntArray

    @staticmethod
    def joined(blocks: Sequence[_Block]) -> _Block:
        return _Block(
            Points.joined([block.points for block in blocks]),
            np.concatenate([block.labels for block in blocks]),
            np.concatenate([block.log_h for block in blocks]),
            np.sum([block.counts for block in blocks], axis=0),
        )


@dataclass(frozen=True)
class _Drawer:
    """Block (k, counts): so many points of each proposal, from stream ``k``."""

    root: SeedSequence
    proposals: tuple[AdaptedLaw, ...]
    integrand: Integrand

    def __call__(self, block: tuple[int, IntArray]) -> _Block:
        k, counts = block
        rng = stream(self.root, "MultipleImportanceSampler", Purpose.SAMPLE, k)
        pairs = list(zip(self.proposals, counts.tolist(), strict=True))
        x = np.concatenate([proposal.rvs(n, rng) for proposal, n in pairs if n])
        labels = np.repeat(np.arange(len(counts)), counts)
        log_h = np.stack([proposal.logpdf(x) for proposal in self.proposals], axis=1)
        lost = np.isneginf(log_h[np.arange(len(x)), labels])
        if lost.any():
            first = int(np.argmax(lost))
            name = self.proposals[labels[first]].name
            raise InvalidData(f"{name}.logpdf must be finite at its own draws, got -inf at {x[first].tolist()}")
        return _Block(self.integrand.at(x), labels, log_h, counts)
