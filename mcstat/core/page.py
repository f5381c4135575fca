"""One self-contained HTML page: text, tables and pictures, readable in light and dark, on a desk and on a phone."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["Section", "anchor", "write_page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --paper: #ffffff; --soft: #f3f5f8; --grid: #d5dae2;
  --accent: #2563a8; --second: #b4531a; --third: #3d7a3d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e7ee; --paper: #14181f; --soft: #1e242e; --grid: #3a4352;
  --accent: #7db3ee; --second: #f0a06a; --third: #8fcf8f; } }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2, p { overflow-wrap: anywhere; } h1 { font-size: 1.7rem; } h2 { margin-top: 2.5rem; font-size: 1.3rem; }
.scroll { overflow-x: auto; margin: 1rem 0; } pre { font-size: .85rem; line-height: 1.4; margin: 0; }
.scroll > pre { background: var(--soft); padding: .8rem; width: max-content; min-width: calc(100% - 1.6rem); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; white-space: nowrap; border-bottom: 1px solid var(--grid); text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; max-width: 34rem; } svg { width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; opacity: .85; } a { color: var(--accent); }
.verdict { border: 1px solid; border-radius: .6rem; padding: .05rem .5rem; font-weight: 600; white-space: nowrap; }
.reproduced { color: var(--third); } .not-reproduced, .crashed { color: var(--second); }
.not-at-this-scale, .not-run { opacity: .75; } .reported { color: var(--accent); }
table.claims { width: 100%; } .claims th, .claims td { text-align: left; vertical-align: top; white-space: normal; }
.claims small { display: block; opacity: .85; } .claims svg.gauge { width: 120px; margin-top: .2rem; }
.claims .number, .count { white-space: nowrap; } .count { margin-right: .6rem; }
@media (max-width: 45rem) { table.claims, .claims tbody, .claims tr { display: block; } .claims thead { display: none; }
  .claims tr { padding: .6rem 0; border-bottom: 2px solid var(--grid); } .claims .number { white-space: normal; }
  .claims td { display: flex; gap: .8rem; border: 0; padding: .1rem 0; overflow-wrap: anywhere; }
  .claims td[data-label]::before { content: attr(data-label); flex: 0 0 5.5rem; opacity: .75; } }
"""


@dataclass(frozen=True)
class Section:
    """What one room's demo has to show.

    Parameters
    ----------
    title : str
    text : str
        Paragraphs, parted by an empty line.
    items : sequence
        Objects with ``_repr_html_`` (an Estimate, a summary, a figure of ``core/_svg.py``) go on the page as such;
        anything else as preformatted text. On a terminal each is printed with ``str``.
    """

    title: str
    text: str
    items: Sequence[Any] = ()


def write_page(path: str | PathLike[str], title: str, sections: Iterable[Section]) -> Path:
    """Write the sections to one HTML file that needs no other file, script or network.

    Parameters
    ----------
    path : path-like
        The file; missing folders are made.
    title : str
    sections : iterable of Section

    Returns
    -------
    Path
        The file that was written.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    heading = html.escape(title)
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<head><meta charset="utf-8">{view}<title>{heading}</title><style>{_STYLE}</style></head>'
    body = "\n".join(_section(section) for section in sections)
    page = f'<!doctype html>\n<html lang="en">\n{head}\n<body>\n<h1>{heading}</h1>\n{body}\n</body>\n</html>\n'
    file.write_text(page, encoding="utf-8")
    return file


def anchor(title: str) -> str:
    """Id of the section with this title, for links to it."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _section(section: Section) -> str:
    paragraphs = "\n".join(f"<p>{html.escape(block)}</p>" for block in section.text.strip().split("\n\n") if block)
    items = "\n".join(f'<div class="scroll">{_item(item)}</div>' for item in section.items)
    heading = f"<h2>{html.escape(section.title)}</h2>"
    return f'<section id="{anchor(section.title)}">\n{heading}\n{paragraphs}\n{items}\n</section>'


def _item(item: Any) -> str:
    if hasattr(item, "_repr_html_"):
        return str(item._repr_html_())
    return f"<pre>{html.escape(str(item))}</pre>"
