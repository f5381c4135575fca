"""One small problem with a known answer for each method of the room; the contract tests run on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from mcstat.core.registry import Case


def panel_dml() -> Case:
    """Linear confounding with correlated unit effects: what the series basis learns exactly."""
    from mcstat.causal import PanelDML

    return Case(
        estimator=PanelDML(learner_y="series", learner_d="series", random_state=0),
        fit=_draw_panel(np.random.default_rng(0)),
        truth={"d": 1.0},
        draw=_draw_panel,
    )


def _draw_panel(rng: Generator) -> dict[str, Any]:
    """60 units, 6 periods, numbers as floats."""
    from mcstat.datasets import make_panel_fp

    data = make_panel_fp(60, 6, form="linear", random_state=rng)
    return {name: np.asarray(data[name], dtype=np.float64) for name in ("y", "d", "X", "unit", "time")}
