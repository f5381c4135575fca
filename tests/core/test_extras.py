"""Optional packages: imported late, and missed in words that say how to get them."""

import pytest

from mcstat.core.errors import MissingExtraError
from mcstat.core.extras import import_extra


def test_what_is_there():
    assert import_extra("json", "plot").dumps({}) == "{}"


def test_what_is_not():
    with pytest.raises(
        MissingExtraError, match=r"this needs nowhere: python -m pip install 'mcstat\[plot\]'"
    ) as caught:
        import_extra("nowhere.at.all", "plot")
    assert isinstance(caught.value, ImportError)
