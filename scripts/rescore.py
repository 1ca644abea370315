"""Score the committed records again with the rules as they are now, and say what changed.

    python scripts/rescore.py [leaderboards/results] [--limit N]

Only tasks whose data is here can be scored. Exit code 1 if a score differs: then the change belongs into the changelog
under "Numbers", and the records into the leaderboard again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vtprune_eval.benchmarks.tasks import Task, load_task
from vtprune_eval.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
FIELDS = ("score", "reason", "parsed")


def records(folder: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The answered records of every result file, in the order of the files; about ``limit`` of them, evenly spread."""
    paths = sorted(folder.glob("*.records.jsonl.gz"))
    step = max(1, sum(1 for path in paths for _ in lines_of(path)) // limit) if limit else 1
    for line in islice((line for path in paths for line in lines_of(path)), 0, None, step):
        yield json.loads(line)


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file that hold an answered record."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        yield from (line for line in stream if '"status":"ok"' in line)


class Scorer:
    """Scores records with the tasks that are here, each loaded once."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], tuple[Task, dict[str, Any]] | None] = {}

    def changed(self, record: dict[str, Any]) -> dict[str, tuple[Any, Any]] | None:
        """Fields that are another than before, {} for none; None where the task or its data is not here."""
        name = record["task"]
        key = (name, record["protocol"])
        if key not in self._tasks:
            try:
                task = load_task(name, protocol=record["protocol"])
                self._tasks[key] = task, {s.id: s for s in task.samples}
            except UserError:
                self._tasks[key] = None
        found = self._tasks[key]
        if found is None or record["id"] not in found[1]:
            return None
        score = found[0].score(found[1][record["id"]], record["answer"], record["frame"])
        now = {"score": score.value, "reason": score.reason, "parsed": score.parsed}
        return {f: (record[f], now[f]) for f in FIELDS if record[f] != now[f]}


def main(argv: list[str] | None = None) -> int:
    """See the module; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "leaderboards" / "results")
    parser.add_argument("--limit", type=int, help="every so many-th record, so that about N are scored")
    given = parser.parse_args(argv)
    scorer, counts = Scorer(), Counter[str]()
    for record in records(given.folder, given.limit):
        changed = scorer.changed(record)
        counts["not here" if changed is None else "scored"] += 1
        for field, (before, now) in (changed or {}).items():
            counts[f"{field} differs"] += 1
            if counts[f"{field} differs"] <= 5:
                print(f"{record['task']} {record['id']} {record['method']}: {field} {before!r} -> {now!r}")
    print(", ".join(f"{k}: {n}" for k, n in counts.items()) or "no records")
    return 1 if counts["score differs"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
