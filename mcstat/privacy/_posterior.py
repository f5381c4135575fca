"""The posterior law of epsilon, given how often a membership-inference attack was right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_level, frozen_view
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.laws import Law, tail_probabilities
from mcstat.core.parallel import map_tasks
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.privacy._rates import check_delta, epsilon_from_rates

__all__ = ["EpsilonPosterior", "check_counts", "check_prior"]

FloatArray = NDArray[np.float64]
COUNTS = ("fn", "fp", "tn", "tp")
# A hundredth of a second of work: short enough for Ctrl-C, long enough to hand over.
_CHUNK = 32
# Smaller priors need more panels than the kernels hold, and put epsilon at infinity for every purpose.
_SMALLEST_PRIOR = 0.01


@dataclass(frozen=True, eq=False, kw_only=True)
class EpsilonPosterior(Law):
    """Posterior law of the epsilon at an attack's operating point, exact to about 1e-10, for one table or many.

    The false negative rate is Beta(prior[0] + fn, prior[1] + tp), the false positive rate is independently
    Beta(prior[0] + fp, prior[1] + tn), and epsilon is the smallest one that allows these rates. A Dirichlet prior on
    the four cells gives the same law, because p_fn / (p_fn + p_tp) and p_fp / (p_fp + p_tn) are independent Betas
    under it.

    Parameters
    ----------
    fn, fp, tn, tp : array_like, scalars or shape (q,)
        Counts: members called non-members, non-members called members, and those called right. They broadcast, with
        ``delta``, to q tables, and need not be whole (weighted counts).
    delta : array_like
        In [0, 1).
    prior : (float, float)
        Prior weight of a wrong and of a right answer, each at least 0.01. (0.5, 0.5) is Jeffreys' prior, (1, 1) is
        uniform.
    allow_empty : bool
        True lets tables pass that have no members or no non-members, whose rate then comes from the prior alone.

    Raises
    ------
    InvalidData, InvalidParameter
        Naming the argument.

    Notes
    -----
    The two-dimensional posterior probability of each privacy region is reduced to one-dimensional integrals [1]_, taken
    in logits by Gauss-Legendre panels: some 0.05 ms a value of the distribution function, up to 0.2 ms where a count
    is 0, for counts from 0 to 1e7. ``ppf`` is Newton's method on it.

    There is an atom at 0: rates with fnr + fpr within delta of 1 are compatible with any epsilon.

    Where the arrays of arguments and tables have several entries both, they broadcast: quantiles ``p`` (k, 1) of q
    tables are (k, q).

    References
    ----------
    .. [1] Zanella-Béguelin, S. and others (2023). Bayesian estimation of differential privacy. ICML, PMLR 202.
       arXiv:2206.05199.

    Examples
    --------
    >>> from mcstat.privacy import EpsilonPosterior
    >>> law = EpsilonPosterior(fn=100, fp=5, tn=495, tp=400)
    >>> law.ppf([0.05, 0.5, 0.95]).round(5)
    array([3.70849, 4.34824, 5.16162])
    """

    fn: FloatArray
    fp: FloatArray
    tn: FloatArray
    tp: FloatArray
    delta: FloatArray = 1e-5  # type: ignore[assignment]  # (q,) after construction
    prior: FloatArray = (0.5, 0.5)  # type: ignore[assignment]
    allow_empty: bool = False

    def __post_init__(self) -> None:
        """Check, broadcast and own the arrays."""
        counts = check_counts(allow_empty=bool(self.allow_empty), **{name: getattr(self, name) for name in COUNTS})
        prior = check_prior(self.prior)
        delta = check_delta(self.delta)
        try:
            *counts, delta = np.broadcast_arrays(*counts, delta)
        except ValueError:
            raise InvalidParameter(f"delta must broadcast with the counts, got shape {delta.shape}") from None
        for name, array in zip((*COUNTS, "delta"), (*counts, delta), strict=True):
            object.__setattr__(self, name, _owned(np.atleast_1d(array)))
        if self.delta.ndim != 1:
            raise InvalidData(f"counts must be scalars or 1-d arrays, got shape {self.delta.shape}")
        object.__setattr__(self, "prior", _owned(prior))
        object.__setattr__(self, "allow_empty", bool(self.allow_empty))

    def to_arrays(self) -> dict[str, FloatArray]:
        """Counts and delta, (q,) each, prior (2,) and the flag, (): what the law is made from."""
        arrays = {name: getattr(self, name) for name in (*COUNTS, "delta", "prior")}
        return arrays | {"allow_empty": np.array(float(self.allow_empty))}

    def __getitem__(self, index: Any) -> Self:
        """Law of some of the tables."""
        tables = {name: np.atleast_1d(getattr(self, name)[index]) for name in (*COUNTS, "delta")}
        return type(self)(**tables, prior=self.prior, allow_empty=self.allow_empty)

    @property
    def prob_zero(self) -> FloatArray:
        """Posterior probability that epsilon is 0, (q,)."""
        if not np.any(self.delta > 0):
            return np.zeros(len(self))
        return self.cdf(np.zeros(1) if len(self) == 1 else 0.0)

    def cdf(self, x: ArrayLike) -> FloatArray:
        """P(epsilon <= x); x broadcasts with the tables."""
        return 1.0 - self.sf(x)

    def sf(self, x: ArrayLike) -> FloatArray:
        """P(epsilon > x); x broadcasts with the tables."""
        return self._tail_and_density(x)[0]

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Density of epsilon at x > 0 (at 0 the limit from above: the atom has none); x broadcasts with the tables."""
        return self._tail_and_density(x)[1]

    def ppf(self, q: ArrayLike) -> FloatArray:
        """Smallest x with P(epsilon <= x) >= q; q in [0, 1] broadcasts with the tables."""
        p = check_array("q", np.asarray(q), tuple(range(33)))
        if not np.all((p >= 0) & (p <= 1)):
            raise InvalidParameter(f"q must be in [0, 1], got {q!r}")
        return self._quantiles(p)

    def interval(self, level: float = 0.95, sides: str = "two") -> tuple[FloatArray, FloatArray]:
        """Equal-tailed credible interval, (q,) each; ``"lower"`` is [lower, inf), ``"upper"`` is [0, upper]."""
        below = tail_probabilities(level, sides)
        ends = self._quantiles(np.array(below)[:, None] * np.ones(len(self)))
        return ends[0], ends[1]

    def hpd(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Shortest interval that holds ``level``, (q,) each. It begins at 0, with the atom, where that is shortest."""
        levels = np.full((len(self), 1), check_level(level))
        ends = np.empty((len(self), 2))
        self._by_table("shortest_loop", [levels[:, 0], self._guess(levels)[:, 0]], [ends])
        return ends[:, 0], ends[:, 1]

    def mean(self) -> FloatArray:
        """Posterior mean, (q,)."""
        return self.moments()[0]

    def std(self) -> FloatArray:
        """Posterior standard deviation, (q,)."""
        return self.moments()[1]

    def moments(self, n_jobs: int | None = None, verbose: bool = True) -> tuple[FloatArray, FloatArray]:
        """Posterior mean and standard deviation, (q,) each, to about 1e-3 standard deviations."""
        both = np.empty((len(self), 2))
        self._by_table("moments_loop", [], [both], n_jobs, verbose)
        return both[:, 0], both[:, 1]

    def median(self, n_jobs: int | None = None, verbose: bool = True) -> FloatArray:
        """Posterior median, (q,)."""
        return self._quantiles(np.full(len(self), 0.5), n_jobs, verbose)

    def rvs(self, size: int = 1, random_state: RandomState = None) -> FloatArray:
        """Independent draws, (size, q)."""
        n = check_integer("size", size, 0)
        rng = stream(root_seed(random_state), type(self).__name__, Purpose.SAMPLE, 0)
        shapes = self._shapes()
        x = rng.beta(shapes[:, 0], shapes[:, 1], size=(n, len(self)))
        y = rng.beta(shapes[:, 2], shapes[:, 3], size=(n, len(self)))
        return np.asarray(epsilon_from_rates(x, y, self.delta))

    def _shapes(self) -> FloatArray:
        """Shapes of the two Betas, (q, 4)."""
        wrong, right = self.prior
        return np.column_stack([wrong + self.fn, right + self.tp, wrong + self.fp, right + self.tn])

    def _tail_and_density(self, x: ArrayLike) -> tuple[FloatArray, FloatArray]:
        at, restore = self._rows(check_array("x", np.asarray(x), tuple(range(33)), finite=False))
        tail, density = np.empty(at.shape), np.empty(at.shape)
        self._by_table("cdf_loop", [at], [tail, density])
        # Without delta the atom is nothing, not rounding.
        tail[(self.delta == 0)[:, None] & (at == 0)] = 1.0
        tail[np.isnan(at)] = density[np.isnan(at)] = np.nan
        return restore(tail), restore(density)

    def _quantiles(self, p: FloatArray, n_jobs: int | None = None, verbose: bool = True) -> FloatArray:
        rows, restore = self._rows(p)
        found = np.empty(rows.shape)
        self._by_table("quantile_loop", [rows, self._guess(rows)], [found], n_jobs, verbose)
        return restore(found)

    def _rows(self, x: FloatArray) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
        """``x`` broadcast with the tables as (q, k), and the way back to the joint shape."""
        q = len(self)
        joint = np.broadcast_to(x, np.broadcast_shapes(x.shape, (q,)))
        if q == 1:
            return joint.reshape(1, -1).copy(), lambda rows: rows.reshape(joint.shape)
        rows = np.moveaxis(joint, -1, 0)
        return rows.reshape(q, -1).copy(), lambda found: np.moveaxis(found.reshape(rows.shape), 0, -1)

    def _guess(self, p: FloatArray) -> FloatArray:
        """Normal approximation of the quantiles p (q, k): where Newton's method starts."""
        from scipy.special import ndtri

        a, b = self._shapes().reshape(-1, 2, 2).transpose(2, 0, 1)
        rates, spread = a / (a + b), np.sqrt(a * b / (a + b + 1)) / (a + b)
        rates = np.where(rates.sum(axis=1, keepdims=True) > 1, 1 - rates, rates)
        small, large = rates.min(axis=1), rates.max(axis=1)
        at_small, at_large = np.argmin(rates, axis=1), np.argmax(rates, axis=1)
        rows = np.arange(len(self))
        sd = np.hypot(spread[rows, at_small] / small, spread[rows, at_large] / (1 - large))
        guess = np.log(np.maximum((1 - self.delta - large) / small, 1.0))[:, None] + sd[:, None] * ndtri(
            np.clip(p, 1e-12, 1 - 1e-12)
        )
        return np.asarray(np.clip(guess, 0.1 * np.minimum(sd, 10.0)[:, None], 600.0))

    def _by_table(
        self,
        name: str,
        arguments: list[FloatArray],
        outputs: list[FloatArray],
        n_jobs: int | None = None,
        verbose: bool = True,
    ) -> None:
        """Run one of the kernels' loops over the tables, in chunks that may run at once and end at Ctrl-C."""
        from mcstat.privacy import _posterior_kernels

        loop = getattr(_posterior_kernels, name)
        inputs = [frozen_view(array) for array in (self._shapes(), self.delta, *arguments)]
        chunks = [slice(start, start + _CHUNK) for start in range(0, len(self), _CHUNK)]
        task = partial(_run_chunk, loop, inputs, outputs)
        if len(chunks) == 1:
            task(chunks[0])
        else:
            map_tasks(task, chunks, n_jobs=n_jobs, label="tables", verbose=verbose)


def _run_chunk(loop: Callable[..., None], inputs: list[FloatArray], outputs: list[FloatArray], chunk: slice) -> None:
    loop(*(array[chunk] for array in inputs), *(array[chunk] for array in outputs))


def check_counts(
    *, fn: ArrayLike, fp: ArrayLike, tn: ArrayLike, tp: ArrayLike, allow_empty: bool = False
) -> list[FloatArray]:
    """Finite counts of at least 0 that broadcast; both kinds of challenges must be there unless ``allow_empty``."""
    given = dict(zip(COUNTS, (fn, fp, tn, tp), strict=True))
    arrays = [check_array(name, np.asarray(value), (0, 1)) for name, value in given.items()]
    for name, array in zip(COUNTS, arrays, strict=True):
        if np.any(array < 0):
            raise InvalidData(f"{name} must be at least 0, got {array.min():g}")
    try:
        fn_, fp_, tn_, tp_ = np.broadcast_arrays(*arrays)
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(COUNTS, arrays, strict=True))
        raise InvalidData(f"counts must be of one length, got {shapes}") from None
    if fn_.size == 0:
        raise InvalidData("counts must hold at least one table, got none")
    for kind, total in (("members (fn + tp)", fn_ + tp_), ("non-members (fp + tn)", fp_ + tn_)):
        if not allow_empty and np.any(total == 0):
            raise InvalidData(
                f"there must be {kind}, got 0: their rate would be the prior's alone; EpsilonPosterior takes that "
                "with allow_empty=True"
            )
    return [fn_, fp_, tn_, tp_]


def check_prior(prior: Any) -> FloatArray:
    """Two finite numbers of at least 0.01."""
    array = np.asarray(prior, dtype=np.float64) if isinstance(prior, (tuple, list, np.ndarray)) else np.empty(0)
    if array.shape != (2,) or not np.all(np.isfinite(array) & (array >= _SMALLEST_PRIOR)):
        raise InvalidParameter(f"prior must be two numbers of at least {_SMALLEST_PRIOR}, got {prior!r}")
    return array


def _owned(array: FloatArray) -> FloatArray:
    copy = np.array(array, dtype=np.float64)
    copy.flags.writeable = False
    return copy
