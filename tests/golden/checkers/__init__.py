"""Agreement with golden vectors: one checker module per schema, found by scanning this folder.

A module of this folder is a :class:`Checker`; a new file is found without being listed anywhere.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

VECTOR_SUFFIXES = (".json", ".npz")


class Checker(Protocol):
    """What a checker module offers. ``data`` is the parsed JSON of the file, None for ``.npz``."""

    def matches(self, path: Path, data: Any) -> bool:
        """True when this module knows the schema of the file, by its content."""

    def check(self, path: Path, data: Any) -> Iterator[tuple[str, str | None]]:
        """One (case, what differs) per case, None for agreement; inputs lie relative to the file."""


@dataclass(frozen=True)
class FileReport:
    """Agreement of one file: number of cases, and the failures as (case, what differs)."""

    path: Path
    n_cases: int
    failures: tuple[tuple[str, str], ...]


def checkers() -> list[Checker]:
    """Every checker module of this folder."""
    names = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")
    return [cast(Checker, importlib.import_module(f"{__name__}.{name}")) for name in names]


def check_file(path: Path, modules: list[Checker]) -> FileReport:
    """Run the checker that recognises ``path``.

    A file that none recognises is a failure, never a silent pass; so is a checker that raises (a missing image, a
    key that is not there), because one broken vector must not hide the reports of the others.
    """
    cases, failures = 0, []
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else None
    except ValueError as error:
        return FileReport(path, 0, (("file", f"not valid JSON: {error}"),))
    try:
        module = next((m for m in modules if m.matches(path, data)), None)
        if module is None:
            return FileReport(path, 0, (("file", "no checker for this schema"),))
        for case, failure in module.check(path, data):
            cases += 1
            if failure is not None:
                failures.append((case, failure))
    except Exception as error:
        failures.append((f"after case {cases}", f"{type(error).__name__}: {error}"))
    if cases == 0 and not failures:
        failures.append(("file", "no case in this file"))
    return FileReport(path, cases, tuple(failures))


def check_folder(folder: Path) -> Iterator[FileReport]:
    """Reports of all vector files below ``folder``, in the order of their paths."""
    modules = checkers()
    for path in sorted(folder.rglob("*")):
        if path.suffix in VECTOR_SUFFIXES and path.is_file():
            yield check_file(path, modules)
