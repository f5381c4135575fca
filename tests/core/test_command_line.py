"""The commands of ``python -m mcstat``."""

import sys

import pytest

import mcstat
from mcstat.__main__ import find_demos, main
from mcstat.core import _doctor, registry
from mcstat.core.registry import methods

DEMO = """
from mcstat.core._svg import bar_chart
from mcstat.core.estimate import Estimate
from mcstat.core.page import Section

def run():
    items = [Estimate(value=3.1, std_error=0.2), bar_chart(["a"], [1.0], caption="one bar")]
    return Section("Urns", "Balls were drawn.", items)
"""


@pytest.fixture
def urns(tmp_path, monkeypatch):
    """A room with a demo, in a package folder that stands in for mcstat's own."""
    room = tmp_path / "mcstat" / "fake_urns"
    room.mkdir(parents=True)
    (room / "__init__.py").touch()
    (room / "_demo.py").write_text(DEMO, encoding="utf-8")
    monkeypatch.setattr(mcstat, "__path__", [str(room.parent)])
    yield
    for name in [name for name in sys.modules if name.startswith("mcstat.fake_urns")]:
        del sys.modules[name]


@pytest.mark.parametrize("room", [[], ["fake_urns"]])
def test_demo_prints_estimates_and_writes_a_page(urns, room, tmp_path, capsys):
    assert main(["demo", *room, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert str(mcstat.Estimate(value=3.1, std_error=0.2)) in printed
    assert "Balls were drawn." in printed
    assert "[picture] one bar" in printed
    assert "<svg" not in printed
    page = tmp_path / "out" / "index.html"
    assert str(page) in printed
    assert "<svg" in page.read_text(encoding="utf-8")


def test_demo_refuses_a_room_without_one(urns, capsys):
    assert main(["demo", "nowhere"]) == 2
    assert "ROOM must be one of fake_urns, got 'nowhere'" in capsys.readouterr().err


def test_demo_of_a_room_whose_extra_is_missing(urns, tmp_path, capsys):
    error = 'from mcstat.core.errors import MissingExtraError\nraise MissingExtraError("this needs urns")\n'
    (tmp_path / "mcstat" / "fake_urns" / "_demo.py").write_text(error, encoding="utf-8")
    assert main(["demo", "--out", str(tmp_path / "out")]) == 0
    assert "fake_urns: left out, this needs urns" in capsys.readouterr().out
    assert main(["demo", "fake_urns"]) == 2
    assert "this needs urns" in capsys.readouterr().err


def test_the_rooms_with_a_demo_are_found():
    for room, module in find_demos().items():
        assert module == f"mcstat.{room}._demo"


def test_list_prints_what_find_finds(capsys):
    assert main(["list", "no", "such", "words"]) == 1
    assert "no methods" in capsys.readouterr().out
    assert main(["list"]) == (0 if methods() else 1)
    assert capsys.readouterr().out == f"{methods()}\n"


def test_cite_prints_bibtex_and_refuses_unknown_names(monkeypatch, capsys):
    paper = registry.Paper(authors=("A. Author",), title="T", year=2000, doi="10.1/x")
    text = {name: "x" for name in ("room", "title", "estimand", "input", "gives", "case")}
    card = registry.Card(name="urn", class_="Urn", paper=paper, tags=("t",), **text)
    monkeypatch.setattr(registry, "_installed", lambda: registry.MethodTable([card]))
    assert main(["cite", "urn"]) == 0
    assert "@misc{urn," in capsys.readouterr().out
    assert main(["cite", "nothing"]) == 2
    assert "'nothing'" in capsys.readouterr().err


def test_doctor_finds_this_installation_healthy(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "compile check: good" in printed
    assert mcstat.__version__ in printed
    assert "numba" in printed


def test_doctor_fails_on_a_missing_core_package(monkeypatch, capsys):
    monkeypatch.setattr(_doctor, "_version", lambda name: None if name == "numba" else "1")
    assert main(["doctor"]) == 1
    assert "missing: numba" in capsys.readouterr().out


def test_doctor_fails_when_the_compiler_does(monkeypatch, capsys):
    monkeypatch.setattr(_doctor, "_sum_of_squares", lambda values: unknown_name)  # noqa: F821
    assert main(["doctor"]) == 1
    assert "compile check: FAILED" in capsys.readouterr().out
