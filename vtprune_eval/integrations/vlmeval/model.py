"""A model x method x budget of ours as a model of VLMEvalKit."""

from __future__ import annotations

from typing import Any

from vlmeval.dataset.image_base import ImageBaseDataset
from vlmeval.inference import FAIL_MSG
from vlmeval.vlm.base import BaseModel

from ...benchmarks.definitions import definition, task_names
from ...benchmarks.vlmeval.catalogue import KIT_TASKS
from ...benchmarks.vlmeval.reader import flatten
from ...benchmarks.vlmeval.table import keep_inside
from ...errors import SampleError, UserError
from ...json_values import JsonObject
from ..engine import Engine
from .side_file import SideFile

# Limit of an answer on data sets that no task of ours describes.
MAX_NEW_TOKENS = 512
SAMPLE_ID = "sample_id"
# Why models could not be loaded: the kit logs an exception, goes on to the next model, and ends as if all were well.
not_loaded: list[str] = []


class VtpruneModel(BaseModel):
    """Greedy decoding by our pipeline; cost and coordinate frame of each answer go to the side file."""

    INTERLEAVE = True
    allowed_types = ["text", "image"]  # noqa: RUF012 (the kit reads this name from the class)

    def __init__(
        self,
        model: str = "nano",
        method: str = "full",
        budget: str | None = None,
        use_vllm: bool = False,
        **options: Any,
    ) -> None:
        """Check the settings and load the model.

        Args:
            model: as on the command line of a run.
            method: as on the command line of a run.
            budget: as on the command line of a run.
            use_vllm: given by the kit to names that contain Qwen2-VL or Qwen2.5-VL; must be False.
            options: see :data:`vtprune_eval.integrations.engine.OPTIONS`.

        Raises:
            UserError: settings that cannot be run.
        """
        super().__init__()
        if use_vllm:
            raise UserError("--use-vllm: vLLM hides the stages that a pruning method needs; leave it out.")
        self.engine = Engine(model, method, budget, **options)
        self._side = SideFile(self.engine.made_by)
        try:
            self.engine.adapter  # noqa: B018 (a model that cannot be loaded is reported once, not per sample)
        except UserError as error:
            not_loaded.append(str(error))
            raise

    def use_custom_prompt(self, dataset: str) -> bool:
        """True where the data set is known: its own prompt is used, together with the sample's identity."""
        return hasattr(getattr(self.dump_image_func, "__self__", None), "build_prompt")

    def build_prompt(self, line: Any, dataset: str | None = None) -> list[JsonObject]:
        """The data set's own prompt; its first item also names the sample, which seeds random methods."""
        source = self.dump_image_func.__self__
        if type(source).dump_image is ImageBaseDataset.dump_image and "dump_image" not in vars(source):
            keep_inside(source, source.dataset_name)
        message: list[JsonObject] = source.build_prompt(line)
        if message:
            message[0] = {**message[0], SAMPLE_ID: str(line["index"])}
        return message

    def generate_inner(self, message: list[JsonObject], dataset: str | None = None) -> str:
        """One answer, as text: the kit reuses nothing else.

        A sample that cannot be processed gets the kit's exact mark of a failed answer, which counts as wrong and is
        tried again by ``--reuse``.

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
            self._side.add({"index": sample_id, "failed": error.reason, "message": str(error)})
            return f"{FAIL_MSG} ({error.reason})"
        self._side.add({"index": sample_id, "prediction": answer.text, "frame": answer.frame, **answer.costs})
        return answer.text


def answer_limit(dataset: str | None) -> int:
    """New tokens that an answer on ``dataset`` may have."""
    if dataset is not None and dataset in KIT_TASKS:
        return KIT_TASKS[dataset].max_new_tokens
    return definition(dataset).max_new_tokens if dataset in task_names() else MAX_NEW_TOKENS
