"""A small run of the scripted stand-in, and the result files and pages made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vtprune_eval import cli
from vtprune_eval.report.result_file import fingerprint, from_run, write
from vtprune_eval.results.store import digests
from vtprune_eval.runner.folder import read_run

HOSTILE = "</script><img src=x onerror=\"document.title='run'\"> | `a` [b](c)"


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Run folder of the stand-in: full, pixelprune and resize at two budgets on two tasks, 12 samples each."""
    folder = tmp_path_factory.mktemp("runs") / "stub"
    assert (
        cli.main(
            [
                "--model",
                "stub",
                "--method",
                "full,pixelprune,resize",
                "--budget",
                "10,50",
                "--limit",
                "12",
                "--tasks",
                "mini-doc,mini-nav",
                "--out",
                str(folder),
            ]
        )
        == 0
    )
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of the run folder that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def board(tmp_path) -> Path:
    """An empty leaderboard folder."""
    (tmp_path / "board" / "results").mkdir(parents=True)
    return tmp_path / "board"


@pytest.fixture
def result(run, board) -> Path:
    """The result file of the run, in the leaderboard's folder."""
    return write(*from_run(read_run(run)), board / "results")


def edit_records(run: Path, name: str, change, *, seal: bool = True) -> None:
    """Apply ``change`` to every record of one file of a run folder; ``seal`` makes the digests fit again."""
    path = run / "records" / name
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for i, record in enumerate(records):
        change(i, record)
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    if seal:
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps({**summary, "digests": digests(run)}))


def forge(path: Path, change) -> None:
    """Change a result file and make its fingerprint fit again, as a careful forger would."""
    data = json.loads(path.read_text())
    change(data)
    data["fingerprint"] = fingerprint(data)
    path.write_text(json.dumps(data))
