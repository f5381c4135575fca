"""Sobol' indices from one scrambled Sobol' sequence: points, model calls, estimators.

A and B are two independent matrices of inputs, and A_i is A with column i from B. So f(A_i) shares only x_i with
f(B), which gives the first order, and everything but x_i with f(A), which gives the total:

    S_i V  = Cov(f(B), f(A_i)),        ST_i V = E[(f(A) - f(A_i))^2] / 2.

The same with the columns of a group u gives its closed index and its total. Second orders need B_j as well, which is B
with column j from A: f(A_i) and f(B_j) share x_i and x_j and nothing else, so Cov(f(A_i), f(B_j)) = V_i + V_j + V_ij.
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
    """One scramble of the sequence: a call gives the indices of scramble ``r`` in the order of :func:`indices`."""

    model: Model
    law: Sequence[Any]
    n_base: int
    root: SeedSequence
    groups: tuple[tuple[int, ...], ...] = ()
    second_order: bool = False

    @property
    def n_calls(self) -> int:
        """Model calls of one randomisation."""
        return self.n_base * calls_a_point(len(self.law), len(self.groups), self.second_order)

    def __call__(self, r: int) -> FloatArray:
        """Indices of scramble ``r``; a pure function of ``r``."""
        u = self.points(r)
        try:
            return indices(self.outputs(u), u, self.groups, self.second_order)
        except InvalidData as error:
            raise InvalidData(f"{error} (randomisation {r})") from error

    def points(self, r: int) -> FloatArray:
        """(n_base, 2 d) uniform numbers strictly between 0 and 1: columns of A, then those of B."""
        from scipy.stats import qmc

        rng = stream(self.root, "SobolIndices", Purpose.RANDOMISATIONS, r)
        engine = qmc.Sobol(2 * len(self.law), scramble=True, bits=_BITS, rng=rng)
        return np.asarray(engine.random(self.n_base) + 0.5 ** (_BITS + 1))

    def outputs(self, u: FloatArray) -> FloatArray:
        """Model values (calls a point, n_base) at A, B, each A_i, each group's A_u and, for second orders, each B_j."""
        d = len(self.law)
        a, b = self._inputs(u[:, :d]), self._inputs(u[:, d:])
        singles: list[tuple[int, ...]] = [(i,) for i in range(d)]
        matrices = [(a, b, columns) for columns in (*singles, *self.groups)]
        if self.second_order:
            matrices += [(b, a, columns) for columns in singles]
        y = [model_values("model", self.model, a), model_values("model", self.model, b)]
        for matrix, other, columns in matrices:
            mixed = matrix.copy()
            mixed[:, columns] = other[:, columns]
            y.append(model_values("model", self.model, mixed))
        return np.array(y)

    def _inputs(self, u: FloatArray) -> FloatArray:
        x = np.empty(u.shape)
        for i, marginal in enumerate(self.law):
            x[:, i] = check_array(f"law[{i}].ppf(u)", marginal.ppf(u[:, i]), 1)
        return x


def calls_a_point(d: int, n_groups: int, second_order: bool) -> int:
    """Model calls that one base point costs."""
    return 2 + d + n_groups + (d if second_order else 0)


def indices(
    y: FloatArray, u: FloatArray, groups: Sequence[Sequence[int]] = (), second_order: bool = False
) -> FloatArray:
    """All indices from the outputs of :meth:`Randomisation.outputs`.

    Parameters
    ----------
    y : ndarray, shape (calls a point, n)
    u : ndarray, shape (n, 2 d)
        Uniform numbers behind A and B.
    groups : sequence of G sequences of int
        Columns of each group.
    second_order : bool
        Whether y holds outputs at B_j.

    Returns
    -------
    ndarray
        d first orders, d totals, d (d - 1) / 2 second orders if asked for, G closed indices, G totals.
    """
    d = u.shape[1] // 2
    members = _members(d, groups)
    y = _standardised(y)
    a, b, mixed_a, mixed_b = y[0], y[1], y[2 : 2 + len(members)], y[2 + len(members) :]
    # Crossed, the coefficients of one matrix at the points of the other: that keeps the products' mean at zero.
    effects_a = _additive_effects(u[:, d:], b, u[:, :d])
    effects_b = _additive_effects(u[:, :d], a, u[:, d:])
    closed, total = _closed_and_total(a, b, mixed_a, effects_a, effects_b, members)
    pairs = np.empty(0)
    if second_order:
        again = _closed_and_total(b, a, mixed_b, effects_b, effects_a, members[:d])
        closed[:d], total[:d] = (closed[:d] + again[0]) / 2, (total[:d] + again[1]) / 2
        pairs = _second_orders(y, effects_a, effects_b, len(members))
    return np.concatenate([closed[:d], total[:d], pairs, closed[d:], total[d:]])


def _members(d: int, groups: Sequence[Sequence[int]]) -> FloatArray:
    """(d + G, d) of 0 and 1: which inputs each A_u takes from B; single inputs first."""
    members = np.vstack([np.eye(d), np.zeros((len(groups), d))])
    for row, group in zip(members[d:], groups, strict=True):
        row[list(group)] = 1.0
    return members


def _closed_and_total(
    a: FloatArray,
    b: FloatArray,
    mixed: FloatArray,
    effects_a: FloatArray,
    effects_b: FloatArray,
    members: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Closed and total index, (q,) each, of the inputs in each row of ``members`` (q, d), from mixed = A_u, (q, n).

    The closed index subtracts from Cov(f(B), f(A_u)) products whose mean is known to be zero: those of the additive
    parts of all inputs outside of u, and that of f(B) with the share 1 - ST_u of f(A) that f(A_u) repeats.
    """
    variance_a, variance_b, variance_mixed = np.mean(a**2), np.mean(b**2), np.mean(mixed**2, axis=1)
    total = np.mean((a - mixed) ** 2, axis=1) / (variance_a + variance_mixed)
    others_a = effects_a.sum(axis=0) - members @ effects_a
    others_b = effects_b.sum(axis=0) - members @ effects_b
    repeated = (1 - total)[:, None] * (a - effects_a.sum(axis=0))
    covariance = np.mean((b - others_b) * (mixed - others_a - repeated), axis=1)
    return covariance / ((variance_b + variance_mixed) / 2), total


def _second_orders(y: FloatArray, effects_a: FloatArray, effects_b: FloatArray, n_mixed: int) -> FloatArray:
    """(d (d - 1) / 2,) second-order indices, row by row of the upper triangle.

    An additive function has no interactions, so the additive effects are taken off everywhere first: what is left of
    V_i and V_j, which V_ij is the excess over, is then small. Each pair is found twice, from (A_i, B_j) and (A_j, B_i).
    """
    d, n = effects_a.shape
    all_a, all_b = effects_a.sum(axis=0), effects_b.sum(axis=0)
    a, b = y[0] - all_a, y[1] - all_b
    mixed_a = y[2 : 2 + d] - (all_a - effects_a + effects_b)
    mixed_b = y[2 + n_mixed :] - (all_b - effects_b + effects_a)
    excess = mixed_a @ mixed_b.T / n - (mixed_a @ b / n)[:, None] - (mixed_b @ a / n)
    upper = np.triu_indices(d, 1)
    variance = np.mean(np.vstack([y[: 2 + d], y[2 + n_mixed :]]) ** 2)
    return np.asarray((excess + excess.T)[upper] / 2 / variance)


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
