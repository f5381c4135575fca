"""The words of refusal: argument, what it wants, what it got."""

from fractions import Fraction

import numpy as np
import pytest

from mcstat.core.checks import check_array, check_integer, check_names, check_option, check_real, frozen_view
from mcstat.core.errors import InvalidData, InvalidParameter


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_integers(value):
    assert check_integer("n", value, 1) == 3
    assert type(check_integer("n", value, 1)) is int


@pytest.mark.parametrize("value", [0, -1, 3.0, np.float64(3), True, np.True_, None, "3", [3], np.nan])
def test_not_integers(value):
    with pytest.raises(InvalidParameter, match=r"^n must be an integer >= 1, got "):
        check_integer("n", value, 1)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), Fraction(1, 2)])
def test_reals(value):
    assert check_real("x", value, 0, 1) == 0.5


@pytest.mark.parametrize(
    ("closed", "inside", "outside"),
    [("both", [0, 1], []), ("left", [0], [1]), ("right", [1], [0]), ("neither", [], [0, 1])],
)
def test_ends(closed, inside, outside):
    for value in inside:
        assert check_real("x", value, 0, 1, closed=closed) == value
    for value in outside:
        with pytest.raises(InvalidParameter, match="x must be a number in"):
            check_real("x", value, 0, 1, closed=closed)


@pytest.mark.parametrize("value", [np.nan, np.inf, True, None, "0.5", 1j, 2])
def test_not_reals(value):
    with pytest.raises(InvalidParameter, match="x must be a number in"):
        check_real("x", value, 0, 1)


def test_options():
    assert check_option("how", "a", ("a", "b")) == "a"
    for value in ("c", None, 1, ["a"]):
        with pytest.raises(InvalidParameter, match="how must be one of 'a', 'b', got"):
            check_option("how", value, ("a", "b"))


def test_names():
    assert check_names("names", "a", 1) == ("a",)
    assert check_names("names", np.array(["a", "b"]), 2) == ("a", "b")


@pytest.mark.parametrize(
    "value", [[1, 2], (1.0, 2.0), np.array([1, 2], dtype=np.int8), np.array([True, False]), range(2)]
)
def test_arrays(value):
    array = check_array("x", value, 1)
    assert array.dtype == np.float64
    assert array.flags.c_contiguous


def test_no_copy_where_none_is_needed():
    x = np.ones(3)
    assert np.shares_memory(check_array("x", x, 1), x)
    view = frozen_view(x)
    assert np.shares_memory(view, x)
    assert not view.flags.writeable
    assert x.flags.writeable


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ([[1.0], [1.0, 2.0]], InvalidData, "rectangular"),
        (np.zeros((2, 2)), InvalidData, r"x must have 1 dimension\(s\), got shape \(2, 2\)"),
        ([1.0, np.nan], InvalidData, r"x must be finite, got nan at \[1\] \(1 bad in all\)"),
        ([np.inf, -np.inf], InvalidData, r"got inf at \[0\] \(2 bad in all\)"),
        (["a"], TypeError, "real numbers"),
        ([1j], TypeError, "complex"),
        ([object()], TypeError, "objects"),
        ([None], InvalidData, "got nan"),
        (np.array(["2020-01-01"], dtype="M8[D]"), TypeError, "datetime64"),
        (np.ma.masked_array([1.0], [True]), TypeError, "without a mask"),
        (np.zeros(2, dtype=[("a", float)]), TypeError, "real numbers"),
    ],
)
def test_bad_arrays(value, error, words):
    with pytest.raises(error, match=words):
        check_array("x", value, 1)
