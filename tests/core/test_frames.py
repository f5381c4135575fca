"""Data frames and arrays come in as one kind of array; names come out; bad columns are named."""

from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mcstat.core.errors import InvalidData
from mcstat.core.frames import as_matrix

WANTED = np.array([[1.0, 0.5], [2.0, -4.0], [3.0, 8.0]])


def _memmap(folder):
    path = folder / "matrix.npy"
    np.save(path, WANTED)
    return np.load(path, mmap_mode="r")


MAKERS = {
    "numpy": lambda _: WANTED.copy(),
    "list": lambda _: WANTED.tolist(),
    "float32": lambda _: WANTED.astype(np.float32),
    "strided": lambda _: np.repeat(WANTED, 2, axis=0)[::2],
    "reversed": lambda _: WANTED[::-1].copy()[::-1],
    "fortran": lambda _: np.asfortranarray(WANTED),
    "memmap": _memmap,
    "pandas": lambda _: pd.DataFrame(WANTED, columns=["a", "b"]),
    "pandas nullable": lambda _: pd.DataFrame(
        {"a": pd.array([1, 2, 3], "Int64"), "b": pd.array(WANTED[:, 1], "Float64")}
    ),
    "pandas float32": lambda _: pd.DataFrame(WANTED.astype(np.float32), columns=["a", "b"]),
    "polars": lambda _: pl.DataFrame({"a": [1, 2, 3], "b": WANTED[:, 1]}),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_input_gives_the_same_array(kind, tmp_path):
    data = MAKERS[kind](tmp_path)
    matrix, names = as_matrix("X", data)
    np.testing.assert_array_equal(matrix, WANTED)
    assert type(matrix) is np.ndarray
    assert matrix.dtype == np.float64
    assert matrix.flags.c_contiguous
    assert not matrix.flags.writeable
    assert names == (("a", "b") if hasattr(data, "columns") else None)


def test_an_array_that_already_fits_is_not_copied():
    data = WANTED.copy()
    matrix, _ = as_matrix("X", data)
    assert np.shares_memory(matrix, data)
    assert data.flags.writeable


def test_booleans_are_numbers():
    matrix, _ = as_matrix("X", pd.DataFrame({"a": pd.array([True, False], "boolean"), "b": [True, True]}))
    np.testing.assert_array_equal(matrix, [[1.0, 1.0], [0.0, 1.0]])


def test_names_that_are_not_strings_are_left_out():
    assert as_matrix("X", pd.DataFrame(WANTED))[1] is None


BAD = {
    "text": (pd.DataFrame({"a": [1.0], "b": ["x"]}), TypeError, "column 'b' of type String"),
    "category": (pd.DataFrame({"a": pd.Categorical([1, 2])}), TypeError, "column 'a' of type Categorical"),
    "date": (pl.DataFrame({"when": [date(2020, 1, 1)]}), TypeError, "column 'when' of type Date"),
    "complex": (pd.DataFrame({"z": [1j]}), TypeError, "column 'z'"),
    "missing": (pd.DataFrame({"a": pd.array([1, None], "Int64")}), InvalidData, r"X\['a'\] must be finite"),
    "null": (pl.DataFrame({"a": [1, None]}), InvalidData, r"X\['a'\] must be finite"),
    "infinite": (pd.DataFrame({"a": [1.0, np.inf]}), InvalidData, r"X\['a'\] must be finite, got inf at \[1\]"),
    "twice": (pd.DataFrame(WANTED, columns=["a", "a"]), InvalidData, "X must have unique column names.*'a'"),
    "lazy": (pl.LazyFrame({"a": [1.0]}), TypeError, "collect"),
    "series": (pd.Series([1.0, 2.0]), InvalidData, "2 dimension"),
    "vector": ([1.0, 2.0], InvalidData, "2 dimension"),
    "nan": (np.array([[np.nan]]), InvalidData, "X must be finite"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_by_name(kind):
    data, error, words = BAD[kind]
    with pytest.raises(error, match=f"(?s){words}"):
        as_matrix("X", data)
