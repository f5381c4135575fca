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


def plr() -> Case:
    """Linear confounding."""
    from mcstat.causal import PLR

    return Case(
        estimator=PLR("lasso", "lasso", random_state=0),
        fit=_draw_rows(np.random.default_rng(0)),
        truth={"d": 0.5},
        draw=_draw_rows,
    )


def pliv() -> Case:
    """An unobserved cause of treatment and outcome, and a strong instrument."""
    from mcstat.causal import PLIV

    return Case(
        estimator=PLIV("ols", "ols", random_state=0),
        fit=_draw_instrument(np.random.default_rng(0)),
        truth={"d": 0.5},
        draw=_draw_instrument,
    )


def irm() -> Case:
    """An effect of 1 on average that depends on x."""
    from mcstat.causal import IRM

    return Case(
        estimator=IRM("series", "series", random_state=0),
        fit=_draw_arms(np.random.default_rng(0)),
        truth={"d": 1.0},
        draw=_draw_arms,
    )


def iivm() -> Case:
    """Two thirds of the rows take the treatment if the instrument says so, the others never."""
    from mcstat.causal import IIVM

    return Case(
        estimator=IIVM("ols", "ols", random_state=0),
        fit=_draw_encouraged(np.random.default_rng(0)),
        truth={"d": 1.0},
        draw=_draw_encouraged,
    )


def _draw_rows(rng: Generator, n: int = 300) -> dict[str, Any]:
    X = rng.normal(size=(n, 5))
    d = X[:, 0] - 0.5 * X[:, 1] + rng.normal(size=n)
    return {"y": 0.5 * d + X[:, 0] + rng.normal(size=n), "d": d, "X": X}


def _draw_instrument(rng: Generator, n: int = 300) -> dict[str, Any]:
    X, z, u = rng.normal(size=(n, 2)), rng.normal(size=n), rng.normal(size=n)
    z = z + X[:, 1]
    d = z + X[:, 0] + u + rng.normal(size=n)
    return {"y": 0.5 * d + X[:, 0] + u + rng.normal(size=n), "d": d, "X": X, "z": z}


def _draw_arms(rng: Generator, n: int = 400) -> dict[str, Any]:
    # A bounded x keeps propensities inside [0.2, 0.8].
    X = rng.uniform(-1.0, 1.0, size=(n, 2))
    d = (rng.random(n) < 0.5 + 0.3 * X[:, 0]).astype(np.float64)
    return {"y": d * (1.0 + X[:, 1]) + X[:, 0] + rng.normal(size=n), "d": d, "X": X}


def _draw_encouraged(rng: Generator, n: int = 600) -> dict[str, Any]:
    X = rng.uniform(-1.0, 1.0, size=(n, 2))
    z = (rng.random(n) < 0.5 + 0.2 * X[:, 0]).astype(np.float64)
    complier = rng.random(n) < 2.0 / 3.0
    y = z * complier + X[:, 0] + 0.5 * complier + rng.normal(size=n)
    return {"y": y, "d": z * complier, "X": X, "z": z}


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
