"""Sobol' indices from one scrambled Sobol' sequence: points, model calls, estimators.

A and B are two independent matrices of inputs, and A_i is A with column i from B. So f(A_i) shares only x_i with
f(B), which gives the first order, and everything but x_i with f(A), which gives the total:

    S_i V  = Cov(f(B), f(A_i)),        ST_i V = E[(f(A) - f(A_i))^2] / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcstat.core.checks import check_array
from mcstat.core.errors import InvalidData
from mcstat.core.rng import Purpose, stream
from mcstat.importance._model import Model, model_values

FloatArray = NDArray[np.float64]

# SciPy's scrambled points are multiples of 2^-30, 0 among them; half a step puts them strictly inside (0, 1).
_BITS = 30
_DEGREE = 4
# A coefficient below twice its standard error under independent sampling is noise: it is shrunk to zero.
_NOISE = 4.0
# Centred outputs are at most 2 in size, so a variance below this is rounding.
_TINY_VARIANCE = 1e-28


@dataclass(frozen=True)
class Randomisation:
    """One scramble of the sequence: a call gives the 2 d indices of scramble ``r``, first orders, then totals."""

    model: Model
    law: Sequence[Any]
    n_base: int
    root: SeedSequence

    @property
    def n_calls(self) -> int:
        """Model calls of one randomisation."""
        return self.n_base * (len(self.law) + 2)

    def __call__(self, r: int) -> FloatArray:
        """Indices of scramble ``r``; a pure function of ``r``."""
        u = self.points(r)
        try:
            return indices(self.outputs(u), u)
        except InvalidData as error:
            raise InvalidData(f"{error} (randomisation {r})") from error

    def points(self, r: int) -> FloatArray:
        """(n_base, 2 d) uniform numbers strictly between 0 and 1: columns of A, then those of B."""
        from scipy.stats import qmc

        rng = stream(self.root, "SobolIndices", Purpose.RANDOMISATIONS, r)
        engine = qmc.Sobol(2 * len(self.law), scramble=True, bits=_BITS, rng=rng)
        return np.asarray(engine.random(self.n_base) + 0.5 ** (_BITS + 1))

    def outputs(self, u: FloatArray) -> FloatArray:
        """(d + 2, n_base) model values at A, B, A_1, ..., A_d."""
        d = len(self.law)
        a, b = self._inputs(u[:, :d]), self._inputs(u[:, d:])
        y = np.empty((d + 2, self.n_base))
        y[0], y[1] = model_values("model", self.model, a), model_values("model", self.model, b)
        for i in range(d):
            mixed = a.copy()
            mixed[:, i] = b[:, i]
            y[2 + i] = model_values("model", self.model, mixed)
        return y

    def _inputs(self, u: FloatArray) -> FloatArray:
        x = np.empty(u.shape)
        for i, marginal in enumerate(self.law):
            x[:, i] = check_array(f"law[{i}].ppf(u)", marginal.ppf(u[:, i]), 1)
        return x


def indices(y: FloatArray, u: FloatArray) -> FloatArray:
    """First-order and total indices from the outputs at A, B, A_1..A_d.

    The first order subtracts from Cov(f(B), f(A_i)) products whose mean is known to be zero: those of the additive
    parts of all inputs but x_i, and that of f(B) with the share 1 - ST_i of f(A) that f(A_i) repeats.

    Parameters
    ----------
    y : ndarray, shape (d + 2, n)
    u : ndarray, shape (n, 2 d)
        Uniform numbers behind A and B.

    Returns
    -------
    ndarray, shape (2 d,)
    """
    d = len(y) - 2
    y = _standardised(y)
    a, b, mixed = y[0], y[1], y[2:]
    variances = np.mean(y**2, axis=1)
    variance_a, variance_b, variance_mixed = variances[0], variances[1], variances[2:]
    total = np.mean((a - mixed) ** 2, axis=1) / (variance_a + variance_mixed)

    # Crossed, the coefficients of one matrix at the points of the other: that keeps the products' mean at zero.
    effects_a = _additive_effects(u[:, d:], b, u[:, :d])
    effects_b = _additive_effects(u[:, :d], a, u[:, d:])
    others_a = effects_a.sum(axis=0) - effects_a
    others_b = effects_b.sum(axis=0) - effects_b
    repeated = (1 - total)[:, None] * (a - effects_a.sum(axis=0))
    covariance = np.mean((b - others_b) * (mixed - others_a - repeated), axis=1)
    first = covariance / ((variance_b + variance_mixed) / 2)
    return np.concatenate([first, total])


def _standardised(y: FloatArray) -> FloatArray:
    """Rows of mean zero, entries at most 2 in size, whatever location and scale the model has."""
    y = y / np.max(np.abs(y), initial=np.finfo(float).tiny)
    y = y - y[0, 0]
    y = y / np.max(np.abs(y), initial=np.finfo(float).tiny)
    y = y - y.mean(axis=1, keepdims=True)
    if np.min(np.mean(y[:2] ** 2, axis=1)) < _TINY_VARIANCE:
        raise InvalidData(
            f"model(x) must vary: its values at {y.shape[1]} points were all equal; if it varies rarely, raise budget"
        )
    return y


def _additive_effects(u: FloatArray, y: FloatArray, u_at: FloatArray) -> FloatArray:
    """(d, n) part of y that each input explains alone, fitted at ``u`` and taken at ``u_at``."""
    n, d = u.shape
    noise = _NOISE * np.mean(y**2) / n
    effects = np.empty((d, n))
    for k in range(d):
        coefficients = _legendre(u[:, k]) @ y / n
        size = coefficients**2
        coefficients *= np.maximum(size - noise, 0.0) / np.maximum(size, noise)
        effects[k] = coefficients @ _legendre(u_at[:, k])
    return effects


def _legendre(u: FloatArray) -> FloatArray:
    """(4, n) Legendre polynomials of degree 1 to 4, orthonormal on (0, 1)."""
    z = 2 * u - 1
    polynomials = [np.ones_like(z), z]
    for k in range(1, _DEGREE):
        polynomials.append(((2 * k + 1) * z * polynomials[k] - k * polynomials[k - 1]) / (k + 1))
    return np.stack([np.sqrt(2 * k + 1) * polynomials[k] for k in range(1, _DEGREE + 1)])
