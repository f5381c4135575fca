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


def group_time_att() -> Case:
    """Parallel trends; the effect is 1 where treatment begins in the second of three periods."""
    from mcstat.causal import GroupTimeATT

    return Case(
        estimator=GroupTimeATT(learner_outcome="ols", learner_propensity="ols", random_state=0),
        fit=_draw_staggered(np.random.default_rng(0)),
        truth={"ATT(2, 2)": 1.0, "ATT(2, 3)": 2.0, "ATT(3, 3)": 1.0},
        draw=_draw_staggered,
    )


def _draw_staggered(rng: Generator) -> dict[str, Any]:
    """150 units, 3 periods, numbers as floats."""
    from mcstat.datasets import make_did

    data = make_did(150, 3, confounding=0.0, random_state=rng)
    return {name: np.asarray(data[name], dtype=np.float64) for name in ("y", "X", "unit", "time", "first_treated")}
