"""``verify``: are an engine's answers those of our pipeline? Samples of a finished run are answered again and compared.

``verify RUN`` takes the folder of a run with ``--engine vllm``; ``verify --engine vllm ...`` makes the run first. What
is found is kept in the folder's ``environment.json``: a board shows it beside every such row, and takes none without.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..console import Parser
from ..errors import SampleError, UserError
from ..results.run_files import VerifiedCell
from ..results.store import RunFolder, write_atomic
from ..results.types import Record
from ..results.verified import LEAST_EQUAL, NAME, engine_of, shares
from ..runner.folder import Run, read_run, task_of
from ..runner.spec import RunSpec

SAMPLES = 50


def parser() -> Parser:
    """Options of ``verify``; all others are those of a run."""
    p = Parser(
        "verify",
        usage="python -m vtprune_eval verify RUN [--samples N]   (or, without RUN, with the options of a run)",
        description=__doc__,
    )
    p.add_argument("--samples", type=int, default=SAMPLES, help=f"samples per task and cell (default {SAMPLES})")
    p.add_argument("--data-path", help="folder with the original data of a task that is not embedded")
    return p


def main(argv: Sequence[str]) -> int:
    """Compare and print; returns 0 where every row may enter a board, else 1.

    Raises:
        UserError: no such run, a run of the pipeline itself, or a model that cannot be loaded.
    """
    named = [argv[0]] if argv and not argv[0].startswith("-") else []
    given, rest = parser().parse_known_args(list(argv[len(named) :]))
    if given.samples < 1:
        raise UserError(f"--samples {given.samples}: at least one is needed.")
    if named and rest:
        raise UserError(f"{rest[0]} belongs to a run; `verify RUN` takes --samples and --data-path alone.")
    folder = Path(named[0]) if named else _made(given, rest)
    run = read_run(folder)
    engine = engine_of(run.settings)
    if engine is None:
        raise UserError(f"{folder} was answered by the pipeline itself; verify compares runs with --engine vllm.")
    cells = compare(run, given.samples, given.data_path)
    with RunFolder(folder):
        environment = {**run.environment, NAME: {"engine": engine, "samples": given.samples, "cells": cells}}
        write_atomic(folder / "environment.json", json.dumps(environment, indent=2) + "\n")
    print(shown(cells, engine, str(run.settings["dtype"])))
    return int(
        run.settings["dtype"] == "float32" and any(equal < LEAST_EQUAL * n for equal, n in shares(cells).values())
    )


def _made(given: argparse.Namespace, rest: list[str]) -> Path:
    """Run with the options ``rest`` and as many samples as are compared; the run's folder."""
    from ..cli import spec_of_arguments
    from ..runner.defaults import resolved
    from ..runner.execute import execute

    more = ["--data-path", given.data_path] if given.data_path else []
    spec = spec_of_arguments([*rest, *more])
    if spec.engine != "vllm":
        raise UserError("verify compares an engine with the pipeline: name a run's folder, or add --engine vllm.")
    spec = replace(resolved(spec), limit=min(given.samples, spec.limit or given.samples))
    if execute(spec):
        raise UserError(f"the run in {spec.folder} did not end well; nothing was compared.")
    return spec.folder


def compare(run: Run, n_samples: int, data_path: str | None = None) -> list[VerifiedCell]:
    """Answer some samples of a run with the pipeline.

    Args:
        run: of an engine.
        n_samples: per task and cell, evenly spread.
        data_path: of a task that is not embedded.

    Returns:
        Per task and cell: ``n`` compared, ``equal`` in every id, ``kept`` the same tokens.
    """
    from tqdm import tqdm

    from ..runner.execute import load_factory

    spec: RunSpec = replace(run.spec, engine="local", workers=None, data_path=data_path)
    _, factory, _ = load_factory(spec)
    out: list[VerifiedCell] = []
    with tqdm(file=sys.stderr, unit="sample", mininterval=0.5) as bar:
        for name in spec.tasks:
            task = task_of(run.spec, name, data_path)
            n = min(n_samples, len(task.samples))
            chosen = [task.samples[i * len(task.samples) // n] for i in range(n)]
            for cell in spec.cells():
                pipeline, records = factory(cell, task), run.records[name, cell.method, cell.budget]
                found = [_same(pipeline, sample, records[sample.id]) for sample in chosen]
                bar.update(n)
                out.append(
                    {
                        "task": name,
                        "method": cell.method,
                        "budget": cell.budget,
                        "n": n,
                        "equal": sum(ids for ids, _ in found),
                        "kept": sum(kept for _, kept in found),
                    }
                )
    return out


def _same(pipeline: Any, sample: Any, record: Record) -> tuple[bool, bool]:
    """Whether the record has the pipeline's ids, and its kept tokens; samples that fail in both are the same."""
    from ..results.record import bitmap

    try:
        outcome = pipeline.run(sample)
    except SampleError as error:
        same = record["status"] == "failed" and record["reason"] == error.reason
        return same, same
    return list(outcome.ids) == record["ids"], [bitmap(k) for k in outcome.kept] == record["kept"]


def shown(cells: list[VerifiedCell], engine: str, dtype: str) -> str:
    """The comparison as a table."""
    from tabulate import tabulate

    rows = [[c["task"], f"{c['method']} at {c['budget']}", c["n"], c["equal"], c["kept"]] for c in cells]
    equal, n = sum(c["equal"] for c in cells), sum(c["n"] for c in cells)
    table = tabulate(rows, headers=["task", "cell", "samples", "equal ids", "equal tokens kept"])
    return (
        f"{table}\n\n{equal} of {n} answers of {engine} have the pipeline's ids ({100 * equal / n:.1f} %, {dtype}); "
        f"in float32 a board takes rows from {100 * LEAST_EQUAL:g} %."
    )
