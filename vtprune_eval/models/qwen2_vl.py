"""Qwen2-VL: a ViT without learned positions or windows, sectioned M-RoPE decoder, coordinates in thousandths."""

from __future__ import annotations

from typing import Any

from .family import Family
from .qwen_vl import QwenVL

# Limits that the published checkpoints set (preprocessor_config.json); mean and spread are CLIP's.
DEFAULT_PIXELS = (3136, 12845056)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def text_sizes(
    hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int, context: int, tied: bool
) -> dict[str, Any]:
    """The decoder's part of a configuration of the Qwen2-VL and Qwen2.5-VL families."""
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-6,
        "use_sliding_window": False,
        "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
    }


def _sizes(hidden: int, *text: Any) -> dict[str, Any]:
    vision = {"depth": 32, "embed_dim": 1280, "hidden_size": hidden, "mlp_ratio": 4, "num_heads": 16, "patch_size": 14}
    return {"text_config": text_sizes(hidden, *text), "vision_config": vision, "tie_word_embeddings": text[-1]}


# Source: the published config.json of the Instruct checkpoints.
TRUE_SIZES = {
    "qwen2vl-2b": _sizes(1536, 8960, 28, 12, 2, 151936, 32768, True),
    "qwen2vl-7b": _sizes(3584, 18944, 28, 28, 4, 152064, 32768, False),
}


class Qwen2VL(QwenVL):
    """Adapter of one loaded ``Qwen2VLForConditionalGeneration``: nothing differs from the line's common ground."""


FAMILY = Family(
    architecture="Qwen2VLForConditionalGeneration",
    model_type="qwen2_vl",
    config_class="Qwen2VLConfig",
    adapter=Qwen2VL,
    sizes=TRUE_SIZES,
    pixels=DEFAULT_PIXELS,
    mean=CLIP_MEAN,
    std=CLIP_STD,
)
