"""Designs from formulas (extra ``formula``)."""

from __future__ import annotations

from typing import Any

from mcstat.core.errors import InvalidParameter
from mcstat.core.extras import import_extra

__all__ = ["formula_columns", "read_formula"]


def read_formula(formula: str, data: Any) -> tuple[Any, Any, Any]:
    """Response column, design without intercept, and what makes the same design of new data."""
    left, tilde, right = formula.partition("~") if isinstance(formula, str) else ("", "", "")
    response = left.strip()
    if not tilde or not right.strip() or response not in data:
        raise InvalidParameter(f"formula must be 'column ~ terms' with a column of data, got {formula!r}")
    # With an intercept, factors are coded against their first level; the column itself is then left out.
    spec = import_extra("formulaic", "formula").model_matrix(right.strip(), data, na_action="raise").model_spec
    return data[response], formula_columns(spec, data), spec


def formula_columns(spec: Any, data: Any) -> Any:
    """The design of ``data``, a data frame without the intercept."""
    return spec.get_model_matrix(data).drop(columns="Intercept", errors="ignore")
