"""Many expectations from one sample, by adaptive importance sampling with control variates.

Estimates I_j = E_{f_j}[phi_j(X)] for j = 1..J. One sample X_1..X_N ~ h serves all of them:

    I_j  =  mean_n [ phi_j f_j / h  -  b_j (g_j / h - 1) ](X_n),      h = a_0 f + sum_j a_j g_j + a_w g_w

with one part g_j for each function and two defensive ones: the laws themselves, f, and a wide Gaussian g_w.

1. draw a first batch from the laws themselves                                    [_first_round]
2. fit one part g_j to |phi_j| f_j by cross-entropy on all points so far           [Exploration.next_proposal]
3. choose the shares a by a convex problem on the simplex                          [optimal_shares]
4. draw a batch from h; regress T_j on C_j for b_j; note the criterion V           [Exploration.add]
5. stop when the next round would not pay, else go to 2                            [Exploration.should_stop]
6. spend the rest on a final sample, independent of all that was chosen            [_draw_final]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.rng import Purpose, RandomState, root_seed
from mcstat.importance import _views as views
from mcstat.importance._answer import answer
from mcstat.importance._asked import check_columns, default_share, nominal_of, point_source
from mcstat.importance._components import FAMILIES, ComponentFitter, is_degenerate
from mcstat.importance._controls import CONTROLS
from mcstat.importance._exploration import Exploration, first_integrands
from mcstat.importance._laws import Nominal
from mcstat.importance._other_laws import estimate_for_laws
from mcstat.importance._proposal import BLOCK, Block, Proposal

__all__ = ["AdaptiveImportanceSampler"]

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], ArrayLike]


class AdaptiveImportanceSampler(Estimator):
    """Expectations of many functions, under one law, many laws or an unnormalised density, from one sample.

    ``fit(func)`` explores with at most half of the budget and spends the rest on an independent final sample;
    ``estimate()`` gives all expectations with their joint covariance. Unbiased for laws (except where an option says
    otherwise); for an unnormalised target self-normalised, with a bias of order 1/n.

    Parameters
    ----------
    law : object or list of d objects, optional
        What X is drawn from: anything with ``rvs(size, random_state)`` and ``logpdf(x)``, such as a frozen SciPy
        distribution, or a list of independent marginals with ``ppf`` and ``isf``, of any support, which are sampled
        on normal scores. Give exactly one of ``law``, ``laws`` and ``target``.
    laws : sequence of objects, optional
        J laws for the same function (one column) or for J functions, one each.
    target : callable, optional
        Log density up to a constant: (n, d) to (n,).
    initial : law or "laplace", optional
        Where sampling starts for a ``target``. "laplace" finds the mode from ``start`` and takes the Gaussian with its
        curvature.
    start : array_like, shape (d,), optional
        Where the search for the mode begins.
    family : {"gaussian", "gmm", "vmfnm"}
        Parts of the proposal: a Gaussian for each function, or a mixture of ``n_components`` Gaussians or von
        Mises-Fisher-Nakagami laws (around the mean of the first batch; for many dimensions, at least two).
    n_components : int
        Members of a part when ``family`` is "gmm" or "vmfnm".
    covariance : {"full", "diag"}
    weights : {"relative", "uniform"} or array_like, shape (J,)
        The criterion is sum_j weights_j Var(I_j). "relative" is 1 / max(I_j^2, variance of its pilot estimate).
    budget : int
        Number of sampled points in all, exploration included; never exceeded, none left over.
    max_explore, batch : float
        Largest part of the budget for exploration, and part of the budget a round.
    control : {"own", "all", "crossfit", "regression", "none"}
        Control variates: each function its own part, coefficient from the last exploration batch (the paper's); all
        parts, from that batch; all parts, cross-fitted on the final sample; all parts, in-sample (bias of order 1/n);
        none.
    signed : {"abs", "split", "shift", "nonneg"}
        Functions of both signs: fit parts to their absolute value; treat positive and negative parts as columns of
        their own; subtract a known ``lower`` bound; or assert that there are none.
    lower : array_like, shape (J,), optional
        Lower bounds for ``signed="shift"``.
    defensive : float
        Least share of the initial law in every proposal, which bounds the weights by 1 / defensive, and least share of
        a Gaussian that is wider than all parts together, which keeps rare points from carrying enormous weights.
    df : float, optional
        Makes the wide part a Student t with so many degrees of freedom, for a target whose tails are heavier than the
        initial law's; 3 to 10 are usual.
    alpha_min : float, optional
        Least share of each part. Default: ten points of a half budget, but at most 0.1 / J and at least 1e-3 / J.
    final : {"best", "last"}
        Proposal of the final sample: the round of least criterion, or the last one.
    reg : float
        Ridge on covariances, in units of the initial law's variances.
    nan : {"raise", "drop"}
        Points at which func is not finite: refuse, or leave out (biased, and said so).
    vectorized : bool
        False: func takes one point (d,) and gives a number; it is compiled where Numba can.
    chunk_size : int, optional
        Most points handed to func at once. It does not change the numbers.
    checkpoint : path, optional
        Folder for the values of finished blocks. The same fit made again, after a crash, takes them from there and
        gives the same bits; func is called for the missing blocks only. Delete it when func changes.
    n_jobs : int, optional
        Blocks of 4096 points of the final sample run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    proposal_ : Proposal
        Final sampling density, with ``rvs(size, random_state)`` and ``logpdf(x)``; of scores where law is a list.
    shares_ : ndarray, shape (J + 2,)
        Shares of the initial law, of each function's part and of the wide part.
    beta_ : ndarray, shape (J,) or (J + 2, J)
        Control coefficients from exploration, for columns divided by their scale.
    history_ : dict
        Per round: points used so far and criterion V.
    stop_reason_ : str
    sample_, values_, log_weights_ : ndarray, shapes (N, d), (N, J), (N, number of laws or 1)
        The final sample.
    n_calls_ : int
        Points sampled; func is called at those where a law has density.

    Notes
    -----
    Exploration costs O(n J d^2) a round and O(n J) a sweep for the shares; memory is n (J + d) numbers. Gaussian
    parts have light tails: where a function's weighted tail is heavier, ``diagnostics["khat"]`` exceeds 0.7 and the
    Estimate warns.

    References
    ----------
    .. [1] Demange-Chryst, J., Bachoc, F. and Morio, J. (2023). Efficient estimation of multiple expectations with the
       same sample by adaptive importance sampling and control variates. Statistics and Computing 33. arXiv:2212.00568.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from mcstat.importance import AdaptiveImportanceSampler
    >>> sampler = AdaptiveImportanceSampler(law=norm(), budget=20_000, random_state=0)
    >>> moments = sampler.fit(lambda x: x ** np.array([2, 4, 6])).estimate()
    >>> bool(np.all(np.abs(moments.value - [1, 3, 15]) < 5 * moments.std_error))
    True
    """

    # The Estimate and the number of blocks it was made from.
    _answer: tuple[int, Estimate] | None

    def __init__(
        self,
        law: Any = None,
        *,
        laws: Sequence[Any] | None = None,
        target: Function | None = None,
        initial: Any = None,
        start: ArrayLike | None = None,
        family: str = "gaussian",
        n_components: int = 2,
        covariance: str = "full",
        weights: str | ArrayLike = "relative",
        budget: int = 20_000,
        max_explore: float = 0.5,
        batch: float = 0.1,
        control: str = "own",
        signed: str = "abs",
        lower: ArrayLike | None = None,
        defensive: float = 0.05,
        df: float | None = None,
        alpha_min: float | None = None,
        final: str = "best",
        reg: float = 1e-6,
        nan: str = "raise",
        vectorized: bool = True,
        chunk_size: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.law = law
        self.laws = laws
        self.target = target
        self.initial = initial
        self.start = start
        self.family = family
        self.n_components = n_components
        self.covariance = covariance
        self.weights = weights
        self.budget = budget
        self.max_explore = max_explore
        self.batch = batch
        self.control = control
        self.signed = signed
        self.lower = lower
        self.defensive = defensive
        self.df = df
        self.alpha_min = alpha_min
        self.final = final
        self.reg = reg
        self.nan = nan
        self.vectorized = vectorized
        self.chunk_size = chunk_size
        self.checkpoint = checkpoint
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # The algorithm --------------------------------------------------------------------------------------------

    def fit(
        self,
        func: Function | None = None,
        *,
        names: Sequence[str] | None = None,
        control_variates: Function | None = None,
        control_means: ArrayLike | None = None,
    ) -> Self:
        """Explore, then draw the final sample: the whole budget is spent here.

        Parameters
        ----------
        func : callable, optional
            (n, d) to (n, J), vectorised. Default: the coordinates of the points themselves.
        names : sequence of str, optional
            Names of the expectations. Default: the column names, where func gives a data frame.
        control_variates : callable, optional
            (n, d) to (n, M), functions near to func whose means are known. Their coefficients come from the first
            batch, so the estimate stays unbiased; what they explain of func is known exactly.
        control_means : array_like, shape (M,), optional
            Means of ``control_variates`` under ``law`` or ``target``.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        """
        started = perf_counter()
        self._forget()
        self._check_parameters()
        with single_threaded():
            self._root, self._names = root_seed(self.random_state), names
            nominal, self._laplace_calls = nominal_of(self.law, self.laws, self.target, self.initial, self.start)
            check_integer("budget", self.budget, 10 * (nominal.dim + 2))
            self._source = point_source(self, nominal, func, control_variates, control_means)
            exploration = self._first_round(nominal)
            while self._may_explore(exploration):
                self._explore(exploration, exploration.next_proposal())
                if exploration.should_stop(self.budget):
                    self.stop_reason_ = "another round would not have paid"
                    break
            self._choose_final(exploration)
            self._draw_final(self.budget - exploration.n_points)
        return self._finished(started)

    def extend(self, n: int | None = None) -> Self:
        """Draw more final points and pool them with those that are there.

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
        n = left if n is None else check_integer("n", n, 1)
        with single_threaded():
            if not self._blocks:
                self._choose_final(self._exploration)
            self._draw_final(n)
        return self._finished(started)

    def _first_round(self, nominal: Nominal) -> Exploration:
        """Step 1: a batch from the laws themselves, which also sets the units of coordinates and columns."""
        d, n = nominal.dim, self._batch_size()
        plain = Proposal(nominal, np.ones(1), (), np.zeros(d), np.ones(d))
        block = Block.joined(self._draw(plain, Purpose.EXPLORE, 0, n))
        if len(block.x) < 2:
            raise InvalidData(f"func must be finite at most points, it was at {len(block.x)} of the first {n}")
        self._source = replace(self._source, n_columns=block.values.shape[1])
        integrands = first_integrands(block, self._source.least, self.signed)
        check_columns(integrands, self._names, self.weights, self.alpha_min, self.defensive)
        spread = block.x.std(axis=0)
        plain = Proposal(nominal, np.ones(1), (), block.x.mean(axis=0), np.where(spread > 0, spread, 1.0))
        self._degenerate = is_degenerate((block.x - plain.centre) / plain.scale)
        default = default_share(len(integrands.centre), self.budget, self.defensive)
        exploration = Exploration(
            integrands,
            ComponentFitter.of(self.family, self.n_components, diagonal=self.covariance == "diag", ridge=self.reg),
            unnormalised=self.target is not None,
            control=self.control,
            weights=self.weights if isinstance(self.weights, str) else check_array("weights", self.weights, 1),
            floors=(self.defensive, default if self.alpha_min is None else self.alpha_min),
            df=self.df,
        )
        exploration.add(plain, block)
        self._exploration = exploration
        self.stop_reason_ = "exploration reached max_explore"
        return exploration

    def _may_explore(self, exploration: Exploration) -> bool:
        # The first adaptive round is always made: without it there is nothing but plain sampling.
        most = max(int(self.max_explore * self.budget), 2 * self._batch_size())
        return exploration.n_points + self._batch_size() <= most

    def _explore(self, exploration: Exploration, proposal: Proposal) -> None:
        """Step 4: one more batch from the new proposal."""
        drawn = self._draw(proposal, Purpose.EXPLORE, len(exploration.rounds), self._batch_size())
        exploration.add(proposal, Block.joined(drawn))

    def _choose_final(self, exploration: Exploration) -> None:
        """Proposal and coefficients of the final sample; they depend on exploration only."""
        variances = exploration.variances
        chosen = exploration.rounds[int(np.argmin(variances)) if self.final == "best" else -1]
        self.proposal_, self.beta_ = chosen.proposal, chosen.coefficients

    def _draw_final(self, n: int) -> None:
        """Step 6: ``n`` more points; blocks that are finished survive an interruption."""
        self._draw(self.proposal_, Purpose.SAMPLE, 0, n, first=len(self._blocks), on_result=self._blocks.append)

    def _draw(
        self,
        proposal: Proposal,
        purpose: Purpose,
        batch: int,
        n: int,
        *,
        first: int = 0,
        on_result: Callable[[Block], None] | None = None,
    ) -> list[Block]:
        """``n`` points of a batch, from its block number ``first`` on, one stream a block."""
        tasks = [(batch * _MOST_BLOCKS + first + k, min(BLOCK, n - at)) for k, at in enumerate(range(0, n, BLOCK))]
        return map_tasks(
            partial(self._source.draw, proposal, purpose),
            tasks,
            n_jobs=self.n_jobs,
            label=f"{purpose.name.lower()} ({n} points)",
            verbose=self.verbose,
            on_result=on_result,
        )

    def _finished(self, started: float) -> Self:
        """Note the time, and say aloud what makes the answer doubtful."""
        self._seconds += perf_counter() - started
        for text in self.estimate().warnings:
            warnings.warn(text, ReliabilityWarning, stacklevel=3)
        return self

    # The answer ------------------------------------------------------------------------------------------------

    def _make_estimate(self) -> Estimate:
        # The same until more points are drawn.
        if self._answer is None or self._answer[0] != len(self._blocks):
            self._answer = (len(self._blocks), Estimate(**answer(self)))
        return self._answer[1]

    def __sklearn_is_fitted__(self) -> bool:
        """There is something to answer from: a final sample, or (after Ctrl-C) a finished round of exploration."""
        return hasattr(self, "_exploration") and bool(self._exploration.rounds)

    def for_laws(self, laws: Sequence[Any], *, names: Sequence[str] | None = None) -> Estimate:
        """The same functions under other laws, from the stored final sample: no further call of func.

        Parameters
        ----------
        laws : sequence of K objects
            Anything with ``rvs(size, random_state)`` and ``logpdf(x)``.
        names : sequence of K str, optional
            Names of the laws; default laws[0], laws[1], ...

        Returns
        -------
        Estimate
            The fit's own expectations, then J for each law, with their joint covariance. Unbiased, as long as the
            laws live where the sample does; the Estimate warns, naming the law, where they do not.

        Notes
        -----
        The stored values are weighted by the new law over the proposal (reverse importance sampling). All parts of
        the proposal serve as control variates, cross-fitted on the final sample, unless ``control="none"``.
        """
        self._check_fitted()
        return estimate_for_laws(self, laws, names)

    @property
    def sample_(self) -> FloatArray:
        """(N, d) points of the final sample."""
        return self._source.inputs(self._final.x)

    @property
    def values_(self) -> FloatArray:
        """(N, J) what func gave at them."""
        return self._final.values

    @property
    def log_weights_(self) -> FloatArray:
        """(N, number of laws or 1) log of law (or target) over proposal at them."""
        parts = self.proposal_.log_parts(self._final.x, self._final.log_base)
        return self._final.log_laws - self.proposal_.log_density(parts)[:, None]

    @property
    def shares_(self) -> FloatArray:
        """(J + 2,) shares of the initial law, each function's part and the wide part in the final proposal."""
        return self.proposal_.shares

    @property
    def history_(self) -> dict[str, list[float]]:
        """Points used up to each round, and the criterion V there (all in the final weights)."""
        return {
            "n_points": np.cumsum([one.block.drawn for one in self._exploration.rounds]).tolist(),
            "criterion": self._exploration.variances.tolist(),
        }

    @property
    def n_calls_(self) -> int:
        """Points sampled, exploration included."""
        return self._exploration.n_points + sum(block.drawn for block in self._blocks)

    @property
    def _final(self) -> Block:
        if not self._blocks:
            raise InvalidData("the fit was interrupted before its final sample; extend() draws it")
        return Block.joined(self._blocks)

    def plot(self, axes: Any = None) -> Any:
        """Criterion by round, shares of the mixture, tail of the weights, on three matplotlib Axes (extra ``plot``)."""
        return views.plot(self, axes)

    def to_arviz(self, random_state: int = 0) -> Any:
        """The final sample, resampled by its weights, as ArviZ data (extra ``arviz``); for one law or target.

        With the default function the variables carry the names given to ``fit``.
        """
        return views.to_arviz(self, random_state)

    # Settings --------------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """A refit starts from nothing, also when it fails half-way."""
        for name in [name for name in vars(self) if name.endswith("_") or name.startswith("_")]:
            delattr(self, name)
        self._blocks: list[Block] = []
        self._seconds = 0.0
        self._laplace_calls = 0
        self._answer = None

    def _batch_size(self) -> int:
        return int(self.batch * self.budget)

    def _check_parameters(self) -> None:
        check_option("family", self.family, FAMILIES)
        check_option("covariance", self.covariance, ("full", "diag"))
        check_option("control", self.control, CONTROLS)
        check_option("signed", self.signed, ("abs", "split", "shift", "nonneg"))
        check_option("final", self.final, ("best", "last"))
        check_option("nan", self.nan, ("raise", "drop"))
        if isinstance(self.weights, str):
            check_option("weights", self.weights, ("relative", "uniform"))
        elif np.any(check_array("weights", self.weights, 1) <= 0):
            raise InvalidParameter(f"weights must be positive, got {self.weights!r}")
        check_integer("budget", self.budget, 1)
        check_real("max_explore", self.max_explore, 0, 1, closed="neither")
        check_real("batch", self.batch, 0, self.max_explore, closed="right")
        check_real("defensive", self.defensive, 0, 0.5, closed="left")
        if self.df is not None:
            check_real("df", self.df, 0, closed="neither")
        check_real("reg", self.reg, 0, closed="neither")
        check_integer("n_components", self.n_components, 1)
        if self.n_components > self._batch_size():
            raise InvalidParameter(
                f"n_components must be at most a batch ({self._batch_size()} points), got {self.n_components}"
            )
        if self.chunk_size is not None:
            check_integer("chunk_size", self.chunk_size, 1)
        if (self.lower is None) == (self.signed == "shift"):
            raise InvalidParameter("lower goes with signed='shift', and only with it")


# Rounds are numbered far enough apart for any budget.
_MOST_BLOCKS = 1_000_000
