"""From standard normal space, where rare-event samplers work, to the inputs of the user's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_array, check_integer
from mcstat.core.errors import InvalidParameter
from mcstat.importance._scores import quantiles

FloatArray = NDArray[np.float64]
Transform: TypeAlias = Callable[[FloatArray], FloatArray]


class Marginals:
    """Independent inputs, each by the quantile function of its marginal."""

    def __init__(self, law: Sequence[Any]) -> None:
        for i, marginal in enumerate(law):
            if not callable(getattr(marginal, "ppf", None)):
                raise InvalidParameter(f"law[{i}] must have ppf(u), as frozen SciPy marginals do, got {marginal!r}")
        self.law, self.dim = tuple(law), len(law)

    def __call__(self, u: FloatArray) -> FloatArray:
        """(n, d) standard normal points to inputs."""
        x = np.empty(u.shape)
        for i, marginal in enumerate(self.law):
            x[:, i] = check_array(f"law[{i}].ppf(u)", quantiles(marginal, u[:, i]), 1)
        return x


class Affine:
    """Dependent Gaussian inputs: mean + factor u."""

    def __init__(self, mean: Any, cov: Any) -> None:
        self.mean = check_array("law.mean", mean, 1)
        try:
            self.factor = np.linalg.cholesky(check_array("law.cov", cov, 2))
        except np.linalg.LinAlgError as error:
            raise InvalidParameter("law must have a positive definite covariance") from error
        self.dim = len(self.mean)

    def __call__(self, u: FloatArray) -> FloatArray:
        """(n, d) standard normal points to inputs."""
        return np.asarray(self.mean + u @ self.factor.T)


class Identity:
    """Standard normal inputs."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self, u: FloatArray) -> FloatArray:
        """(n, d) the same points."""
        return u


def normal_space(law: Any) -> Identity | Affine | Marginals:
    """The transform of a dimension, of a frozen multivariate normal law, or of a list of marginals."""
    if isinstance(law, Integral):
        return Identity(check_integer("law", law, 1))
    if all(hasattr(law, name) for name in ("mean", "cov", "logpdf")) and not callable(law.mean):
        return Affine(law.mean, law.cov)
    if isinstance(law, Sequence) and not isinstance(law, str) and len(law) > 0:
        return Marginals(law)
    raise InvalidParameter(
        "law must be a dimension (standard normal inputs), a list of marginals, one an independent input, or a frozen "
        f"multivariate normal law, got {law!r}"
    )
