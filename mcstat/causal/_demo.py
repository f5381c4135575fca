"""The demo of the room: unions and wages, laws of self-defence and homicides."""

from __future__ import annotations

import warnings
from typing import Any

from mcstat.causal import GroupTimeATT, PanelDML
from mcstat.core._svg import Figure, forest
from mcstat.core.errors import ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.page import Section
from mcstat.datasets import load_castle, load_wage_panel


def run() -> Section:
    """About 10 CPU seconds where nothing is compiled yet."""
    with warnings.catch_warnings():
        # Warnings stay on the Estimates, and are printed with them.
        warnings.simplefilter("ignore", ReliabilityWarning)
        unions, approaches = _unions()
        laws = _laws()
    premium, pooled = float(approaches["cre"]), float(approaches["pooled"])
    after = laws["overall"]
    low, high = after.conf_int().iloc[0]
    text = (
        "545 young men over eight years: those in a union earn more, but those who join may differ. PanelDML takes out "
        "what differs between persons, and what experience, marriage and health do in any form. Pooling the rows gives "
        f"a premium of {pooled:.3f} log points, comparing each man with himself {premium:.3f}."
        "\n\n"
        "Between 2005 and 2009 some twenty states widened the right to kill in self-defence, in different years. "
        "GroupTimeATT compares each cohort of states with those that never did. Homicides moved by "
        f"{float(after):+.3f} log points after the law, 95 % interval {low:+.3f} to {high:+.3f}; before it, where "
        "nothing should be found, the points say how far parallel trends can be believed."
    )
    return Section(
        title="Causal effects from panels: unions and wages, laws and homicides",
        text=text,
        items=[unions.summary(), _approaches(approaches), after, _event_study(laws)],
    )


def _unions() -> tuple[Estimate, dict[str, Estimate]]:
    """The estimate of correlated random effects, and those of other approaches."""
    columns: dict[str, Any] = {
        "outcome": "log_wage", "treatment": "union", "unit": "person", "time": "year",
        "covariates": ["experience", "schooling", "married", "poor_health", "black", "hispanic"],
    }  # fmt: skip
    wages, found = load_wage_panel(), {}
    for approach in ("cre", "fd", "within", "pooled"):
        model = PanelDML(approach, "series", "series", time_effects="dummies", random_state=0)
        found[approach] = model.fit(data=wages, **columns).estimate()
    return found["cre"], found


def _laws() -> Estimate:
    """Effects by years since the law, states weighted by population."""
    states = load_castle()
    # 0 is never. The other cohorts are of one or two states, whose mean has no error to be seen.
    states = states[states["first_law"].isin([0, 2007, 2008])]
    columns = {"outcome": "log_homicide", "unit": "state", "time": "year", "first_treated": "first_law"}
    model = GroupTimeATT(random_state=0).fit(data=states, weights="population", **columns)
    return model.aggregate("dynamic")


def _approaches(found: dict[str, Estimate]) -> Figure:
    words = {"cre": "correlated random effects", "fd": "first differences", "within": "deviations", "pooled": "pooled"}
    ends = [one.conf_int().iloc[0] for one in found.values()]
    return forest(
        [words[name] for name in found],
        [float(one) for one in found.values()],
        [end["lower"] for end in ends],
        [end["upper"] for end in ends],
        caption="Union premium by what is done about differences between persons, 95 % intervals.",
        xlabel="effect on the log wage",
    )


def _event_study(laws: Estimate) -> Figure:
    by_year = laws[list(laws.names[1:])]
    band = by_year.conf_int(joint=True)
    return forest(
        [f"{name.removeprefix('e=')} years" for name in by_year.names],
        by_year.value,
        band["lower"].to_numpy(),
        band["upper"].to_numpy(),
        caption="Homicides by years since the law, with the 95 % band for all years at once; before 0 are placebos.",
        xlabel="effect on the log homicide rate",
    )
