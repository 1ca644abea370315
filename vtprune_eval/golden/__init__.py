"""Agreement with golden vectors: one checker module per schema, found by scanning this folder.

A module offers ``matches(path, data) -> bool`` and ``check(path, data) -> Iterator[tuple[str, str | None]]``, which
yields one (case, failure) per case; a failure of None is agreement. ``data`` is the parsed JSON of the file (None for
``.npz``).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VECTOR_SUFFIXES = (".json", ".npz")


@dataclass(frozen=True)
class FileReport:
    """Agreement of one file: number of cases, and the failures as (case, what differs)."""

    path: Path
    n_cases: int
    failures: tuple[tuple[str, str], ...]


def checkers() -> list[Any]:
    """Every checker module of this folder."""
    names = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")
    return [importlib.import_module(f"{__name__}.{name}") for name in names]


def check_file(path: Path, modules: list[Any]) -> FileReport:
    """Run the checker that recognises ``path``; a file that none recognises is a failure, never a silent pass."""
    try:
        data = json.loads(path.read_text()) if path.suffix == ".json" else None
    except ValueError as error:
        return FileReport(path, 0, (("file", f"not valid JSON: {error}"),))
    module = next((m for m in modules if m.matches(path, data)), None)
    if module is None:
        return FileReport(path, 0, (("file", "no checker for this schema"),))
    cases, failures = 0, []
    for case, failure in module.check(path, data):
        cases += 1
        if failure is not None:
            failures.append((case, failure))
    if cases == 0:
        failures.append(("file", "no case in this file"))
    return FileReport(path, cases, tuple(failures))


def check_folder(folder: Path) -> Iterator[FileReport]:
    """Reports of all vector files below ``folder``, in the order of their paths."""
    modules = checkers()
    for path in sorted(folder.rglob("*")):
        if path.suffix in VECTOR_SUFFIXES and path.is_file():
            yield check_file(path, modules)
