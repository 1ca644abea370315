"""Embedded tasks as rows that other harnesses load, and the score of an answer to one; no harness is imported."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from ..benchmarks.tasks import Task, load_task
from ..errors import unknown_name
from ..json_values import JsonObject
from ..sample import Sample
from .engine import COORDINATES, file_frame


def rows_of(task: str, coordinates: str = COORDINATES[0]) -> list[JsonObject]:
    """One row per sample; targets as JSON text, because a table would fill their differing keys with None.

    Args:
        task: name of our task.
        coordinates: frame of the answers of a model that is not ours.

    Raises:
        UserError: an unknown frame.
    """
    if coordinates not in COORDINATES:
        raise unknown_name("frame of coordinates", coordinates, COORDINATES)
    return [
        {
            "vtprune_id": s.id,
            "task": task,
            "images": [str(p) for p in s.images],
            "question": s.question,
            "target": json.dumps(s.target),
            "cluster": s.cluster or s.id,
            "coordinates": coordinates,
        }
        for s in _task(task).samples
    ]


def doc_to_target(doc: JsonObject) -> str:
    """The annotation as JSON text; the score does not compare with it as text."""
    return str(doc["target"])


def process_results(doc: JsonObject, results: list[str]) -> dict[str, float]:
    """Score one answer with the rule of our task.

    Returns:
        ``accuracy`` in [0, 1]; ``format_error_rate`` and ``failure_rate``: 1 where that is why it is wrong.
    """
    said = results[0]
    if getattr(said, "failed", ""):
        return {"accuracy": 0.0, "format_error_rate": 0.0, "failure_rate": 1.0}
    images = tuple(Path(p) for p in doc["images"])
    frame = getattr(said, "frame", None) or file_frame(images, doc["coordinates"])
    sample = Sample(doc["vtprune_id"], images, doc["question"], json.loads(doc["target"]))
    score = _task(doc["task"]).score(sample, said, frame)
    return {
        "accuracy": float(score.value or 0.0),
        "format_error_rate": float(score.reason == "format_error"),
        "failure_rate": 0.0,
    }


@cache
def _task(name: str) -> Task:
    return load_task(name)
