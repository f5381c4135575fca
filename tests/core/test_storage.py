"""Saved results: what goes in comes out, and a file that lies is refused without being believed."""

import contextlib
import io
import json
import struct
import time
import zipfile

import numpy as np
import pytest

from mcstat import Estimate
from mcstat.core.errors import InvalidFileError
from mcstat.core.laws import Binomial


def full():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, 2))
    return Estimate(
        value=[1.5, np.nan],
        names=["a", "b é"],
        cov=[[1.0, 0.5], [0.5, 2.0]],
        coords={"time": [2020, 2021], "group": ["x", "y"]},
        draws=rng.normal(size=(2, 5, 2)),
        log_weights=rng.normal(size=(2, 5)),
        influence=scores,
        clusters=[0, 0, 1, 1, 2, 2],
        sample_id="s",
        kind="bootstrap",
        mcse=[0.1, np.inf],
        df=7.5,
        estimand="e",
        method="m",
        diagnostics={"khat": [0.1, np.inf], "stop": "x", "flag": True, "none": None},
        warnings=["w"],
        info={"n": 6, "entropy": {"entropy": 2**100, "spawn_key": [1]}},
    )


@pytest.mark.parametrize("name", ["e.mcstat", "é.zip"])
def test_round_trip(tmp_path, name):
    est = full()
    est.save(tmp_path / name)
    copy = Estimate.load(str(tmp_path / name))
    for field in ("value", "std_error", "cov", "draws", "log_weights", "influence", "clusters", "mcse"):
        np.testing.assert_array_equal(getattr(copy, field), getattr(est, field))
        assert getattr(copy, field).dtype == getattr(est, field).dtype
    for field in ("names", "sample_id", "kind", "df", "estimand", "method", "diagnostics", "warnings", "info"):
        assert getattr(copy, field) == getattr(est, field)
    for label, array in est.coords.items():
        np.testing.assert_array_equal(copy.coords[label], array)


def test_law_comes_back(tmp_path):
    Estimate(value=[0.1, 0.2], law=Binomial([1, 2], [10, 10])).save(tmp_path / "e")
    law = Estimate.load(tmp_path / "e").law
    assert isinstance(law, Binomial)
    assert law.successes.tolist() == [1, 2]


def npy(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def header(shape, descr="<f8", body=b""):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


META = {"schema": 1, "names": ["a"], "kind": "frequentist"}


def members(meta=META, **arrays):
    arrays = {"value": npy(np.array([1.0])), "std_error": npy(np.array([0.1]))} | arrays
    files = {f"{name}.npy": content for name, content in arrays.items()}
    return [("meta.json", meta if isinstance(meta, (bytes, str)) else json.dumps(meta)), *files.items()]


class Bomb:
    """Unpickling this would write a file."""

    def __reduce__(self):
        return (open, ("owned", "w"))


HOSTILE = {
    "missing meta": members()[1:],
    "missing value": [members()[0]],
    "meta twice": [*members(), members()[0]],
    "array twice": [*members(), members()[1]],
    "meta not json": members(meta="{"),
    "meta not utf-8": members(meta=b"\xff\xfe\x00"),
    "meta a list": members(meta=[]),
    "meta a number": members(meta="3"),
    "deep meta": members(meta="[" * 100_000),
    "no schema": members(meta={"names": ["a"]}),
    "schema a string": members(meta=META | {"schema": "1"}),
    "newer schema": members(meta=META | {"schema": 2}),
    "names wrong length": members(meta=META | {"names": ["a", "b"]}),
    "names numbers": members(meta=META | {"names": [1]}),
    "names NaN": members(meta=META | {"names": [float("nan")]}),
    "kind unknown": members(meta=META | {"kind": "x"}),
    "df a string": members(meta=META | {"df": "7"}),
    "coords a number": members(meta=META | {"coords": 3}),
    "coords without array": members(meta=META | {"coords": ["time"]}),
    "diagnostics a list": members(meta=META | {"diagnostics": [1]}),
    "law of the system": members(meta=META | {"law": "os:system"}),
    "law is a function": members(meta=META | {"law": "mcstat.core.storage:load_estimate"}),
    "law is no law": members(meta=META | {"law": "mcstat.core.estimate:Estimate"}),
    "law is abstract": members(meta=META | {"law": "mcstat.core.laws:Law"}),
    "law is nowhere": members(meta=META | {"law": "mcstat.nowhere:Law"}),
    "law climbs": members(meta=META | {"law": "mcstat.core.laws..os:system"}),
    "law without arrays": members(meta=META | {"law": "mcstat.core.laws:Binomial"}),
    "objects": members(value=npy(np.array([Bomb()], dtype=object), allow_pickle=True)),
    "huge shape": members(value=header((10**9,))),
    "huge shape with overflow": members(value=header((2**32, 2**32))),
    "negative shape": members(value=header((-1,), body=b"\0" * 8)),
    "header lies": members(value=header((5,), body=b"\0" * 8)),
    "header cut": members(value=npy(np.array([1.0]))[:20]),
    "not an array": members(value=b"hello"),
    "version 3": members(value=b"\x93NUMPY\x03\x00" + npy(np.array([1.0]))[8:]),
    "header runs code": members(value=header("__import__('os').system('touch owned')")),
    "complex value": members(value=npy(np.array([1j]))),
    "strings as value": members(value=npy(np.array(["x"]))),
    "cov of another size": members(cov=npy(np.eye(3))),
}


def write(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_files_are_refused(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    write("file", HOSTILE[attack])
    started = time.process_time()
    with pytest.raises(InvalidFileError):
        Estimate.load("file")
    assert time.process_time() - started < 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "..\\escaped", "value.npy/../../escaped"])  # noqa: S108
def test_names_that_climb_are_never_written(tmp_path, monkeypatch, name):
    folder = tmp_path / "inner"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write("file", [*members(), (name, "x")])
    assert float(Estimate.load("file")) == 1.0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "inner"]


def test_bombs_are_refused_before_they_are_read(tmp_path):
    write(tmp_path / "ratio", [*members(), ("bomb.npy", b"\0" * 50_000_000)], zipfile.ZIP_DEFLATED)
    write(tmp_path / "meta", [("meta.json", b" " * 70_000_000 + json.dumps(META).encode()), *members()[1:]])
    for name in ("ratio", "meta"):
        with pytest.raises(InvalidFileError):
            Estimate.load(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", b"\x80\x04\x95cos\nsystem\n"])
def test_what_is_no_zip(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidFileError, match="is not a saved result"):
        Estimate.load(tmp_path / "file")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_truncated(tmp_path, part):
    full().save(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content[: int(part * len(content))])
    with pytest.raises(InvalidFileError):
        Estimate.load(tmp_path / "file")


def test_flipped_bytes_never_crash(tmp_path):
    full().save(tmp_path / "file")
    content = bytearray((tmp_path / "file").read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = content.copy()
        for at in rng.integers(len(content), size=3):
            damaged[at] ^= int(rng.integers(1, 256))
        (tmp_path / "file").write_bytes(damaged)
        with contextlib.suppress(InvalidFileError):
            Estimate.load(tmp_path / "file")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Estimate.load(tmp_path / "nothing")


def test_unknown_keys_are_ignored(tmp_path):
    write(tmp_path / "file", [*members(meta=META | {"later": 1}), ("later.npy", npy(np.zeros(3)))])
    assert float(Estimate.load(tmp_path / "file")) == 1.0
