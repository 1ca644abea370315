"""What a run has to do: its settings, the identity of every cell, and the records that are there already."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import cast

from ..benchmarks.tasks import Task
from ..models.identity import ModelIdentity
from ..results.run_files import RunSettings
from ..results.store import RunFolder, read_records
from .cells import Done
from .spec import Cell, RunSpec


def settings_of(spec: RunSpec, tasks: list[Task], identity: ModelIdentity) -> RunSettings:
    """What ``run.json`` holds. The commit stands in ``environment.json``: another commit of one version may resume."""
    settings = {
        **spec.canonical(),
        "fingerprint": identity["fingerprint"],
        "architecture": identity["architecture"],
        "data": {t.name: f"v{t.version} {t.fingerprint}" for t in tasks},
        **({"shard": spec.shard} if spec.shard else {}),
        **({"engine_version": identity["engine"]} if "engine" in identity else {}),
    }
    return cast(RunSettings, settings)


def cell_key(spec: RunSpec, task: Task, cell: Cell) -> str:
    """Identity of a cell's records: everything that could change an answer."""
    parts = {k: v for k, v in spec.canonical().items() if k not in {"methods", "budgets", "tasks", "limit"}}
    parts |= {"method": cell.method, "budget": cell.budget, "task": task.name, "task_version": task.version}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def plan_of(spec: RunSpec, tasks: list[Task], folder: RunFolder) -> list[tuple[Task, Cell, Path, Done]]:
    """Every (task, cell) with its record file and the ids of the records in it, mended; says what is resumed."""
    plan = []
    for task in tasks:
        ids = set(task.samples.ids)
        for cell in spec.cells():
            path = folder.records_path(task.name, cell.slug)
            done, notes = read_records(path, cell_key(spec, task, cell), ids, shape=lambda record: None)
            for note in notes:
                print(f"note: {note}", file=sys.stderr)
            plan.append((task, cell, path, dict.fromkeys(done)))
    before = sum(len(done) for _, _, _, done in plan)
    if before:
        total = sum(len(task.samples) for task, _, _, _ in plan)
        print(f"resuming: {before} of {total} records are there.", file=sys.stderr)
    return plan
