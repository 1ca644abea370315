"""The model's classes: vLLM's own, with the encoder's step and the positions replaced by those of :mod:`.back`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from vllm.model_executor.models.qwen2_vl import Qwen2VLForConditionalGeneration
from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.tokenizers import cached_tokenizer_from_config

from .back import COLUMNS, Back, first_positions, from_columns, take_positions
from .front import read_about
from .processor import DummyInputs, Processor, Qwen2_5VLInfo, Qwen2VLInfo, Qwen3VLInfo
from .sides import back, folder_of

# Any rate above 0 makes vLLM ask for positions after the encoder; no video comes here for it to prune.
ASK_FOR_POSITIONS = 1e-6


class _Pruned:
    """What the three classes have in common."""

    supports_multimodal_pruning: ClassVar[bool] = True
    supports_encoder_cudagraph: ClassVar[bool] = False
    config: Any
    visual: Any
    language_model: Any

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        vllm_config.model_config.multimodal_config.video_pruning_rate = ASK_FOR_POSITIONS
        self._model_config = vllm_config.model_config
        self._made: list[Back] = []
        self._waiting: tuple[Tensor, Tensor] | None = None

    @property
    def back(self) -> Back:
        """Made when first asked for: the weights must be there."""
        if not self._made:
            config = self._model_config
            adapter = back(
                self.config,
                cached_tokenizer_from_config(config),
                folder_of(config.model, config.revision),
                self.visual,
                self.language_model.embed_input_ids,
            )
            self._made.append(Back(adapter))
        return self._made[0]

    def embed_multimodal(self, **kwargs: Any) -> tuple[Tensor, ...]:
        """One tensor of rows per image item; every item alone, so that none depends on what is beside it."""
        names = ("vtprune_about", "vtprune_keep", "pixel_values", "vtprune_pixels")
        return tuple(self.back.rows(*fields) for fields in zip(*(kwargs[name] for name in names), strict=True))

    def embed_input_ids(
        self,
        input_ids: Tensor,
        multimodal_embeddings: Sequence[Tensor] | None = None,
        *,
        is_multimodal: Tensor | None = None,
    ) -> Tensor:
        """Embeddings of a batch; positions that are still among the columns wait for :meth:`forward`.

        vLLM's runner for CPUs does not ask for positions after the encoder.
        """
        self._waiting = None
        rows = multimodal_embeddings
        if rows is not None and len(rows) and rows[0].shape[1] > self.visual.out_hidden_size:
            assert is_multimodal is not None
            relative = torch.cat([from_columns(r[:, -COLUMNS:].float()) for r in rows], 1)
            self._waiting = is_multimodal.nonzero()[:, 0].to(relative.device), relative
            rows = [r[:, :-COLUMNS] for r in rows]
        embedded: Tensor = super().embed_input_ids(input_ids, rows, is_multimodal=is_multimodal)  # type: ignore[misc]
        return embedded

    def forward(self, input_ids: Tensor | None, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The decoder; a row of an image whose position waits has so far the one where its item begins."""
        if self._waiting is not None:
            (places, relative), self._waiting = self._waiting, None
            positions = positions.index_add(1, places, relative.to(positions))
        return super().forward(input_ids, positions, *args, **kwargs)  # type: ignore[misc]

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[Tensor, int]:
        """Positions before the encoder has run; see :func:`.back.first_positions`."""
        features = sorted(mm_features, key=lambda f: f.mm_position.offset)
        return first_positions(
            len(input_tokens),
            [
                (f.mm_position.offset, f.mm_position.length, read_about(f.data["vtprune_about"].data).advance)
                for f in features
            ],
        )

    def recompute_mrope_positions(
        self,
        input_ids: list[int] | Tensor,
        multimodal_embeddings: Sequence[Tensor],
        mrope_positions: Tensor,
        num_computed_tokens: int,
    ) -> tuple[list[Tensor], Tensor, int]:
        """Positions of the rows that come now; see :func:`.back.take_positions`."""
        ids = torch.as_tensor(input_ids).to(mrope_positions.device)
        return take_positions(
            ids, multimodal_embeddings, mrope_positions, num_computed_tokens, self.config.image_token_id
        )


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Qwen3VLInfo, dummy_inputs=DummyInputs)
class PrunedQwen3VL(_Pruned, Qwen3VLForConditionalGeneration):
    """Qwen3-VL."""


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Qwen2_5VLInfo, dummy_inputs=DummyInputs)
class PrunedQwen2_5VL(_Pruned, Qwen2_5_VLForConditionalGeneration):
    """Qwen2.5-VL, whose encoder attends in windows."""


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Qwen2VLInfo, dummy_inputs=DummyInputs)
class PrunedQwen2VL(_Pruned, Qwen2VLForConditionalGeneration):
    """Qwen2-VL."""
