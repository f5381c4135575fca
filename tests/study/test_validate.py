"""python -m mcstat validate: what it finds, what it runs, what it writes, and how it ends."""

import json
import sys

import pytest

import mcstat
from mcstat.__main__ import main
from mcstat.core import registry
from mcstat.core.registry import MethodTable
from mcstat.study import Claim, ClaimTable, _validate

GOOD = """
from mcstat.study import Claim, ClaimTable

def claims(quick, n_jobs=1):
    shared = dict(setting=f"quick is {quick}", source="here")
    return ClaimTable([Claim(name="kept", measured=1.0, band=(0, 2), **shared),
                       Claim(name="broken promise", measured=3.0, band=(0, 2), **shared)])
"""
BAD = "def claims(quick, n_jobs=1):\n    raise ZeroDivisionError('by a bug')\n"
LONELY = """
from mcstat.core.extras import import_extra

def claims(quick, n_jobs=1):
    import_extra("nosuch", "peers")
"""
NUMBER = "def claims(quick, n_jobs=1):\n    return 3\n"
NO_CLAIMS = "raise RuntimeError('must not be imported')\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A source checkout with its own validation folder and no methods."""
    scripts = {"fake_urns/good": GOOD, "fake_urns/reference": NO_CLAIMS, "fake_balls/bad": BAD,
               "fake_balls/lonely": LONELY, "fake_balls/number": NUMBER}  # fmt: skip
    (tmp_path / "mcstat").mkdir()
    for name, text in scripts.items():
        path = tmp_path / "validation" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    stashed = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "validation"}
    monkeypatch.setattr(mcstat, "__path__", [str(tmp_path / "mcstat")])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(registry, "_installed", lambda: MethodTable())
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "validation"]:
        del sys.modules[name]
    sys.modules.update(stashed)


def run(checkout, *names):
    folder = checkout / "out"
    code = main(["validate", *names, "--quick", "--report", str(folder)])
    return code, json.loads((folder / "claims.json").read_text(encoding="utf-8"))["sections"]


def test_a_claim_that_is_not_reproduced_is_no_error(checkout, capsys):
    code, sections = run(checkout, "good")
    assert code == 0
    assert list(sections) == ["fake_urns.good"]
    assert [claim["verdict"] for claim in sections["fake_urns.good"]["claims"]] == ["reproduced", "not reproduced"]
    assert sections["fake_urns.good"]["command"] == "python -m mcstat validate fake_urns.good --quick"
    printed = capsys.readouterr().out
    assert "kept [quick is True]" in printed
    assert str(checkout / "out" / "index.html") in printed


def test_a_crash_is_shown_and_the_others_still_run(checkout, capsys):
    code, sections = run(checkout)
    assert code == 1
    assert list(sections) == ["fake_balls.bad", "fake_balls.lonely", "fake_balls.number", "fake_urns.good"]
    assert sections["fake_balls.bad"]["crashed"] == "ZeroDivisionError: by a bug"
    assert "must return a ClaimTable, got int" in sections["fake_balls.number"]["crashed"]
    assert len(sections["fake_urns.good"]["claims"]) == 2
    assert "crashed: ZeroDivisionError: by a bug" in capsys.readouterr().out
    assert "by a bug" in (checkout / "out" / "index.html").read_text(encoding="utf-8")


def test_a_missing_peer_is_not_run_and_no_error(checkout):
    code, sections = run(checkout, "lonely", "fake_urns")
    assert code == 0
    assert "mcstat[peers]" in sections["fake_balls.lonely"]["not run"]


def test_unknown_names_are_refused_before_anything_runs(checkout, capsys):
    assert main(["validate", "nothing", "--report", str(checkout / "out")]) == 2
    assert "NAME must be one of bad, fake_balls" in capsys.readouterr().err
    assert not (checkout / "out").exists()


def test_without_a_source_checkout_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mcstat, "__path__", [str(tmp_path / "mcstat")])
    assert main(["validate"]) == 2
    assert "source checkout" in capsys.readouterr().err


def test_ctrl_c_leaves_a_report_of_what_was_finished(checkout, monkeypatch):
    (checkout / "validation" / "fake_urns" / "stop.py").write_text(
        "def claims(quick, n_jobs=1):\n    raise KeyboardInterrupt\n", encoding="utf-8"
    )
    with pytest.raises(KeyboardInterrupt):
        main(["validate", "fake_urns", "--report", str(checkout / "out")])
    assert "broken promise" in (checkout / "out" / "index.html").read_text(encoding="utf-8")


def test_every_method_and_script_of_this_checkout_is_found():
    jobs = _validate.find_jobs()
    titles = {job.title for job in jobs}
    assert {"importance.adaptive_importance_sampler", "peers.sobol_beam"} <= titles
    assert {f"calibration: {card.name}" for card in registry.methods()} <= titles
    assert not any("reference" in title for title in titles)


def test_calibrations_share_a_section_and_a_crash_has_its_own(tmp_path, monkeypatch):
    from validation.calibration import coverage

    cards = list(registry.methods())

    def method_claims(card, quick, n_jobs):
        if card is cards[-1]:
            raise ZeroDivisionError("by a bug")
        return ClaimTable([Claim(name=card.name, setting=f"{quick}, {n_jobs}", source="here", measured=0.95)])

    monkeypatch.setattr(coverage, "method_claims", method_claims)
    assert main(["validate", "calibration", "--n-jobs", "3", "--report", str(tmp_path)]) == 1
    sections = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))["sections"]
    assert list(sections) == ["calibration", f"calibration: {cards[-1].name}"]
    assert [claim["name"] for claim in sections["calibration"]["claims"]] == [card.name for card in cards[:-1]]
    assert {claim["setting"] for claim in sections["calibration"]["claims"]} == {"False, 3"}
    assert sections["calibration"]["command"] == "python -m mcstat validate calibration"


def test_a_method_is_found_by_its_name_its_class_and_its_room():
    jobs = _validate.find_jobs()
    for name in ("sobol_indices", "SobolIndices", "importance"):
        titles = {job.title for job in _validate._chosen(jobs, [name])}
        assert "calibration: sobol_indices" in titles
        assert ("importance.adaptive_importance_sampler" in titles) == (name == "importance")
