"""The three commands; arguments and printing only."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..console import Parser
from ..errors import UserError


def _parser() -> Parser:
    p = Parser("data")
    commands = p.add_subparsers(dest="command", required=True)
    get = commands.add_parser("get", help="download or render a task's data (resumes, verifies, shows the licence)")
    get.add_argument("task", help="a task, or a suite (web)")
    get.add_argument("--data-path", help="where to (default: $VTPRUNE_DATA or ~/.cache/vtprune_eval/data)")
    get.add_argument("--accept-licence", action="store_true", help="without asking")
    get.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="files of a large release, e.g. 'general/*-00000-of-*'; repeat for several",
    )
    check = commands.add_parser("check", help="schema, counts, missing images, fingerprint")
    check.add_argument("task", help="a task, or a suite (web)")
    check.add_argument("--data-path", help="folder of the data (default: where `data get` puts it)")
    check.add_argument("--images", action="store_true", help="also open every image (slow)")
    check.add_argument("--format", choices=("table", "json"), default="table")
    sample = commands.add_parser("sample", help="draw records with boxes and actions into a PNG")
    sample.add_argument("task")
    sample.add_argument("n", nargs="?", type=int, default=3, help="how many (default 3)")
    sample.add_argument("--data-path", help="folder of the data (default: where `data get` puts it)")
    sample.add_argument("--history", type=int, help="earlier screenshots beside each record (default: the task's own)")
    sample.add_argument("--out", help="PNG to write (default TASK-sample.png)")
    return p


def main(args: Sequence[str]) -> int:
    """Run one command; returns the exit code: 0, or 1 where ``check`` found something wrong.

    Raises:
        UserError: anything the user can mend.
    """
    given = _parser().parse_args(list(args))
    if given.command == "get":
        from ..benchmarks.definitions import SUITES
        from ..data.fetch import get

        for task, path in _tasks_of(given.task, given.data_path, SUITES):
            print(f"data in {get(task, path, accept=given.accept_licence, only=given.only)}")
        return 0
    if given.command == "check":
        from ..benchmarks.definitions import SUITES
        from ..data.check import check

        reports = [
            check(task, path, open_images=given.images) for task, path in _tasks_of(given.task, given.data_path, SUITES)
        ]
        if given.format == "json":
            print(json.dumps(reports if given.task in SUITES else reports[0], indent=2))
        else:
            print("\n\n".join(map(_text, reports)))
        return 0 if all(report["ok"] for report in reports) else 1
    if given.n < 1:
        raise UserError(f"data sample: {given.n} records cannot be drawn; give a number of at least 1.")
    from ..data.draw import draw_task

    out = Path(given.out or f"{given.task}-sample.png")
    for line in draw_task(given.task, given.n, given.data_path, given.history, out):
        print(line)
    print(f"drawn into {out}", file=sys.stderr)
    return 0


def _tasks_of(name: str, data_path: str | None, suites: Mapping[str, Sequence[str]]) -> list[tuple[str, str | None]]:
    """A task and the folder of its data, or those of a suite, each in a folder of its own below that one."""
    if name not in suites:
        return [(name, data_path)]
    return [(task, str(Path(data_path) / task) if data_path else None) for task in suites[name]]


def _text(report: dict[str, Any]) -> str:
    lines = [
        f"{report['task']}: {report['folder']}",
        f"records      {report['records']}",
        f"episodes     {report['clusters']}",
        f"fingerprint  {report['fingerprint'] or '-'}",
    ]
    for key, counts in report["counts"].items():
        lines.append(f"{key}: " + ", ".join(f"{k} {v}" for k, v in counts.items()))
    lines += [f"PROBLEM: {problem}" for problem in report["problems"]]
    return "\n".join([*lines, "nothing wrong found" if report["ok"] else f"{len(report['problems'])} problems"])
