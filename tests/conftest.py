"""What all tests share: pictures without a display, and one seed a test."""

import os

import pytest

from tests.stat_asserts import seed_for

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """This test's own fixed seed, shifted by ``MCSTAT_TEST_SEED``."""
    return seed_for(request.node.nodeid)
