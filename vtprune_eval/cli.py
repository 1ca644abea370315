"""The command line: arguments only. Nothing heavy is imported before a run is known to be possible."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .commands.options import run_parser
from .console import Parser, debug, print_anything, tell_crash
from .errors import UserError, unknown_name
from .json_values import JsonObject
from .lazy import load_on_first_use
from .naming import typed_settings

if TYPE_CHECKING:
    from .runner.spec import RunSpec

# Commands whose module is imported only when they are called.
_COMMANDS = {
    "data": ("commands.data", "main"),
    "flops": ("profiling.flops_table", "main"),
    "leaderboard": ("commands.leaderboard", "leaderboard"),
    "validate": ("commands.leaderboard", "validate"),
    "show": ("commands.show", "main"),
    "submit": ("commands.submit", "submit"),
    "check-submission": ("commands.submit", "check_submission"),
    "plot": ("commands.plot", "main"),
    "export": ("commands.export", "main"),
    "compare": ("commands.compare", "main"),
    "table": ("report.paper_table", "main"),
    "merge": ("runner.workers.merge", "main"),
    "verify": ("commands.verify", "main"),
    "serve-bench": ("commands.serve_bench", "main"),
    "recall": ("commands.recall", "recall"),
    "redundancy": ("commands.recall", "redundancy"),
    "doctor": ("commands.doctor", "main"),
    "selftest": ("commands.selftest", "main"),
    "train": ("commands.train", "main"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 the user can mend it, 130 interrupted)."""
    args = debug(list(sys.argv[1:] if argv is None else argv))
    print_anything()
    load_on_first_use("torch")  # modules of methods import it; their names and hyper-parameters do not need it
    begun = False
    try:
        if threading.current_thread() is threading.main_thread() and not _is_ours(signal.getsignal(signal.SIGINT)):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        args = _included(args)
        if args and args[0] == "list":
            return _list(args[1:])
        if args and args[0] == "explain":
            return _explain(args[1:])
        if args and args[0] in _COMMANDS:
            module, function = _COMMANDS[args[0]]
            return int(getattr(importlib.import_module(f"vtprune_eval.{module}"), function)(args[1:]))
        if not args:
            raise UserError(
                "nothing was asked for; start with `python -m vtprune_eval --model nano --method full,pixelprune`, or "
                "see --help."
            )
        if not args[0].startswith("-"):
            raise unknown_name("command", args[0], ("list", "explain", *_COMMANDS), "See --help.")
        begun = True
        return _run(args)
    except UserError as error:
        tell_crash(error)
        print(f"vtprune_eval: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # before the first sample, or the second Ctrl-C of a run
        kept = "; what was written is kept, and the same command goes on from there" if begun else ""
        print(f"vtprune_eval: stopped{kept}.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141


def _is_ours(handler: Any) -> bool:
    """False for the handler of the first milliseconds alone: others, and an ignored Ctrl-C, are left."""
    return getattr(handler, "__name__", "") != "_at_once"


def spec_of_arguments(args: list[str]) -> RunSpec:
    """The settings that the options of a run, and its config file, come to.

    Raises:
        UserError: anything a user can mend.
    """
    from .runner.config import from_mapping, read_yaml

    given = vars(run_parser().parse_args(args))
    values: JsonObject = read_yaml(given.pop("config")) if "config" in given else {}
    if "params" in given:
        given["params"] = {**dict(values.pop("set", values.pop("params", {}))), **typed_settings(given["params"])}
    for old, new in (("method", "methods"), ("budget", "budgets"), ("task", "tasks")):
        if new in given:
            values.pop(old, None)
    if given.pop("device_map", None):
        given["device"] = "spread"
    from .runner.defaults import completed

    return from_mapping(completed({**values, **given}))


def _included(args: list[str]) -> list[str]:
    """The arguments without every ``--include-path DIR``, whose task folders belong to all commands."""
    rest, folders, at = [], [], 0
    while at < len(args):
        name, equals, value = args[at].partition("=")
        if name == "--include-path":
            if not equals:
                at += 1
                if at >= len(args):
                    raise UserError("--include-path needs a folder.")
                value = args[at]
            folders.append(value)
        else:
            rest.append(args[at])
        at += 1
    if folders:
        from .benchmarks.registry import include

        include(folders)
    return rest


def _run(args: list[str]) -> int:
    spec = spec_of_arguments(args)
    from .runner.execute import execute

    return execute(spec)


def _list(args: list[str]) -> int:
    p = Parser("list")
    p.add_argument("what", choices=("models", "methods", "tasks"))
    p.add_argument("--format", choices=("table", "json"), default="table")
    given = p.parse_args(args)
    from .commands import listing

    listing.show(given.what, given.format)
    return 0


def _explain(args: list[str]) -> int:
    p = Parser("explain")
    p.add_argument("--method", required=True)
    p.add_argument(
        "--cost",
        action="store_true",
        help="count, on the embedded model, what its hooks launch on a device and how often they wait for it",
    )
    given = p.parse_args(args)
    from .commands import listing

    print(listing.explain(given.method))
    if given.cost:
        print(listing.cost_of(given.method))
    return 0
