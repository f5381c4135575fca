"""Panels from formulas (extra ``formula``)."""

from __future__ import annotations

from typing import Any

from mcstat.core.errors import InvalidParameter
from mcstat.core.extras import import_extra

__all__ = ["read_panel_formula"]


def read_panel_formula(formula: str, data: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Columns y, d, X, unit and time of ``"y ~ d1 + d2 | covariates | unit + time"``."""
    left, tilde, right = formula.partition("~") if isinstance(formula, str) else ("", "", "")
    parts = [part.strip() for part in right.split("|")]
    if not tilde or len(parts) != 3:
        raise InvalidParameter(f"formula must be 'y ~ treatments | covariates | unit + time', got {formula!r}")
    outcome, treatments = left.strip(), [name.strip() for name in parts[0].split("+")]
    index = [name.strip() for name in parts[2].split("+")]
    unknown = [name for name in (outcome, *treatments, *index) if name not in data]
    if unknown or len(index) != 2:
        raise InvalidParameter(f"formula must name columns of data, a unit and a time, not found: {unknown or index}")
    matrix = import_extra("formulaic", "formula").model_matrix(parts[1], data, na_action="ignore")
    X = matrix.drop(columns="Intercept", errors="ignore")
    return data[outcome], data[treatments], X, data[index[0]], data[index[1]]
