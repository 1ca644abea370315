"""Sizes of the published Qwen3-VL models, for random weights and for costs; nothing heavy is imported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .dims import ModelDims

# Limits that the published checkpoints set (preprocessor_config.json): shortest and longest edge are areas.
DEFAULT_PIXELS = (65536, 16777216)

# True sizes, for --weights random. Source: the published config.json of the Instruct checkpoints.
_VISION = {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3}
_VISION_300M = {
    **_VISION,
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}
_VISION_500M = {
    **_VISION,
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

# Pixels per merge-block side.
BLOCK = _VISION["patch_size"] * _VISION["spatial_merge_size"]
_PARTS = ("vision_config", "text_config")
# The same sizes as the formulas of costs take them.
TRUE_DIMS = {
    name: ModelDims.from_config(SimpleNamespace(**{part: SimpleNamespace(**size[part]) for part in _PARTS}))
    for name, size in TRUE_SIZES.items()
}
