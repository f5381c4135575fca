"""Panels with unobserved heterogeneity, and the partially linear cross section, of known effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.rng import Purpose, RandomState, root_seed, stream

__all__ = ["make_panel_cp", "make_panel_fp", "make_plr"]

FloatArray = NDArray[np.float64]

_FORMS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "u": np.square,
    "linear": np.asarray,
    "step": lambda x: (x > 0).astype(np.float64),
    "abs": np.abs,
}


def make_panel_fp(
    n_units: int = 500,
    n_periods: int = 10,
    n_confounders: int = 1,
    *,
    form: str = "u",
    structure: str = "C",
    two_way: bool = False,
    rho: float = 0.0,
    theta: float = 1.0,
    random_state: RandomState = None,
) -> dict[str, Any]:
    """The designs of Fuhr and Papies (2024): an unobserved unit effect and a confounder whose form is not linear.

    With U_i and all noises standard normal, and coefficients that are standard normal and drawn once a data set, the
    same gamma and delta in every equation::

        x = a_0 + delta U_i [C] + noise
        d = a_1 + gamma f(x) + delta U_i [B, C] + noise
        y = a_2 + theta d + gamma f(x) + delta U_i [B, C] + noise

    Parameters
    ----------
    n_units, n_periods, n_confounders : int
        Several confounders have normal noise of a random covariance, and coefficients gamma_j / J.
    form : {"u", "linear", "step", "abs"}
        f(x) = x^2, x, 1{x > 0} or abs(x).
    structure : {"A", "B", "C"}
        Whether the unit effect moves nothing, treatment and outcome, or the confounders too.
    two_way : bool
        Add delta U_t, an effect of the period, wherever the unit's stands.
    rho : float
        Autocorrelation of the outcome's noise, whose innovations are standard normal.
    theta : float
        The effect of d on y.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    dict
        ``y`` (n,), ``d`` (n,), ``X`` (n, J), ``unit`` (n,), ``time`` (n,), sorted by unit and time, and ``theta``.

    Raises
    ------
    InvalidParameter
        Naming the argument.

    References
    ----------
    .. [1] Fuhr, J. and Papies, D. (2024). Double machine learning meets panel data: promises, pitfalls, and potential
       solutions. arXiv:2409.01266.
    """
    units, periods = check_integer("n_units", n_units, 1), check_integer("n_periods", n_periods, 1)
    count = check_integer("n_confounders", n_confounders, 1)
    f = _FORMS[check_option("form", form, tuple(_FORMS))]
    check_option("structure", structure, ("A", "B", "C"))
    rho, theta = check_real("rho", rho, -1.0, 1.0, closed="neither"), check_real("theta", theta)
    rng = stream(root_seed(random_state), "make_panel_fp", Purpose.DATA, 0)
    levels, delta, gamma = rng.normal(size=count + 2), rng.normal(), rng.normal(size=count) / count
    hidden = np.repeat(delta * rng.normal(size=(units, 1)), periods, axis=1)
    if two_way:
        hidden = hidden + delta * rng.normal(size=periods)
    noise = rng.normal(size=(units, periods, count))
    if count > 1:
        noise = noise @ rng.normal(size=(count, count))
    X = levels[2:] + noise + (hidden[..., None] if structure == "C" else 0.0)
    confounding = f(X) @ gamma + (0.0 if structure == "A" else hidden)
    d = levels[0] + confounding + rng.normal(size=(units, periods))
    y = levels[1] + theta * d + confounding + _autocorrelated(rng, units, periods, rho)
    return _panel(y, d, X.reshape(-1, count), theta)


def make_panel_cp(
    n_units: int = 250,
    n_periods: int = 10,
    n_covariates: int = 30,
    *,
    theta: float = 0.5,
    design: int = 3,
    random_state: RandomState = None,
) -> dict[str, Any]:
    """The designs of Clarke and Polselli (2026): many covariates, two of which matter, and correlated unit effects.

    Covariates are independent normal with variance 5. With a = 1/4, b = 1/2 and s the logistic function, the outcome
    has theta d + g(x) and the treatment m(x), beside unit effects and standard normal noise; the unit effect of the
    outcome depends on the unit's mean treatment and covariates::

        design 1: g = m = a x1 + x3
        design 2: g = s(x1) + a cos x3,              m = cos x1 + a s(x3)
        design 3: g = b x1 x3 + a x3 1{x3 > 0},      m = a x1 1{x1 > 0} + b x1 x3

    Parameters
    ----------
    n_units, n_periods : int
    n_covariates : int
        At least 3.
    theta : float
        The effect of d on y.
    design : {1, 2, 3}
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    dict
        ``y`` (n,), ``d`` (n,), ``X`` (n, J), ``unit`` (n,), ``time`` (n,), sorted by unit and time, and ``theta``.

    Raises
    ------
    InvalidParameter
        Naming the argument.

    References
    ----------
    .. [1] Clarke, P. and Polselli, A. (2026). Double machine learning for static panel models with fixed effects.
       Econometrics Journal 29(1). arXiv:2312.08174.
    """
    units, periods = check_integer("n_units", n_units, 1), check_integer("n_periods", n_periods, 1)
    count = check_integer("n_covariates", n_covariates, 3)
    theta = check_real("theta", theta)
    if design not in (1, 2, 3) or isinstance(design, bool):
        raise InvalidParameter(f"design must be 1, 2 or 3, got {design!r}")
    rng = stream(root_seed(random_state), "make_panel_cp", Purpose.DATA, 0)
    X = np.sqrt(5.0) * rng.normal(size=(units, periods, count))
    x1, x3 = X[..., 0], X[..., 2]
    if design == 1:
        g = m = 0.25 * x1 + x3
    elif design == 2:
        g, m = _logistic(x1) + 0.25 * np.cos(x3), np.cos(x1) + 0.25 * _logistic(x3)
    else:
        g, m = 0.5 * x1 * x3 + 0.25 * x3 * (x3 > 0), 0.25 * x1 * (x1 > 0) + 0.5 * x1 * x3
    d = m + rng.normal(size=(units, 1)) + rng.normal(size=(units, periods))
    unit_effect = 0.25 * (d.mean(axis=1) - d.mean()) + 0.25 * (x1 + x3).mean(axis=1)
    unit_effect = unit_effect + np.sqrt(0.95) * rng.normal(size=units)
    y = theta * d + g + unit_effect[:, None] + rng.normal(size=(units, periods))
    return _panel(y, d, X.reshape(-1, count), theta)


def make_plr(
    n_samples: int = 500, n_features: int = 20, *, theta: float = 0.5, random_state: RandomState = None
) -> dict[str, Any]:
    """The partially linear cross section of Chernozhukov and others (2018).

    x is normal with covariance ``0.7^|j - k|``; with s the logistic function::

        d = x1 + s(x3) / 4 + noise,    y = theta d + s(x1) + x3 / 4 + noise

    Parameters
    ----------
    n_samples : int
    n_features : int
        At least 3.
    theta : float
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    dict
        ``y`` (n,), ``d`` (n,), ``X`` (n, p) and ``theta``.

    References
    ----------
    .. [1] Chernozhukov, V., Chetverikov, D., Demirer, M., Duflo, E., Hansen, C., Newey, W. and Robins, J. (2018).
       Double/debiased machine learning for treatment and structural parameters. Econometrics Journal 21, C1-C68.
       arXiv:1608.00060.
    """
    n, p = check_integer("n_samples", n_samples, 1), check_integer("n_features", n_features, 3)
    theta = check_real("theta", theta)
    rng = stream(root_seed(random_state), "make_plr", Purpose.DATA, 0)
    X = rng.normal(size=(n, p))
    # Neighbours 0.7 apart in correlation: an autoregression along the columns.
    for j in range(1, p):
        X[:, j] = 0.7 * X[:, j - 1] + np.sqrt(1.0 - 0.49) * X[:, j]
    d = X[:, 0] + 0.25 * _logistic(X[:, 2]) + rng.normal(size=n)
    y = theta * d + _logistic(X[:, 0]) + 0.25 * X[:, 2] + rng.normal(size=n)
    return {"y": y, "d": d, "X": X, "theta": theta}


def _panel(y: FloatArray, d: FloatArray, X: FloatArray, theta: float) -> dict[str, Any]:
    units, periods = y.shape
    unit, time = np.repeat(np.arange(units), periods), np.tile(np.arange(periods), units)
    return {"y": y.ravel(), "d": d.ravel(), "X": X, "unit": unit, "time": time, "theta": theta}


def _autocorrelated(rng: Generator, units: int, periods: int, rho: float) -> FloatArray:
    noise = rng.normal(size=(units, periods))
    for t in range(1, periods):
        noise[:, t] += rho * noise[:, t - 1]
    return noise


def _logistic(x: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))
