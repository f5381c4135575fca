"""Reading, drawing and keeping a result."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from mcstat import Estimate
from mcstat.core.errors import InvalidData, InvalidFileError
from mcstat.study import SimulationStudy, StudyResult
from tests.study.methods import normal_data, t_interval


def sometimes(x):
    if x[0] > 2.5:
        raise ValueError('<no> "luck" \N{GREEK SMALL LETTER MU}')
    return Estimate(value=[x.mean(), x.max()], std_error=[0.3, np.inf], names=["value", "top"])


@pytest.fixture(scope="module")
def result():
    study = SimulationStudy(normal_data, {"t": t_interval, "some<times>": sometimes}, truth={"value": 2.0})
    return study.run(60, random_state=5)


def test_summary_says_it_all(result):
    text = str(result.summary())
    assert text.startswith("Simulation study: 60 replicates, 95 % intervals, power against 0\n")
    table = result.to_frame().set_index(["method", "term"])
    bias, mcse = table.loc[("t", "value"), ["bias", "bias_mcse"]]
    assert f"{bias:.3f} ({mcse:.3f})" in text
    assert f"some<times> failed {len(result.failures)} time(s) with ValueError, first in replicate" in text
    assert repr(result) == text


def test_html_escapes_names_and_messages(result):
    html = result._repr_html_()
    assert "some&lt;times&gt;" in html
    assert "&lt;no&gt;" in html
    assert "<times>" not in html
    assert "<no>" not in html


def test_coverage_plot(result):
    from matplotlib import pyplot as plt

    ax = result.plot_coverage()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["t: value", "some<times>: value"]
    line, points = ax.get_lines()
    assert set(line.get_xdata()) == {0.95}
    table = result.to_frame().dropna(subset="coverage")
    assert list(points.get_xdata()) == list(table["coverage"])
    ends = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])
    assert np.all((ends[:, 0] < table["coverage"]) & (table["coverage"] <= ends[:, 1]))
    assert result.plot_coverage(ax) is ax
    plt.close(ax.figure)


def test_full_coverage_is_not_drawn_as_certain():
    from matplotlib import pyplot as plt

    sure = SimulationStudy(normal_data, {"wide": lambda x: Estimate(value=0.0, std_error=99.0)}, truth=0.0)
    ax = sure.run(20, random_state=5).plot_coverage()
    (low, high) = ax.collections[0].get_segments()[0][:, 0]
    # Clopper and Pearson for 20 of 20: the lower end solves p^20 = 0.025.
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    plt.close(ax.figure)


def test_coverage_plot_wants_a_truth():
    unknown = SimulationStudy(normal_data, {"t": t_interval}).run(5, random_state=5)
    with pytest.raises(InvalidData, match="no coverage to draw"):
        unknown.plot_coverage()


def test_round_trip(result, tmp_path):
    path = tmp_path / "study"
    result.save(path)
    loaded = StudyResult.load(path)
    pd.testing.assert_frame_equal(loaded.replicates, result.replicates, check_exact=True)
    pd.testing.assert_frame_equal(loaded.failures, result.failures)
    for name in ("methods", "n_replicates", "level", "null", "entropy"):
        assert getattr(loaded, name) == getattr(result, name)


def test_round_trip_of_a_result_without_answers(tmp_path):
    empty = StudyResult.from_rows([], [], ("t",), 0, 0.95, 0.0, {"entropy": 2**127, "spawn_key": []})
    empty.save(tmp_path / "empty.npz")
    loaded = StudyResult.load(tmp_path / "empty.npz")
    assert loaded.entropy == empty.entropy
    pd.testing.assert_frame_equal(loaded.replicates, empty.replicates)


def damaged(path, **changes):
    with zipfile.ZipFile(path) as archive:
        page = json.loads(archive.read("meta.json"))
        parts = {name: archive.read(name) for name in archive.namelist()}
    page.update(changes.pop("page", {}))
    parts["meta.json"] = json.dumps(page)
    for name, array in changes.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        parts[f"{name}.npy"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "changes",
    [
        {"page": {"schema": 99}},
        {"page": {"level": 2.0}},
        {"page": {"n_replicates": -1}},
        {"page": {"methods": None}},
        {"page": {"failures": [[1, 2]]}},
        {"codes": np.zeros((2, 3), dtype=np.int64)},
        {"codes": np.zeros((2, 3))},
        {"numbers": np.zeros(3)},
        {"numbers": np.array([{}], dtype=object)},
    ],
)
def test_damaged_files_are_refused(result, tmp_path, changes):
    path = tmp_path / "study.npz"
    result.save(path)
    damaged(path, **changes)
    with pytest.raises(InvalidFileError, match=r"study\.npz"):
        StudyResult.load(path)


@pytest.mark.parametrize("code", [-1, 7])
def test_codes_out_of_range_are_refused(result, tmp_path, code):
    path = tmp_path / "study.npz"
    result.save(path)
    with np.load(path) as stored:
        codes = stored["codes"].copy()
    codes[0, 1] = code
    damaged(path, codes=codes)
    with pytest.raises(InvalidFileError):
        StudyResult.load(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off"])
def test_files_that_are_something_else_are_refused(tmp_path, content):
    path = tmp_path / "study.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidFileError):
        StudyResult.load(path)


def test_a_truncated_file_is_refused(result, tmp_path):
    path = tmp_path / "study.npz"
    result.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidFileError):
        StudyResult.load(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        StudyResult.load(tmp_path / "none.npz")
