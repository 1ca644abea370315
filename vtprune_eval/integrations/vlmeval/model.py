"""A model x method x budget of ours as a model of VLMEvalKit."""

from __future__ import annotations

import json
from typing import Any

from vlmeval.smp.file import INFER_FAIL_MSG
from vlmeval.vlm.base import BaseModel

from ...benchmarks.tasks import definition, task_names
from ...benchmarks.vlmeval.catalogue import KIT_TASKS
from ...benchmarks.vlmeval.reader import flatten
from ...errors import SampleError, UserError
from ..engine import Engine

# Limit of an answer on data sets that no task of ours describes.
MAX_NEW_TOKENS = 512
SAMPLE_ID = "sample_id"
# Why models could not be loaded: the kit logs an exception, goes on to the next model, and ends as if all were well.
not_loaded: list[str] = []


class VtpruneModel(BaseModel):
    """Greedy decoding by our pipeline; answers carry their cost and coordinate frame in ``extra_records``."""

    INTERLEAVE = True
    allowed_types = ["text", "image"]  # noqa: RUF012 (the kit reads this name from the class)

    def __init__(
        self, model: str = "nano", method: str = "full", budget: str = "100", use_vllm: bool = False, **options: Any
    ) -> None:
        """Check the settings and load the model.

        Args:
            model, method, budget: as on the command line of a run.
            use_vllm: given by the kit to names that contain Qwen2-VL or Qwen2.5-VL; must be False.
            options: see :data:`vtprune_eval.integrations.engine.OPTIONS`.

        Raises:
            UserError: settings that cannot be run.
        """
        super().__init__()
        if use_vllm:
            raise UserError("--use-vllm: vLLM hides the stages that a pruning method needs; leave it out.")
        self.engine = Engine(model, method, budget, **options)
        try:
            self.engine.adapter  # noqa: B018 (a model that cannot be loaded is reported once, not per sample)
        except UserError as error:
            not_loaded.append(str(error))
            raise

    def use_custom_prompt(self, dataset: str) -> bool:
        """True where the data set is known: its own prompt is used, together with the sample's identity."""
        return hasattr(getattr(self.dump_image_func, "__self__", None), "build_prompt")

    def build_prompt(self, line: Any, dataset: str | None = None) -> list[dict[str, Any]]:
        """The data set's own prompt; its first item also names the sample, which seeds random methods."""
        message = self.dump_image_func.__self__.build_prompt(line)
        if message:
            message[0] = {**message[0], SAMPLE_ID: str(line["index"])}
        return message

    def generate_inner(self, message: list[dict[str, Any]], dataset: str | None = None) -> dict[str, Any]:
        """One answer, as the kit's structured record.

        A sample that cannot be processed gets the kit's mark of a failed answer, which counts as wrong and is tried
        again by ``--reuse``.

        Raises:
            UserError: a question without an image.
        """
        images, question = flatten(message)
        if not images:
            raise UserError(f"data set {dataset}: a question without an image; choose one whose questions have images.")
        sample_id = next((m[SAMPLE_ID] for m in message if SAMPLE_ID in m), None)
        try:
            answer = self.engine.answer(images, question, sample_id=sample_id, max_new_tokens=answer_limit(dataset))
        except SampleError as error:
            return {
                "prediction": f"{INFER_FAIL_MSG} ({error.reason})",
                "extra_records": json.dumps({"failed": error.reason}),
            }
        return {"prediction": answer.text, "extra_records": json.dumps({"frame": answer.frame, **answer.costs})}


def answer_limit(dataset: str | None) -> int:
    """New tokens that an answer on ``dataset`` may have."""
    if dataset is not None and dataset in KIT_TASKS:
        return KIT_TASKS[dataset].max_new_tokens
    return definition(dataset).max_new_tokens if dataset in task_names() else MAX_NEW_TOKENS
