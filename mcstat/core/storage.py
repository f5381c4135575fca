"""Saved results: a zip of ``.npy`` arrays and one JSON page, read without trusting it.

Members are read by fixed names, never extracted; sizes are checked before anything is read; arrays of objects (which
NumPy would unpickle) are refused; a law is named by its class, which must be one of mcstat's.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from os import PathLike
from typing import Any, TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mcstat.core.errors import InvalidFileError
from mcstat.core.estimate import Estimate
from mcstat.core.laws import Law

__all__ = ["Archive", "load_estimate", "read_archive", "save_estimate", "write_archive"]

Result = TypeVar("Result")

SCHEMA = 1
MAX_BYTES = 4 * 2**30
_MAX_META = 64 * 2**20
_MAX_RATIO = 1000
_ARRAYS = ("value", "std_error", "cov", "draws", "log_weights", "influence", "clusters", "mcse")
_PLAIN = ("names", "sample_id", "kind", "df", "estimand", "method", "diagnostics", "warnings", "info")


def save_estimate(est: Estimate, path: str | PathLike[str]) -> None:
    """See :meth:`Estimate.save`."""
    arrays = {name: getattr(est, name) for name in _ARRAYS if getattr(est, name) is not None}
    arrays |= {f"coords.{i}": label for i, label in enumerate(est.coords.values())}
    meta: dict[str, Any] = {name: getattr(est, name) for name in _PLAIN}
    meta |= {"coords": list(est.coords), "law": None}
    if est.law is not None:
        meta["law"] = f"{type(est.law).__module__}:{type(est.law).__qualname__}"
        arrays |= {f"law.{name}": array for name, array in est.law.to_arrays().items()}
    write_archive(path, meta, arrays)


def load_estimate(path: str | PathLike[str], max_bytes: int = MAX_BYTES) -> Estimate:
    """See :meth:`Estimate.load`."""
    return read_archive(path, _estimate, max_bytes)


def write_archive(path: str | PathLike[str], meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a JSON page and named arrays to one file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("meta.json", json.dumps({"schema": SCHEMA, **meta}))
        for name, array in arrays.items():
            buffer = BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue())


def read_archive(path: str | PathLike[str], build: Callable[[Archive], Result], max_bytes: int = MAX_BYTES) -> Result:
    """Give what ``build`` makes of the file; whatever goes wrong with its content is an InvalidFileError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return build(Archive(archive, _checked_meta(archive, max_bytes)))
    except OSError:
        raise
    except InvalidFileError as error:
        raise InvalidFileError(f"{path}: {error}") from None
    except Exception as error:
        # Whatever a damaged file makes zipfile, json or NumPy say, the caller hears one thing.
        raise InvalidFileError(f"{path} is not a saved result: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Archive:
    """An open file whose sizes and page have been checked."""

    file: zipfile.ZipFile
    meta: dict[str, Any]

    def names(self) -> list[str]:
        """Names of the arrays."""
        return [name[:-4] for name in self.file.namelist() if name.endswith(".npy")]

    def array(self, name: str) -> NDArray[Any]:
        """One array, whose declared shape must match the bytes that are there before any memory is taken."""
        size = self.file.getinfo(f"{name}.npy").file_size
        with self.file.open(f"{name}.npy") as stream:
            version = npy.read_magic(stream)
            if version != (1, 0):
                raise InvalidFileError(f"{name}.npy has format {version}, not (1, 0)")
            shape, fortran, dtype = npy.read_array_header_1_0(stream)
            if dtype.hasobject:
                raise InvalidFileError(f"{name}.npy holds objects; only numbers and strings are read")
            count = math.prod(shape)
            if count * dtype.itemsize != size - stream.tell():
                raise InvalidFileError(f"{name}.npy declares shape {shape}, which is not what it holds")
            array = np.frombuffer(stream.read(), dtype=dtype, count=count)
        return array.reshape(shape, order="F" if fortran else "C")


def _checked_meta(archive: zipfile.ZipFile, max_bytes: int) -> dict[str, Any]:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise InvalidFileError("the file holds a member twice")
    if sum(member.file_size for member in members) > max_bytes:
        raise InvalidFileError(f"the file declares more than {max_bytes} bytes")
    for member in members:
        if member.file_size > _MAX_RATIO * max(member.compress_size, 1):
            raise InvalidFileError(f"{member.filename!r} is compressed more than {_MAX_RATIO} times")
    if "meta.json" not in names or archive.getinfo("meta.json").file_size > _MAX_META:
        raise InvalidFileError("meta.json is missing or too large")
    meta = json.loads(archive.read("meta.json"))
    if not isinstance(meta, dict) or not isinstance(meta.get("schema"), int):
        raise InvalidFileError("meta.json must be an object with an integer schema")
    if meta["schema"] > SCHEMA:
        raise InvalidFileError(f"schema {meta['schema']} is newer than this mcstat reads ({SCHEMA}); upgrade mcstat")
    return meta


def _estimate(archive: Archive) -> Estimate:
    meta, names = archive.meta, archive.names()
    fields: dict[str, Any] = {name: meta[name] for name in _PLAIN if meta.get(name) is not None}
    fields |= {name: archive.array(name) for name in _ARRAYS if name in names}
    labels = meta.get("coords", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise InvalidFileError("coords must be a list of strings")
    fields["coords"] = {label: archive.array(f"coords.{i}") for i, label in enumerate(labels)}
    if meta.get("law") is not None:
        fields["law"] = _law(archive, meta["law"])
    return Estimate(**fields)


def _law(archive: Archive, name: Any) -> Law:
    """The law of that class; only a class of mcstat that is a Law is ever made."""
    module, _, cls = str(name).partition(":")
    if not module.startswith("mcstat.") or not all(part.isidentifier() for part in [*module.split("."), cls]):
        raise InvalidFileError(f"law {name!r} is not one of mcstat's")
    law = getattr(import_module(module), cls, None)
    if not (isinstance(law, type) and issubclass(law, Law) and law is not Law):
        raise InvalidFileError(f"{name!r} is not a Law")
    wanted = [name.removeprefix("law.") for name in archive.names() if name.startswith("law.")]
    return law(**{field: archive.array(f"law.{field}") for field in wanted})
