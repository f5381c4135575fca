"""Performance measures of a simulation study, each with its Monte Carlo standard error.

The formulas are those of Morris, White and Crowther (2019), "Using simulation studies to evaluate statistical
methods", Statistics in Medicine 38, Table 6. With e_i = estimate_i - truth_i over the n replicates they hold for a
truth that varies between replicates too; where it is constant they are the paper's to the letter.

A measure is NaN where something that it needs is NaN in any replicate: nothing is dropped silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["MEASURES", "measures"]

FloatArray: TypeAlias = NDArray[np.float64]
Measure: TypeAlias = tuple[float, float]

MEASURES = (
    "bias",
    "emp_se",
    "model_se",
    "rel_error_model_se",
    "mse",
    "coverage",
    "be_coverage",
    "width",
    "power",
    "cpu_seconds",
)


def measures(rows: Mapping[str, Any], null: float) -> dict[str, float]:
    """Every measure of one method and term, and its Monte Carlo standard error under ``<measure>_mcse``.

    Parameters
    ----------
    rows : mapping of str to array_like, shape (n,)
        Columns truth, estimate, std_error, conf_low, conf_high and cpu_seconds; n may be 0.
    null : float
        Power is the share of intervals that exclude it.

    Returns
    -------
    dict
    """
    columns = ("truth", "estimate", "std_error", "conf_low", "conf_high", "cpu_seconds")
    truth, estimate, std_error, low, high, cpu = (np.asarray(rows[name], dtype=np.float64) for name in columns)
    if len(estimate) == 0:
        return _named({name: (np.nan, np.nan) for name in MEASURES})
    error = estimate - truth
    # Without a truth the spread is that of the estimates about their own mean.
    spread = estimate if np.isnan(truth).any() else error
    # An infinite end or standard error is a legitimate answer of a method; its measures are then inf or NaN.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _named(
            {
                "bias": _mean(error),
                "emp_se": _emp_se(spread),
                "model_se": _model_se(std_error),
                "rel_error_model_se": _rel_error_model_se(std_error, spread),
                "mse": _mean(error**2),
                "coverage": _share(_within(low, truth, high)),
                "be_coverage": _share(_within(low, truth + error.mean(), high)),
                "width": _mean(high - low),
                "power": _share(1.0 - _within(low, np.full_like(low, null), high)),
                "cpu_seconds": _mean(cpu),
            }
        )


def _named(pairs: Mapping[str, Measure]) -> dict[str, float]:
    named = {}
    for name, (value, mcse) in pairs.items():
        named[name], named[f"{name}_mcse"] = float(value), float(mcse)
    return named


def _sd(x: FloatArray) -> float:
    """sqrt(sum (x_i - mean x)^2 / (n - 1)); NaN for one replicate."""
    return float(np.std(x, ddof=1)) if len(x) > 1 else np.nan


def _mean(x: FloatArray) -> Measure:
    """Sample mean, with mcse sd(x) / sqrt(n): bias (x = e), mean squared error (x = e^2), width and time."""
    return float(np.mean(x)), _sd(x) / np.sqrt(len(x))


def _share(x: FloatArray) -> Measure:
    """Share of ones p, with mcse sqrt(p (1 - p) / n): coverage and power."""
    p = float(np.mean(x))
    return p, np.sqrt(p * (1.0 - p) / len(x))


def _emp_se(error: FloatArray) -> Measure:
    """EmpSE = sd(e), with mcse EmpSE / sqrt(2 (n - 1))."""
    emp_se = _sd(error)
    return emp_se, emp_se / np.sqrt(2.0 * (len(error) - 1.0))


def _model_se(std_error: FloatArray) -> Measure:
    """ModSE = sqrt(mean se^2), with mcse sqrt(var(se^2) / (4 n ModSE^2))."""
    model_se = np.sqrt(np.mean(std_error**2))
    return float(model_se), _sd(std_error**2) / (2.0 * np.sqrt(len(std_error)) * model_se)


def _rel_error_model_se(std_error: FloatArray, error: FloatArray) -> Measure:
    """100 (ModSE / EmpSE - 1) %, with mcse 100 (ModSE / EmpSE) sqrt(var(se^2) / (4 n ModSE^4) + 1 / (2 (n - 1)))."""
    model_se, model_mcse = _model_se(std_error)
    emp_se, emp_mcse = _emp_se(error)
    ratio = np.float64(model_se) / emp_se
    # The two terms under the root are the squared relative errors of ModSE and EmpSE.
    return 100.0 * (ratio - 1.0), 100.0 * ratio * np.hypot(model_mcse / model_se, np.float64(emp_mcse) / emp_se)


def _within(low: FloatArray, point: FloatArray, high: FloatArray) -> FloatArray:
    """1 where low <= point <= high, else 0; NaN where one of them is not known."""
    inside = ((low <= point) & (point <= high)).astype(np.float64)
    inside[np.isnan(low) | np.isnan(point) | np.isnan(high)] = np.nan
    return inside
