"""Models whose sensitivity indices are known: three in closed form, one by quadrature kept as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_real
from mcstat.core.errors import InvalidData

__all__ = ["SensitivityProblem", "make_cantilever_beam", "make_g_function", "make_ishigami", "make_linear"]

FloatArray = NDArray[np.float64]
_BEAM_FILE = Path(__file__).parent / "data" / "cantilever_beam.json"


@dataclass(frozen=True, eq=False)
class SensitivityProblem:
    """A model of independent inputs, with its Sobol' indices where they are known.

    Attributes
    ----------
    model : callable
        (n, d) to (n,).
    law : list of d frozen SciPy marginals
    names : tuple of str
        Names of the inputs.
    first, total : ndarray, shape (d,), or None
        First-order and total Sobol' indices.
    """

    model: Callable[[FloatArray], FloatArray]
    law: list[Any]
    names: tuple[str, ...]
    first: FloatArray | None = None
    total: FloatArray | None = None

    def truth(self) -> dict[str, float]:
        """Indices under the names that ``SobolIndices`` gives them: first orders, then totals."""
        if self.first is None or self.total is None:
            raise InvalidData("the indices of this problem are not known")
        labels = [f"S[{name}]" for name in self.names] + [f"ST[{name}]" for name in self.names]
        return dict(zip(labels, np.concatenate([self.first, self.total]).tolist(), strict=True))


def make_cantilever_beam() -> SensitivityProblem:
    """Deflection of the tip of a cantilever beam under two loads, six independent inputs.

    The inputs are the loads F_X and F_Y, Young's modulus E (GPa), width w, height t and length L. Their indices come
    from Gauss-Hermite quadrature, right to 1e-7 (``validation/importance/reference_beam.py``).

    Returns
    -------
    SensitivityProblem

    References
    ----------
    .. [1] Demange-Chryst, J., Bachoc, F. and Morio, J. (2023). Efficient estimation of multiple expectations with the
       same sample by adaptive importance sampling and control variates. Statistics and Computing 33. arXiv:2212.00568.
    """
    from scipy.stats import norm

    law = [
        _lognormal(556.8, 0.08),
        _lognormal(453.6, 0.08),
        _lognormal(200.0, 0.06),
        *(norm(mean, 0.1 * mean) for mean in (0.062, 0.0987, 4.29)),
    ]
    reference = json.loads(_BEAM_FILE.read_text(encoding="utf-8"))
    first, total = np.array(reference["first"]), np.array(reference["total"])
    return SensitivityProblem(cantilever_deflection, law, ("F_X", "F_Y", "E", "w", "t", "L"), first, total)


def make_ishigami(a: float = 7.0, b: float = 0.1) -> SensitivityProblem:
    """Ishigami's sin x1 + a sin(x2)^2 + b x3^4 sin x1, inputs uniform on (-pi, pi); indices in closed form.

    Parameters
    ----------
    a, b : float

    Returns
    -------
    SensitivityProblem
    """
    from scipy.stats import uniform

    a, b = check_real("a", a), check_real("b", b)
    alone = np.array([(1 + b * np.pi**4 / 5) ** 2 / 2, a**2 / 8, 0.0])
    pair = 8 * b**2 * np.pi**8 / 225
    variance = alone.sum() + pair
    law = [uniform(-np.pi, 2 * np.pi) for _ in range(3)]
    total = (alone + pair * np.array([1.0, 0.0, 1.0])) / variance
    return SensitivityProblem(partial(_ishigami, a=a, b=b), law, ("x1", "x2", "x3"), alone / variance, total)


def make_g_function(a: ArrayLike = (0.0, 1.0, 4.5, 9.0, 99.0, 99.0, 99.0, 99.0)) -> SensitivityProblem:
    """Sobol's g-function, prod_i (abs(4 x_i - 2) + a_i) / (1 + a_i), uniform inputs; indices in closed form.

    Parameters
    ----------
    a : array_like, shape (d,)
        Non-negative; the larger, the less its input matters.

    Returns
    -------
    SensitivityProblem
    """
    from scipy.stats import uniform

    a = check_array("a", a, 1)
    if np.any(a < 0):
        raise InvalidData(f"a must not be negative, got {a.tolist()}")
    alone = 1 / (3 * (1 + a) ** 2)
    everything = np.prod(1 + alone)
    variance = everything - 1
    total = alone * everything / (1 + alone) / variance
    law = [uniform() for _ in a]
    return SensitivityProblem(partial(_g_function, a=a), law, _numbered(len(a)), alone / variance, total)


def make_linear(b: ArrayLike = (1.0, 2.0, 3.0)) -> SensitivityProblem:
    """sum_i b_i x_i with standard normal inputs: both indices are b_i^2 / sum b^2.

    Parameters
    ----------
    b : array_like, shape (d,)
        Not all zero.

    Returns
    -------
    SensitivityProblem
    """
    from scipy.stats import norm

    b = check_array("b", b, 1)
    if not np.any(b):
        raise InvalidData("b must not be all zero")
    share = b**2 / np.sum(b**2)
    return SensitivityProblem(partial(_linear, b=b), [norm() for _ in b], _numbered(len(b)), share, share)


def cantilever_deflection(x: FloatArray) -> FloatArray:
    """Tip deflection; (n, 6) inputs F_X, F_Y, E in GPa, w, t, L to (n,)."""
    load_x, load_y, modulus, width, height, length = x.T
    bending = np.sqrt((load_x / width**2) ** 2 + (load_y / height**2) ** 2)
    return np.asarray(4 * length**3 / (modulus * 1e9 * width * height) * bending)


def log_sd(cv: float) -> float:
    """Standard deviation of the logarithm of a lognormal variable with this coefficient of variation."""
    return float(np.sqrt(np.log1p(cv**2)))


def _lognormal(mean: float, cv: float) -> Any:
    from scipy.stats import lognorm

    sd = log_sd(cv)
    return lognorm(sd, scale=mean * np.exp(-(sd**2) / 2))


def _ishigami(x: FloatArray, a: float, b: float) -> FloatArray:
    return np.asarray(np.sin(x[:, 0]) * (1 + b * x[:, 2] ** 4) + a * np.sin(x[:, 1]) ** 2)


def _g_function(x: FloatArray, a: FloatArray) -> FloatArray:
    return np.asarray(np.prod((np.abs(4 * x - 2) + a) / (1 + a), axis=1))


def _linear(x: FloatArray, b: FloatArray) -> FloatArray:
    # Not x @ b: BLAS may give a row other last bits in another position of the batch.
    return np.asarray(np.sum(x * b, axis=1))


def _numbered(d: int) -> tuple[str, ...]:
    return tuple(f"x{i + 1}" for i in range(d))
