"""Progress: silent in logs, a bar where somebody watches longer than a second."""

import io
import sys
import time

from mcstat.core.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(seconds, verbose=True):
    with progress_bar(3, "work", verbose) as advance:
        for _ in range(3):
            time.sleep(seconds / 3)
            advance()


def test_nothing_in_a_log(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    run(1.3)
    assert log.getvalue() == ""


def test_a_bar_on_a_terminal_after_a_second(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(0.1)
    assert "work" not in terminal.getvalue()
    run(1.4, verbose=False)
    assert "work" not in terminal.getvalue()
    run(1.4)
    assert "work" in terminal.getvalue()


def test_without_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    run(0.0)
