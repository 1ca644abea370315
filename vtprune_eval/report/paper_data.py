"""Papers' tables as ``leaderboards/papers`` holds them, and what is asked and found for their cells."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, cast

from ..runner.folder import read_json


class PaperSettings(TypedDict, total=False):
    """How a paper set a row, in its own words; a row has those keys that its table speaks of."""

    benchmark: str
    training: str
    train_tokens: str
    train_data: str
    infer_tokens: str
    gui_training: str
    step: int
    predictor: str
    metric: str
    tau: float
    prune_position: str
    history_frames: int
    history_retain_pct: int
    current_retain_pct: int


class _Row(TypedDict):
    model: str | None
    method: str
    retain_pct: float | None
    metrics: dict[str, float | None]


class PaperRow(_Row, total=False):
    """A row of a paper's table.

    Attributes:
        model: the paper's name; null where it has none.
        method: the paper's name.
        retain_pct: percent of the visual tokens that are kept; null where it is none, or another per metric.
        metrics: column to the printed number, in the table's unit; null where the paper prints none.
        settings: of the row.
        retain_pct_by_metric: percent kept, by benchmark.
        note: one sentence.
    """

    settings: PaperSettings
    retain_pct_by_metric: dict[str, float]
    note: str


class _Table(TypedDict):
    paper: str
    arxiv: str
    table: str
    caption: str
    source: str
    source_kind: str
    units: dict[str, str]
    rows: list[PaperRow]


class PaperTable(_Table, total=False):
    """A paper's table.

    Attributes:
        paper: short name.
        arxiv: number.
        table: its number in the paper.
        caption: what it shows.
        source: where it was read.
        source_kind: kind of that source.
        units: column to its unit.
        rows: in the paper's order.
        notes: what a reader must know.
    """

    notes: list[str]


class _Asked(TypedDict):
    model: str
    methods: list[str]
    budgets: list[str]
    tasks: list[str]
    reading: str
    dtype: str
    device: str
    params: dict[str, str]


class Asked(_Asked, total=False):
    """Settings of a run that fills cells, as :func:`~vtprune_eval.runner.config.from_mapping` takes them.

    Attributes:
        model: short name.
        methods: with full.
        budgets: one.
        tasks: one.
        reading: paper.
        dtype: floating type.
        device: torch device.
        params: hyper-parameters.
        model_path: folder of a model that was trained here.
        out: run folder.
    """

    model_path: str
    out: str


class Filled(TypedDict):
    """A cell of a paper's table with what is known of it here.

    Attributes:
        row: its number.
        metric: its column.
        paper: the printed number.
        analytic: from formulas; null where there is none.
        measured: from finished runs; null while one is missing.
        why_not: why it cannot be measured here; null where it can.
        commands: of the runs that are missing.
    """

    row: int
    metric: str
    paper: float | None
    analytic: float | None
    measured: float | None
    why_not: str | None
    commands: list[str]


def read_table(path: Path) -> PaperTable:
    """The table in a file of the project."""
    return cast(PaperTable, read_json(path))
