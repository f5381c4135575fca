"""The README's example is run as it stands, and prints what the README says it prints."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
def test_example_prints_what_the_readme_shows():
    text = README.read_text()
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1)
    shown = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL).group(1)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(README), "exec"), {})  # noqa: S102  (our own page)
    assert printed.getvalue() == shown
