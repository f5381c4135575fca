"""A StudyResult as one file: numbers as arrays, words as a JSON page, no pickle."""

from __future__ import annotations

from os import PathLike

import numpy as np

from mcstat.core.checks import check_integer, check_level, check_real
from mcstat.core.errors import InvalidFileError
from mcstat.core.storage import Archive, read_archive, write_archive
from mcstat.study._result import NUMBERS, StudyResult


def save_result(result: StudyResult, path: str | PathLike[str]) -> None:
    """See :meth:`StudyResult.save`."""
    import pandas as pd

    methods, method_names = pd.factorize(result.replicates["method"])
    terms, term_names = pd.factorize(result.replicates["term"])
    page = {
        "methods": list(result.methods),
        "n_replicates": result.n_replicates,
        "level": result.level,
        "null": result.null,
        "entropy": result.entropy,
        "method_names": list(method_names),
        "term_names": list(term_names),
        "failures": list(result.failures.itertuples(index=False, name=None)),
    }
    codes = np.stack([result.replicates["replicate"].to_numpy(), methods, terms], axis=1)
    numbers = result.replicates[list(NUMBERS)].to_numpy()
    write_archive(path, page, {"codes": codes, "numbers": numbers})


def load_result(path: str | PathLike[str]) -> StudyResult:
    """See :meth:`StudyResult.load`."""
    return read_archive(path, _result)


def _result(archive: Archive) -> StudyResult:
    page, codes, numbers = archive.meta, archive.array("codes"), archive.array("numbers")
    fits = codes.shape == (len(numbers), 3) and numbers.shape == (len(numbers), len(NUMBERS))
    if not fits or codes.dtype.kind != "i" or numbers.dtype.kind != "f" or np.any(codes < 0):
        raise InvalidFileError("the arrays do not fit together")
    method_names, term_names = page["method_names"], page["term_names"]
    rows = [
        (k, method_names[method], term_names[term], *line)
        for (k, method, term), line in zip(codes.tolist(), numbers.tolist(), strict=True)
    ]
    return StudyResult.from_rows(
        rows,
        [tuple(line) for line in page["failures"]],
        tuple(page["methods"]),
        check_integer("n_replicates", page["n_replicates"]),
        check_level(page["level"]),
        check_real("null", page["null"]),
        dict(page["entropy"]),
    )
