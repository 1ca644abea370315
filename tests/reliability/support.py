"""What the drills share."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtprune_eval.results.record import result_of

SPAWN = multiprocessing.get_context("forkserver")  # a process in milliseconds: the server has imported everything
SPAWN.set_forkserver_preload(
    [
        "vtprune_eval.runner.execute",
        "vtprune_eval.models.stub",
        "vtprune_eval.runner.workers.merge",
        "numpy",
        "tqdm",
        "tabulate",
        "tests.reliability.support",
    ]
)


def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The parts of all records that must not depend on interruptions, in file order, by file name."""
    return {
        p.name: [result_of(json.loads(line)) for line in p.read_text().splitlines()]
        for p in sorted((folder / "records").glob("*.jsonl"))
    }


def commands(lines: Sequence[Sequence[str]], env: dict[str, str]) -> None:
    """Body of a child: our commands one after the other, without output; exits with the first code that is not 0."""
    from vtprune_eval.cli import main

    os.environ.update(env)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        for line in lines:
            code = main(list(line))
            if code:
                os._exit(code)
    os._exit(0)


def run_until(lines: Sequence[Sequence[str]], env: dict[str, str], seconds: float | None) -> int:
    """Run commands in a child and kill it after ``seconds`` (None: never); its exit code, -9 if it was killed."""
    child = SPAWN.Process(target=commands, args=(lines, env), daemon=True)
    child.start()
    if seconds is not None:
        deadline = time.monotonic() + seconds
        child.join(seconds)
        while child.is_alive() and time.monotonic() < deadline:  # join may return a little early
            time.sleep(0.001)
        child.kill()  # SIGKILL; nothing where it has ended
    child.join()
    return child.exitcode
