"""``python -m vtprune_eval leaderboard build [RUN ...]`` and ``python -m vtprune_eval validate FILE``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import Parser
from ..errors import UserError
from ..report import leaderboards_dir

if TYPE_CHECKING:
    from ..runner.folder import Run


def leaderboard(argv: Sequence[str]) -> int:
    """Add results of run folders and rebuild the pages; returns the exit code.

    Raises:
        UserError: a run or a result file that cannot enter; no page is changed then.
    """
    p = Parser("leaderboard")
    p.add_argument(
        "action",
        choices=("build",),
        help="result files of the runs, then all pages",
    )
    p.add_argument("runs", nargs="*", metavar="RUN", help="run folders")
    p.add_argument(
        "--dir",
        default=None,
        help="folder of the leaderboard; default: with RUN a preview in the first run's own folder, which changes no "
        "committed board; without RUN leaderboards/",
    )
    given = p.parse_args(list(argv))
    from ..report.pages import build
    from ..report.result_file import from_run, write

    if given.dir:
        folder = Path(given.dir)
    else:
        folder = Path(given.runs[0]) / "board" if given.runs else leaderboards_dir()
    results = [from_run(_read(run)) for run in given.runs]  # all are read before one is written
    for result, records in results:
        print(f"result: {write(result, records, folder / 'results')}")
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; name the folder of the leaderboard with --dir.")
    for path in build(folder):
        print(f"page:   {path}")
    if given.runs and not given.dir:
        print("a preview; to enter these runs into a leaderboard, name its folder: --dir leaderboards")
    return 0


def _read(folder: str) -> Run:
    """A run, with a note on stderr where nothing says whether its records were edited."""
    from ..runner.folder import read_run

    run = read_run(Path(folder))
    run.tell_unsealed()
    return run


def validate(argv: Sequence[str]) -> int:
    """Check one result file; returns the exit code.

    Raises:
        UserError: what is wrong with it.
    """
    p = Parser("validate")
    p.add_argument("file", metavar="FILE", help="result file; its records lie beside it")
    p.add_argument("--data-path", help="folder of the original data of a task that is not embedded")
    given = p.parse_args(list(argv))
    from ..report.validate import validate as check

    for sentence in check(Path(given.file), given.data_path):
        print(f"ok: {sentence}")
    return 0
