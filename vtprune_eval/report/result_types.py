"""The values of a result file (:mod:`.result_file`)."""

from __future__ import annotations

from typing import TypedDict

from ..results.run_files import Environment, RunSettings
from ..results.types import CellCosts, Comparison


class _Cell(TypedDict):
    task: str
    method: str
    budget: str
    stage: str
    ranked: bool
    n: int
    n_failed: int
    sample_set: str
    costs: CellCosts


class ResultCell(_Cell, total=False):
    """Aggregates of one task, method and budget.

    Attributes:
        task: its name.
        method: as records name it.
        budget: as asked for.
        stage: at which the method acts.
        ranked: false for an upper bound that sees the target.
        n: samples.
        n_failed: of them that failed.
        sample_set: hash of their ids.
        costs: of the samples.
        accuracy: mean score; absent, with the rest, for random weights and unscored tasks.
        ci95: its interval; null where there are too few clusters.
        format_error_rate: share of answers that could not be read.
        vs_full: paired comparison with the full model.
    """

    accuracy: float
    ci95: list[float] | None
    format_error_rate: float
    vs_full: Comparison


class RecordsFile(TypedDict):
    """The file of records beside a result.

    Attributes:
        file: its name.
        n: records in it.
        sha256: of its text.
    """

    file: str
    n: int
    sha256: str


class _Result(TypedDict):
    schema: int
    name: str
    group: str
    settings: RunSettings
    environment: Environment
    cells: list[ResultCell]
    records: RecordsFile


class ResultFile(_Result, total=False):
    """A result.

    Attributes:
        schema: version, 1.
        name: of both files.
        group: which ranking it may enter.
        settings: of the run.
        environment: of the run.
        cells: one per task, method and budget.
        records: the file beside it.
        submission: author, account, date, paper and licence of one that was submitted.
        fingerprint: of all the rest.
    """

    submission: dict[str, str]
    fingerprint: str
