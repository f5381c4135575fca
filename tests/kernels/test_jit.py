"""The cache of compiled kernels: found again by a new process, and left behind by an edit of any kernel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import mcstat
from mcstat.kernels import _jit

INNER = """
from mcstat.kernels._jit import kernel

@kernel
def inner(x):
    return x + 1.0
"""
OUTER = """
from mcstat.kernels._inner import inner
from mcstat.kernels._jit import kernel

@kernel
def outer(x):
    return 2.0 * inner(x)
"""
ASK = """
from mcstat.importance._outer_kernels import outer
print(outer(3.0), sum(outer.stats.cache_hits.values()))
"""


@pytest.fixture
def package(tmp_path):
    """A copy of mcstat with a kernel in a room that calls a kernel of another file."""
    copy = tmp_path / "mcstat"
    shutil.copytree(Path(mcstat.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "kernels" / "_inner.py").write_text(INNER, encoding="utf-8")
    (copy / "importance" / "_outer_kernels.py").write_text(OUTER, encoding="utf-8")
    return copy


def ask(package):
    """What ``outer(3.0)`` is in a fresh process, and how often that process found it in the cache."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    # Bytecode is keyed by whole seconds: two edits within one would be one to Python.
    environment |= {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", ASK]
    done = subprocess.run(command, cwd=package.parent, env=environment, check=True, capture_output=True, text=True)
    answer, hits = done.stdout.split()
    return float(answer), int(hits)


def test_an_edit_of_an_inner_kernel_reaches_its_callers_in_other_files(package):
    assert ask(package) == (8.0, 0)
    # The cache works at all: otherwise the last line proves nothing.
    assert ask(package) == (8.0, 1)
    (package / "kernels" / "_inner.py").write_text(INNER.replace("x + 1.0", "x + 10.0"), encoding="utf-8")
    assert ask(package) == (26.0, 0)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small package folder that ``_jit`` takes for mcstat's own, without ``NUMBA_CACHE_DIR``."""
    root = tmp_path / "package"
    for name in ("kernels/linalg.py", "room/_method_kernels.py", "room/_method.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr(_jit, "_PACKAGE", root)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    return root


@pytest.mark.parametrize(
    ("name", "moves"), [("kernels/linalg.py", True), ("room/_method_kernels.py", True), ("room/_method.py", False)]
)
def test_the_folder_moves_with_kernels_only(tree, name, moves):
    before = _jit.cache_folder()
    (tree / name).write_text("x = 2\n", encoding="utf-8")
    assert (_jit.cache_folder() != before) == moves


def test_the_folder_moves_when_a_kernel_file_is_renamed(tree):
    before = _jit.cache_folder()
    (tree / "kernels" / "linalg.py").rename(tree / "kernels" / "algebra.py")
    assert _jit.cache_folder() != before


def test_the_folder_is_the_users_choice_else_beside_the_package_else_at_home(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert Path(_jit.cache_folder()).parent == tree / "__pycache__"
    shutil.rmtree(tree / "__pycache__")
    # A file where the folder should be stands for a package that can't be written to: root may write anywhere.
    (tree / "__pycache__").touch()
    assert Path(_jit.cache_folder()).parent == tmp_path / "home" / ".cache" / "mcstat"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "chosen"))
    assert Path(_jit.cache_folder()).parent == tmp_path / "chosen"


def test_other_peoples_caches_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "theirs")
    _jit.kernel(_jit._writable)
    assert numba.config.CACHE_DIR == "theirs"
    with pytest.raises(TypeError):
        _jit.kernel("not a function")
    assert numba.config.CACHE_DIR == "theirs"


def test_threads_leave_the_cache_folder_alone(monkeypatch, tmp_path):
    import threading

    import numba

    from mcstat.kernels import _jit

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    seen = []

    def look():
        for _ in range(2000):
            with _jit._our_cache():
                seen.append(numba.config.CACHE_DIR)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {_jit._CACHE_FOLDER}
    assert str(tmp_path) == numba.config.CACHE_DIR
