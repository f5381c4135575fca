"""Orthonormal bases of tall matrices from blocked Gram matrices and Cholesky factors.

A Gram matrix costs one pass and runs at the speed of BLAS, 20 times faster than a QR factorisation of a tall matrix;
its condition number is the square of the matrix's, and a second pass on the whitened rows (CholeskyQR2, Yamamoto and
others 2015) takes that error away again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.rows import RowBlocks

__all__ = ["Whitening", "gram", "whiten"]

FloatArray = NDArray[np.float64]

# One pass leaves a relative error of about u * condition^2 in the whitened rows; below this it is let stand.
_GOOD_ENOUGH = 1e-10
# Eigenvalues of a Gram matrix with unit diagonal below the first begin to drown in its rounding errors; the second is
# then added, which leaves whitened rows whose next Gram matrix tells small singular values from none.
_DROWNING, _SHIFT = 1e-9, 1e-12


@dataclass(frozen=True)
class Whitening:
    """A matrix T (d, rank) such that X T has orthonormal columns that span the range of X (n, d)."""

    transform: FloatArray
    rank: int


def gram(rows: RowBlocks, transform: FloatArray | None = None) -> FloatArray:
    """(X T)' (X T), (r, r), in one pass; T is the identity where it is not given."""

    def of_block(block: Any) -> FloatArray:
        z = block if transform is None else block @ transform
        product = z.T @ z
        return product.toarray() if hasattr(product, "toarray") else np.asarray(product)

    total: FloatArray | None = None
    with np.errstate(over="ignore", invalid="ignore"):
        for part in rows.map(of_block):
            total = part if total is None else total + part
    assert total is not None  # noqa: S101  (RowBlocks has at least one row)
    return total


def whiten(rows: RowBlocks, refine: bool | None = None) -> Whitening:
    """Find the whitening transform of X.

    Parameters
    ----------
    rows : RowBlocks
    refine : bool, optional
        Whether to take the second pass; by default where the condition number asks for it. (False is heeded only
        where the first pass can be relied on at all.)

    Returns
    -------
    Whitening

    Notes
    -----
    O(n d^2), one pass over the rows, two where the condition number after scaling the columns exceeds about 1e3,
    three above about 1e6, where the first factor is that of a shifted Gram matrix (Fukaya and others 2020).
    Directions whose singular value is under about 1e-12 of the largest count as absent: the rank goes down.
    """
    product, scales = gram(rows), np.eye(rows.n_columns)
    # Squares leave the range of floating point where entries are beyond 1e+-154; scaling costs a pass and is rare.
    if not np.isfinite(product).all() or (np.diag(product) < np.finfo(float).tiny).any():
        scales = _column_scales(rows)
        product = gram(rows, scales)
    norms = np.sqrt(np.diag(product))
    alive = norms > 0
    transform = scales[:, alive] / norms[alive]
    product = product[np.ix_(alive, alive)] / np.outer(norms[alive], norms[alive])
    if not alive.any():
        return Whitening(np.zeros((rows.n_columns, 0)), 0)

    values, vectors = np.linalg.eigh(product)
    drowning = values[0] < _DROWNING
    transform = transform @ (vectors / np.sqrt(np.maximum(values, 0.0) + (_SHIFT if drowning else 0.0)))
    if refine is None:
        refine = bool(np.finfo(float).eps * values[-1] > _GOOD_ENOUGH * values[0])
    if not (refine or drowning):
        return Whitening(transform, len(values))
    while True:
        values, vectors = np.linalg.eigh(gram(rows, transform))
        kept = values > 1e-12
        transform = transform @ (vectors[:, kept] / np.sqrt(values[kept]))
        if values[kept][0] > 1e-3:
            break
    return Whitening(transform, transform.shape[1])


def _column_scales(rows: RowBlocks) -> FloatArray:
    """Diagonal matrix of powers of two near one over each column's largest entry."""

    def largest(block: Any) -> FloatArray:
        extreme = abs(block).max(axis=0)
        return extreme.toarray().ravel() if hasattr(extreme, "toarray") else np.asarray(extreme)

    most = np.maximum.reduce(list(rows.map(largest)))
    exponents = np.where(most > 0, -np.frexp(most)[1], 0)
    return np.diag(np.ldexp(1.0, np.clip(exponents, -1000, 1000)))
