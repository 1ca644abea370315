"""What the YAML files under ``tasks/*/lm_eval/`` call. Rules and prompts are those of our own runs."""

from __future__ import annotations

from typing import Any

from ...json_values import JsonObject
from ..answers import PLACEHOLDER
from ..engine import COORDINATES
from ..rows import doc_to_target, process_results, rows_of
from .images import LazyImage

__all__ = ["doc_to_image", "doc_to_target", "doc_to_text", "load", "process_results"]


def load(task: str, coordinates: str = COORDINATES[0], **_: Any) -> JsonObject:
    """The ``custom_dataset`` of a task.

    Args:
        task: name of our task (``dataset_kwargs``).
        coordinates: frame of the answers of a model that is not ours (``--metadata '{"coordinates": "thousandths"}'``).
        _: lm-eval passes all of the task's metadata.

    Returns:
        {"test": ``datasets.Dataset``} with one row per sample.

    Raises:
        UserError: an unknown frame.
    """
    import datasets

    return {"test": datasets.Dataset.from_list(rows_of(task, coordinates))}


def doc_to_text(doc: JsonObject) -> str:
    """One placeholder per image, then the question."""
    return PLACEHOLDER * len(doc["images"]) + str(doc["question"])


def doc_to_image(doc: JsonObject) -> list[LazyImage]:
    """The images, oldest first; their pixels are read on first use."""
    return [LazyImage(path) for path in doc["images"]]
