"""Several attacks on several models, answered together by a hierarchical posterior (extra ``bayes``)."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat._version import __version__
from mcstat.core.chains import split_r_hat
from mcstat.core.checks import check_array, check_integer, check_real
from mcstat.core.errors import InvalidData, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.extras import import_extra
from mcstat.core.rng import Purpose, RandomState, child_seed, entropy_of, root_seed
from mcstat.privacy._gdp import gdp_to_eps

__all__ = ["hierarchical_audit"]

FloatArray = NDArray[np.float64]


def hierarchical_audit(
    *,
    fn: ArrayLike,
    fp: ArrayLike,
    tn: ArrayLike,
    tp: ArrayLike,
    delta: float = 1e-5,
    n_draws: int = 1000,
    n_chains: int = 4,
    n_tune: int = 1000,
    n_jobs: int = 1,
    random_state: RandomState = None,
    verbose: bool = True,
) -> Estimate:
    """Epsilon of the best of several attacks, and of the algorithm behind them, under Gaussian privacy.

    Parameters
    ----------
    fn, fp, tn, tp : array_like, shape (J,) or (J, K)
        Counts of J attacks, on one model or on K models each; at least 2 attacks.
    delta : float
        In (0, 1).
    n_draws, n_chains, n_tune : int
        Posterior draws of a chain, chains, and draws that adapt the sampler and are thrown away.
    n_jobs : int
        Chains that run at once.
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        PyMC's progress bar.

    Returns
    -------
    Estimate
        With draws (chain, draw, 4): ``epsilon[best attack]`` and ``mu[best attack]`` are what the data show;
        ``epsilon[algorithm]`` and ``mu[algorithm]`` are of an attack of full strength, and lean on the prior of the
        strengths.

    Raises
    ------
    MissingExtraError
        Without PyMC.
    InvalidData, InvalidParameter
        Naming the argument.

    Notes
    -----
    Attack j has the rates FPR = Phi(-c_j), FNR = Phi(c_j - mu s_j), with threshold c_j ~ N(0, 1.5^2), strength
    s_j ~ Beta(kappa, 1), kappa ~ Gamma(2, 1/2) and mu ~ HalfNormal(3) [1]_ (the idea of strengths; the model is ours).
    With several models the threshold is c_j + sigma z_k, sigma ~ HalfNormal(1/2). Only the products mu s_j are in the
    data; so the largest of them is the honest figure. NUTS by PyMC: tens of seconds, after up to minutes of compiling.

    References
    ----------
    .. [1] Yildirim, C., Kaya, K., Yildirim, S. and Savas, E. (2025). MCMC for Bayesian estimation of differential
       privacy from membership inference attacks. arXiv:2504.16683.
    """
    counts = _checked(fn=fn, fp=fp, tn=tn, tp=tp)
    check_real("delta", delta, 0.0, 1.0, closed="neither")
    sizes = {
        "draws": check_integer("n_draws", n_draws, 100),
        "chains": check_integer("n_chains", n_chains, 2),
        "tune": check_integer("n_tune", n_tune, 100),
        "cores": check_integer("n_jobs", n_jobs, 1),
    }
    root = root_seed(random_state)
    seeds = [
        int(child_seed(root, "hierarchical_audit", Purpose.CHAINS, k).generate_state(1)[0]) for k in range(n_chains)
    ]
    pymc = import_extra("pymc", "bayes")
    started = perf_counter()
    with _model(pymc, counts):
        trace = pymc.sample(**sizes, target_accept=0.95, random_seed=seeds, progressbar=verbose)
    best = np.asarray(trace.posterior["best"], dtype=np.float64)
    mu = np.asarray(trace.posterior["mu"], dtype=np.float64)
    draws = np.stack([gdp_to_eps(best, delta), gdp_to_eps(mu, delta), best, mu], axis=-1)
    divergences = int(np.sum(trace.sample_stats["diverging"]))
    mixing = float(split_r_hat(np.stack([best, mu], axis=-1)).max())
    doubts = _doubts(divergences, mixing)
    for doubt in doubts:
        warnings.warn(doubt, ReliabilityWarning, stacklevel=2)
    return Estimate.from_draws(
        draws,
        names=("epsilon[best attack]", "epsilon[algorithm]", "mu[best attack]", "mu[algorithm]"),
        kind="posterior",
        estimand=f"privacy parameters of {len(counts['fn'])} attacks together, delta = {delta:g}",
        method="hierarchical_audit",
        diagnostics={"divergences": divergences, "r_hat": mixing},
        warnings=doubts,
        info={"seconds": perf_counter() - started, "entropy": entropy_of(root), "mcstat": __version__},
    )


def _model(pymc: Any, counts: dict[str, FloatArray]) -> Any:
    """The PyMC model of the Notes; counts (J, K)."""
    n_attacks, n_models = counts["fn"].shape
    with pymc.Model() as model:
        mu = pymc.HalfNormal("mu", 3.0)
        kappa = pymc.Gamma("kappa", alpha=2.0, beta=0.5)
        strength = pymc.Beta("strength", kappa, 1.0, shape=n_attacks)
        threshold = pymc.Normal("threshold", 0.0, 1.5, shape=n_attacks)[:, None]
        if n_models > 1:
            spread = pymc.HalfNormal("spread", 0.5)
            threshold = threshold + spread * pymc.Normal("shift", 0.0, 1.0, shape=n_models)[None, :]
        pymc.Deterministic("best", mu * strength.max())
        distance = (mu * strength)[:, None]
        rates = {"fp": pymc.math.invprobit(-threshold), "fn": pymc.math.invprobit(threshold - distance)}
        for wrong, right in (("fp", "tn"), ("fn", "tp")):
            total = (counts[wrong] + counts[right]).astype(int)
            pymc.Binomial(wrong, n=total, p=rates[wrong], observed=counts[wrong].astype(int))
    return model


def _doubts(divergences: int, mixing: float) -> tuple[str, ...]:
    doubts = []
    if divergences:
        doubts.append(f"{divergences} draws diverged: parts of the posterior may be missing; raise n_tune")
    if mixing > 1.03:
        doubts.append(f"the chains do not agree (R-hat {mixing:.3f}); raise n_draws")
    return tuple(doubts)


def _checked(**counts: ArrayLike) -> dict[str, FloatArray]:
    """Whole counts (J, K) of one shape."""
    arrays = {name: check_array(name, value, (1, 2)) for name, value in counts.items()}
    shape = arrays["fn"].shape
    for name, array in arrays.items():
        if array.shape != shape:
            raise InvalidData(f"counts must be of one shape, got fn {shape} and {name} {array.shape}")
        if np.any(array < 0) or np.any(array != np.round(array)):
            raise InvalidData(f"{name} must hold whole numbers of at least 0")
    if shape[0] < 2:
        raise InvalidData(f"fn must hold at least 2 attacks, got {shape[0]}; PrivacyAuditor answers for one")
    return {name: array.reshape(shape[0], -1) for name, array in arrays.items()}
