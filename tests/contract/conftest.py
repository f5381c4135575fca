"""A card may say that a contract check does not apply to its method, and why; the reason shows in the test report."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        card = getattr(item, "callspec", None) and item.callspec.params.get("card")
        reason = card and card.expected_failures.get(item.originalname)
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"{card.name}: {reason}"))
