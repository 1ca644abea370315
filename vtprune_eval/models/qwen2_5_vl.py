"""Qwen2.5-VL and UI-TARS-1.5: window attention in the ViT, sectioned M-RoPE decoder, coordinates in resized pixels.

Most blocks of the ViT attend inside windows of 112 x 112 pixels (4 x 4 merge blocks), four attend over the image. A
window is a place in the image, not a run of tokens: when patches are dropped, every kept patch stays in the window it
had in the full image and attends to the kept patches of that window. Windows are never closed up, so what a patch can
see shrinks by what was dropped and never reaches further; a window of which nothing is left has no segment.

UI-TARS-1.5-7B has the architecture and the coordinate frame of Qwen2.5-VL-7B; prompts and action grammar are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .family import Family
from .qwen2_vl import CLIP_MEAN, CLIP_STD, DEFAULT_PIXELS, text_sizes
from .qwen_vl import QwenVL
from .vit_walk import Segments


def _sizes(hidden: int, *text: Any) -> dict[str, Any]:
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "out_hidden_size": hidden,
    }
    return {"text_config": text_sizes(hidden, *text), "vision_config": vision, "tie_word_embeddings": text[-1]}


_SIZES_7B = _sizes(3584, 18944, 28, 28, 4, 152064, 128000, False)

# Source: the published config.json of the Instruct checkpoints.
TRUE_SIZES = {
    "qwen2.5vl-3b": _sizes(2048, 11008, 36, 16, 2, 151936, 128000, True),
    "qwen2.5vl-7b": _SIZES_7B,
    "uitars-1.5-7b": _SIZES_7B,
}


class Qwen2_5VL(QwenVL):
    """Adapter of one loaded ``Qwen2_5_VLForConditionalGeneration``."""

    def _windows(
        self, grids: Sequence[tuple[int, int]], kept: Tensor | None, device: torch.device
    ) -> tuple[Tensor, Segments]:
        """Windows of the full grids, then cut down to the kept visual tokens: see the module's text."""
        from transformers.vision_utils import get_vision_window_index

        visual, merge = self.visual, self.images.merge_size
        group = merge * merge
        thw = torch.tensor([[1, h * merge, w * merge] for h, w in grids])
        order, bounds = get_vision_window_index(
            thw, spatial_merge_size=merge, window_size=visual.window_size, patch_size=visual.patch_size
        )
        lengths = bounds.diff() // group
        if kept is not None:
            window = torch.arange(len(lengths)).repeat_interleave(lengths)
            stays = kept[order]
            lengths = window[stays].bincount(minlength=len(lengths))
            order = (kept.cumsum(0) - 1)[order[stays]]
        return order.to(device), Segments.of((lengths * group).tolist(), device)

    def _is_global(self, block: int) -> bool:
        return block in self.visual.fullatt_block_indexes


FAMILY = Family(
    architecture="Qwen2_5_VLForConditionalGeneration",
    model_type="qwen2_5_vl",
    config_class="Qwen2_5_VLConfig",
    adapter=Qwen2_5VL,
    sizes=TRUE_SIZES,
    pixels=DEFAULT_PIXELS,
    mean=CLIP_MEAN,
    std=CLIP_STD,
)
