"""Users' laws (SciPy frozen, or anything with ``rvs`` and ``logpdf``) behind one shape convention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import logsumexp

from mcstat.core.errors import InvalidData, InvalidParameter

FloatArray = NDArray[np.float64]


class AdaptedLaw:
    """``rvs(n, rng) -> (n, d)`` and ``logpdf(x (n, d)) -> (n,)``, whatever shapes the user's law prefers."""

    def __init__(self, name: str, law: Any) -> None:
        missing = [word for word in ("rvs", "logpdf") if not callable(getattr(law, word, None))]
        if missing:
            raise InvalidParameter(
                f"{name} must have rvs(size, random_state) and logpdf(x), got {type(law).__name__} "
                f"without {' and '.join(missing)}"
            )
        self.name, self.law = name, law
        # Two draws from a throw-away stream tell the dimension, which not every law carries as an attribute.
        probe = np.asarray(law.rvs(size=2, random_state=np.random.default_rng(0)), dtype=np.float64)
        if probe.ndim not in (1, 2) or len(probe) != 2:
            raise InvalidParameter(f"{name}.rvs(size=2) must give shape (2,) or (2, d), got {probe.shape}")
        self.dim = 1 if probe.ndim == 1 else probe.shape[1]

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) draws."""
        return np.asarray(self.law.rvs(size=n, random_state=rng), dtype=np.float64).reshape(n, self.dim)

    def logpdf(self, x: FloatArray) -> FloatArray:
        """(n,) log densities; -inf outside the support."""
        return checked_log_density(f"{self.name}.logpdf", self.law.logpdf, x)


def checked_log_density(name: str, log_density: Callable[[FloatArray], Any], x: FloatArray) -> FloatArray:
    """(n,) values of a user's log density, of which -inf is fine, NaN and +inf are not."""
    values = np.asarray(log_density(x), dtype=np.float64)
    if values.size != len(x):
        raise InvalidData(f"{name} must give shape ({len(x)},) for points of shape {x.shape}, got {values.shape}")
    values = values.reshape(len(x))
    bad = np.isnan(values) | np.isposinf(values)
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidData(f"{name} must be finite or -inf, got {values[first]} at the point {x[first].tolist()}")
    return values


class Nominal:
    """What the points are drawn from before anything is known, and what the expectations refer to.

    With laws: their equal mixture, and each of them. With an unnormalised target: the initial law, and the target.
    """

    def __init__(self, laws: Sequence[AdaptedLaw], target: Callable[[FloatArray], Any] | None = None) -> None:
        dims = {law.dim for law in laws}
        if len(dims) > 1:
            raise InvalidParameter(f"laws must be of one dimension, got {sorted(dims)}")
        self.laws, self.target, self.dim = tuple(laws), target, laws[0].dim

    def rvs(self, n: int, rng: Generator) -> FloatArray:
        """(n, d) draws from the equal mixture of the laws."""
        if len(self.laws) == 1:
            return self.laws[0].rvs(n, rng)
        counts = np.bincount(rng.integers(len(self.laws), size=n), minlength=len(self.laws))
        return np.concatenate([law.rvs(int(count), rng) for law, count in zip(self.laws, counts, strict=True) if count])

    def log_densities(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log density of the mixture, (n,), and of what the expectations refer to, (n, number of laws or 1)."""
        each = np.stack([law.logpdf(x) for law in self.laws], axis=1)
        mixture = each[:, 0] if len(self.laws) == 1 else logsumexp(each, axis=1) - np.log(len(self.laws))
        if self.target is None:
            return mixture, each
        return mixture, checked_log_density("target", self.target, x)[:, None]
