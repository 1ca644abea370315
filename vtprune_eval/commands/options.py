"""The options of a run, for the command line and for commands that take a whole run's settings."""

from __future__ import annotations

import argparse

from ..console import Parser

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


def at_least_one(text: str) -> int:
    """The value of an option that counts, such as ``--limit``.

    Raises:
        argparse.ArgumentTypeError: no whole number, or one below 1.
    """
    if not text.strip().lstrip("+-").isdigit():
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text}")
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return int(text)


def run_parser() -> Parser:
    """Options of a run; every default is None, so that a config file is only overridden by what was typed."""
    p = Parser(
        usage=USAGE,
        argument_default=argparse.SUPPRESS,
        description="Compare visual-token pruning methods on one model, at fixed budgets, on the same tasks.",
    )
    for add in (_question, _samples, _machine, _work, _course):
        add(p)
    return p


def _question(p: Parser) -> None:
    """What is compared: model, methods, budgets, tasks, and where their weights and data lie."""
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


def _samples(p: Parser) -> None:
    """Which samples are asked, how they are scored, and the seeds."""
    p.add_argument("--protocol", help="whose scoring rule (default: the task's official one)")
    p.add_argument("--history", type=int, help="earlier screenshots per step, 0 to 5 (default: the protocol's own)")
    p.add_argument("--limit", type=int, help="samples per task, a fixed draw")
    p.add_argument("--seed", type=int, help="seed of everything random (default 0)")
    p.add_argument(
        "--seeds", type=int, metavar="N", help="runs of every random control, one row with mean and spread (default 1)"
    )


def _machine(p: Parser) -> None:
    """Where the model runs, and what is read of the device meanwhile."""
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


def _work(p: Parser) -> None:
    """What cells share, what is timed, recorded and cached, and how much the terminal shows."""
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
    p.add_argument(
        "--decode-graphs",
        action="store_true",
        help="decode the timed answers with static shapes, on CUDA as a captured graph (not bound by kernel launches)",
    )
    p.add_argument("--max-branch-bytes", metavar="SIZE", help="memory for shared state (default 4GB)")
    p.add_argument("--cache", metavar="DIR", help="keep preprocessed images and ViT outputs in this folder")
    p.add_argument("--cache-size", metavar="SIZE", help="its limit; what was used least recently goes (default 20GB)")


def _course(p: Parser) -> None:
    """Attention backend, reading of the budgets, the folder, and who answers."""
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
