"""What should be said about group-time effects that were estimated."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcstat.causal._staggered import Staggered

__all__ = ["SMALL_COHORT", "doubts"]

# Below this a cohort is too small to learn a propensity from.
SMALL_COHORT = 10
# Below this the spread among the treated says next to nothing about their noise; of one unit it is 0.
_FEW_TREATED = 5


def doubts(panel: Staggered, rows: list[dict[str, Any]], with_propensity: bool) -> list[str]:
    """Sentences about the rows of ``cells_``: small cohorts, cells without an effect, clipped propensities."""
    found = []
    if panel.n_dropped:
        found.append(f"{panel.n_dropped} unit(s) dropped: treated from their first period on")
    small = {row["group"] for row in rows if row["method"] == "reg"} if with_propensity else set()
    if small:
        labels = ", ".join(panel.label(group) for group in sorted(small))
        found.append(f"cohort(s) {labels} have fewer than {SMALL_COHORT} units: linear regression, no propensity")
    few = sorted({row["group"] for row in rows if 0 < row["fewest"] < _FEW_TREATED})
    if few:
        labels = ", ".join(panel.label(group) for group in few)
        found.append(
            f"cohort(s) {labels} have fewer than {_FEW_TREATED} units: the errors of their cells are too small (of "
            "one unit its own noise is not counted at all), and so are those of averages in which they weigh much"
        )
    lost = [row for row in rows if not np.isfinite(row["effect"])]
    if lost:
        found.append(f"{len(lost)} of {len(rows)} cells cannot be estimated, the first: {lost[0]['note']}")
    compared = sum(row["n_treated"] + row["n_control"] for row in rows)
    clipped = sum(row["clipped"] for row in rows)
    if clipped > 0.05 * compared:
        found.append(f"{clipped} of {compared} propensities were clipped: treated and controls hardly overlap")
    return found
