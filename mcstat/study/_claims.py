"""Published claims beside what was measured: each with its Monte Carlo error and the verdict of a band set before."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

from mcstat.core._svg import gauge
from mcstat.core.errors import InvalidParameter
from mcstat.study._digits import digits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NOT_AT_THIS_SCALE", "NOT_REPRODUCED", "REPORTED", "REPRODUCED", "VERDICTS", "Claim", "ClaimTable", "badge"]

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_AT_THIS_SCALE, REPORTED = "not at this scale", "reported"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, NOT_AT_THIS_SCALE, REPORTED)
_COLUMNS = ("name", "setting", "source", "published", "measured", "mcse", "low", "high", "unit", "verdict", "note")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One figure that somebody published or promised, and what we measured.

    Parameters
    ----------
    name : str
        What is measured.
    setting : str
        Where: model, sizes, number of seeds.
    source : str
        Who said so: "card, claims row 1", a table of the paper.
    published : str or None
        The figure there, in its own words.
    measured : float
    mcse : float
        Monte Carlo standard error of ``measured``; the spread for speeds; NaN for what has no error.
    band : (float, float) or None
        ``measured`` must lie in it, ends included; set before measuring. Infinite ends make it one-sided. None where
        nothing is promised and the figure is only reported.
    unit, note : str
    scale_ok : bool
        False where the run is too small to say anything about the claim; ``note`` must then say why.

    Raises
    ------
    InvalidParameter
        If the band is empty, a number is none, or a run too small gives no reason.

    Examples
    --------
    >>> from mcstat.study import Claim
    >>> claim = Claim(name="variance below plain Monte Carlo", setting="200 seeds", source="card, claims row 1",
    ...               published="about 8000 times", measured=7900.0, mcse=300.0, band=(5000, float("inf")))
    >>> claim.verdict
    'reproduced'
    """

    name: str
    setting: str
    source: str
    published: str | None = None
    measured: float
    mcse: float = math.nan
    band: tuple[float, float] | None = None
    unit: str = ""
    note: str = ""
    scale_ok: bool = True

    def __post_init__(self) -> None:
        """Check the fields and make plain numbers of them."""
        for field in ("name", "setting", "source", "unit", "note"):
            if not isinstance(getattr(self, field), str):
                raise InvalidParameter(f"{field} must be a string, got {getattr(self, field)!r}")
        if self.published is not None and not isinstance(self.published, str):
            raise InvalidParameter(f"published must be a string or None, got {self.published!r}")
        object.__setattr__(self, "measured", _number("measured", self.measured))
        object.__setattr__(self, "mcse", _number("mcse", self.mcse))
        if self.mcse < 0:
            raise InvalidParameter(f"mcse must not be negative, got {self.mcse}")
        if self.band is not None:
            object.__setattr__(self, "band", _band(self.band))
        if not self.scale_ok and not self.note:
            raise InvalidParameter("note must say why the run is too small, got an empty note with scale_ok=False")

    @property
    def verdict(self) -> str:
        """What the band says: reproduced, not reproduced, not at this scale, or reported where there is no band."""
        if not self.scale_ok:
            return NOT_AT_THIS_SCALE
        if self.band is None:
            return REPORTED
        low, high = self.band
        return REPRODUCED if low <= self.measured <= high else NOT_REPRODUCED

    def first_look(self) -> Self:
        """The claim of a small run: its verdict is withheld within two Monte Carlo errors of an end of the band."""
        near = self.band is not None and any(abs(self.measured - end) < 2 * self.mcse for end in self.band)
        if not (near and self.scale_ok):
            return self
        why = "a small run, within two Monte Carlo errors of the band's end"
        return replace(self, scale_ok=False, note=f"{self.note}; {why}" if self.note else why)

    @property
    def figure(self) -> str:
        """The measured number with its Monte Carlo error, as text."""
        number, error = digits(self.measured, self.mcse)
        return f"{number}{' +- ' if error else ''}{error}{' ' if self.unit else ''}{self.unit}"

    @property
    def band_text(self) -> str:
        """The band as text; empty where there is none."""
        if self.band is None:
            return ""
        low, high = self.band
        if math.isinf(low):
            return f"<= {high:.4g}"
        return f">= {low:.4g}" if math.isinf(high) else f"{low:.4g} to {high:.4g}"


class ClaimTable(tuple[Claim, ...]):
    """Claims that print as a table.

    Parameters
    ----------
    claims : iterable of Claim
    """

    __slots__ = ()

    def __new__(cls, claims: Iterable[Claim] = ()) -> Self:
        """Check that all are claims."""
        listed = tuple(claims)
        for claim in listed:
            if not isinstance(claim, Claim):
                raise InvalidParameter(f"claims must hold Claims, got {type(claim).__name__}")
        return super().__new__(cls, listed)

    def __add__(self, other: Iterable[Claim]) -> ClaimTable:  # type: ignore[override]  # a table stays a table
        """Put both in one table, in their order."""
        return ClaimTable((*self, *other))

    def first_look(self) -> ClaimTable:
        """Withhold verdicts of a small run: those within two Monte Carlo errors of an end of their band."""
        return ClaimTable(claim.first_look() for claim in self)

    def to_frame(self) -> pd.DataFrame:
        """One row a claim.

        Returns
        -------
        DataFrame
            Columns name, setting, source, published, measured, mcse, low and high (ends of the band, NaN without
            one), unit, verdict, note.
        """
        import pandas as pd

        return pd.DataFrame([_row(claim) for claim in self], columns=list(_COLUMNS))

    def counts(self) -> dict[str, int]:
        """How many claims have each verdict; verdicts that do not occur are left out."""
        verdicts = [claim.verdict for claim in self]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}

    def __repr__(self) -> str:
        if not self:
            return "no claims"
        rows = [("claim", "published", "measured", "band", "verdict")]
        rows += [
            (f"{claim.name} [{claim.setting}]", claim.published or "-", claim.figure, claim.band_text, claim.verdict)
            for claim in self
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "-" * max(map(len, lines)))
        notes = [f"{claim.name} [{claim.setting}]: {claim.note}" for claim in self if claim.note]
        return "\n".join(lines + notes)

    def _repr_html_(self) -> str:
        titles = ("claim", "published", "measured", "band", "verdict")
        head = "".join(f"<th>{title}</th>" for title in titles)
        rows = "".join(map(_html_row, self))
        return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _number(name: str, value: Any) -> float:
    """A real number; NaN and infinity are legitimate measurements."""
    if not isinstance(value, Real):
        raise InvalidParameter(f"{name} must be a number, got {value!r}")
    return float(value)


def _band(band: Any) -> tuple[float, float]:
    try:
        low, high = (_number("band", end) for end in band)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"band must be two numbers (low, high), got {band!r}") from error
    if not low <= high:
        raise InvalidParameter(f"band must be (low, high) with low <= high, got {band!r}")
    return low, high


def _row(claim: Claim) -> tuple[Any, ...]:
    low, high = (math.nan, math.nan) if claim.band is None else claim.band
    return (
        claim.name,
        claim.setting,
        claim.source,
        claim.published,
        claim.measured,
        claim.mcse,
        low,
        high,
        claim.unit,
        claim.verdict,
        claim.note,
    )


def _html_row(claim: Claim) -> str:
    said = "".join(f"<small>{html.escape(text)}</small>" for text in (claim.setting, claim.note) if text)
    picture = "" if claim.band is None else gauge(claim.measured, claim.mcse, *claim.band)
    cells = {
        "claim": f"<div>{html.escape(claim.name)}{said}</div>",
        "published": f"<div>{html.escape(claim.published or '-')}<small>{html.escape(claim.source)}</small></div>",
        "measured": f'<span class="number">{html.escape(claim.figure)}</span>',
        "band": f'<div><span class="number">{html.escape(claim.band_text) or "-"}</span><br>{picture}</div>',
        "verdict": badge(claim.verdict),
    }
    return "<tr>" + "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in cells.items()) + "</tr>"


def badge(verdict: str) -> str:
    """A verdict as HTML, in the colour that the page's style gives it."""
    return f'<span class="verdict {verdict.replace(" ", "-")}">{verdict}</span>'
