"""How a StudyResult is read."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Self

import numpy as np

from mcstat.study._digits import digits

if TYPE_CHECKING:
    import pandas as pd

    from mcstat.study._result import StudyResult

_SHOWN = {
    "bias": "bias",
    "emp_se": "emp. SE",
    "model_se": "model SE",
    "coverage": "coverage",
    "width": "width",
    "power": "power",
}


@dataclass(frozen=True)
class StudySummary:
    """A study's measures as text, and as HTML in a notebook; the Monte Carlo error stands in brackets."""

    heading: str
    table: pd.DataFrame
    failures: tuple[str, ...]

    @classmethod
    def of(cls, result: StudyResult) -> Self:
        """Collect the parts."""
        frame = result.to_frame()
        table = frame[["method", "term", "n", "failures"]].copy()
        for name, title in _SHOWN.items():
            table[title] = [_cell(x, mcse) for x, mcse in zip(frame[name], frame[f"{name}_mcse"], strict=True)]
        table["CPU s"] = [f"{seconds:.2g}" for seconds in frame["cpu_seconds"]]
        heading = (
            f"Simulation study: {result.n_replicates} replicates, {100 * result.level:g} % intervals, "
            f"power against {result.null:g}"
        )
        return cls(heading, table, tuple(_failure_lines(result)))

    def __str__(self) -> str:
        lines = [self.heading, "", self.table.to_string(index=False), "", "in brackets: Monte Carlo standard error"]
        return "\n".join([*lines, *self.failures])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        failures = "".join(f"<p>{escape(line)}</p>" for line in self.failures)
        return (
            f"<div class='mcstat-study'><p><strong>{escape(self.heading)}</strong></p>"
            f"{self.table.to_html(index=False, border=0)}"
            f"<p><small>in brackets: Monte Carlo standard error</small></p>{failures}</div>"
        )


def _failure_lines(result: StudyResult) -> list[str]:
    """One line a method and kind of error, with its first message."""
    groups = result.failures.groupby(["method", "error"], sort=False)
    return [
        f"{method} failed {len(group)} time(s) with {error}, first in replicate {group['replicate'].iloc[0]}: "
        f"{group['message'].iloc[0][:100]}"
        for (method, error), group in groups
    ]


def _cell(x: float, mcse: float) -> str:
    """The number to the second digit of its Monte Carlo error."""
    if np.isnan(x):
        return ""
    number, error = digits(x, mcse)
    return f"{number} ({error})" if error else number
