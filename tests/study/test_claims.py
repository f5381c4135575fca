"""Claims and their tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mcstat.core.errors import InvalidParameter
from mcstat.study import Claim, ClaimTable


def claim(**changes):
    fields = {"name": "bias", "setting": "n = 50", "source": "card, row 1", "measured": 0.5, "mcse": 0.01}
    return Claim(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"band": (0.4, 0.6)}, "reproduced"),
        ({"band": (0.5, 0.5)}, "reproduced"),
        ({"band": (-math.inf, 0.4)}, "not reproduced"),
        ({"band": (0.4, math.inf)}, "reproduced"),
        ({"band": (0.4, 0.6), "measured": math.nan}, "not reproduced"),
        ({"band": None}, "reported"),
        ({"band": (0.6, 0.7), "scale_ok": False, "note": "20 of 200 seeds"}, "not at this scale"),
    ],
)
def test_verdict_follows_from_the_band(changes, verdict):
    assert claim(**changes).verdict == verdict


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"band": (1.0, 0.0)}, "low <= high"),
        ({"band": (math.nan, 0.0)}, "low <= high"),
        ({"band": 1.0}, "two numbers"),
        ({"band": (0.0, 1.0, 2.0)}, "two numbers"),
        ({"band": ("0", "1")}, "number"),
        ({"mcse": -1.0}, "negative"),
        ({"measured": "0.5"}, "measured must be a number"),
        ({"scale_ok": False}, "too small"),
        ({"published": 0.5}, "published must be a string"),
        ({"name": None}, "name must be a string"),
    ],
)
def test_bad_input(changes, words):
    with pytest.raises(InvalidParameter, match=words):
        claim(**changes)


@pytest.mark.parametrize(
    ("measured", "mcse", "band", "verdict"),
    [
        (0.95, 0.01, (0.9, 1.1), "reproduced"),
        (0.95, 0.03, (0.9, 1.1), "not at this scale"),
        (1.3, 0.05, (0.9, 1.1), "not reproduced"),
        (1.3, 0.2, (0.9, 1.1), "not at this scale"),
        (5.0, 1.0, (-np.inf, 4.0), "not at this scale"),
        (1.0, np.nan, (0.9, 1.0), "reproduced"),
        (1.0, 0.0, (0.9, 1.0), "reproduced"),
        (1.0, 5.0, None, "reported"),
    ],
)
def test_a_first_look_withholds_what_its_error_leaves_open(measured, mcse, band, verdict):
    claim = Claim(name="a", setting="b", source="c", measured=measured, mcse=mcse, band=band, note="said")
    looked = ClaimTable([claim]).first_look()[0]
    assert looked.verdict == verdict
    assert looked.note.startswith("said")
    assert looked.first_look() == looked


def test_keywords_only():
    with pytest.raises(TypeError):
        Claim("bias", "n = 50", "card")


def test_figure_stops_at_the_second_digit_of_its_error():
    assert claim(measured=7912.3456, mcse=312.0).figure == "7912 +- 312"
    assert claim(measured=0.94812, mcse=0.0049).figure == "0.9481 +- 0.0049"
    assert claim(measured=0.25, mcse=math.nan, unit="s").figure == "0.25 s"
    assert claim(measured=0.0, mcse=0.1).figure == "0.00 +- 0.10"


def test_table_prints_counts_and_makes_a_frame():
    table = ClaimTable([claim(band=(0.4, 0.6)), claim(name="<b>", band=(0.6, math.inf), note="why")])
    table += [claim(name="speed")]
    assert isinstance(table, ClaimTable)
    assert table.counts() == {"reproduced": 1, "not reproduced": 1, "reported": 1}
    text = str(table)
    for part in ("bias [n = 50]", ">= 0.6", "not reproduced", "why"):
        assert part in text
    frame = table.to_frame()
    assert list(frame["verdict"]) == ["reproduced", "not reproduced", "reported"]
    assert frame["low"].tolist()[:2] == [0.4, 0.6]
    assert math.isnan(frame["high"][2])
    page = table._repr_html_()
    assert "&lt;b&gt;" in page
    assert 'class="verdict not-reproduced"' in page
    assert str(ClaimTable()) == "no claims"
    assert ClaimTable().to_frame().empty


def test_a_table_holds_claims_only():
    with pytest.raises(InvalidParameter, match="must hold Claims"):
        ClaimTable(["bias"])
