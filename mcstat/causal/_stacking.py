"""Weights of learners in a stack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["stacked"]

FloatArray = NDArray[np.float64]


def stacked(columns: FloatArray, y: FloatArray, w: FloatArray, how: str) -> tuple[FloatArray, FloatArray]:
    """Predictions (n,) and weights (m,) by least squares of y on the columns (n, m), all centred, with weights w (n,).

    ``"nnls"``: weights of at least 0; ``"simplex"``: that sum to 1 as well.
    """
    from scipy.optimize import nnls

    centre, level = w @ columns / w.sum(), w @ y / w.sum()
    centred, root = columns - centre, np.sqrt(w)
    # The triangle of a QR factorisation holds all that least squares asks of the rows.
    triangle = np.asarray(np.linalg.qr(np.column_stack([centred, y - level]) * root[:, None], mode="r"))
    A, b = triangle[:, :-1], triangle[:, -1]
    if how == "nnls":
        weights = nnls(A, b)[0]
    else:
        # On the simplex |A x - b| = |(A - b 1') x|. With t x for x and a row of ones for 1 below, the best t is
        # 1 / (1 + |C x|^2) and what is left |C x|^2 / (1 + |C x|^2): the same x is best.
        C = A - b[:, None]
        size = np.abs(C).max()
        C = C / size if size > 0 else C
        weights = nnls(np.vstack([C, np.ones(len(centre))]), np.append(np.zeros(len(C)), 1.0))[0]
        weights = weights / weights.sum()
    return level + centred @ weights, np.asarray(weights)
