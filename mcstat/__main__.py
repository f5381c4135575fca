"""The command line: ``python -m mcstat demo | list | cite | validate | doctor``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import mcstat
from mcstat.core.errors import InvalidParameter, MissingExtraError


def find_demos() -> dict[str, str]:
    """Rooms that have something to show: room -> module, in the order of their names."""
    demos = {}
    for folder in map(Path, mcstat.__path__):
        for path in folder.rglob("_demo.py"):
            room = ".".join(path.parent.relative_to(folder).parts)
            demos[room] = f"mcstat.{room}._demo"
    return dict(sorted(demos.items()))


def demo(room: str | None, out: Path) -> int:
    """Run the demo of one room or of all; print what each gives and write one page."""
    from mcstat.core.page import write_page

    demos = find_demos()
    if room is not None and room not in demos:
        raise InvalidParameter(f"ROOM must be one of {', '.join(demos) or '(no room has a demo)'}, got {room!r}")
    sections = []
    for module in demos.values() if room is None else [demos[room]]:
        start = time.perf_counter()
        try:
            section = import_module(module).run()
        except MissingExtraError as error:
            if room is not None:
                raise
            print(f"{module.split('.')[1]}: left out, {error}\n")
            continue
        sections.append(section)
        print(section.title, "=" * len(section.title), "", section.text.strip(), sep="\n")
        for item in section.items:
            print("", item, sep="\n")
        print(f"\n({time.perf_counter() - start:.1f} s)\n")
    page = write_page(out / "index.html", "mcstat: a first look", sections)
    print(f"The same with pictures: {page}")
    return 0


def listing(text: str) -> int:
    """Print the methods whose card holds every word of the text."""
    table = mcstat.find(text)
    print(table)
    return 0 if table else 1


def cite(name: str) -> int:
    """Print a method's paper."""
    from mcstat.core.registry import cite as citation

    print(citation(name))
    return 0


def validate(names: Sequence[str], quick: bool, folder: Path, n_jobs: int) -> int:
    """Measure the claims again and write the report; 1 when a script crashed."""
    from mcstat.study._validate import validate as run

    return run(names, quick=quick, folder=folder, n_jobs=n_jobs)


def doctor() -> int:
    """Print what is installed; 1 when the installation is broken."""
    from mcstat.core._doctor import examine

    report, healthy = examine()
    print(report)
    return 0 if healthy else 1


def parser() -> argparse.ArgumentParser:
    """Every command and its options."""
    root = argparse.ArgumentParser(prog="python -m mcstat", description=mcstat.__doc__)
    root.add_argument("--version", action="version", version=mcstat.__version__)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help="fit methods to real data, print the Estimates and write a page")
    command.add_argument("room", nargs="?", metavar="ROOM", help="one room only")
    command.add_argument("--out", type=Path, default=Path("mcstat-demo"), metavar="DIR", help="folder of the page")
    command.set_defaults(run=lambda given: demo(given.room, given.out))

    command = commands.add_parser("list", help="list the methods")
    command.add_argument("text", nargs="*", metavar="TEXT", help="words that the method's card must hold")
    command.set_defaults(run=lambda given: listing(" ".join(given.text)))

    command = commands.add_parser("cite", help="print a method's paper as text and BibTeX")
    command.add_argument("name", metavar="NAME", help="name of the method or of its class")
    command.set_defaults(run=lambda given: cite(given.name))

    command = commands.add_parser("validate", help="measure the claims again and write a report (source checkout)")
    command.add_argument("names", nargs="*", metavar="NAME", help="rooms, scripts, methods, or 'calibration'")
    command.add_argument("--quick", action="store_true", help="small sizes: a first look in minutes")
    command.add_argument("--report", type=Path, default=Path("mcstat-validation"), metavar="DIR", help="its folder")
    command.add_argument("--n-jobs", type=int, default=1, metavar="N")
    command.set_defaults(run=lambda given: validate(given.names, given.quick, given.report, given.n_jobs))

    command = commands.add_parser("doctor", help="say what is installed and whether compiling works here")
    command.set_defaults(run=lambda given: doctor())
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = parser().parse_args(argv)
    try:
        return int(given.run(given))
    except (InvalidParameter, MissingExtraError) as error:
        print(f"python -m mcstat {given.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
