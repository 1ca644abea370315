"""Qwen3-VL: DeepStack ViT with learned positions, interleaved M-RoPE decoder, coordinates in thousandths."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .family import Family
from .qwen_vl import QwenVL

# Limits that the published checkpoints set (preprocessor_config.json): shortest and longest edge are areas.
DEFAULT_PIXELS = (65536, 16777216)

# True sizes, for --weights random. Source: the published config.json of the Instruct checkpoints.
_VISION_300M = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}
_VISION_500M = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}


def _sizes(hidden: int, ffn: int, layers: int, heads: int, vision: dict[str, Any], tied: bool) -> dict[str, Any]:
    text = {
        "vocab_size": 151936,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5000000.0,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": tied,
    }
    return {"text_config": text, "vision_config": {**vision, "out_hidden_size": hidden}, "tie_word_embeddings": tied}


TRUE_SIZES = {
    "qwen3vl-2b": _sizes(2048, 6144, 28, 16, _VISION_300M, True),
    "qwen3vl-4b": _sizes(2560, 9728, 36, 32, _VISION_300M, True),
    "qwen3vl-8b": _sizes(4096, 12288, 36, 32, _VISION_500M, False),
}


class Qwen3VL(QwenVL):
    """Adapter of one loaded ``Qwen3VLForConditionalGeneration``."""

    def _add_learned_positions(self, hidden: Tensor, thw: Tensor, rows: Tensor | None) -> Tensor:
        from transformers.vision_utils import get_vision_interpolation_indices_and_weights

        visual = self.visual
        index, weight = get_vision_interpolation_indices_and_weights(
            thw,
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=self.images.merge_size,
        )
        if rows is not None:
            index, weight = index[rows], weight[rows]
        rows_at: Tensor = visual.pos_embed(index)
        mean: Tensor = (rows_at * weight[:, :, None]).sum(1)
        return hidden + mean.to(hidden.dtype)

    def _tap(self, block: int, hidden: Tensor) -> Tensor | None:
        levels = list(self.visual.deepstack_visual_indexes)
        return self.visual.deepstack_merger_list[levels.index(block)](hidden) if block in levels else None


FAMILY = Family(
    architecture="Qwen3VLForConditionalGeneration",
    model_type="qwen3_vl",
    config_class="Qwen3VLConfig",
    adapter=Qwen3VL,
    sizes=TRUE_SIZES,
    pixels=DEFAULT_PIXELS,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
