"""OpenCUA: the ViT of Qwen2.5-VL before a Qwen2 decoder with one-dimensional positions; coordinates in resized pixels.

The repository brings model code of its own. Only its tokenizer is used here (and that with permission only): M-RoPE
whose three positions are equal is ordinary rotary embedding, so the class of Qwen2.5-VL computes the same network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .family import Family
from .folder import read_json
from .qwen2_5_vl import TRUE_SIZES as QWEN2_5_VL_SIZES
from .qwen2_5_vl import Qwen2_5VL
from .qwen2_vl import CLIP_MEAN, CLIP_STD, DEFAULT_PIXELS

# Names of the decoder's settings that both configurations share.
_TEXT_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "pad_token_id",
    "tie_word_embeddings",
)


class OpenCua(Qwen2_5VL):
    """Adapter of OpenCUA's weights in the class of Qwen2.5-VL."""

    def positions(self, n_prompt: int, spans: Sequence[tuple[int, int]], grids: Sequence[tuple[int, int]]) -> Tensor:
        """See :class:`VlmAdapter`; every token counts one, whatever it shows."""
        return torch.arange(n_prompt).expand(3, -1).clone()


class OpenCuaFamily(Family):
    """Reads OpenCUA's own configuration into that of Qwen2.5-VL."""

    def build_config(self, folder: Path) -> Any:
        """See :class:`Family`."""
        data = read_json(folder / "config.json")
        text = data["text_config"]
        kept = {key: text[key] for key in _TEXT_KEYS if key in text}
        rope = text.get("rope_parameters") or {}
        theta = rope.get("rope_theta", text.get("rope_theta", 1000000.0))
        half = text["hidden_size"] // text["num_attention_heads"] // 2
        # One section: all of a head follows the first of the three (equal) positions.
        kept["rope_parameters"] = {"rope_type": "default", "rope_theta": theta, "mrope_section": [half, 0, 0]}
        return self.classes()[1](
            text_config=kept,
            vision_config=data["vision_config"],
            image_token_id=data["media_placeholder_token_id"],
            tie_word_embeddings=bool(text.get("tie_word_embeddings", False)),
        )


FAMILY = OpenCuaFamily(
    architecture="Qwen2_5_VLForConditionalGeneration",
    model_type="opencua",
    config_class="Qwen2_5_VLConfig",
    adapter=OpenCua,
    sizes={"opencua-7b": QWEN2_5_VL_SIZES["qwen2.5vl-7b"]},
    pixels=DEFAULT_PIXELS,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    published_as="OpenCUAForConditionalGeneration",
    key_mapping={
        r"^vision_tower\.": "model.visual.",
        r"^language_model\.model\.": "model.language_model.",
        r"^language_model\.lm_head\.": "lm_head.",
    },
)
