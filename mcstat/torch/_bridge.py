"""Between the house and torch: seeds, dtypes, and Estimates of tensors.

Rules. Tensors stay on the device and in the dtype of what the user passes; only float32 and float64 are sampled in.
Coefficients and summaries are float64 on the CPU. Random numbers come from a local ``torch.Generator`` a task, seeded
from the house's streams; torch's global generator is never read or advanced.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat.core.checks import check_array, check_option
from mcstat.core.errors import DegenerateWeightsError, InvalidData
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, child_seed
from mcstat.importance import psis

__all__ = ["check_sample", "from_estimate", "generator", "to_estimate", "to_numpy"]

FloatArray = NDArray[np.float64]


def generator(
    root: SeedSequence, method: str, purpose: Purpose, k: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Generator of unit ``k`` of a method on a device: the torch counterpart of :func:`mcstat.core.rng.stream`.

    Parameters
    ----------
    root : SeedSequence
        From :func:`mcstat.core.rng.root_seed`.
    method : str
        Name of the class that draws.
    purpose : Purpose
    k : int
        Chain, population, batch, ...
    device : torch.device or str
        A generator draws on one device only. The same seed gives other numbers on another kind of device.

    Returns
    -------
    torch.Generator
    """
    word = child_seed(root, method, purpose, k).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(word))


def check_sample(name: str, x: Any) -> torch.Tensor:
    """A finite float32 or float64 tensor with at least one row and one coordinate."""
    if not isinstance(x, torch.Tensor) or x.dtype not in (torch.float32, torch.float64):
        got = f"dtype {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a float32 or float64 tensor, got {got}")
    if x.ndim < 2 or x.numel() == 0:
        raise InvalidData(
            f"{name} must have shape (n, ...) with n >= 1 and at least one coordinate, got {tuple(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise InvalidData(f"{name} must be finite")
    return x


def to_numpy(x: torch.Tensor) -> FloatArray:
    """The tensor's numbers in float64 on the CPU."""
    return x.detach().to("cpu", torch.float64).numpy()


def to_estimate(
    values: torch.Tensor,
    log_weights: torch.Tensor | None = None,
    *,
    names: Iterable[str] | None = None,
    clusters: Any = None,
    **fields: Any,
) -> Estimate:
    """Monte Carlo Estimate of an expectation from independent, perhaps weighted, samples.

    Parameters
    ----------
    values : tensor, shape (n,) or (n, q)
        The function whose mean is asked, at each sample.
    log_weights : tensor, shape (n,), optional
        Log importance weights up to a constant; the estimate is then self-normalised.
    names : iterable of str, optional
        q names.
    clusters : array_like of int, shape (n,), optional
        Samples of one cluster (an interacting population) may depend on one another; clusters do not.
    **fields
        Other fields of :class:`~mcstat.Estimate`.

    Returns
    -------
    Estimate
        ``std_error`` by the delta method, with influence values. With weights, ``diagnostics`` holds their effective
        sample size ``ess`` and the Pareto shape ``khat``.

    Raises
    ------
    InvalidData
        Non-finite values, fewer than two samples or clusters, or weights that are NaN or +inf.
    DegenerateWeightsError
        All weights are zero.
    """
    table = check_array("values", to_numpy(values), (1, 2))
    table = table[:, None] if table.ndim == 1 else table
    n = len(table)
    if n < 2:
        raise InvalidData(f"values must hold at least 2 samples, got {n}")
    weights = np.full(n, 1.0 / n)
    diagnostics = dict(fields.pop("diagnostics", {}))
    if log_weights is not None:
        logs = to_numpy(log_weights)
        if logs.shape != (n,):
            raise InvalidData(f"log_weights must have shape ({n},), got {logs.shape}")
        smoothed = psis(logs)
        weights = _normalised(logs)
        diagnostics |= {"ess": float(1.0 / np.sum(weights**2)), "khat": float(smoothed.khat)}
    value = weights @ table
    influence = n * weights[:, None] * (table - value)
    cov = _cluster_covariance(influence, clusters)
    fields = {"method": "to_estimate"} | fields
    return Estimate(
        value=value,
        cov=cov,
        names=names,  # type: ignore[arg-type]  # Estimate makes a tuple
        influence=influence,
        clusters=clusters,
        kind="monte_carlo",
        diagnostics=diagnostics,
        **fields,
    )


def from_estimate(
    estimate: Estimate, what: str = "value", *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """The numbers of an Estimate as a tensor.

    Parameters
    ----------
    estimate : Estimate
    what : {"value", "std_error", "cov", "draws"}
        ``draws`` come without the split in chains, as (n, q).
    device : torch.device or str
    dtype : torch.dtype

    Returns
    -------
    tensor
        A copy.

    Raises
    ------
    InvalidData
        When the Estimate does not hold them.
    """
    check_option("what", what, ("value", "std_error", "cov", "draws"))
    array = getattr(estimate, what)
    if array is None:
        raise InvalidData(f"the estimate must hold {what}")
    if what == "draws":
        array = array.reshape(-1, array.shape[-1])
    return torch.tensor(array, dtype=dtype, device=device)


def _normalised(logs: FloatArray) -> FloatArray:
    top = logs.max()
    if np.isneginf(top):
        raise DegenerateWeightsError("log_weights must not all be -inf")
    weights = np.exp(logs - top)
    return np.asarray(weights / weights.sum())


def _cluster_covariance(influence: FloatArray, clusters: Any) -> FloatArray:
    """Covariance of the mean of influence values; clusters are the independent units where they are given."""
    n = len(influence)
    if clusters is None:
        return np.asarray(influence.T @ influence) / (n * (n - 1.0))
    _, code = np.unique(np.asarray(clusters), return_inverse=True)
    if code.shape != (n,) or code.max() == 0:
        raise InvalidData(f"clusters must have shape ({n},) and at least 2 different codes")
    sums = np.zeros((code.max() + 1, influence.shape[1]))
    np.add.at(sums, code, influence)
    count = len(sums)
    return np.asarray(sums.T @ sums) * (count / (count - 1.0) / n**2)
