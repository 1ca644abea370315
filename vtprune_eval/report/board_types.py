"""What the leaderboard's page is given of every result, in the names that its scripts read."""

from __future__ import annotations

from typing import Any, TypedDict

from ..results.run_files import RunSettings


class Axis(TypedDict):
    """A cost that a curve or a limit can be drawn on.

    Attributes:
        key: of a row.
        label: in words.
        unit: that is shown.
        factor: from the row's unit.
        machine: whether it depends on the machine.
    """

    key: str
    label: str
    unit: str
    factor: float
    machine: bool


class CellDetails(TypedDict, total=False):
    """The answers of one method at one budget.

    Attributes:
        cut: known or unknown, where the cache was cut: whether the records say by which heads.
        scores: one per sample; null for no score.
        answers: of the first samples.
        reasons: of the first samples.
        kept: by the sample's number, bitmap at layer 0, size that the model saw, bitmap after the last layer, answered
            point in fractions, and shares of layers and heads that hold each block.
    """

    cut: str
    scores: list[float | None]
    answers: list[str]
    reasons: list[str]
    kept: dict[int, list[Any]]


class TaskDetails(TypedDict):
    """The samples of one task of a result.

    Attributes:
        ids: of all samples.
        clusters: of all samples.
        groups: key of the breakdown to its value per sample.
        asked: of the first samples.
        expected: of the first samples.
        pictures: by the sample's number, file, columns and rows.
        boxes: by the sample's number, rectangle around what must be hit, in pixels of the file.
        cells: by METHOD@BUDGET.
    """

    ids: list[str]
    clusters: list[str]
    groups: dict[str, list[str]]
    asked: list[str]
    expected: list[str]
    pictures: dict[int, list[Any]]
    boxes: dict[int, tuple[float, float, float, float]]
    cells: dict[str, CellDetails]


class Details(TypedDict):
    """What every sample of a result was asked and answered.

    Attributes:
        settings: of the run.
        command: that runs it again.
        tasks: by name.
    """

    settings: RunSettings
    command: str
    tasks: dict[str, TaskDetails]
