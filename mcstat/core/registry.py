"""The list of methods, read from their cards.

A room keeps one card ``<method>.toml`` beside each method. The listing, the documentation's table, the contract
tests and the calibration study all read those cards, so a new method touches no shared list.
"""

from __future__ import annotations

import html
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mcstat.core.errors import InvalidCard, InvalidParameter

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["Card", "Case", "MethodTable", "Paper", "cite", "find", "methods", "read_cards"]

_PACKAGE = Path(__file__).resolve().parent.parent
_LATEX = str.maketrans({character: "\\" + character for character in "&%#_$"})

Record = TypeVar("Record", "Card", "Paper")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A small problem with a known answer, on which every method is tested.

    Parameters
    ----------
    estimator : Estimator
        Not fitted yet.
    fit : mapping
        Keyword arguments of ``estimator.fit``.
    truth : mapping of str to float
        The true value of each quantity, by its name in the Estimate.
    draw : callable, optional
        ``draw(rng)`` returns arguments of ``fit`` anew, of the same truth: the calibration study draws a data set in
        each replicate. None where the data are fixed and all randomness is the estimator's ``random_state``.
    conservative : bool
        The intervals promise to cover at least as often as their level says, so covering more often is no error.
    long : mapping of str to object, optional
        Settings of the estimator with which ``fit`` takes a minute and has finished work early: for methods that
        promise to come back from Ctrl-C with what is done.
    """

    estimator: Any
    fit: Mapping[str, Any]
    truth: Mapping[str, float]
    draw: Callable[[Generator], Mapping[str, Any]] | None = None
    conservative: bool = False
    long: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a method was published: authors as "Surname, Given name", and at least one of ``arxiv`` and ``doi``."""

    authors: tuple[str, ...]
    title: str
    year: int
    venue: str = ""
    arxiv: str = ""
    doi: str = ""

    @property
    def link(self) -> str:
        """Address of the paper."""
        return f"https://doi.org/{self.doi}" if self.doi else f"https://arxiv.org/abs/{self.arxiv}"

    def text(self) -> str:
        """One line for reading."""
        where = [self.venue, f"arXiv:{self.arxiv}" if self.arxiv else "", f"doi:{self.doi}" if self.doi else ""]
        return f"{'; '.join(self.authors)} ({self.year}). {self.title}. {', '.join(filter(None, where))}."

    def bibtex(self, key: str) -> str:
        """One BibTeX entry."""
        entries = {
            "author": " and ".join(self.authors),
            "title": "{" + self.title.translate(_LATEX) + "}",
            "year": str(self.year),
            "journal": self.venue.translate(_LATEX),
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "doi": self.doi,
        }
        kind = "article" if self.venue else "misc"
        lines = ",\n".join(f"  {name:<13} = {{{value}}}" for name, value in entries.items() if value)
        return f"@{kind}{{{key},\n{lines}\n}}"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the library knows about one method.

    Attributes
    ----------
    name : str
        Name of the card's file and of the method's file.
    class_ : str
        Public class in the room (key ``class`` in the file).
    room : str
        Folder of the card, with dots: ``"importance"``, ``"torch.diffusion"``.
    title, estimand, input, gives : str
        One line each: what it is, what is estimated, what goes in, what comes out.
    paper : Paper
    tags : tuple of str
    case : str
        ``"module:function"``; the function returns a :class:`Case` in under a second.
    calibration : str
        Why the coverage of the method's intervals cannot be studied on its case; empty where it is.
    expected_failures : mapping of str to str
        Name of a contract check that does not apply -> the reason.
    """

    name: str
    class_: str
    room: str
    title: str
    estimand: str
    input: str
    gives: str
    paper: Paper
    tags: tuple[str, ...]
    case: str
    calibration: str = ""
    expected_failures: Mapping[str, str] = field(default_factory=dict)

    def load_class(self) -> Any:
        """Import the estimator's class."""
        return getattr(import_module(f"mcstat.{self.room}"), self.class_)

    def load_case(self) -> Case:
        """Make the small problem of this card, anew at every call."""
        module, _, function = self.case.partition(":")
        case = getattr(import_module(module), function)()
        if not isinstance(case, Case):
            raise InvalidCard(f"{self.case} (case of {self.name}) must return a Case, got {type(case).__name__}")
        return case


class MethodTable(tuple[Card, ...]):
    """Cards that print as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self:
            return "no methods"
        rows = [("name", "class", "room", "what it is")]
        rows += [(card.name, card.class_, card.room, card.title) for card in self]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*map(str.ljust, row[:3], widths), row[3]]) for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in ("class", "room", "what it is", "estimates", "from", "paper"))
        return (
            f"<table class='table'><thead><tr>{head}</tr></thead><tbody>{''.join(map(_html_row, self))}</tbody></table>"
        )


def _html_row(card: Card) -> str:
    first = card.paper.authors[0].partition(",")[0]
    paper = f'<a href="{html.escape(card.paper.link)}">{html.escape(first)} {card.paper.year}</a>'
    cells = [
        f"<code>{card.class_}</code>",
        *map(html.escape, (card.room, card.title, card.estimand, card.input)),
        paper,
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def methods() -> MethodTable:
    """All methods, sorted by room and name.

    Returns
    -------
    MethodTable
        A tuple of :class:`Card` that prints as a table.
    """
    return _installed()


def find(text: str) -> MethodTable:
    """Return the methods whose card holds every word of ``text`` in its name, class, room, title, estimand or tags.

    Parameters
    ----------
    text : str
        Words; upper and lower case are the same.

    Returns
    -------
    MethodTable
    """
    words = text.casefold().split()
    return MethodTable(card for card in methods() if all(word in _words(card) for word in words))


def cite(name: str) -> str:
    """Return the paper of a method as text and BibTeX.

    Parameters
    ----------
    name : str
        Name of the card or of the class.

    Returns
    -------
    str

    Raises
    ------
    InvalidParameter
        When no method has that name; the message offers close ones.
    """
    wanted = name.casefold()
    for card in methods():
        if wanted in (card.name.casefold(), card.class_.casefold()):
            return f"{card.paper.text()}\n\n{card.paper.bibtex(card.name)}"
    close = get_close_matches(wanted, [card.name for card in methods()], n=3, cutoff=0.4)
    hint = f"; close: {', '.join(close)}" if close else ""
    raise InvalidParameter(f"name must be a method's name or class, got {name!r}{hint}")


def read_cards(package: Path) -> MethodTable:
    """Read every card under a package's folder, sorted by room and name.

    Parameters
    ----------
    package : Path
        Folder that holds the rooms.

    Returns
    -------
    MethodTable

    Raises
    ------
    InvalidCard
        Naming the file and what is wrong with it.
    """
    cards = [_read_card(path, package) for path in package.rglob("*.toml")]
    return MethodTable(sorted(cards, key=lambda card: (card.room, card.name)))


@cache
def _installed() -> MethodTable:
    return read_cards(_PACKAGE)


def _words(card: Card) -> str:
    return " ".join((card.name, card.class_, card.room, card.title, card.estimand, *card.tags)).casefold()


def _read_card(path: Path, package: Path) -> Card:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InvalidCard(f"{path}: {error}") from error
    if "room" in table or "class_" in table:
        raise InvalidCard(f"{path}: unknown key(s) room or class_: the room is the folder, the class's key is 'class'")
    if "class" in table:
        table["class_"] = table.pop("class")
    table["room"] = ".".join(path.parent.relative_to(package).parts)
    if isinstance(table.get("paper"), dict):
        table["paper"] = _record(Paper, table["paper"], f"{path} [paper]")
    card = _record(Card, table, str(path))
    if card.name != path.stem:
        raise InvalidCard(f"{path}: name must be the file's name {path.stem!r}, got {card.name!r}")
    if not (card.paper.arxiv or card.paper.doi):
        raise InvalidCard(f"{path} [paper]: arxiv or doi must be given")
    if ":" not in card.case:
        raise InvalidCard(f"{path}: case must be 'module:function', got {card.case!r}")
    return card


def _record(kind: type[Record], table: dict[str, Any], place: str) -> Record:
    """Build a dataclass from a TOML table, refusing what does not fit."""
    known = {entry.name: entry for entry in fields(kind)}
    required = {name for name, entry in known.items() if entry.default is entry.default_factory is MISSING}
    _refuse(place, "unknown", table.keys() - known.keys())
    _refuse(place, "missing", required - table.keys())
    return kind(**{name: _value(place, name, value, str(known[name].type)) for name, value in table.items()})


def _refuse(place: str, problem: str, keys: Iterable[str]) -> None:
    listed = sorted("class" if key == "class_" else key for key in keys)
    if listed:
        raise InvalidCard(f"{place}: {problem} key(s) {', '.join(listed)}")


def _value(place: str, name: str, value: Any, wanted: str) -> Any:
    if wanted == "str" and isinstance(value, str) and value.strip():
        return value
    if wanted == "int" and isinstance(value, int):
        return value
    if wanted == "Paper" and isinstance(value, Paper):
        return value
    if wanted == "tuple[str, ...]" and isinstance(value, list) and value and _all_text(value):
        return tuple(value)
    if wanted == "Mapping[str, str]" and isinstance(value, dict) and _all_text(value.values()):
        return value
    raise InvalidCard(f"{place}: {name} must be a non-empty {_KINDS[wanted]}, got {value!r}")


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and value.strip() for value in values)


_KINDS = {
    "str": "string",
    "int": "integer",
    "Paper": "table",
    "tuple[str, ...]": "list of strings",
    "Mapping[str, str]": "table of strings",
}
