"""What the YAML files beside this module call. Rules and prompts are those of our own runs."""

from __future__ import annotations

from typing import Any

from lmms_eval.api.task import ConfigurableTask

from ...json_values import JsonObject
from ..lm_eval.images import LazyImage
from ..rows import doc_to_target, process_results, rows_of

__all__ = ["EmbeddedTask", "doc_to_target", "doc_to_text", "doc_to_visual", "process_results"]


class EmbeddedTask(ConfigurableTask):
    """A task whose rows come from our files; nothing is downloaded."""

    def __init__(self, config: JsonObject | None = None, **kwargs: Any) -> None:
        super().__init__(config={k: v for k, v in (config or {}).items() if k != "class"}, **kwargs)

    def download(self, dataset_kwargs: JsonObject | None = None) -> None:
        """Our rows in place of a data set of the hub; ``dataset_kwargs`` names the task."""
        import datasets

        given = dict(dataset_kwargs or {})
        self.dataset = datasets.DatasetDict(
            {"test": datasets.Dataset.from_list(rows_of(given["task"], given.get("coordinates", "hundredths")))}
        )
        self.dataset_no_image = self.dataset


def doc_to_text(doc: JsonObject, lmms_eval_specific_kwargs: JsonObject | None = None) -> str:
    """The question; lmms-eval names no place for images."""
    return str(doc["question"])


def doc_to_visual(doc: JsonObject) -> list[LazyImage]:
    """The images, oldest first; their pixels are read on first use."""
    return [LazyImage(path) for path in doc["images"]]
