"""Control variates with known means, on independent or randomised quasi-Monte Carlo points.

E[Y] is estimated by the mean of Y - b (psi(X) - m), with psi's mean m known. What the rows are differs:

* independent points: a row a point; b regresses values on regressors                             [Source.sample]
* randomised Sobol' points: a row a scramble, the means over its points; b regresses means on means,
  because what must cancel is the error of the quasi-Monte Carlo rule                             [Source.scramble]

Then, either way, the coefficients of each fold come from the other folds   [cross_fitted].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, check_integer, check_option
from mcstat.core.errors import InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.importance._evaluation import call, same_columns
from mcstat.importance._proposal import BLOCK
from mcstat.importance._regression import SOLVERS, Start, coefficients, cross_fitted, in_sample
from mcstat.importance._rows import InputLaw, Rows, Source
from mcstat.importance._strata import heavy_tails, quantity_names

__all__ = ["ControlVariates"]

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], ArrayLike]

_FEWEST_BASE_POINTS = 8
# A regressor's mean this many standard errors from the one given: chance does it once in 5e8.
_SUSPICIOUS = 6.0


class ControlVariates(Estimator):
    """Expectations of functions, sharpened by regressors whose expectations are known.

    What a regression on the regressors explains of the function is replaced by its known mean; only the rest is left
    to chance.

    Parameters
    ----------
    regressors : callable
        (n, d) to (n, M), vectorised.
    means : array_like, shape () or (M,)
        Their expectations under ``law``. A wrong one biases the answer; one that the sample contradicts is flagged.
    law : object or sequence of d frozen distributions
        What X is drawn from. A list gives the marginals of independent inputs, anything with ``ppf(u)``; an object
        with ``rvs(size, random_state)`` may be of any dimension, but serves independent points only, unless it is
        one-dimensional with ``ppf``.
    solver : {"lstsq", "ridge", "lasso"}
        Least squares; ridge regression with its penalty by generalised cross-validation, for many or nearly dependent
        regressors (with "rqmc" it shrinks towards the coefficients across points, not to 0, and is the better choice
        there); or least squares on the regressors that a cross-validated lasso chooses [1]_, for very many.
    sampler : {"mc", "rqmc"}
        Independent points, or independently scrambled Sobol' sequences. With the latter the coefficients are fitted
        across scrambles: the best ones under independent sampling are not the best there and may do harm [2]_. But
        with few scrambles for each regressor least squares finds them too noisily to gain much.
    control : {"crossfit", "regression"}
        Coefficients of each fold from the other folds, which is unbiased; or all from all rows, with a bias of order
        one over the number of rows.
    n_folds : int
        At least 2.
    n_randomisations : int
        Scrambles for "rqmc". "lstsq" wants several more than there are regressors.
    budget : int
        Most calls of the function: all are spent by "mc"; "rqmc" takes the largest power of two of points for each
        scramble that fits.
    chunk_size : int, optional
        Most points handed to func and to regressors at once. It does not change the numbers.
    n_jobs : int, optional
        Blocks of 4096 points, or scrambles, that run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    coefficients_ : ndarray, shape (M, J)
        From all rows; the answer of "crossfit" uses those of the folds.
    values_, regressors_ : ndarray, shapes (n, J), (n, M)
        The rows: values and regressors less their means, or their averages over each scramble.
    n_calls_ : int
        Points at which func was called.

    Notes
    -----
    ``diagnostics["variance_reduction"]`` is the variance of the plain mean of the same rows over that of the answer;
    below 1 the regressors only add noise. Fitting costs O(n M^2) a fold.

    References
    ----------
    .. [1] Leluc, R., Portier, F. and Segers, J. (2021). Control variate selection for Monte Carlo integration.
       Statistics and Computing 31. arXiv:1906.10920.
    .. [2] Hickernell, F. J., Lemieux, C. and Owen, A. B. (2005). Control variates for quasi-Monte Carlo. Statistical
       Science 20, 1-31. doi:10.1214/088342304000000468.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import uniform
    >>> from mcstat.importance import ControlVariates
    >>> powers = ControlVariates(lambda x: x ** [1, 2, 3], means=[1/2, 1/3, 1/4], law=uniform(), random_state=0)
    >>> mean = powers.fit(np.exp).estimate()
    >>> bool(abs(float(mean) - (np.e - 1)) < 5 * mean.std_error[0] < 1e-4)
    True
    """

    def __init__(
        self,
        regressors: Function,
        *,
        means: ArrayLike = 0.0,
        law: Any,
        solver: str = "lstsq",
        sampler: str = "mc",
        control: str = "crossfit",
        n_folds: int = 10,
        n_randomisations: int = 32,
        budget: int = 20_000,
        chunk_size: int | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.regressors = regressors
        self.means = means
        self.law = law
        self.solver = solver
        self.sampler = sampler
        self.control = control
        self.n_folds = n_folds
        self.n_randomisations = n_randomisations
        self.budget = budget
        self.chunk_size = chunk_size
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, func: Function, *, names: Sequence[str] | None = None) -> Self:
        """Draw the points and call the function at them: the whole budget is spent here.

        Parameters
        ----------
        func : callable
            (n, d) to (n, J), vectorised.
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
        self._rows: list[Rows] = []
        self._answer: tuple[int, Estimate] | None = None
        self._seconds, self._names = 0.0, names
        self._check_parameters()
        root, law = root_seed(self.random_state), InputLaw.of(self.law, self.sampler)
        n_base = 1 if self.sampler == "mc" else _base_points(self.budget, self.n_randomisations)
        self._source = Source(law, func, self.regressors, self._known_means(root, law), root, self.chunk_size, n_base)
        self._check_rows(self.budget if self.sampler == "mc" else self.n_randomisations)
        self._draw(self.budget if self.sampler == "mc" else self.n_randomisations)
        return self._finished(started)

    def extend(self, budget: int | None = None) -> Self:
        """Add points, or as many scrambles as ``budget`` more calls pay for, to those that are there.

        Parameters
        ----------
        budget : int, optional
            Default: what an interrupted fit left undone.
        """
        if not hasattr(self, "_source"):
            self._check_fitted()
        started = perf_counter()
        left = self._planned - self._n_rows
        if budget is None and left <= 0:
            raise InvalidParameter("extend() wants budget, a number of calls: what was planned is finished")
        n_base = self._source.n_base
        self._draw(left if budget is None else check_integer("budget", budget, n_base) // n_base)
        return self._finished(started)

    @property
    def values_(self) -> FloatArray:
        """(n, J) values, or their means over each scramble."""
        return same_columns([rows.values for rows in self._rows])

    @property
    def regressors_(self) -> FloatArray:
        """(n, M) regressors less their known means, or the averages of that over each scramble."""
        return np.concatenate([rows.controls for rows in self._rows])

    @property
    def coefficients_(self) -> FloatArray:
        """(M, J) how much of each regressor is subtracted, fitted to all rows."""
        self._check_fitted()
        with single_threaded():
            start = self._start()
            toward = None if start is None else start(np.ones(self._n_rows, dtype=bool))
            return coefficients(self.values_, self.regressors_, self.solver, self._sizes, toward)

    @property
    def n_calls_(self) -> int:
        """Points at which func was called."""
        return self._n_rows * self._source.n_base

    def __sklearn_is_fitted__(self) -> bool:
        """There are rows enough for a regression in every fold."""
        rows: list[Rows] = getattr(self, "_rows", [])
        return bool(rows) and self._n_rows >= self._fewest_rows(rows[0].controls.shape[1])

    # The work -------------------------------------------------------------------------------------------------

    def _draw(self, n: int) -> None:
        """``n`` more rows; what is finished survives an interruption, but not an error in func."""
        kept = len(self._rows)
        self._planned = self._n_rows + n
        if self.sampler == "mc":
            tasks = [(kept + k, min(BLOCK, n - at)) for k, at in enumerate(range(0, n, BLOCK))]
        else:
            tasks = [(kept + k, 1) for k in range(n)]
        try:
            map_tasks(
                self._source.sample if self.sampler == "mc" else self._source.scramble,
                tasks,
                n_jobs=self.n_jobs,
                label="points" if self.sampler == "mc" else "scrambles",
                verbose=self.verbose,
                on_result=self._rows.append,
            )
            same_columns([rows.values for rows in self._rows])
            quantity_names(self._names, self._rows[0].names, self._rows[0].values.shape[1])
        except Exception:
            # What is left would be the rows that did not meet the bad point: a biased choice.
            del self._rows[kept:]
            raise

    def _finished(self, started: float) -> Self:
        """Note the time, and say aloud what makes the answer doubtful."""
        self._seconds += perf_counter() - started
        for text in self.estimate().warnings:
            warnings.warn(text, ReliabilityWarning, stacklevel=3)
        return self

    def _make_estimate(self) -> Estimate:
        # The same until more rows are there.
        if self._answer is None or self._answer[0] != self._n_rows:
            with single_threaded():
                self._answer = (self._n_rows, self._estimate_from(self.values_, self.regressors_))
        return self._answer[1]

    def _estimate_from(self, Y: FloatArray, C: FloatArray) -> Estimate:
        n = len(Y)
        if self.control == "crossfit":
            rows, df = cross_fitted(Y, C, self.solver, self.n_folds, self._sizes, self._start()), n - 1
            centred = rows - rows.mean(axis=0)
            cov = centred.T @ centred / (df * n)
        else:
            rows, cov, df = in_sample(Y, C, self.solver, self._sizes, self._start())
        names = quantity_names(self._names, self._rows[0].names, Y.shape[1])
        khat, heavy = heavy_tails(rows, names, "use more of the function's shape as a regressor")
        quasi = self.sampler == "rqmc"
        variance = np.diag(cov)
        diagnostics = {
            "variance_reduction": _ratio(np.var(Y, axis=0, ddof=1) / n, variance),
            "variance_reduction_over_mc": _ratio(self._variance_of_values() / self.n_calls_, variance),
            "n_regressors": C.shape[1],
            "rows": n,
        }
        return Estimate(
            value=rows.mean(axis=0),
            names=names,
            cov=cov,
            # So many independent points that Student's law is the normal one, or a few scrambles.
            df=df if quasi else None,
            kind="monte_carlo",
            estimand="expectations under a given law",
            method="ControlVariates",
            diagnostics=diagnostics if quasi else diagnostics | {"khat": khat, "khat_max": float(khat.max())},
            warnings=(*self._sampling_warnings(), *self._means_warnings(C), *([] if quasi else heavy)),
            info={
                "model_calls": self.n_calls_,
                "base_points": self._source.n_base,
                "seconds": self._seconds,
                "entropy": entropy_of(self._source.root),
                "mcstat": __version__,
                "parameters": self._settings(),
            },
        )

    def _start(self) -> Start:
        """What ridge coefficients across scrambles shrink to: those across the points of the scrambles in use."""
        if self.sampler == "mc" or self.solver != "ridge":
            return None

        def across_points(used: NDArray[np.bool_]) -> FloatArray:
            points = [
                rows.points for rows, one in zip(self._rows, used, strict=True) if one and rows.points is not None
            ]
            values = np.concatenate([one.values for one in points])
            return coefficients(values, np.concatenate([one.controls for one in points]), "ridge", self._sizes)

        return across_points

    def _variance_of_values(self) -> FloatArray:
        """(J,) variance of one value of func."""
        sizes = np.array([rows.n_points for rows in self._rows])
        means = np.array([rows.values.mean(axis=0) for rows in self._rows])
        squares = np.array([rows.squares for rows in self._rows])
        middle = sizes @ means / sizes.sum()
        return np.asarray(sizes @ (squares + (means - middle) ** 2) / sizes.sum())

    def _sampling_warnings(self) -> list[str]:
        found = []
        if self._n_rows < self._planned:
            what = "points" if self.sampler == "mc" else "scrambles"
            found.append(f"interrupted: {self._n_rows} of {self._planned} {what} answer; extend() makes the rest")
        if self.control == "regression":
            found.append("control='regression' has a bias of order 1 over the number of rows; 'crossfit' has none")
        return found

    def _means_warnings(self, C: FloatArray) -> list[str]:
        from scipy.stats import norm, t

        error = C.std(axis=0, ddof=1) / np.sqrt(len(C))
        limit = t.isf(norm.sf(_SUSPICIOUS), len(C) - 1)
        # Below rounding there is nothing to see.
        off = (np.abs(C.mean(axis=0)) > limit * error) & (error > 1e-14 * self._sizes)
        if not off.any():
            return []
        m = int(np.argmax(off))
        z = abs(C.mean(axis=0)[m]) / error[m]
        return [
            f"means[{m}] is {z:.0f} standard errors from the mean of that regressor over the points "
            f"({int(off.sum())} such): either it is wrong, and the answer biased, or the regressor's tail is too heavy "
            "for so few points; correct it or leave it out"
        ]

    # Settings -------------------------------------------------------------------------------------------------

    @property
    def _n_rows(self) -> int:
        return sum(len(rows.values) for rows in self._rows)

    @property
    def _sizes(self) -> FloatArray:
        """(M,) how large the regressors get: what their variation is measured against."""
        return np.asarray(np.max([rows.sizes for rows in self._rows], axis=0))

    def _fewest_rows(self, n_regressors: int) -> int:
        """Rows that leave every fold's regression degrees of freedom; penalised ones need fewer than regressors."""
        needed = n_regressors + 2 if self.solver == "lstsq" or self.control == "regression" else 5
        if self.control == "regression":
            return needed
        return max(self.n_folds, needed + -(-needed // (self.n_folds - 1)))

    def _check_rows(self, n: int) -> None:
        fewest = self._fewest_rows(len(self._source.means))
        name = "budget" if self.sampler == "mc" else "n_randomisations"
        if n < fewest:
            raise InvalidParameter(
                f"{name} must be at least {fewest} for {len(self._source.means)} regressors, got {n}"
            )

    def _known_means(self, root: SeedSequence, law: InputLaw) -> FloatArray:
        """(M,) for as many regressors as two points of a stream of their own show."""
        probe = law.rvs(2, stream(root, "ControlVariates", Purpose.EXPLORE, 0))
        n_regressors = call("regressors", self.regressors, probe, None)[0].shape[1]
        means = check_array("means", self.means, (0, 1))
        if means.size not in (1, n_regressors):
            raise InvalidParameter(f"means must hold {n_regressors} numbers, one a regressor, got {means.size}")
        return np.broadcast_to(means, n_regressors).copy()

    def _check_parameters(self) -> None:
        check_option("solver", self.solver, SOLVERS)
        check_option("sampler", self.sampler, ("mc", "rqmc"))
        check_option("control", self.control, ("crossfit", "regression"))
        check_integer("n_folds", self.n_folds, 2)
        check_integer("n_randomisations", self.n_randomisations, 2)
        check_integer("budget", self.budget, 1)
        if self.chunk_size is not None:
            check_integer("chunk_size", self.chunk_size, 1)


def _base_points(budget: int, n_randomisations: int) -> int:
    """Largest power of two such that all scrambles together fit into the budget."""
    if budget < _FEWEST_BASE_POINTS * n_randomisations:
        raise InvalidParameter(
            f"budget must be at least {_FEWEST_BASE_POINTS * n_randomisations} ({_FEWEST_BASE_POINTS} points x "
            f"{n_randomisations} scrambles), got {budget}"
        )
    return int(2 ** ((budget // n_randomisations).bit_length() - 1))


def _ratio(plain: FloatArray, controlled: FloatArray) -> FloatArray:
    """Variances' ratio; 1 where there is nothing to reduce."""
    at_least = np.maximum(controlled, np.finfo(float).tiny)
    return np.where(plain == controlled, 1.0, plain / at_least)
