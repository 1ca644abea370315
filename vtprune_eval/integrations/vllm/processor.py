"""vLLM's multimodal processor for the pruned classes: still images, prepared by :class:`.front.Front`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLProcessingInfo
from vllm.model_executor.models.qwen2_vl import Qwen2VLProcessingInfo
from vllm.model_executor.models.qwen3_vl import Qwen3VLProcessingInfo
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import BaseDummyInputsBuilder, BaseMultiModalProcessor, PromptReplacement

from ...errors import SampleError, UserError
from ...image_file import flat, upright
from ...models.qwen_vl import QwenVL
from .front import Fields, Front
from .plan import NAME, CountUnknown, Plan
from .sides import folder_of, front

# Fields of a request, by their name there; ``pixel_values`` is what vLLM knows an image input by.
FIELDS = {"pixel_values": "patches", "vtprune_about": "about", "vtprune_keep": "keep", "vtprune_pixels": "pixels"}


class _Info:
    """What vLLM asks of a processor before there is a request; transformers' image processors are not needed."""

    ctx: Any

    @cached_property
    def side(self) -> QwenVL:
        """The adapter of this side."""
        config = self.ctx.model_config
        return front(self.get_hf_config(), self.ctx.tokenizer, folder_of(config.model, config.revision))

    def get_hf_config(self) -> Any:
        """The model's configuration."""
        return self.ctx.get_hf_config()

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Still images only."""
        return {"image": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """Visual tokens of the largest image."""
        return {"image": self.side.images.max_pixels // self.side.images.block**2}

    def largest(self) -> tuple[int, int]:
        """(width, height) of an image with the most tokens."""
        size = super().get_image_size_with_most_features(self.side.images.max_pixels)  # type: ignore[misc]
        return size.width, size.height


class Qwen3VLInfo(_Info, Qwen3VLProcessingInfo):
    """See :class:`_Info`."""


class Qwen2_5VLInfo(_Info, Qwen2_5_VLProcessingInfo):
    """See :class:`_Info`."""


class Qwen2VLInfo(_Info, Qwen2VLProcessingInfo):
    """See :class:`_Info`."""


class DummyInputs(BaseDummyInputsBuilder):
    """The inputs with which vLLM measures the memory that it needs."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """One placeholder per image."""
        return "<|vision_start|><|image_pad|><|vision_end|>" * mm_counts.get("image", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]
    ) -> dict[str, list[Image.Image]]:
        """Images of the largest size, or of the one that the options name."""
        width, height = self.info.largest()
        return {
            "image": self._get_dummy_images(
                width=width, height=height, num_images=mm_counts.get("image", 0), overrides=mm_options.get("image")
            )
        }


class Processor(BaseMultiModalProcessor):
    """Applies the request's plan, else the server's, else keeps everything."""

    @cached_property
    def _front(self) -> Front:
        return Front(self.info.side)

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """Settle the plan before anything is hashed: its text is part of every cache key.

        Raises:
            ValueError: a plan that cannot be followed (a server answers with it).
        """
        try:
            plan = self._plan(inputs)
            inputs = replace(inputs, hf_processor_mm_kwargs={NAME: plan.text})
            return super().apply(inputs, timing_ctx)
        except (UserError, SampleError) as error:
            raise ValueError(str(error)) from error

    def _plan(self, inputs: Any) -> Plan:
        others = inputs.hf_processor_mm_kwargs.keys() - {NAME}
        if others:
            raise UserError(f"the processor of the pruned classes has no option {min(others)}; it takes {NAME} alone.")
        default = getattr(self.info.get_hf_config(), NAME, None)
        plan = Plan.read(inputs.hf_processor_mm_kwargs.get(NAME), default)
        if not plan.reads_text:
            return plan.unread
        if plan.instruction is None and not plan.question:
            plan = replace(plan, question=self._said(inputs.prompt))
        return plan

    def _said(self, ids: Sequence[int]) -> str:
        """The text behind the last image, up to the end of its turn: what a request asks that gives no instruction."""
        side = self.info.side
        places = [i for i, token in enumerate(ids) if token == side._image_id]
        rest = list(ids[places[-1] + 1 :]) if places else list(ids)
        special = set(side.tokenizer.all_special_ids)
        while rest and rest[0] in special:
            rest.pop(0)
        end = next((i for i, token in enumerate(rest) if token in special), len(rest))
        return str(side.tokenizer.decode(rest[:end])).strip()

    def _apply_hf_processor_main(self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object]) -> BatchFeature:
        plan = Plan.read(hf_processor_mm_kwargs.get(NAME))
        made = [self._fields(picture, plan) for picture in self._pictures(mm_items)]
        if not made:
            return BatchFeature({})
        return BatchFeature(
            {name: [getattr(f, own) for f in made] for name, own in FIELDS.items()}
            | {"vtprune_rows": [torch.tensor(f.rows) for f in made]}
        )

    def _fields(self, picture: np.ndarray, plan: Plan) -> Fields:
        fields = self._front.fields(picture, plan)
        if not fields.rows:
            raise CountUnknown(plan)
        return fields

    def _pictures(self, mm_items: Any) -> list[np.ndarray]:
        if "image" not in mm_items:
            return []
        items = mm_items["image"]
        pictures = []
        for i in range(items.get_count()):
            image = items.get(i)
            if not isinstance(image, Image.Image):
                raise UserError("the pruned classes take images as PIL images or files, not as arrays or embeddings.")
            pictures.append(np.array(flat(upright(image), "the image")))
        return pictures

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, Any]:
        return {name: MultiModalFieldConfig.batched("image", keep_on_cpu=True) for name in (*FIELDS, "vtprune_rows")}

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, Any], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        image_id = self.info.get_hf_config().image_token_id

        def placeholders(number: int) -> list[int]:
            return [image_id] * int(out_mm_kwargs["image"][number]["vtprune_rows"].data)

        return [PromptReplacement(modality="image", target=[image_id], replacement=placeholders)]
