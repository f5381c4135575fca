"""What if an input's law were another? Perturbed-law indices of a failure probability, from one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.base import Estimator
from mcstat.core.checks import check_array, check_names, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.extras import import_extra
from mcstat.core.rng import Purpose, RandomState, child_seed, entropy_of, root_seed
from mcstat.importance._adaptive import AdaptiveImportanceSampler
from mcstat.importance._answer import propagated
from mcstat.importance._model import Model, model_values
from mcstat.importance._tilts import IndependentLaw, tilted

__all__ = ["PerturbedLawIndices"]

FloatArray = NDArray[np.float64]


class PerturbedLawIndices(Estimator):
    """Perturbed-law indices (PLI): how a failure probability answers to a change of one input's law.

    The law of input i is replaced by the nearest one, in Kullback-Leibler divergence, that has another mean or
    another variance. With P the failure probability and P_d the one under the changed law, the index is

        S = P_d / P - 1  where P_d >= P,      S = 1 - P / P_d  elsewhere:

    0 where the change does nothing, 1 where it doubles the probability, -1 where it halves it. All of them come from
    one sample of :class:`AdaptiveImportanceSampler`, with the law and all its changes as ``laws``.

    Parameters
    ----------
    law : sequence of d frozen distributions
        Marginals of the independent inputs: continuous, with ``rvs logpdf ppf isf mean std`` as SciPy's have.
    deltas : array_like, shape (K,)
        The changes: in standard deviations for ``perturb="mean"``, factors for ``perturb="variance"``.
    perturb : {"mean", "variance"}
        What changes; the variance does at the same mean.
    threshold : float, optional
        Failure is ``func(x) <= threshold``. None: ``func`` is itself the positive function whose expectation counts.
    names : sequence of str, optional
        Names of the inputs; default x1, ..., xd.
    budget : int
        Points in all, one call of the model each.
    max_explore, batch : float
        Largest part of the budget for exploration, and part of the budget a round.
    family : {"gaussian", "gmm"}
        Parts of the proposal; "gmm" where failures come from several regions.
    n_jobs : int, optional
        Blocks of the final sample run in parallel; the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    sampler_ : AdaptiveImportanceSampler
        The fitted sampler.
    probabilities_ : Estimate
        P and the d K perturbed probabilities, with their joint covariance.

    Notes
    -----
    The changed law is the exponential tilt f(x) exp(a x + b x^2) that has the wanted moments (b = 0 for a mean) [1]_;
    a normal law stays normal. Its coefficients are found by quadrature on normal scores between -12 and 12; a law
    whose tail is too heavy to be tilted is refused. Errors of the indices come from the joint covariance of P and P_d
    by the delta method: as they share their points, an index near 0 is known far better than either probability.

    Asking for all laws at once was compared with re-weighting a sample that was learned for P alone
    (``AdaptiveImportanceSampler.for_laws``): on a linear limit state of four normal inputs with means moved by up to
    one sd, 20 000 points and 20 seeds, the root mean square error of an index was 0.011 against 0.022 at P = 0.023
    and 0.023 against 0.039 at P = 0.0013.

    Exploration begins with points from all laws together: let ``batch * budget`` meet ten failures or more. At
    P = 0.0013 and a batch of 2000 points, which meets seven or so, intervals for the model above held 94 % (60 seeds,
    error 1.2 %), but a few seeds were far off, so that the mean reported error was 0.7 of the true one; at P = 0.023
    it was 1.01, and they held 96 % (error 0.9 %). Cost: that of AdaptiveImportanceSampler for J = 1 + d K laws,
    O(n J d^2).

    References
    ----------
    .. [1] Lemaitre, P., Sergienko, E., Arnaud, A., Bousquet, N., Gamboa, F. and Iooss, B. (2015). Density modification
       based reliability sensitivity analysis. Journal of Statistical Computation and Simulation 85, 1200-1223.
       doi:10.1080/00949655.2013.873039.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from mcstat.importance import PerturbedLawIndices
    >>> pli = PerturbedLawIndices([norm(), norm()], deltas=[-0.5, 0.5], random_state=0)
    >>> indices = pli.fit(lambda x: 3 - x[:, 0] - 0.2 * x[:, 1]).estimate()
    >>> bool(indices["PLI[x1, +0.5]"].value > indices["PLI[x2, +0.5]"].value)
    True
    """

    def __init__(
        self,
        law: Sequence[Any],
        *,
        deltas: ArrayLike = (-1.0, -0.5, 0.5, 1.0),
        perturb: str = "mean",
        threshold: float | None = 0.0,
        names: Sequence[str] | None = None,
        budget: int = 20_000,
        max_explore: float = 0.5,
        batch: float = 0.1,
        family: str = "gaussian",
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.law = law
        self.deltas = deltas
        self.perturb = perturb
        self.threshold = threshold
        self.names = names
        self.budget = budget
        self.max_explore = max_explore
        self.batch = batch
        self.family = family
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, func: Model) -> Self:
        """Tilt the marginals, then spend the budget on one sample for all laws.

        Parameters
        ----------
        func : callable
            Limit state, (n, d) to (n,) or (n, 1), vectorised: failure where it is at most ``threshold``.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got.
        """
        self.__dict__.pop("sampler_", None)
        marginals = _checked_marginals(self.law)
        d = len(marginals)
        self._inputs = (
            tuple(f"x{i + 1}" for i in range(d)) if self.names is None else check_names("names", self.names, d)
        )
        check_option("perturb", self.perturb, ("mean", "variance"))
        self._deltas = _checked_deltas(self.deltas, self.perturb)
        threshold = None if self.threshold is None else check_real("threshold", self.threshold)
        if not callable(func):
            raise InvalidParameter(f"func must be callable, got {type(func).__name__}")
        changed = [
            IndependentLaw(marginals, i, tilted(f"law[{i}]", marginal, self.perturb, delta))
            for i, marginal in enumerate(marginals)
            for delta in self._deltas
        ]
        self._root = root_seed(self.random_state)
        self.sampler_ = AdaptiveImportanceSampler(
            laws=[IndependentLaw(marginals), *changed],
            budget=self.budget,
            max_explore=self.max_explore,
            batch=self.batch,
            family=self.family,
            signed="nonneg",
            n_jobs=self.n_jobs,
            random_state=child_seed(self._root, "PerturbedLawIndices", Purpose.SAMPLE, 0),
            verbose=self.verbose,
        )
        self._labels = [f"[{name}, {delta:+g}]" for name in self._inputs for delta in self._deltas]
        self.sampler_.fit(Failure(func, threshold), names=["P", *[f"P{label}" for label in self._labels]])
        return self

    def extend(self, n: int | None = None) -> Self:
        """Draw more final points and pool them; ``n`` defaults to what an interrupted fit left of its budget."""
        self._check_fitted()
        self.sampler_.extend(n)
        return self

    @property
    def probabilities_(self) -> Estimate:
        """P, then P under each change."""
        self._check_fitted()
        return self.sampler_.estimate()

    def __sklearn_is_fitted__(self) -> bool:
        """There is a sample to answer from."""
        return hasattr(self, "sampler_") and self.sampler_.__sklearn_is_fitted__()

    def _make_estimate(self) -> Estimate:
        base = self.probabilities_
        value, slopes = perturbed_indices(base.value)
        warnings = list(base.warnings)
        if np.isnan(value).any():
            warnings.append("some probabilities were not found positive: their indices are not known; raise budget")
        return Estimate(
            value=value,
            names=tuple(f"PLI{label}" for label in self._labels),
            coords={
                "input": np.repeat(self._inputs, len(self._deltas)),
                "delta": np.tile(self._deltas, len(self._inputs)),
            },
            cov=propagated(slopes, np.asarray(base.cov)),
            kind="monte_carlo",
            estimand=f"perturbed-law indices ({self.perturb})",
            method="PerturbedLawIndices",
            diagnostics={"probability": float(base.value[0]), **base.diagnostics},
            warnings=tuple(warnings),
            info={**base.info, "entropy": entropy_of(self._root), "parameters": self._settings()},
        )

    def plot(self, ax: Any = None, level: float = 0.95) -> Any:
        """Indices against delta with their bands, a line an input, on a matplotlib Axes (extra ``plot``)."""
        if ax is None:
            ax = import_extra("matplotlib.pyplot", "plot").subplots(layout="constrained")[1]
        est = self.estimate()
        band = est.conf_int(level).to_numpy().reshape(len(self._inputs), len(self._deltas), 2)
        order = np.argsort(self._deltas)
        for name, line, ends in zip(self._inputs, est.value.reshape(band.shape[:2]), band, strict=True):
            (drawn,) = ax.plot(self._deltas[order], line[order], "o-", markersize=3, label=name)
            ax.fill_between(self._deltas[order], *ends[order].T, color=drawn.get_color(), alpha=0.2, linewidth=0)
        ax.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
        unit = "shift of the mean in sd" if self.perturb == "mean" else "factor on the variance"
        ax.set(xlabel=unit, ylabel="perturbed-law index")
        ax.legend()
        return ax


@dataclass(frozen=True)
class Failure:
    """(n, d) points to (n, 1): 1 at failures, or the user's own positive function where there is no threshold."""

    func: Model
    threshold: float | None

    def __call__(self, x: FloatArray) -> FloatArray:
        y = model_values("func", self.func, x)[:, None]
        return y if self.threshold is None else (y <= self.threshold).astype(np.float64)


def perturbed_indices(probabilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Indices (q,) from P and q perturbed probabilities, and their derivatives (q, 1 + q); NaN unless both are > 0."""
    positive = np.where(probabilities > 0, probabilities, np.nan)
    base, moved = positive[0], positive[1:]
    up = moved >= base
    value = np.where(up, moved / base - 1, 1 - base / moved)
    slopes = np.zeros((len(moved), 1 + len(moved)))
    slopes[:, 0] = np.where(up, -moved / base**2, -1 / moved)
    slopes[np.arange(len(moved)), 1 + np.arange(len(moved))] = np.where(up, 1 / base, base / moved**2)
    return value, slopes


def _checked_marginals(law: Any) -> tuple[Any, ...]:
    if not isinstance(law, Sequence) or isinstance(law, str) or len(law) == 0:
        raise InvalidParameter(f"law must be a list of marginals, one an input, got {type(law).__name__}")
    wanted = ("rvs", "logpdf", "ppf", "isf", "mean", "std")
    for i, marginal in enumerate(law):
        missing = [word for word in wanted if not callable(getattr(marginal, word, None))]
        if missing:
            raise InvalidParameter(f"law[{i}] must be continuous with {', '.join(wanted)}, got {marginal!r}")
    return tuple(law)


def _checked_deltas(deltas: Any, perturb: str) -> FloatArray:
    checked = check_array("deltas", deltas, 1)
    if len(checked) == 0 or len(np.unique(checked)) < len(checked):
        raise InvalidData(f"deltas must be at least one number, each once, got {checked.tolist()}")
    if perturb == "variance" and np.any(checked <= 0):
        raise InvalidData(f"deltas must be positive for perturb='variance', got {checked.tolist()}")
    return checked
