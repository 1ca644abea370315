"""``python -m vtprune_eval show --run RUN [--cells A B] [--only A-right-B-wrong]``: PNG files and an HTML gallery."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..benchmarks.tasks import Task
from ..console import Parser
from ..errors import UserError, unknown_name
from ..report.gallery import figure, gallery
from ..report.pictures import Panel, Undrawable, draw, sentences
from ..report.selection import FILTERS, PAIRS, chosen, fits, group_table, groups_of, label_of
from ..results.store import write_atomic
from ..runner.folder import Run, identity_of, read_run, task_of
from ..runner.spec import Cell
from ..sample import Sample


def parser() -> Parser:
    """Options of ``show``."""
    p = Parser("show", description=__doc__)
    p.add_argument("--run", required=True, metavar="RUN", help="folder of a finished run")
    p.add_argument("--sample", action="append", default=[], metavar="ID", help="sample id; repeat for several")
    p.add_argument("--task", help="one task of the run (default all)")
    p.add_argument("--method", metavar="M[,M...]", help="cells of these methods, with full as reference")
    p.add_argument("--budget", metavar="B[,B...]", help="cells at these budgets, with full as reference")
    p.add_argument(
        "--cells",
        nargs="+",
        default=[],
        metavar="CELL",
        help="these cells in this order, such as full guikv@10; the first two are A and B of --only",
    )
    p.add_argument(
        "--only",
        choices=FILTERS,
        help="full-right: full is right and a shown cell wrong; disagree: any two shown cells differ in being right; "
        "the others compare A and B of --cells",
    )
    p.add_argument("--group", metavar="KEY=VALUE", help="samples of one group, such as platform=web")
    p.add_argument("--limit", type=int, default=24, help="pictures at most (default 24)")
    p.add_argument("--data-path", help="folder of the original data of a task that is not embedded")
    p.add_argument("--out", help="folder of the gallery (default RUN/show)")
    return p


@dataclass(frozen=True)
class Seen:
    """A sample and its chosen cells; ``every`` holds all cells of the run."""

    task: Task
    sample: Sample
    panels: list[Panel]
    every: list[Panel]

    def fits(self, only: str | None) -> bool:
        """Does it pass the filter?"""
        return fits(self.panels, only, next((p for p in self.every if p.label == "full"), None))


def main(argv: Sequence[str]) -> int:
    """Draw the chosen samples; returns the exit code.

    Raises:
        UserError: no such run, task, cell or sample, or nothing that fits the filter.
    """
    given = parser().parse_args(list(argv))
    if given.limit < 1:
        raise UserError("--limit: at least 1 picture is needed.")
    run = read_run(Path(given.run))
    run.tell_unsealed()
    if given.task is not None and given.task not in run.spec.tasks:
        raise unknown_name("task of this run", given.task, run.spec.tasks)
    cells = chosen(
        run.spec.cells(),
        names=given.cells,
        methods=_split("--method", given.method),
        budgets=_split("--budget", given.budget),
    )
    _check_filter(given, cells, run)
    found: list[Seen] = []
    known: list[str] = []
    tables: list[tuple[str, Any]] = []
    values: dict[str, set[str]] = {}
    for name in [given.task] if given.task else run.spec.tasks:
        task = _task(run, name, given.data_path)
        all_ = [_seen(run, task, s, cells) for s in task.samples]
        known += [s.sample.id for s in all_]
        groups = groups_of(task.of, [s.every[0].record["meta"] for s in all_])
        for key, own in groups.items():
            values.setdefault(key, set()).update(own)
        if any(p.record["score"] is not None for s in all_ for p in s.panels):
            tables.append((name, group_table(groups, [s.panels for s in all_])))
        inside = _members(given.group, groups, len(all_))
        found += [
            s
            for number, s in enumerate(all_)
            if number in inside and (not given.sample or s.sample.id in given.sample) and s.fits(given.only)
        ]
    absent = [s for s in given.sample if s not in known]
    if absent:
        raise unknown_name("sample", absent[0], known)
    _check_group(given.group, values)
    if not found:
        raise UserError(
            "no sample of this run fits the filter; leave --only, --group or --sample away, or choose other cells."
        )
    return _write(run, given, found, tables)


def _split(name: str, text: str | None) -> list[str]:
    """Names between commas.

    Raises:
        UserError: none, or an empty one.
    """
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    if not all(parts):
        raise UserError(f"{name}: an empty name stands in {text!r}; leave it out, or name one.")
    return parts


def _task(run: Run, name: str, data_path: str | None) -> Task:
    task = task_of(run.spec, name, data_path)
    if run.settings["data"][name] != f"v{task.version} {task.fingerprint}":
        raise UserError(
            f"{name} was run on other data ({run.settings['data'][name]}) than is here; its pictures "
            "would not fit the records: run it again."
        )
    return task


def _check_filter(given: argparse.Namespace, cells: Sequence[Cell], run: Run) -> None:
    """Refuse a filter that has nothing to compare.

    Raises:
        UserError: A and B are not known, or the run has no full.
    """
    if given.only in PAIRS and len(cells) != 2 and len(given.cells) < 2:
        of_run = [c for c in run.spec.cells() if c.method != "full"] or cells
        example = f"--cells full {of_run[0].method}@{of_run[0].budget}"
        raise UserError(f"--only {given.only} compares two cells, A and B; name them, such as {example}.")
    if given.only == "full-right" and all(c.method != "full" for c in run.spec.cells()):
        raise UserError("--only full-right needs a run that holds the method full; use --only disagree.")


def _seen(run: Run, task: Task, sample: Sample, cells: Sequence[Cell]) -> Seen:
    every = {}
    for cell in run.spec.cells():
        record = run.records[task.name, cell.method, cell.budget].get(sample.id)
        if record is None:
            raise UserError(
                f"{run.path} has no record of {sample.id!r} for {cell.method} at {cell.budget} on "
                f"{task.name}; finish the run first."
            )
        every[cell] = Panel(label_of(cell), record)
    return Seen(task, sample, [every[c] for c in cells], list(every.values()))


def _members(text: str | None, groups: Mapping[str, Mapping[str, list[int]]], n: int) -> set[int]:
    """Numbers of the samples of a group; all without one."""
    if text is None:
        return set(range(n))
    key, _, value = text.partition("=")
    return set(groups.get(key, {}).get(value, ()))


def _check_group(text: str | None, values: Mapping[str, set[str]]) -> None:
    """Refuse a group that no task of the run has."""
    if text is None:
        return
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--group {text!r}: write KEY=VALUE; this run has {', '.join(sorted(values)) or 'no groups'}.")
    if key not in values:
        raise unknown_name("key of --group", key, values) if values else UserError("this run has no groups of samples.")
    if value not in values[key]:
        raise unknown_name(f"value of --group {key}", value, values[key])


def _write(run: Run, given: argparse.Namespace, found: list[Seen], tables: list[tuple[str, Any]]) -> int:
    """Draw the samples and write the page."""
    folder = Path(given.out) if given.out else run.path / "show"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); choose another with --out.") from None
    figures: list[str] = []
    skipped: list[Undrawable] = []
    for seen in found:
        if len(figures) == given.limit:
            break
        file = file_name(seen.task.name, seen.sample.id)
        try:
            picture = draw(seen.sample, seen.panels, seen.task.of, every=seen.every)
            kept = sentences(seen.sample, seen.panels, seen.every)
        except Undrawable as error:  # a broken screenshot is no reason to hide the others
            skipped.append(error)
            continue
        picture.save(folder / file)
        figures.append(figure(file, seen.task.name, seen.sample, seen.panels, kept, seen.fits("full-right")))
    if not figures:
        raise skipped[0]
    asked = [f"--only {given.only}"] if given.only else []
    if given.only in PAIRS:
        asked.append(f"A is {found[0].panels[0].label}, B is {found[0].panels[1].label}")
    asked += [f"group {given.group}"] if given.group else []
    title = f"{run.settings['model']}, run {identity_of(run.settings)}"
    page = gallery(title, figures, len(found), tables, f" ({'; '.join(asked)})" if asked else "")
    write_atomic(folder / "index.html", page)
    for task, (heads, lines) in tables if len(found[0].panels) <= 4 else ():
        print(f"{task}, accuracy in %:\n{tabulate(lines, headers=heads, disable_numparse=True)}\n")
    print(f"{len(figures)} of {len(found)} samples drawn{f' ({asked[-1]})' if asked else ''}")
    print(f"gallery: {folder / 'index.html'}")
    if skipped:
        print(f"{len(skipped)} samples skipped, the first because {skipped[0]}", file=sys.stderr)
    return 0


def file_name(task: str, sample: str) -> str:
    """A file name that any sample id can have: its letters and digits, and a hash that tells ids apart."""
    plain, name = (re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:60].strip("-.") for text in (sample, task))
    return f"{name}--{plain}-{hashlib.sha256(sample.encode()).hexdigest()[:8]}.png"
