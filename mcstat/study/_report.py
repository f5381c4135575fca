"""The report: one HTML page that needs no other file, and the same claims as JSON beside it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from traceback import TracebackException
from typing import Any

from mcstat.core._doctor import versions
from mcstat.core.errors import InvalidParameter, MissingExtraError
from mcstat.core.page import Section, anchor, write_page
from mcstat.study._claims import ClaimTable, badge

__all__ = ["crash_word", "report"]


def report(
    tables: Mapping[str, ClaimTable | Exception],
    path: str | PathLike[str],
    *,
    title: str = "Validation report",
    commands: Mapping[str, str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write claims with their verdicts to one page, and to ``claims.json`` beside it.

    Parameters
    ----------
    tables : mapping of str to ClaimTable or Exception
        A section each. An exception stands for a script that crashed; the page shows its traceback.
    path : path-like
        The HTML file; missing folders are made.
    title : str
    commands : mapping of str to str, optional
        For keys of ``tables``: the command that measures the section again.
    about : mapping of str to str, int, float, list or dict, optional
        What else to print and keep: the seed's entropy, settings.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InvalidParameter
        If a table is neither a ClaimTable nor an Exception.

    Examples
    --------
    >>> from mcstat.study import Claim, ClaimTable, report
    >>> table = ClaimTable([Claim(name="coverage", setting="n = 20", source="theory", published="0.95",
    ...                           measured=0.946, mcse=0.007, band=(0.93, 0.97))])
    >>> page = report({"Student's t": table}, "report/index.html")  # doctest: +SKIP
    """
    for name, table in tables.items():
        if not isinstance(table, (ClaimTable, Exception)):
            raise InvalidParameter(f"tables[{name!r}] must be a ClaimTable or an Exception, got {table!r}")
    commands = dict(commands or {})
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", **versions(), **dict(about or {})}
    file = Path(path)
    sections = [Section("Overview", _OVERVIEW, [_Overview(dict(tables)), _Facts(facts)])]
    sections += [_section(name, table, commands.get(name)) for name, table in tables.items()]
    write_page(file, title, sections)
    beside = {"title": title, "about": facts, "sections": _plain(tables, commands)}
    file.with_name("claims.json").write_text(json.dumps(beside, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return file


_OVERVIEW = (
    "Each claim is a figure that was published or promised, measured again. The band was set before measuring; the "
    "number after +- is the Monte Carlo standard error of the measured figure. In the small pictures the band is "
    "shaded, and the line is two such errors to each side."
)


def _section(name: str, table: ClaimTable | Exception, command: str | None) -> Section:
    words = f"Measured again by: {command}" if command else ""
    if isinstance(table, Exception):
        text = table if isinstance(table, MissingExtraError) else _trace(TracebackException.from_exception(table))
        return Section(name, f"This script: {crash_word(table)}.\n\n{words}", [text])
    return Section(name, words, [table])


def _trace(trace: TracebackException) -> str:
    """The traceback with the names of files and not their folders: those are the machine's, and the page may travel."""
    part: TracebackException | None = trace
    while part is not None:
        for frame in part.stack:
            frame.filename = Path(frame.filename).name
        part = part.__cause__ or part.__context__
    return "".join(trace.format()).strip()


def crash_word(error: Exception) -> str:
    """What became of a script that raised: one that lacks a package was "not run"."""
    return "not run" if isinstance(error, MissingExtraError) else "crashed"


@dataclass(frozen=True)
class _Overview:
    """How many claims of each section have which verdict."""

    tables: dict[str, ClaimTable | Exception]

    def _repr_html_(self) -> str:
        return f'<table class="claims"><tbody>{"".join(map(self._row, self.tables))}</tbody></table>'

    def _row(self, name: str) -> str:
        table = self.tables[name]
        if isinstance(table, Exception):
            words = badge(crash_word(table))
        else:
            counts = table.counts().items()
            words = " ".join(f'<span class="count">{count} {badge(verdict)}</span>' for verdict, count in counts)
        link = f'<a href="#{anchor(name)}">{html.escape(name)}</a>'
        return f"<tr><td>{link}</td><td><div>{words}</div></td></tr>"


@dataclass(frozen=True)
class _Facts:
    """Versions, date and whatever else belongs to the numbers."""

    facts: dict[str, Any]

    def _repr_html_(self) -> str:
        words = ", ".join(f"{html.escape(name)} {html.escape(str(fact))}" for name, fact in self.facts.items())
        return f"<p><small>{words}</small></p>"


def _plain(tables: Mapping[str, ClaimTable | Exception], commands: Mapping[str, str]) -> dict[str, Any]:
    """The tables in JSON's types, NaN and infinity as null."""
    plain: dict[str, Any] = {}
    for name, table in tables.items():
        plain[name] = {"command": commands.get(name)}
        if isinstance(table, Exception):
            plain[name][crash_word(table)] = f"{type(table).__name__}: {table}"
        else:
            plain[name]["claims"] = [_finite(asdict(claim) | {"verdict": claim.verdict}) for claim in table]
    return plain


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
