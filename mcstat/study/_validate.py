"""``python -m mcstat validate``: every claim measured again, every method's intervals calibrated.

The scripts lie in ``validation/<room>/<name>.py`` beside the package, in the repository and not in the wheel. One takes
part if it defines ``claims(quick, n_jobs)``, which returns a :class:`ClaimTable`. The methods take part by their cards.
"""

from __future__ import annotations

import ast
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import mcstat
from mcstat.core.errors import InvalidParameter, MCStatWarning, MissingExtraError
from mcstat.core.registry import Card, methods
from mcstat.study._claims import ClaimTable
from mcstat.study._report import crash_word, report

__all__ = ["Job", "find_jobs", "validate"]

_CALIBRATION = "calibration"


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    Attributes
    ----------
    title : str
    section : str
        Of the report; the methods' calibrations share one.
    names : tuple of str
        What it may be called on the command line.
    run : callable
        ``run(quick, n_jobs)`` gives a :class:`ClaimTable`.
    """

    title: str
    section: str
    names: tuple[str, ...]
    run: Callable[[bool, int], ClaimTable]


def validate(names: Sequence[str], *, quick: bool, folder: Path, n_jobs: int = 1) -> int:
    """Run the jobs that have one of the names (all, if there are none), print what each gives, write the report.

    Parameters
    ----------
    names : sequence of str
        Rooms, scripts, methods, or ``"calibration"``.
    quick : bool
        Small sizes: a first look.
    folder : Path
        Gets ``index.html`` and ``claims.json``, with what was finished also after Ctrl-C.
    n_jobs : int

    Returns
    -------
    int
        1 if a script crashed, else 0: that a claim is not reproduced is a finding, not an error, and a script that
        needs a package which is not installed is reported as not run.

    Raises
    ------
    InvalidParameter
        Without a source checkout, or where nothing has one of the names.
    """
    jobs = _chosen(find_jobs(), names)
    tables: dict[str, ClaimTable | Exception] = {}
    commands: dict[str, str] = {}
    size = " --quick" if quick else ""
    try:
        for job in jobs:
            outcome = _outcome(job, quick, n_jobs)
            # A crash has a section of its own, beside what went well.
            section = job.title if isinstance(outcome, Exception) else job.section
            earlier = tables.get(section)
            joined = isinstance(earlier, ClaimTable) and isinstance(outcome, ClaimTable)
            tables[section] = earlier + outcome if joined else outcome  # type: ignore[operator]
            commands[section] = f"python -m mcstat validate {section.partition(':')[0]}{size}"
    finally:
        about = {"size": "quick" if quick else "full", "seeds": "fixed in the scripts"}
        page = report(tables, folder / "index.html", title="mcstat: validation", commands=commands, about=about)
        print(f"The report: {page}")
    failures = [table for table in tables.values() if isinstance(table, Exception)]
    return int(any(not isinstance(failure, MissingExtraError) for failure in failures))


def find_jobs() -> list[Job]:
    """Every script with claims, in the order of their names, then the calibration of every method.

    Raises
    ------
    InvalidParameter
        Without a source checkout.
    """
    root = Path(mcstat.__path__[0]).resolve().parent
    if not (root / "validation").is_dir():
        raise InvalidParameter(
            "validate must run from a source checkout: the scripts in validation/ are not part of the installed package"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    scripts = [path for path in sorted((root / "validation").rglob("*.py")) if _offers_claims(path)]
    jobs = [_script_job(path.relative_to(root).with_suffix("").parts) for path in scripts]
    return jobs + [_calibration_job(card) for card in methods()]


def _offers_claims(path: Path) -> bool:
    """Whether the file defines ``claims``; it is not imported, because a peer of its may be missing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "claims" for node in tree.body)


def _script_job(parts: tuple[str, ...]) -> Job:
    name = ".".join(parts[1:])
    return Job(name, name, (name, *parts[1:]), partial(_script_claims, ".".join(parts)))


def _script_claims(module: str, quick: bool, n_jobs: int) -> ClaimTable:
    table = import_module(module).claims(quick, n_jobs)
    if not isinstance(table, ClaimTable):
        raise TypeError(f"{module}.claims must return a ClaimTable, got {type(table).__name__}")
    return table


def _calibration_job(card: Card) -> Job:
    names = (_CALIBRATION, card.name, card.class_, card.room)
    return Job(f"{_CALIBRATION}: {card.name}", _CALIBRATION, names, partial(_calibrate, card))


def _calibrate(card: Card, quick: bool, n_jobs: int) -> ClaimTable:
    table: ClaimTable = import_module("validation.calibration.coverage").method_claims(card, quick, n_jobs)
    return table


def _chosen(jobs: list[Job], names: Sequence[str]) -> list[Job]:
    known = {name for job in jobs for name in job.names}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidParameter(f"NAME must be one of {', '.join(sorted(known))}; got {', '.join(unknown)}")
    return [job for job in jobs if not names or set(names) & set(job.names)]


def _outcome(job: Job, quick: bool, n_jobs: int) -> ClaimTable | Exception:
    """What the job gave, or how it crashed; printed either way."""
    print(job.title, "=" * len(job.title), sep="\n", flush=True)
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # A doubtful replicate says so each time; here the claims are what is judged.
            warnings.simplefilter("ignore", MCStatWarning)
            outcome: ClaimTable | Exception = job.run(quick, n_jobs)
        print(outcome)
    except Exception as error:
        print(f"{crash_word(error)}: {type(error).__name__}: {error}")
        outcome = error
    print(f"({time.perf_counter() - start:.1f} s)\n", flush=True)
    return outcome
