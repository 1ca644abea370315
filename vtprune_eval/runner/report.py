"""The end of a run: its summary and report, made from the records alone and printed."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter

from ..benchmarks.tasks import Task
from ..errors import UserError
from ..models.identity import ModelIdentity
from ..notes import Note
from ..profiling.own_cost import sentence as profiler_sentence
from ..results.breakdown import breakdown, breakdown_text
from ..results.record import all_failed, light
from ..results.store import RunFolder, digests, read_records, write_atomic
from ..results.summary import Streamed, merge_draws, summarise
from ..results.table import footnotes, table
from ..results.types import Record
from .plan import cell_key
from .spec import RunSpec


def report(spec: RunSpec, tasks: list[Task], folder: RunFolder, identity: ModelIdentity) -> int:
    """Write and print the summary of a finished run from its records; returns the exit code: 1 after a crash."""
    stream = _Stream(spec, tasks, folder)
    records = stream.records
    dead = []
    for task in tasks:
        own = stream.only_failures(task)
        if own and not spec.shard:  # of a shard's few samples all may fail; `merge` looks at the whole
            dead.append(task)
            print(f"vtprune_eval: {_why_dead(task, own)}", file=sys.stderr)
    tasks = [t for t in tasks if t not in dead]
    if not tasks:
        return 1
    cells, rows = merge_draws([(c.method, c.budget) for c in spec.cells()], records)
    by_label = {task.label: task for task in tasks}
    summary = summarise(
        spec.model,
        cells,
        [(t.label, t.scored) for t in tasks],
        rows,
        identity["trained"],
        (lambda label, own: breakdown(by_label[label].of, own)) if identity["trained"] else None,
        {c.method: spec.label(c.method) for c in spec.cells()},
    )
    summary |= {"set": spec.changed}
    summary |= {"run": spec.identity, "identity": identity, "folder": str(folder.path), "digests": digests(folder.path)}
    for task in tasks:
        for row in summary["rows"]:
            entry = row["tasks"][task.label]
            # The whole interval: a handful of samples may miss the floor by chance.
            if row["method"] == "full" and (entry.get("ci95") or (1.0, 1.0))[1] < task.floor:
                stated: dict[str, str | float] = {
                    "percent": 100 * entry["accuracy"],
                    "task": task.name,
                    "floor": 100 * task.floor,
                }
                row["notes"].append(Note("row_below_floor", stated))
    write_atomic(folder.path / "summary.json", table(summary, "json") + "\n")
    part = f", shard {spec.shard} (a part of the samples)" if spec.shard else ""
    heading = f"# {spec.model}, run {spec.identity}{part}\n\n"
    about = (
        f"\n\nWeights: {identity['weights']} ({identity['fingerprint']}), {identity['dtype']}, "
        f"{identity['device']}. Accuracy in %, with 95 % intervals. Times are medians. "
        f"{profiler_sentence(_profiler_of(folder), stream.timed)}".rstrip()
        + "\n"
    )
    write_atomic(folder.path / "report.md", heading + table(summary, "md") + about + breakdown_text(summary))
    print(table(summary, spec.format, terminal_width(spec.wide), spec.quiet))
    where = sys.stdout if spec.format == "table" else sys.stderr
    print(f"\nrun folder: {folder.path}\nreport:     {folder.path / 'report.md'}", file=where)
    if spec.format != "table":  # where they already stand
        for note in footnotes(summary):
            if note.warning:
                print(note, file=sys.stderr)
    if spec.shard:
        print(
            f"this is shard {spec.shard}; when all are done: python -m vtprune_eval merge RUN ... --out DIR",
            file=sys.stderr,
        )
    return int(bool(dead) or stream.crashed)


class _Stream:
    """The records of a finished run, cell by cell, and what must be known of all of them.

    Attributes:
        records: by (task, method, budget), read when they are asked for.
        crashed: whether a record that was read is a crash of the program.
    """

    def __init__(self, spec: RunSpec, tasks: list[Task], folder: RunFolder) -> None:
        self._cells = {
            (task.label, cell.method, cell.budget): (
                task,
                folder.records_path(task.name, cell.slug),
                cell_key(spec, task, cell),
            )
            for task in tasks
            for cell in spec.cells()
        }
        self.records = Streamed(self._cells, self._read)
        self.crashed = False
        self._timed: dict[tuple[str, str, str], list[Record]] = {}

    @property
    def timed(self) -> list[list[Record]]:
        """Per cell that was read and timed, the record in the middle of its times."""
        return list(self._timed.values())

    def _read(self, key: tuple[str, str, str]) -> list[Record]:
        """Raises UserError where records are not there any more."""
        task, path, identity = self._cells[key]
        done, _ = read_records(path, identity, shape=light)
        gone = [i for i in task.samples.ids if i not in done]
        if gone:
            raise UserError(
                f"{path.name}: {len(gone)} of {len(task.samples)} records are not there any more (first "
                f"{gone[0]!r}); they were removed or changed while the run wrote. Start the same command again: it "
                "answers what is missing."
            )
        own = [done[i] for i in task.samples.ids]
        self.crashed |= any(r["reason"] == "crash" for r in own)
        timed = [(times["e2e_ms"] or 0.0, i) for i, r in enumerate(own) if (times := r["times"])]
        if timed:
            self._timed[key] = [own[sorted(timed)[len(timed) // 2][1]]]
        return own

    def only_failures(self, task: Task) -> list[Record]:
        """The records of all cells of a task of which nothing was answered; [] for a task that was."""
        found: list[Record] = []
        for key in self._cells:
            if key[0] == task.label:
                own = self.records[key]
                if not all_failed(own):
                    return []
                found += own
        return found


def _why_dead(task: Task, own: list[Record]) -> str:
    """The sentence for a task of which nothing was answered: a table of 0.0 would look like a result."""
    counts = ", ".join(f"{n} times {reason}" for reason, n in Counter(r["reason"] for r in own).most_common())
    only_images = {r["reason"] for r in own} == {"bad_image"}
    remedy = (
        f"`python -m vtprune_eval data check {task.name}` lists the images; mend them and run again in a new folder"
        if only_images
        else "mend the cause and run again in a new folder (--out)"
    )
    first = str(own[0]["message"]).rstrip(".")
    return (
        f"every sample of {task.name} failed ({counts}; the first: {first}), so there is nothing to compare; {remedy}."
    )


def terminal_width(wide: bool) -> int | None:
    """Characters of a line of the terminal; None where the output is no terminal, or is to be as wide as it is."""
    return None if wide or not sys.stdout.isatty() else shutil.get_terminal_size().columns


def _profiler_of(folder: RunFolder) -> dict[str, float] | None:
    try:
        found: dict[str, float] | None = json.loads((folder.path / "environment.json").read_text()).get("profiler")
    except (OSError, ValueError, AttributeError):
        return None
    return found
