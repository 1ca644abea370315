"""``python -m vtprune_eval merge``: the shards of a run become one run folder.

The result is the folder that a single process would have left: the same settings, and per cell the same records in the
same order. Timings stay those of the machine that took them; ``environment.json`` lists every shard's machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...benchmarks.tasks import Task
from ...console import Parser
from ...errors import UserError
from ...results.run_files import Environment, RunSettings
from ...results.store import RunFolder, differences, write_atomic, write_records
from ...results.types import Record
from ..folder import expected_key, parse_records, read_environment, read_settings, spec_of, task_of
from ..plan import cell_key
from ..report import report
from ..spec import Cell, RunSpec
from .machines import joined
from .shards import Shard

MARK = "merged.json"


def parser() -> Parser:
    """Options of ``merge``."""
    p = Parser("merge", description=__doc__)
    p.add_argument("runs", nargs="+", metavar="RUN", help="the run folders of all shards, in any order")
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the merged run")
    p.add_argument("--data-path", help="folder with the original data of a task that is not embedded")
    p.add_argument("--format", choices=("table", "json", "md", "csv"), default="table", help="of the summary on stdout")
    return p


def main(argv: Sequence[str]) -> int:
    """Merge and print the summary; returns the exit code.

    Raises:
        UserError: shards of different runs, missing, given twice or unfinished; data that changed; an output folder
            that holds something else.
    """
    given = parser().parse_args(list(argv))
    paths = [Path(p) for p in given.runs]
    out = Path(given.out)
    by_index = shards_of(paths)
    count = len(by_index)
    settings = read_settings(by_index[0])
    settings.pop("shard", None)
    spec = replace(spec_of(settings), out=str(out), format=given.format, data_path=given.data_path)
    tasks = [_task(settings, spec_of(settings), name, given.data_path) for name in spec.tasks]

    def records(task: Task, cell: Cell) -> dict[str, Record]:
        key = expected_key(settings, task.name, cell)
        return {r["id"]: r for i in range(count) for r in _records(by_index[i], Shard(i, count), task, cell, key)}

    for task in tasks:
        for cell in spec.cells():
            if expected_key(settings, task.name, cell) != cell_key(spec, task, cell):
                raise UserError(
                    f"the shards were made by version {settings.get('package')} of vtprune_eval, whose "
                    "records this version does not continue: merge them with that version."
                )
            records(task, cell)  # all are looked at before anything is written; none are held
    machines = [read_environment(by_index[i]) for i in range(count)]
    environment: Environment = {**joined(machines), "shards": machines}
    with RunFolder(out) as folder:
        _claim(folder, settings, by_index)
        write_atomic(out / "environment.json", json.dumps(environment, indent=2) + "\n")
        for task in tasks:
            for cell in spec.cells():
                write_records(folder.records_path(task.name, cell.slug), task.samples.ids, records(task, cell))
        return report(spec, tasks, folder, environment["model"])


def shards_of(paths: Sequence[Path]) -> dict[int, Path]:
    """Folders by shard index: all shards of one run, each once.

    Raises:
        UserError: no shard, different settings, a shard that is missing or given twice.
    """
    first: RunSettings = {}
    count = 0
    found: dict[int, Path] = {}
    for path in paths:
        if not (path / "run.json").is_file():
            raise UserError(f"{path} is not a run folder (no run.json); give the folders that the shards printed.")
        settings = read_settings(path)
        if "shard" not in settings:
            raise UserError(f"{path} is a whole run, not a shard; merge takes folders of runs with --shard.")
        shard = Shard.parse(settings.pop("shard"))
        other = differences(first, settings) if found else ""
        if other:
            raise UserError(f"{path} is a shard of another run than {paths[0]} ({other}); merge shards of one run.")
        if found and shard.count != count:
            raise UserError(
                f"{path} is one of {shard.count} shards and {paths[0]} one of {count}; merge shards of one division."
            )
        if shard.index in found:
            raise UserError(f"shard {shard} is given twice, as {found[shard.index]} and as {path}; leave one out.")
        first, count = settings, shard.count
        found[shard.index] = path
    absent = [f"{i}/{count}" for i in range(count) if i not in found]
    if absent:
        shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        raise UserError(f"{len(found)} of {count} shards are given, without {shown}; name every shard's folder.")
    return found


def _task(settings: RunSettings, spec: RunSpec, name: str, data_path: str | None) -> Task:
    task = task_of(spec, name, data_path)
    now = f"v{task.version} {task.fingerprint}"
    if settings["data"][name] != now:
        raise UserError(
            f"the data of {name} are not those of the shards ({settings['data'][name]} there, {now} now); "
            "merge where the shards' data are, or name their folder with --data-path."
        )
    return task


def _records(path: Path, shard: Shard, task: Task, cell: Cell, key: str) -> list[Record]:
    """The finished records of one shard and cell.

    Raises:
        UserError: records that are missing, damaged, of another run, or that belong to another shard.
    """
    file = path / "records" / f"{task.name}--{cell.slug}.jsonl"
    wanted = set(shard.of(task).samples.ids)
    try:
        raw = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); check its permissions.") from None
    records = parse_records(raw.decode("utf-8", "replace").splitlines(), str(file))
    for record in records:
        if record["key"] != key:
            raise UserError(
                f"{file}: sample {record['id']!r} carries the key {record['key']!r} instead of {key}: it "
                "is of another run or was edited; run this shard again in a new folder."
            )
    ids = [r["id"] for r in records]
    strange = sorted(set(ids) - wanted)
    if strange or len(set(ids)) != len(ids):
        what = f"sample {strange[0]!r} of another shard" if strange else "a sample twice"
        raise UserError(f"{file} holds {what}; run shard {shard} again in a new folder.")
    if len(ids) < len(wanted):
        raise UserError(
            f"shard {shard} in {path} is not finished: {len(wanted) - len(ids)} of {len(wanted)} samples "
            f"of {cell.method} at {cell.budget} on {task.name} are missing; start its command again."
        )
    return records


def _claim(folder: RunFolder, settings: RunSettings, shards: dict[int, Path]) -> None:
    """Make ``folder`` the place of this merge; one that was killed half-way may be done again."""
    mark = folder.path / MARK
    text = json.dumps({f"{i}/{len(shards)}": str(shards[i].resolve()) for i in sorted(shards)}, indent=2) + "\n"
    if any((folder.path / "records").iterdir()) and not (mark.is_file() and mark.read_text("utf-8") == text):
        raise UserError(f"{folder.path} already holds records; choose a new folder with --out.")
    folder.settle(settings)
    write_atomic(mark, text)
