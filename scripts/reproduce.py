"""Redo a sample of recorded answers and compare: ``python scripts/reproduce.py RUN_OR_RESULT... [--n 500]``.

A run folder, finished or not, or a result file of a leaderboard is taken. The records are spread evenly over all cells
(task, method, budget) of all that is given; generated ids, kept indices, lengths and scores must be the same. The exit
code is 1 where one of them is not.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from vtprune_eval.report.result_file import read
from vtprune_eval.runner.answers import record_of
from vtprune_eval.runner.execute import load_factory
from vtprune_eval.runner.folder import parse_records, read_json, spec_of, task_of
from vtprune_eval.runner.spec import Cell, RunSpec

FIELDS = ("status", "answer", "ids", "kept", "kept_last", "score", "parsed")


def stored(path: Path) -> tuple[RunSpec, dict[tuple[str, str, str], list[Any]]]:
    """The specification and the records, by (task, method, budget), of a run folder or a result file."""
    if path.is_dir():  # finished or not
        spec = spec_of(read_json(path / "run.json"))
        found = {}
        for task in spec.tasks:
            for cell in spec.cells():
                file = path / "records" / f"{task}--{cell.slug}.jsonl"
                lines = file.read_text("utf-8").splitlines() if file.is_file() else []
                if lines:
                    found[task, cell.method, cell.budget] = parse_records(lines, file.name)
        return spec, found
    result, records = read(path)
    return spec_of(result["settings"]), records


def spread(records: Mapping[Any, list[Any]], n: int) -> Iterator[tuple[Any, list[Any]]]:
    """Of every cell as many records as of the others (one more or less), evenly over its samples."""
    cells = list(records)
    for i, key in enumerate(cells):
        share, own = n * (i + 1) // len(cells) - n * i // len(cells), records[key]
        share = min(share, len(own))
        yield key, [own[k * len(own) // share] for k in range(share)]


def differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the fields that are not the same; of the lengths, those that the old record has."""
    fields = [f for f in FIELDS if old.get(f) != new.get(f)]
    counts = old["counts"] or {}
    new_counts = new["counts"] or {}
    return fields + [f"counts.{k}" for k, v in counts.items() if _plain(v) != _plain(new_counts.get(k))]


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def main(argv: list[str] | None = None) -> int:
    """Redo and print; the exit code."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paths", nargs="+", type=Path)
    p.add_argument("--n", type=int, default=500, help="records in all (default 500)")
    given = p.parse_args(argv)
    same, wrong, methods = 0, Counter[str](), Counter[str]()
    for number, path in enumerate(given.paths):
        spec, records = stored(path)
        n = given.n * (number + 1) // len(given.paths) - given.n * number // len(given.paths)
        _, factory, coordinates = load_factory(spec)
        tasks = {name: task_of(spec, name) for name in spec.tasks}
        samples = {name: {s.id: s for s in task.samples} for name, task in tasks.items()}
        with tqdm(total=n, file=sys.stderr, mininterval=5, unit="record") as bar:
            for (task, method, budget), own in spread(records, n):
                pipeline = factory(Cell(method, budget), tasks[task])
                for old in own:
                    sample = samples[task][old["id"]]
                    try:
                        outcome = pipeline.run(sample)
                    except Exception as error:
                        outcome = error
                    new = record_of(old["key"], tasks[task], sample, outcome, coordinates)
                    found = differs(old, new)
                    if found:
                        wrong.update(found)
                        print(f"{task} {method} {budget} {old['id']}: {', '.join(found)}", file=sys.stderr)
                    same += not found
                    methods[method] += 1
                    bar.update()
    n_all = sum(methods.values())
    print(f"{same} of {n_all} records reproduced exactly ({len(methods)} methods: {', '.join(sorted(methods))})")
    if wrong:
        print("not the same: " + ", ".join(f"{name} {n}" for name, n in wrong.most_common()))
    return int(same != n_all)


if __name__ == "__main__":
    sys.exit(main())
