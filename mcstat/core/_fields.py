"""What :class:`Estimate` does with its arguments: check, complete, own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_names, check_option, check_real
from mcstat.core.errors import DegenerateWeightsError, InvalidData, InvalidParameter
from mcstat.core.laws import Law

if TYPE_CHECKING:
    from mcstat.core.estimate import Estimate

FloatArray = NDArray[np.float64]


def clean_fields(est: Estimate) -> dict[str, Any]:
    """Every field of ``est``, checked, completed and read-only."""
    from mcstat.core.estimate import KINDS

    value = _owned("value", np.atleast_1d(np.asarray(est.value)), 1)
    q = len(value)
    if q == 0:
        raise InvalidData("value must hold at least one quantity, got none")
    kind = check_option("kind", est.kind, KINDS)
    cov = None if est.cov is None else _covariance(est.cov, q)
    draws = None if est.draws is None else _owned("draws", est.draws, 3)
    if draws is not None and draws.shape[2] != q:
        raise InvalidData(f"draws must have shape (chain, draw, {q}), got {draws.shape}")
    log_weights = None if est.log_weights is None else _owned("log_weights", est.log_weights, 2)
    if log_weights is not None and (draws is None or log_weights.shape != draws.shape[:2]):
        raise InvalidData(f"log_weights must have the (chain, draw) shape of draws, got {log_weights.shape}")
    influence = None if est.influence is None else _owned("influence", est.influence, 2)
    if influence is not None and influence.shape[1] != q:
        raise InvalidData(f"influence must have shape (n, {q}), got {influence.shape}")
    clusters = None if est.clusters is None else np.array(est.clusters)
    if clusters is not None and (influence is None or clusters.shape != (len(influence),)):
        raise InvalidData("clusters must have one code a row of influence")
    if est.law is not None and (not isinstance(est.law, Law) or len(est.law) != q):
        raise InvalidParameter(f"law must be a Law of {q} quantities, got {est.law!r}")
    std_error = _std_error(est, q, cov, draws, log_weights, influence, clusters, kind)
    return {
        "value": value,
        "names": _names(est, q),
        "coords": {str(name): _label(name, array, q) for name, array in dict(est.coords).items()},
        "cov": cov,
        "std_error": std_error,
        "draws": draws,
        "log_weights": log_weights,
        "influence": influence,
        "clusters": clusters,
        "mcse": _mcse(est, q, std_error, kind),
        "df": None if est.df is None else check_real("df", est.df, 0.0, closed="neither"),
        "warnings": (est.warnings,) if isinstance(est.warnings, str) else tuple(str(w) for w in est.warnings),
        "diagnostics": plain(dict(est.diagnostics)),
        "info": plain(dict(est.info)),
    }


def summarise_draws(draws: ArrayLike, log_weights: ArrayLike | None, kind: str) -> dict[str, Any]:
    """Fields value, std_error, cov, mcse, draws and log_weights from draws of 1, 2 or 3 dimensions."""
    array = check_array("draws", draws, (1, 2, 3))
    array = array[None, :, None] if array.ndim == 1 else array[None] if array.ndim == 2 else array
    chains, length, q = array.shape
    if chains * length < 2:
        raise InvalidData(f"draws must hold at least 2 draws, got shape {array.shape}")
    flat = array.reshape(-1, q)
    if log_weights is None:
        mean, cov = flat.mean(axis=0), np.atleast_2d(np.cov(flat, rowvar=False))
        if kind == "monte_carlo":
            cov = cov / len(flat)
            mcse = np.sqrt(np.diag(cov))
        else:
            mcse = _batch_means_error(array)
        return {"value": mean, "cov": cov, "mcse": mcse, "draws": array}
    if kind == "monte_carlo":
        raise InvalidParameter('log_weights do not go with kind="monte_carlo", whose draws are replicates')
    logw = check_array("log_weights", log_weights, (1, 2), finite=False).reshape(chains, length)
    weights = normalised_weights(logw)
    mean = weights @ flat
    centred = flat - mean
    cov = (centred * weights[:, None]).T @ centred / (1.0 - np.sum(weights**2))
    mcse = np.sqrt(np.sum(weights[:, None] ** 2 * centred**2, axis=0))
    return {"value": mean, "cov": cov, "mcse": mcse, "draws": array, "log_weights": logw}


def normalised_weights(log_weights: FloatArray) -> FloatArray:
    """Flat weights that sum to one; the largest log-weight is taken out before the exponential."""
    flat = log_weights.ravel()
    if np.isnan(flat).any() or np.isposinf(flat).any():
        raise InvalidData("log_weights must not be NaN or +inf")
    top = flat.max()
    if np.isneginf(top):
        raise DegenerateWeightsError("all log_weights are -inf: every draw has weight zero")
    weights = np.exp(flat - top)
    return np.asarray(weights / weights.sum())


def plain(value: Any) -> Any:
    """``value`` in JSON's types, so that what is saved is what is loaded."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def _owned(name: str, value: Any, ndim: int) -> FloatArray:
    array = check_array(name, value, ndim, finite=False).copy()
    array.flags.writeable = False
    return array


def _covariance(cov: Any, q: int) -> FloatArray:
    array = _owned("cov", np.atleast_2d(np.asarray(cov)), 2)
    if array.shape != (q, q):
        raise InvalidData(f"cov must have shape ({q}, {q}), got {array.shape}")
    scale = np.nanmax(np.abs(array), initial=0.0)
    if not np.allclose(array, array.T, rtol=1e-8, atol=1e-12 * scale, equal_nan=True):
        raise InvalidData("cov must be symmetric")
    if np.any(np.diag(array) < 0):
        raise InvalidData("cov must have a non-negative diagonal")
    return array


def _std_error(
    est: Estimate,
    q: int,
    cov: FloatArray | None,
    draws: FloatArray | None,
    log_weights: FloatArray | None,
    influence: FloatArray | None,
    clusters: NDArray[Any] | None,
    kind: str,
) -> FloatArray:
    given = None if est.std_error is None else _owned("std_error", np.atleast_1d(np.asarray(est.std_error)), 1)
    if given is not None and (given.shape != (q,) or np.any(given < 0)):
        raise InvalidData(f"std_error must hold {q} non-negative number(s), got {est.std_error!r}")
    derived = None
    if cov is not None:
        derived = np.sqrt(np.diag(cov))
        if given is not None and not np.allclose(given, derived, rtol=1e-6, equal_nan=True):
            raise InvalidData("std_error must be the root of the diagonal of cov; give one of them")
    elif given is None and draws is not None and log_weights is None:
        derived = np.std(draws.reshape(-1, q), axis=0, ddof=1)
        if kind == "monte_carlo":
            derived = derived / np.sqrt(draws.shape[0] * draws.shape[1])
    elif given is None and draws is not None:
        derived = np.sqrt(np.diag(summarise_draws(draws, log_weights, kind)["cov"]))
    elif given is None and influence is not None:
        from mcstat.core._algebra import cluster_sums

        derived = np.sqrt(np.sum(cluster_sums(influence, clusters) ** 2, axis=0)) / len(influence)
    std_error = given if derived is None else derived
    std_error = np.full(q, np.nan) if std_error is None else std_error
    std_error.flags.writeable = False
    return std_error


def _mcse(est: Estimate, q: int, std_error: FloatArray, kind: str) -> FloatArray:
    if est.mcse is None:
        mcse = std_error.copy() if kind == "monte_carlo" else np.full(q, np.nan)
    else:
        mcse = np.atleast_1d(np.array(est.mcse, dtype=np.float64))
        if mcse.shape != (q,):
            raise InvalidData(f"mcse must hold {q} number(s), got shape {mcse.shape}")
    mcse.flags.writeable = False
    return mcse


def _names(est: Estimate, q: int) -> tuple[str, ...]:
    if est.names is not None:
        return check_names("names", est.names, q)
    return ("value",) if q == 1 else tuple(f"value[{i}]" for i in range(q))


def _label(name: str, array: Any, q: int) -> NDArray[Any]:
    label = np.array(array)
    if label.shape != (q,) or label.dtype.kind == "O":
        raise InvalidData(f"coords[{name!r}] must hold {q} numbers or strings, got {array!r}")
    label.flags.writeable = False
    return label


def _batch_means_error(draws: FloatArray) -> FloatArray:
    """Monte Carlo error of the mean over all chains; right for dependent and independent draws alike."""
    chains, length, q = draws.shape
    size = max(1, int(np.sqrt(length)))
    count = length // size
    means = draws[:, length - count * size :].reshape(chains * count, size, q).mean(axis=1)
    return np.asarray(np.std(means, axis=0, ddof=1) / np.sqrt(len(means)))
