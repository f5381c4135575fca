"""Repeated cross sections: every row is observed once, and cohorts are compared between periods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcstat.causal._panel_data import codes_of, sample_name
from mcstat.causal._staggered import Long, Part, Rows, Staggered, constant_within

__all__ = ["Sections", "read_sections"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Sections(Staggered):
    """A unit a row.

    Attributes
    ----------
    y : ndarray, shape (n,)
    X : ndarray, shape (n, p)
    period : ndarray of int, shape (n,)
        Place of the period.
    person : ndarray of int, shape (n,)
        Who was observed; each row somebody else unless the data say otherwise.
    """

    y: FloatArray
    X: FloatArray
    period: IntArray
    person: IntArray

    @property
    def together(self) -> IntArray:
        """Rows of one person."""
        return self.person

    def parts(self, period: int, base: int) -> tuple[Part, ...]:
        """Outcomes in the period, less those in the base period."""
        return tuple(
            Part((place,), sign, self.period == place, self.y) for place, sign in ((period, 1.0), (base, -1.0))
        )

    def covariates_at(self, base: int) -> FloatArray:
        """The only ones that there are."""
        return self.X

    def long(self) -> Long:
        """Cohorts have effects of their own."""
        return Long(self.y, np.unique(self.first, return_inverse=True)[1], self.period, np.arange(len(self.y)))


def read_sections(rows: Rows, unit: Any) -> Sections:
    """Rows of cohorts treated from the first period on are left out. ``unit`` tells of rows that belong together.

    Raises
    ------
    InvalidData
        No row of a cohort that is treated in sight, a first treatment that differs within a unit.
    """
    n = len(rows.y)
    person = np.arange(n) if unit is None else codes_of("unit", unit, n)[0]
    constant_within("first_treated", rows.first, person, int(person.max()) + 1)
    cluster = person if rows.cluster is None else rows.cluster
    kept = rows.first > rows.clock[0]
    rows.refuse_untreated(rows.first[kept])
    weights = rows.weights[kept]
    return Sections(
        y=rows.y[kept], X=rows.X[kept], period=rows.period[kept], person=person[kept], first=rows.first[kept],
        clock=rows.clock, periods=rows.periods, units=tuple(np.flatnonzero(kept).tolist()), cluster=cluster[kept],
        weights=weights / weights.mean(), covariates=rows.covariates, n_dropped=int((~kept).sum()),
        sample_id=sample_name(rows.y, person, rows.period),
    )  # fmt: skip
