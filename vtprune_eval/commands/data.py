"""The three commands; arguments and printing only."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
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
    check.add_argument("task")
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

        for task in SUITES.get(given.task, (given.task,)):
            path = str(Path(given.data_path) / task) if given.data_path and given.task in SUITES else given.data_path
            print(f"data in {get(task, path, accept=given.accept_licence, only=given.only)}")
        return 0
    if given.command == "check":
        from ..data.check import check

        report = check(given.task, given.data_path, open_images=given.images)
        print(json.dumps(report, indent=2) if given.format == "json" else _text(report))
        return 0 if report["ok"] else 1
    if given.n < 1:
        raise UserError(f"data sample: {given.n} records cannot be drawn; give a number of at least 1.")
    from ..data.draw import draw_task

    out = Path(given.out or f"{given.task}-sample.png")
    for line in draw_task(given.task, given.n, given.data_path, given.history, out):
        print(line)
    print(f"drawn into {out}", file=sys.stderr)
    return 0


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
