"""The report is one page that stands alone, and the same claims as JSON."""

import json
import math
import re
from pathlib import Path

import pytest

import mcstat
from mcstat.core.errors import InvalidParameter, MissingExtraError
from mcstat.study import Claim, ClaimTable, report

NASTY = "<script>alert('&')</script>"


def crash():
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ZeroDivisionError(NASTY) from error
    except ZeroDivisionError as error:
        return error


@pytest.fixture
def tables():
    shared = {"setting": "n = 50", "source": "card, row 1"}
    return {
        "importance.sampler": ClaimTable(
            [
                Claim(name=NASTY, measured=0.5, mcse=0.01, band=(0.4, math.inf), published="about 1", **shared),
                Claim(name="bias", measured=0.5, mcse=0.01, band=(-math.inf, 0.4), **shared),
                Claim(name="rate", measured=0.5, mcse=0.2, band=(0.4, 0.6), scale_ok=False, note="short", **shared),
                Claim(name="speed", measured=math.nan, unit="s", **shared),
            ]
        ),
        "broken": crash(),
        "lonely": MissingExtraError("this needs SALib"),
    }


def test_the_page_holds_every_claim_and_needs_nothing_else(tables, tmp_path):
    commands = {"importance.sampler": "python -m mcstat validate importance"}
    path = report(tables, tmp_path / "new" / "index.html", title="T", commands=commands, about={"entropy": 12345})
    page = path.read_text(encoding="utf-8")
    assert "<script" not in page
    # Links lead to the page itself only.
    assert not re.search(r"src=|href=(?!\"#)", page)
    for target in re.findall(r'href="#([^"]*)"', page):
        assert f'id="{target}"' in page
    assert "prefers-color-scheme: dark" in page
    for words in ("reproduced", "not reproduced", "not at this scale", "reported", "crashed", "not run"):
        assert f">{words}</span>" in page
    assert page.count('class="gauge"') == 3
    for words in (commands["importance.sampler"], "12345", mcstat.__version__, "card, row 1", "about 1", "SALib"):
        assert words in page
    assert page.count("Traceback") == 2
    assert page.count("test_report.py&quot;, line") >= 2
    assert str(Path(__file__).parent) not in page
    assert "ZeroDivisionError: &lt;script&gt;" in page


def test_the_json_holds_the_same_claims(tables, tmp_path):
    report(tables, tmp_path / "index.html", about={"entropy": 12345})
    text = (tmp_path / "claims.json").read_text(encoding="utf-8")
    assert "Infinity" not in text
    assert "NaN" not in text
    found = json.loads(text)
    assert found["about"]["entropy"] == 12345
    assert found["about"]["mcstat"] == mcstat.__version__
    claims = found["sections"]["importance.sampler"]["claims"]
    assert [claim["verdict"] for claim in claims] == ["reproduced", "not reproduced", "not at this scale", "reported"]
    assert claims[0]["band"] == [0.4, None]
    assert claims[1]["measured"] == 0.5
    assert claims[3]["measured"] is None
    assert found["sections"]["broken"]["crashed"] == f"ZeroDivisionError: {NASTY}"
    assert found["sections"]["lonely"]["not run"] == "MissingExtraError: this needs SALib"


def test_a_report_without_claims_is_a_page(tmp_path):
    assert report({}, tmp_path / "index.html").exists()


def test_tables_must_be_tables(tmp_path):
    with pytest.raises(InvalidParameter, match="must be a ClaimTable or an Exception"):
        report({"a": [1.0]}, tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()
