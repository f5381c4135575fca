"""Estimates of functions of estimates: selection, joint covariance, tests, delta method, arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData, InvalidParameter, JointLawError
from mcstat.core.estimate import Estimate

FloatArray = NDArray[np.float64]


def joint_covariance(est: Estimate) -> FloatArray:
    """(q, q) covariance from ``cov``, else ``draws``, else ``influence``; one quantity needs its error only."""
    if est.cov is not None:
        return est.cov
    if est.draws is not None:
        from mcstat.core._fields import summarise_draws

        return np.asarray(summarise_draws(est.draws, est.log_weights, est.kind)["cov"])
    if est.influence is not None:
        return cross_covariance(est, est)
    if len(est) == 1:
        return np.array([[est.std_error[0] ** 2]])
    raise JointLawError(
        "this needs the joint law of the quantities (cov, draws or influence), and the Estimate holds standard errors "
        "only; ask about one quantity at a time, or assert independence with Estimate.concat(..., independent=True)"
    )


def cross_covariance(a: Estimate, b: Estimate) -> FloatArray:
    """Covariance between the values of two Estimates on the same sample, from their influence values."""
    if a.influence is None or b.influence is None or not (a is b or _same_sample(a, b)):
        raise JointLawError(
            "the covariance between these Estimates is not known: they need influence values and an equal sample_id. "
            "If they are independent, join them with Estimate.concat([...], independent=True) and use transform"
        )
    left, right = cluster_sums(a.influence, a.clusters), cluster_sums(b.influence, b.clusters)
    return np.asarray(left.T @ right / len(a.influence) ** 2)


def _same_sample(a: Estimate, b: Estimate) -> bool:
    return a.sample_id is not None and a.sample_id == b.sample_id and len(a.influence) == len(b.influence)  # type: ignore[arg-type]


def cluster_sums(influence: FloatArray, clusters: NDArray[Any] | None) -> FloatArray:
    """Sums within clusters, scaled by root G/(G-1); without clusters the values themselves."""
    if clusters is None:
        return influence
    codes = np.unique(clusters, return_inverse=True)[1]
    count = int(codes.max()) + 1
    if count < 2:
        raise InvalidData(f"clusters must hold at least 2 different codes, got {count}")
    sums = np.zeros((count, influence.shape[1]))
    np.add.at(sums, codes, influence)
    return np.asarray(sums * np.sqrt(count / (count - 1)))


def _changed(est: Estimate, **fields: Any) -> Estimate:
    """``est`` with other fields; errors that are not given follow from the new ones."""
    return replace(est, **({"std_error": None, "mcse": None} | fields))


def recluster(est: Estimate, clusters: ArrayLike) -> Estimate:
    """See :meth:`Estimate.recluster`."""
    if est.influence is None:
        raise JointLawError("re-clustering wants influence values; this Estimate has none")
    codes = np.asarray(clusters)
    if codes.shape != (len(est.influence),):
        raise InvalidData(f"clusters must have shape ({len(est.influence)},), got {codes.shape}")
    relabelled = _changed(est, clusters=codes, cov=None, law=None, mcse=est.mcse)
    return _changed(relabelled, cov=cross_covariance(relabelled, relabelled), mcse=est.mcse)


def select(est: Estimate, key: str | Sequence[str]) -> Estimate:
    """See :meth:`Estimate.__getitem__`."""
    wanted = [key] if isinstance(key, str) else list(key)
    unknown = [name for name in wanted if name not in est.names]
    if unknown or not wanted:
        raise KeyError(f"no quantity {unknown}; the names are {list(est.names)}")
    at = np.array([est.names.index(name) for name in wanted])
    return replace(
        est,
        value=est.value[at],
        names=tuple(wanted),
        coords={name: label[at] for name, label in est.coords.items()},
        cov=None if est.cov is None else est.cov[np.ix_(at, at)],
        std_error=est.std_error[at],
        draws=None if est.draws is None else est.draws[:, :, at],
        law=None if est.law is None else est.law[at],
        influence=None if est.influence is None else est.influence[:, at],
        mcse=est.mcse[at],
    )


@dataclass(frozen=True)
class WaldTest:
    """Result of :meth:`Estimate.test`: the statistic, its law and the p-value."""

    statistic: float
    p_value: float
    distribution: str

    def __repr__(self) -> str:
        return f"Wald test: {self.distribution} = {self.statistic:.4g}, p = {self.p_value:.4g}"


def wald_test(est: Estimate, R: ArrayLike | None, r: ArrayLike) -> WaldTest:
    """See :meth:`Estimate.test`."""
    if est.kind == "posterior":
        raise InvalidParameter("a posterior has no p-value; read its intervals, or the draws of the contrast")
    q = len(est)
    rows = np.eye(q) if R is None else np.atleast_2d(check_array("R", R, (1, 2)))
    if rows.shape[1] != q:
        raise InvalidData(f"R must have {q} columns, got shape {rows.shape}")
    gap = rows @ est.value - check_array("r", r, (0, 1))
    cov = rows @ joint_covariance(est) @ rows.T
    rank = int(np.linalg.matrix_rank(cov, hermitian=True))
    if rank < len(cov):
        raise InvalidData(f"R @ value has a singular covariance (rank {rank} of {len(cov)}); drop redundant rows of R")
    from scipy.special import chdtrc, fdtrc

    wald = float(gap @ np.linalg.solve(cov, gap))
    if est.df is None:
        return WaldTest(wald, float(chdtrc(rank, wald)), f"chi2({rank})")
    return WaldTest(wald / rank, float(fdtrc(rank, est.df, wald / rank)), f"F({rank}, {est.df:g})")


def transform(est: Estimate, fn: Callable[[FloatArray], ArrayLike], names: Iterable[str] | None) -> Estimate:
    """See :meth:`Estimate.transform`."""

    def apply(point: FloatArray) -> FloatArray:
        return np.atleast_1d(np.asarray(fn(point), dtype=np.float64)).ravel()

    value = apply(est.value)
    given = None if names is None else tuple([names] if isinstance(names, str) else names)
    kept = est.names if len(value) == len(est) else None
    common: dict[str, Any] = {"names": given or kept, "coords": est.coords if kept else {}, "law": None}
    if est.draws is not None and est.kind in ("posterior", "bootstrap"):
        chains, length, q = est.draws.shape
        draws = np.stack([apply(draw) for draw in est.draws.reshape(-1, q)]).reshape(chains, length, len(value))
        moved = Estimate.from_draws(draws, log_weights=est.log_weights, kind=est.kind)
        point = moved.value if est.kind == "posterior" else value
        return _changed(est, value=point, cov=moved.cov, draws=draws, mcse=moved.mcse, influence=None, **common)
    if est.law is not None:
        raise JointLawError("an Estimate with a law is transformed by its draws only, and this one has none")
    slopes = _jacobian(apply, est, len(value))
    cov = slopes @ joint_covariance(est) @ slopes.T
    return _changed(
        est,
        value=value,
        cov=(cov + cov.T) / 2,
        draws=None,
        log_weights=None,
        influence=None if est.influence is None else est.influence @ slopes.T,
        **common,
    )


def _jacobian(apply: Callable[[FloatArray], FloatArray], est: Estimate, p: int) -> FloatArray:
    """(p, q) central differences; the step is small beside the value, and beside the error where the value is 0."""
    slopes = np.empty((p, len(est)))
    error = np.where(np.isfinite(est.std_error), est.std_error, 0.0)
    steps = np.cbrt(np.finfo(float).eps) * np.maximum(np.abs(est.value), error)
    for i, step in enumerate(np.where(steps > 0, steps, 1e-5)):
        up, down = est.value.copy(), est.value.copy()
        up[i] += step
        down[i] -= step
        slopes[:, i] = (apply(up) - apply(down)) / (up[i] - down[i])
    return slopes


def scale(est: Estimate, factor: Any) -> Any:
    """Product with a number or an array (q,); exact."""
    c = _constant(est, factor)
    if c is None:
        return NotImplemented
    if est.law is not None:
        raise JointLawError("an Estimate with a law cannot be scaled; transform works on Estimates without one")
    return replace(
        est,
        value=est.value * c,
        cov=None if est.cov is None else est.cov * np.outer(c, c),
        std_error=est.std_error * np.abs(c),
        draws=None if est.draws is None else est.draws * c,
        influence=None if est.influence is None else est.influence * c,
        mcse=est.mcse * np.abs(c),
    )


def combine(est: Estimate, other: Any, sign: float) -> Any:
    """``est + sign * other`` for a number, an array (q,) or an Estimate on the same sample."""
    if not isinstance(other, Estimate):
        c = _constant(est, other)
        if c is None:
            return NotImplemented
        if est.law is not None:
            raise JointLawError("an Estimate with a law cannot be shifted; transform works on Estimates without one")
        draws = None if est.draws is None else est.draws + sign * c
        return replace(est, value=est.value + sign * c, draws=draws)
    if len(other) != len(est):
        raise InvalidData(f"the Estimates must have as many quantities, got {len(est)} and {len(other)}")
    word = "+" if sign > 0 else "-"
    names = (
        est.names
        if est.names == other.names
        else [f"{a} {word} {b}" for a, b in zip(est.names, other.names, strict=True)]
    )
    across = cross_covariance(est, other)
    cov = joint_covariance(est) + joint_covariance(other) + sign * (across + across.T)
    return Estimate(
        value=est.value + sign * other.value,
        names=tuple(names),
        cov=(cov + cov.T) / 2,
        influence=est.influence + sign * other.influence,  # type: ignore[operator,arg-type]  # seen above
        sample_id=est.sample_id,
        clusters=est.clusters,
        kind=est.kind,
        method=est.method,
        warnings=est.warnings + other.warnings,
    )


def _constant(est: Estimate, number: Any) -> FloatArray | None:
    """Array (q,), or None for what arithmetic does not know."""
    if isinstance(number, Real):
        return np.full(len(est), float(number))
    if isinstance(number, (np.ndarray, list, tuple)):
        array = check_array("the other operand", number, 1)
        if len(array) == len(est):
            return array
        raise InvalidData(f"the other operand must have shape ({len(est)},), got {array.shape}")
    return None


def concat(estimates: Sequence[Estimate] | Mapping[str, Estimate], *, independent: bool) -> Estimate:
    """See :meth:`Estimate.concat`."""
    if isinstance(estimates, Mapping):
        parts = list(estimates.values())
        names = [f"{key}.{name}" for key, part in estimates.items() for name in part.names]
    else:
        parts = list(estimates)
        names = [name for part in parts for name in part.names]
    if not parts:
        raise InvalidParameter("estimates must hold at least one Estimate, got none")
    if any(part.law is not None for part in parts):
        raise JointLawError("Estimates with a law cannot be joined; keep them in a dict and use Estimate.compare")
    kinds = {part.kind for part in parts}
    if len(kinds) > 1:
        raise InvalidParameter(f"estimates must be of one kind, got {sorted(kinds)}")
    related = all(
        a.influence is not None and b.influence is not None and _same_sample(a, b) for a, b in pairwise(parts)
    )
    return Estimate(
        value=np.concatenate([part.value for part in parts]),
        names=tuple(names),
        std_error=np.concatenate([part.std_error for part in parts]),
        cov=_joined_covariance(parts, related and not independent) if related or independent else None,
        influence=np.hstack([part.influence for part in parts]) if related and not independent else None,  # type: ignore[misc]
        sample_id=parts[0].sample_id if related and not independent else None,
        clusters=parts[0].clusters if related and not independent else None,
        kind=parts[0].kind,
        mcse=np.concatenate([part.mcse for part in parts]),
        method=", ".join(dict.fromkeys(part.method for part in parts if part.method)),
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
    )


def _joined_covariance(parts: list[Estimate], related: bool) -> FloatArray:
    sizes = np.cumsum([0, *(len(part) for part in parts)])
    cov = np.zeros((sizes[-1], sizes[-1]))
    for i, a in enumerate(parts):
        rows = slice(sizes[i], sizes[i + 1])
        cov[rows, rows] = joint_covariance(a)
        if related:
            for j, b in enumerate(parts[:i]):
                columns = slice(sizes[j], sizes[j + 1])
                cov[rows, columns] = cross_covariance(a, b)
                cov[columns, rows] = cov[rows, columns].T
    return cov
