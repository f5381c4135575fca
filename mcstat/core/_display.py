"""How an Estimate is read: short text, summary, tidy table, comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mcstat.core._intervals import interval
from mcstat.core.checks import check_level

if TYPE_CHECKING:
    import pandas as pd

    from mcstat.core.estimate import Estimate

# A repr of more lines hides what was typed before it.
_REPR_ROWS = 4


def tidy(est: Estimate, level: float) -> pd.DataFrame:
    """See :meth:`Estimate.to_frame`."""
    import pandas as pd
    from scipy.special import ndtr, stdtr

    band = interval(est, level, how=None, joint=False, sides="two")
    statistic = np.full(len(est), np.nan)
    p_value = statistic.copy()
    if est.kind in ("frequentist", "bootstrap") and est.law is None:
        usable = est.std_error > 0
        statistic[usable] = est.value[usable] / est.std_error[usable]
        below = ndtr(-np.abs(statistic)) if est.df is None else stdtr(est.df, -np.abs(statistic))
        p_value = 2 * below
    columns: dict[str, Any] = {
        "term": list(est.names),
        "estimate": est.value,
        "std_error": est.std_error,
        "mcse": est.mcse,
        "statistic": statistic,
        "p_value": p_value,
        "conf_low": band.lower,
        "conf_high": band.upper,
    }
    return pd.DataFrame(columns | dict(est.coords))


def compare(estimates: Mapping[str, Estimate], level: float) -> pd.DataFrame:
    """See :meth:`Estimate.compare`."""
    import pandas as pd

    wanted = ["estimate", "std_error", "conf_low", "conf_high"]
    tables = {label: tidy(est, level).set_index("term")[wanted] for label, est in estimates.items()}
    return pd.concat(tables, axis=1)


def short_text(est: Estimate) -> str:
    """At most eight lines: a heading, the first quantities, how many more, the first warning."""
    header, rows, label = _table(est, 0.95)
    shown = rows if len(rows) <= _REPR_ROWS else rows[: _REPR_ROWS - 1]
    lines = [_heading(est), *_aligned([header, *shown])]
    if len(shown) < len(rows):
        lines.append(f"... {len(rows) - len(shown)} more: .summary(), .to_frame()")
    lines.append(f"interval: {label}")
    if est.warnings:
        more = f" (+{len(est.warnings) - 1} more)" if len(est.warnings) > 1 else ""
        lines.append(f"warning: {_cut(est.warnings[0], 100)}{more}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Summary:
    """A whole Estimate as text, and as HTML in a notebook."""

    heading: str
    facts: tuple[tuple[str, str], ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    label: str
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, est: Estimate, level: float) -> Self:
        """Collect the parts."""
        header, rows, label = _table(est, check_level(level))
        return cls(_heading(est), tuple(_facts(est)), header, tuple(rows), label, est.warnings)

    def __str__(self) -> str:
        width = max((len(name) for name, _ in self.facts), default=0)
        lines = [self.heading, *(f"  {name:<{width}}  {value}" for name, value in self.facts), ""]
        lines += _aligned([self.header, *self.rows])
        lines.append(f"interval: {self.label}")
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:right'>{escape(cell)}</th>" for cell in self.header)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:right'>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        facts = " &middot; ".join(f"{escape(name)}: {escape(value)}" for name, value in self.facts)
        warnings = "".join(f"<p><strong>warning:</strong> {escape(warning)}</p>" for warning in self.warnings)
        return (
            f"<div class='mcstat-estimate'><p><strong>{escape(self.heading)}</strong><br><small>{facts}</small></p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p><small>interval: {escape(self.label)}</small></p>{warnings}</div>"
        )


def _heading(est: Estimate) -> str:
    words = {
        "monte_carlo": "Monte Carlo estimate",
        "frequentist": "Estimate",
        "posterior": "Posterior",
        "bootstrap": "Bootstrap estimate",
    }[est.kind]
    of = f" of {_cut(est.estimand, 60)}" if est.estimand else ""
    by = f" by {est.method}" if est.method else ""
    return words + of + by


def _facts(est: Estimate) -> list[tuple[str, str]]:
    facts = [("quantities", str(len(est)))]
    facts += [(name.replace("_", " "), _fact(value)) for name, value in est.info.items() if name != "parameters"]
    facts += [
        (name.replace("_", " "), _fact(value))
        for name, value in est.diagnostics.items()
        if isinstance(value, (int, float, str))
    ]
    return facts


def _fact(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value)


def _table(est: Estimate, level: float) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """Header, one row of text a quantity, and the words for the interval."""
    band = interval(est, level, how=None, joint=False, sides="two")
    word = "sd" if est.kind == "posterior" else "std_error"
    with_mcse = est.kind != "monte_carlo" and bool(np.any(np.isfinite(est.mcse)))
    header = ("", "estimate", word, *(["mcse"] if with_mcse else []), f"{100 * level:g} % interval")
    rows = []
    for i, name in enumerate(est.names):
        error = float(est.std_error[i])
        # Without an error of its own a quarter of the interval tells how many digits mean something.
        digits = _decimals(float(est.value[i]), error if np.isfinite(error) else (band.upper[i] - band.lower[i]) / 4)
        number = [_format(float(est.value[i]), digits), _format(error, digits)]
        if with_mcse:
            number.append(f"{est.mcse[i]:.2g}")
        ends = f"[{_format(float(band.lower[i]), digits)}, {_format(float(band.upper[i]), digits)}]"
        rows.append((_cut(name, 40), *number, ends))
    return header, rows, band.label


def _decimals(value: float, error: float) -> int | None:
    """Decimals that show two digits of the error; None asks for the general format."""
    if not np.isfinite(error) or error <= 0:
        return None
    decimals = 1 - int(np.floor(np.log10(error)))
    if decimals > 7 or abs(value) >= 1e9 or error >= 1e6:
        return None
    return max(0, decimals)


def _format(number: float, decimals: int | None) -> str:
    return f"{number:.6g}" if decimals is None or not np.isfinite(number) else f"{number:.{decimals}f}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
