"""How far samples are from where they should be, each with its standard error."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidData
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.torch._bridge import check_sample, generator, to_numpy

__all__ = ["mmd2", "mode_coverage", "ode_error", "sliced_wasserstein"]

FloatArray = NDArray[np.float64]
_BLOCK = 1024


def ode_error(samples: torch.Tensor, reference: torch.Tensor) -> Estimate:
    """Root mean square difference per coordinate from a run of many steps from the same noise.

    Parameters
    ----------
    samples, reference : tensor, shape (n, ...)
        Row by row from the same noise.

    Returns
    -------
    Estimate
        ``std_error`` by the delta method over the rows.
    """
    rows = _rows("samples", samples, 2), _rows("reference", reference, 2)
    if rows[0].shape != rows[1].shape:
        raise InvalidData(f"reference must have the shape of samples, {tuple(rows[0].shape)}")
    squares = to_numpy((rows[0] - rows[1]).square().mean(1))
    value = float(np.sqrt(squares.mean()))
    error = float(squares.std(ddof=1) / np.sqrt(len(squares))) / (2.0 * value) if value > 0.0 else 0.0
    return _one("ode_error", "rmse", value, error)


def mmd2(x: torch.Tensor, y: torch.Tensor, kernel: str = "rbf", bandwidth: float | None = None) -> Estimate:
    """Squared maximum mean discrepancy between two laws from independent samples, without bias.

    Parameters
    ----------
    x, y : tensor, shape (n, ...) and (m, ...)
        At least 2 rows each.
    kernel : {"rbf", "energy"}
        ``exp(-|x - y|^2 / (2 bandwidth^2))``, or minus the distance, whose discrepancy is half the energy distance.
    bandwidth : float, optional
        Of "rbf"; default the median distance between the first thousand rows of both.

    Returns
    -------
    Estimate
        May be negative. ``std_error`` is the first-order one of a two-sample U-statistic; where the laws are equal it
        is too small to go by, and a permutation test is the tool.

    Notes
    -----
    O((n + m)^2 d) time, O(1024 (n + m)) memory.
    """
    check_option("kernel", kernel, ("rbf", "energy"))
    x, y = _rows("x", x, 2), _rows("y", y, 2).to(x)
    if x.shape[1] != y.shape[1]:
        raise InvalidData(f"y must have {x.shape[1]} coordinates a sample, got {y.shape[1]}")
    if bandwidth is None:
        both = torch.cat([x[:1000], y[:1000]])
        scale = float(torch.pdist(both).median())
        # The median is 0 where most rows are equal.
        scale = scale if scale > 0.0 else 1.0
    else:
        scale = check_real("bandwidth", bandwidth, 0.0, closed="neither")
    n, m = len(x), len(y)
    diagonal = 1.0 if kernel == "rbf" else 0.0
    within_x = (_kernel_sums(x, x, kernel, scale) - diagonal) / (n - 1)
    within_y = (_kernel_sums(y, y, kernel, scale) - diagonal) / (m - 1)
    x_to_y, y_to_x = _kernel_sums(x, y, kernel, scale) / m, _kernel_sums(y, x, kernel, scale) / n
    value = within_x.mean() + within_y.mean() - 2.0 * x_to_y.mean()
    # Projections of the U-statistic on one sample of either kind.
    parts = (4.0 * np.var(within_x - x_to_y, ddof=1) / n, 4.0 * np.var(within_y - y_to_x, ddof=1) / m)
    return _one("mmd2", "mmd2", value, float(np.sqrt(sum(parts))), kernel=kernel, bandwidth=scale)


def sliced_wasserstein(
    x: torch.Tensor,
    y: torch.Tensor,
    n_projections: int = 256,
    p: float = 2.0,
    *,
    n_draws: int = 100,
    random_state: RandomState = None,
) -> Estimate:
    """Mean Wasserstein distance of order p between projections on random directions.

    Parameters
    ----------
    x, y : tensor, shape (n, ...) and (m, ...)
    n_projections : int
    p : float
        At least 1.
    n_draws : int
        Bootstrap samples for the standard error, with the same directions.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    Estimate
        Never negative: between equal laws it is of the order of the sampling error, not 0.

    Notes
    -----
    O(n_draws n_projections n log n).
    """
    check_integer("n_projections", n_projections, 1)
    check_real("p", p, 1.0)
    check_integer("n_draws", n_draws, 2)
    x, y = _rows("x", x, 2), _rows("y", y, 2).to(x)
    if x.shape[1] != y.shape[1]:
        raise InvalidData(f"y must have {x.shape[1]} coordinates a sample, got {y.shape[1]}")
    root = root_seed(random_state)
    source = generator(root, "sliced_wasserstein", Purpose.SAMPLE, 0, x.device)
    directions = torch.randn((x.shape[1], n_projections), generator=source, dtype=x.dtype, device=x.device)
    directions = directions / directions.norm(dim=0)
    lines = x @ directions, y @ directions
    value = _line_distance(*lines, p)
    rng = stream(root, "sliced_wasserstein", Purpose.BOOTSTRAP, 0)
    draws = [_line_distance(_redrawn(lines[0], rng), _redrawn(lines[1], rng), p) for _ in range(n_draws)]
    error = float(np.std(draws, ddof=1))
    return _one("sliced_wasserstein", "distance", value, error, n_projections=n_projections, p=p)


def mode_coverage(samples: torch.Tensor, weights: Any, responsibilities: torch.Tensor) -> Estimate:
    """Share of samples that belong to each component of a mixture, minus its weight.

    Parameters
    ----------
    samples : tensor, shape (n, ...)
    weights : array_like, shape (K,)
        Of the mixture.
    responsibilities : tensor, shape (n, K)
        Posterior probabilities of the components at the samples.

    Returns
    -------
    Estimate
        One quantity a component.
    """
    shares = to_numpy(responsibilities)
    target = np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(samples), len(target)) or len(shares) < 2:
        raise InvalidData(f"responsibilities must have shape ({len(samples)}, {len(target)}), got {shares.shape}")
    return Estimate(
        value=shares.mean(axis=0) - target / target.sum(),
        cov=np.atleast_2d(np.cov(shares, rowvar=False)) / len(shares),
        names=tuple(f"component {k}" for k in range(len(target))),
        kind="monte_carlo",
        method="mode_coverage",
    )


def _one(method: str, name: str, value: float, error: float, **info: Any) -> Estimate:
    return Estimate(
        value=np.array([value]),
        std_error=np.array([error]),
        names=(name,),
        kind="monte_carlo",
        method=method,
        info=info,
    )


def _rows(name: str, x: torch.Tensor, least: int) -> torch.Tensor:
    rows = check_sample(name, x).detach().flatten(1)
    if len(rows) < least:
        raise InvalidData(f"{name} must hold at least {least} samples, got {len(rows)}")
    return rows


def _kernel_sums(x: torch.Tensor, y: torch.Tensor, kernel: str, scale: float) -> FloatArray:
    """Sum of the kernel over y for each row of x, block by block."""
    sums = []
    for start in range(0, len(x), _BLOCK):
        distance = torch.cdist(x[start : start + _BLOCK], y)
        values = torch.exp(-0.5 * (distance / scale) ** 2) if kernel == "rbf" else -distance
        sums.append(values.sum(1, dtype=torch.float64))
    return to_numpy(torch.cat(sums))


def _line_distance(x: torch.Tensor, y: torch.Tensor, p: float) -> float:
    """Mean over the columns of the distance of order p, by the quantiles of the smaller sample's size or more."""
    count = max(len(x), len(y))
    at = (torch.arange(count, dtype=x.dtype, device=x.device) + 0.5) / count
    x, y = (_quantiles(line, at) for line in (x, y))
    return float(((x - y).abs() ** p).mean(0).pow(1.0 / p).mean())


def _quantiles(lines: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Quantiles of each column: the order statistic whose step of the distribution function covers the level."""
    ordered = lines.sort(dim=0).values
    return ordered[(at * len(lines)).long().clamp(max=len(lines) - 1)]


def _redrawn(lines: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    rows = torch.from_numpy(rng.integers(len(lines), size=len(lines)))
    return lines[rows.to(lines.device)]
