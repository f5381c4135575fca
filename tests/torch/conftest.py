"""All tests of this room but one file need torch; without it they are not collected."""

from importlib.util import find_spec
from pathlib import Path

import pytest

_FREE = "test_without_torch.py"

collect_ignore = []
if find_spec("torch") is None:
    collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name != _FREE]


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.path.name != _FREE:
            item.add_marker(pytest.mark.torch)
