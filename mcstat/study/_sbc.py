"""Simulation-based calibration: whether posteriors are right on average over the prior."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from mcstat.core._fields import normalised_weights, summarise_draws
from mcstat.core._intervals import default_how
from mcstat.core.checks import check_array, check_integer
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks
from mcstat.core.rng import Purpose, RandomState, child_seed, entropy_of, root_seed, stream
from mcstat.study._answer import answer, check_method
from mcstat.study._ranks import SbcResult

__all__ = ["sbc"]

FloatArray: TypeAlias = NDArray[np.float64]


def sbc(
    prior: Callable[[Generator], Mapping[str, Any]],
    simulate: Callable[[Generator, Mapping[str, Any]], Mapping[str, Any]],
    method: Any,
    n_replicates: int = 1000,
    n_draws: int = 99,
    *,
    random_state: RandomState = None,
    n_jobs: int | None = None,
    verbose: bool = True,
) -> SbcResult:
    """Draw parameters from the prior, data from the parameters, and rank the parameters among posterior draws.

    If the posterior is right, the rank of the true parameter among ``n_draws`` independent posterior draws is uniform
    on 0..n_draws.

    Parameters
    ----------
    prior : callable
        ``prior(rng)`` returns a mapping of name to number or array. The entries of an array ``b`` are named ``b[0]``,
        ``b[1]``, ...
    simulate : callable
        ``simulate(rng, theta)`` returns a mapping of arguments for the method, as the ``dgm`` of
        :class:`SimulationStudy` does.
    method : estimator or callable
        As in :class:`SimulationStudy`. Its Estimate must use names of the prior; those that both have are ranked.
    n_replicates : int
        1000 flag a posterior standard deviation that is 20 % off nearly always, one 10 % too small in two runs of
        three.
    n_draws : int
        Posterior draws that the parameter is ranked among.
    random_state : None, int, SeedSequence or Generator
    n_jobs : int or None
        Processes, unless a ``joblib.parallel_config`` chooses another backend; the numbers are the same for all.
    verbose : bool
        False switches the progress bar off.

    Returns
    -------
    SbcResult
        What a method raises is recorded in its ``failures``.

    Raises
    ------
    InvalidParameter
        Bad arguments, or no name that prior and Estimate share.
    Exception
        Whatever ``prior`` and ``simulate`` raise, with the number of the replicate in a note.

    Warns
    -----
    ReliabilityWarning
        If the method failed in every replicate, or its chains hold fewer effective draws than ``n_draws``.

    Notes
    -----
    The posterior draws of a replicate are, in the order of the Estimate's own intervals, from its ``law`` (``rvs``, or
    else ``ppf``), from its ``draws``, or from Student's t or the normal law about ``value``. Of stored draws
    ``n_draws`` are taken at equal distances along each chain, weighted ones by their weights. That thins out
    dependence as far as the chain is long; the effective number of draws in the whole chain (by batch means) is kept
    in ``SbcResult.ess``. Ranks of dependent draws pile up at both ends even where the posterior is right.

    A law may have atoms: where draws equal the parameter, its place among them is drawn at random.

    References
    ----------
    .. [1] Talts, S., Betancourt, M., Simpson, D., Vehtari, A. and Gelman, A. (2018). Validating Bayesian inference
       algorithms with simulation-based calibration. arXiv:1804.06788.
    .. [2] Säilynoja, T., Bürkner, P.-C. and Vehtari, A. (2022). Graphical test for discrete uniformity and its
       applications in goodness-of-fit evaluation and multiple sample comparison. Statistics and Computing 32, 32.

    Examples
    --------
    >>> from mcstat import Estimate
    >>> from mcstat.study import sbc
    >>> def prior(rng):
    ...     return {"mu": rng.normal()}
    >>> def simulate(rng, theta):
    ...     return {"x": rng.normal(theta["mu"], 1.0, size=4)}
    >>> def posterior(x):
    ...     return Estimate(value=x.sum() / 5, std_error=5**-0.5, names=["mu"], kind="posterior")
    >>> sbc(prior, simulate, posterior, n_replicates=200, random_state=1).passed()
    True
    """
    for name, function in (("prior", prior), ("simulate", simulate)):
        if not callable(function):
            raise InvalidParameter(f"{name} must be a callable that takes a Generator, got {type(function).__name__}")
    check_method("method", method)
    n_replicates, n_draws = check_integer("n_replicates", n_replicates, 1), check_integer("n_draws", n_draws, 1)
    root = root_seed(random_state)
    task = _Ranking(prior, simulate, method, n_draws, root)
    answers = map_tasks(
        task, range(n_replicates), n_jobs=n_jobs, prefer="processes", label="calibration", verbose=verbose
    )
    result = SbcResult.from_answers(answers, n_draws, entropy_of(root))
    _warn(result)
    return result


@dataclass(frozen=True)
class _Ranking:
    """The task: replicate ``k`` as a function of the root seed and ``k`` alone.

    Its answer is (names, ranks, ess), or (error, message) of a method that failed.
    """

    prior: Callable[[Generator], Mapping[str, Any]]
    simulate: Callable[[Generator, Mapping[str, Any]], Mapping[str, Any]]
    method: Any
    n_draws: int
    root: SeedSequence

    def __call__(self, k: int) -> tuple[Any, ...]:
        rng = stream(self.root, "sbc", Purpose.REPLICATES, k)
        try:
            theta = self.prior(rng)
            truth = flat(theta)
            data = self.simulate(rng, theta)
            if not isinstance(data, Mapping):
                raise InvalidData(f"simulate must return a mapping of arguments, got {type(data).__name__}")
        except Exception as error:
            error.add_note(f"in prior or simulate, replicate {k}")
            raise
        try:
            est, _ = answer(self.method, data, child_seed(self.root, "sbc", Purpose.METHODS, k))
            own = stream(self.root, "sbc", Purpose.SAMPLE, k)
            draws, ess = posterior_draws(est, self.n_draws, own)
            if np.isnan(draws).any():
                raise InvalidData("the posterior draws must be numbers, got NaN")
        except Exception as error:
            return type(error).__name__, str(error)
        names = tuple(name for name in est.names if name in truth)
        if not names:
            raise InvalidParameter(
                f"prior must use names of the Estimate ({', '.join(est.names)}), got {', '.join(truth)}"
            )
        columns = [est.names.index(name) for name in names]
        ranks = ranks_among(np.array([truth[name] for name in names]), draws[:, columns], own)
        return names, ranks, ess


def flat(theta: Any) -> dict[str, float]:
    """Parameters by name, the entries of arrays under names with their index."""
    if not isinstance(theta, Mapping) or not theta:
        raise InvalidData(f"prior must return a mapping of at least one name to a number or array, got {theta!r}")
    numbers = {}
    for name, value in theta.items():
        array = np.asarray(value, dtype=np.float64)
        for index in np.ndindex(array.shape):
            numbers[f"{name}[{','.join(map(str, index))}]" if index else str(name)] = float(array[index])
    return numbers


def posterior_draws(est: Estimate, n_draws: int, rng: Generator) -> tuple[FloatArray, float]:
    """``n_draws`` draws (n_draws, q) of what the Estimate says, and the least effective number behind them.

    The effective number is infinite where the draws are independent by construction.
    """
    how = default_how(est)
    if how == "law":
        return _law_draws(est.law, n_draws, len(est), rng), np.inf
    if how == "quantile" and est.draws is not None:
        if est.log_weights is not None:
            weights = normalised_weights(est.log_weights)
            chosen = rng.choice(len(weights), size=n_draws, p=weights)
            return est.draws.reshape(-1, len(est))[chosen], float(1.0 / np.sum(weights**2))
        return _thinned(est.draws, n_draws)
    noise = rng.standard_normal((n_draws, len(est))) if est.df is None else rng.standard_t(est.df, (n_draws, len(est)))
    return est.value + est.std_error * noise, np.inf


def _law_draws(law: Any, n_draws: int, q: int, rng: Generator) -> FloatArray:
    if hasattr(law, "rvs"):
        draws = law.rvs(n_draws, rng)
    elif hasattr(law, "ppf"):
        draws = law.ppf(rng.random((n_draws, q)))
    else:
        raise InvalidData(f"law must have rvs or ppf to be drawn from, got {type(law).__name__}")
    array = check_array("draws of the law", draws, 2, finite=False)
    if array.shape != (n_draws, q):
        raise InvalidData(f"draws of the law must have shape ({n_draws}, {q}), got {array.shape}")
    return array


def _thinned(draws: FloatArray, n_draws: int) -> tuple[FloatArray, float]:
    """Draws at equal distances along the chains laid end to end, and the effective number in all of them."""
    chains, length, q = draws.shape
    count = chains * length
    if count < n_draws:
        raise InvalidData(f"the Estimate must hold at least n_draws = {n_draws} draws, got {count}")
    every = draws.reshape(count, q)
    error = summarise_draws(draws, None, "posterior")["mcse"]
    with np.errstate(divide="ignore", invalid="ignore"):
        # A constant column has no error and any number of effective draws.
        effective = np.where(error > 0, every.var(axis=0, ddof=1) / error**2, np.inf)
    return every[(np.arange(n_draws) * count) // n_draws], float(min(effective.min(), count))


def ranks_among(truth: FloatArray, draws: FloatArray, rng: Generator) -> NDArray[np.int64]:
    """Rank of each true value (q,) among its draws (n, q), at random among equal ones."""
    below = np.sum(draws < truth, axis=0)
    return np.asarray(below + rng.integers(0, np.sum(draws == truth, axis=0), endpoint=True), dtype=np.int64)


def _warn(result: SbcResult) -> None:
    if len(result.ranks) == 0:
        _, error, message = result.failures[0]
        problem = f"the method failed in all {result.n_replicates} replicates; first {error}: {message}"
    elif np.median(result.ess) < result.n_draws:
        problem = (
            f"the chains hold {np.median(result.ess):.0f} effective draws (median) for n_draws = {result.n_draws}: the "
            "ranks of dependent draws pile up at both ends; run the chains longer or ask for fewer draws"
        )
    else:
        return
    warnings.warn(problem, ReliabilityWarning, stacklevel=3)
