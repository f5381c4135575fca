"""Rows of a cross section: a panel in which each row, or each cluster, is a unit of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from mcstat.causal._folds import Folds, given_folds, make_folds, restrict
from mcstat.causal._panel_data import Panel, read_panel

__all__ = ["read_rows", "split_rows"]


def read_rows(y: Any, d: Any, X: Any, *, z: Any, weights: Any, cluster: Any, groups: Any, missing: str) -> Panel:
    """Check a cross section; see :func:`read_panel`."""
    n = len(y) if hasattr(y, "__len__") else 0
    return read_panel(
        y, d, X, unit=np.arange(n), time=np.zeros(n), z=z, weights=weights, cluster=cluster, groups=groups,
        missing=missing,
    )  # fmt: skip


def split_rows(part: Panel, folds: Any, n_folds: int, rng: Generator) -> Folds:
    """Random folds of whole clusters, or those that were given."""
    cluster = np.unique(part.cluster, return_inverse=True)[1].astype(np.int64)
    if folds is not None:
        return restrict(given_folds(folds, part.n_input), part.rows, cluster, rng)
    return make_folds("unit", n_folds, cluster, np.zeros(part.n, dtype=np.int64), rng)
