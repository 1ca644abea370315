"""The command line: arguments only. Nothing heavy is imported before a run is known to be possible."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .console import Parser, debug, print_anything, tell_crash
from .errors import UserError, unknown_name
from .lazy import load_on_first_use
from .naming import typed_settings

if TYPE_CHECKING:
    from .runner.spec import RunSpec

USAGE = """python -m vtprune_eval --model MODEL --method M[,M...] --budget B[,B...] [--tasks T[,T...]]
       python -m vtprune_eval list models|methods|tasks [--format json]
       python -m vtprune_eval explain --method METHOD
       python -m vtprune_eval data get|check|sample TASK
       python -m vtprune_eval flops --model MODEL --image WxH --text-tokens N --method M --retain B
       python -m vtprune_eval doctor|selftest [--device cuda]
       python -m vtprune_eval merge RUN ... --out DIR
       python -m vtprune_eval verify RUN                       python -m vtprune_eval serve-bench --method M[,M...]
       python -m vtprune_eval recall --tasks web-grounding     python -m vtprune_eval redundancy --tasks TASK
       python -m vtprune_eval train --model MODEL --data TASK_OR_JSONL --method M --out FOLDER
       python -m vtprune_eval plot RUN ... [--x flops]         python -m vtprune_eval export RUN ... --latex
       python -m vtprune_eval compare RUN_A RUN_B
       python -m vtprune_eval leaderboard build [RUN ...]      python -m vtprune_eval validate FILE
       python -m vtprune_eval submit RUN --author NAME         python -m vtprune_eval check-submission FILE ...
       python -m vtprune_eval show --run RUN --sample ID       python -m vtprune_eval table pixelprune-4"""

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


def run_parser() -> argparse.ArgumentParser:
    """Options of a run; every default is None, so that a config file is only overridden by what was typed."""
    p = Parser(
        prog="vtprune_eval",
        usage=USAGE,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        description="Compare visual-token pruning methods on one model, at fixed budgets, on the same tasks.",
    )
    p.add_argument("--model", help="short name of a model (default nano)")
    p.add_argument(
        "--method",
        "--methods",
        dest="methods",
        metavar="M,...",
        help="methods; a+b composes two (default full,pixelprune); full is added where it is missing",
    )
    p.add_argument(
        "--budget",
        "--budgets",
        dest="budgets",
        metavar="B,...",
        help="10 (percent of the visual tokens), 256tok, auto, like:METHOD (default auto)",
    )
    p.add_argument("--no-full", action="store_true", help="do not add full: the row has no baseline then")
    p.add_argument(
        "--tasks",
        "--task",
        dest="tasks",
        metavar="T,...",
        help="names, suites or folders with a task.yaml (default: the embedded suite that suits the model)",
    )
    p.add_argument(
        "--include-path",
        metavar="DIR",
        help="folder of further task folders, for every command (may be given several times)",
    )
    p.add_argument(
        "--set",
        dest="params",
        action="append",
        metavar="[METHOD.]KEY=V[,V...]",
        help="hyper-parameter; several values are a sweep, one row each",
    )
    p.add_argument("--weights", help="hub (default), or random: the true architecture without a download")
    p.add_argument("--model-path", help="local hub-format folder with the weights")
    p.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="let Python code of the model's folder run (only opencua-7b needs it)",
    )
    p.add_argument("--data-path", help="folder with the original data of a task that is not embedded")
    p.add_argument("--protocol", help="whose scoring rule (default: the task's official one)")
    p.add_argument("--history", type=int, help="earlier screenshots per step, 0 to 5 (default: the protocol's own)")
    p.add_argument("--limit", type=int, help="samples per task, a fixed draw")
    p.add_argument("--seed", type=int, help="seed of everything random (default 0)")
    p.add_argument(
        "--seeds", type=int, metavar="N", help="runs of every random control, one row with mean and spread (default 1)"
    )
    p.add_argument(
        "--dtype", help="float32, bfloat16, float16 (default: the checkpoint's own on a GPU, float32 on a CPU)"
    )
    p.add_argument(
        "--device", help="cpu, cuda, cuda:N (default: the best one present), or spread: one model over all GPUs"
    )
    p.add_argument(
        "--device-map",
        choices=("auto",),
        help="auto: the same as --device spread",
    )
    p.add_argument(
        "--profile",
        help="what is read of the GPU: full (default: energy per sample and state), light "
        "(state of start and end), off; stage times and memory are always taken",
    )
    p.add_argument("--share", help="auto (default): methods and budgets compute once what they have in common; off")
    p.add_argument(
        "-q", "--quiet", action="store_true", help="print the main table and warnings alone; all else is in report.md"
    )
    p.add_argument("--wide", action="store_true", help="tables in one piece, however wide the terminal is")
    p.add_argument(
        "--decode-batch",
        metavar="N",
        help="answers that are decoded together: auto (default), N, or 1; what is answered does not depend on it",
    )
    p.add_argument(
        "--timings",
        type=int,
        metavar="N",
        help="samples per task and cell that are timed, each on its own "
        "(default: all; 8 where computation is shared or cached)",
    )
    p.add_argument(
        "--record-kept",
        metavar="full",
        help="full: records say which blocks every layer and head holds, for the maps of `show`",
    )
    p.add_argument(
        "--logprobs",
        action="store_true",
        help="records say how probable the model found each token of its answer (answers are decoded one by one)",
    )
    p.add_argument("--max-branch-bytes", metavar="SIZE", help="memory for shared state (default 4GB)")
    p.add_argument("--cache", metavar="DIR", help="keep preprocessed images and ViT outputs in this folder")
    p.add_argument("--cache-size", metavar="SIZE", help="its limit; what was used least recently goes (default 20GB)")
    p.add_argument("--attn", help="sdpa (default), eager, flash_attention_2")
    p.add_argument(
        "--reading",
        help="what a budget counts: equal (default; the same for every method, the only one that ranks) or paper",
    )
    p.add_argument("--budget-of", help=argparse.SUPPRESS)
    p.add_argument("--max-new-tokens", type=int, help="limit of an answer (default: the task's own)")
    p.add_argument("--out", help="run folder (default runs/MODEL-IDENTITY); an existing one is resumed")
    p.add_argument(
        "--shard",
        metavar="I/N",
        help="answer only every N-th sample, from the I-th on (I counts from 0); `merge` puts the shards together",
    )
    p.add_argument(
        "--engine",
        help="local (default: this process), ray: workers of a Ray cluster, the one of RAY_ADDRESS or one started "
        "here, or vllm: many samples at once, accuracy without costs",
    )
    p.add_argument(
        "--workers",
        type=int,
        help="of --engine ray (default: one per GPU; without GPUs one per machine); "
        "with --engine vllm: engines under Ray",
    )
    p.add_argument("--config", metavar="FILE", help="YAML file with any of these settings; options override it")
    p.add_argument("--format", help="of the summary on stdout: table (default), json, md, csv")
    return p


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
    from .runner.spec import from_mapping, read_yaml

    given = vars(run_parser().parse_args(args))
    values: dict[str, Any] = read_yaml(given.pop("config")) if "config" in given else {}
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
    p = Parser(prog="vtprune_eval list", allow_abbrev=False)
    p.add_argument("what", choices=("models", "methods", "tasks"))
    p.add_argument("--format", choices=("table", "json"), default="table")
    given = p.parse_args(args)
    from .commands import listing

    listing.show(given.what, given.format)
    return 0


def _explain(args: list[str]) -> int:
    p = Parser(prog="vtprune_eval explain", allow_abbrev=False)
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
