"""A small model of every family, of the true class and with random weights, in a tenth of a second."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from ..models import NANO, family_of
from ..models.base import ImageRules, VlmAdapter
from ..models.focusui import ADDED

# One published model per family; its short name leads to the family's module.
NAMES = {"qwen2_vl": "qwen2vl-2b", "qwen2_5_vl": "qwen2.5vl-3b", "qwen3_vl": "qwen3vl-2b", "qwen3_5": "qwen3.5-2b"}
# Families built on the sizes of another one.
BUILT_ON = {
    "opencua": ("opencua-7b", "qwen2_5_vl"),
    "focusui_qwen2_5_vl": ("focusui-3b", "qwen2_5_vl"),
    "focusui_qwen3_vl": ("focusui-qwen3vl-2b", "qwen3_vl"),
}
FAMILIES = (*NAMES, *BUILT_ON)
LAYERS = 4
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_VISION = {"depth": 4, "num_heads": 2}
SIZES = {
    "qwen2_vl": (
        {**TEXT, "rope_parameters": {**_ROPE, "mrope_section": [2, 3, 3]}},
        {**_VISION, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2, "patch_size": 14},
    ),
    # Windows of 2 x 2 merge blocks, so that small images have many; two blocks attend over the image.
    "qwen2_5_vl": (
        {**TEXT, "rope_parameters": {**_ROPE, "mrope_section": [2, 3, 3]}},
        {
            **_VISION,
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": 64,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1, 3],
        },
    ),
    "qwen3_vl": (
        {**TEXT, "head_dim": 16, "rope_parameters": {**_ROPE, "mrope_section": [4, 2, 2], "mrope_interleaved": True}},
        {
            **_VISION,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "patch_size": 16,
            "deepstack_visual_indexes": [0, 1, 2],
        },
    ),
    "qwen3_5": (
        {
            **TEXT,
            "head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"] * 2,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "rope_parameters": {
                **_ROPE,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        },
        {
            **_VISION,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "patch_size": 16,
        },
    ),
}


@cache
def tokenizer(added: tuple[str, ...] = ()) -> Any:
    """nano's tokenizer, with further special tokens."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(NANO, local_files_only=True)
    if added:
        found.add_special_tokens({"additional_special_tokens": list(added)})
    return found


def tokenizer_of(family: str) -> Any:
    """nano's tokenizer with what the family adds."""
    return tokenizer(ADDED if family.startswith("focusui") else ())


def small_config(family: str, **decoder: Any) -> Any:
    """Configuration of the family's class at the small size.

    Args:
        family: a name of ``FAMILIES``.
        **decoder: settings of the decoder that differ.
    """
    base = BUILT_ON[family][1] if family in BUILT_ON else family
    own = tokenizer_of(family)
    ids = {
        f"{k}_token_id": own.convert_tokens_to_ids(f"<|{v}|>")
        for k, v in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    text, vision = SIZES[base]
    text = {**text, "vocab_size": len(own), **decoder}
    if family == "opencua":  # see OpenCuaFamily.build_config: one section, all positions are equal
        text["rope_parameters"] = {**_ROPE, "mrope_section": [8, 0, 0]}
    kind = family_of(name_of(family)).classes()[1]
    return kind(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)


def draw_weights(model: nn.Module, seed: int) -> None:
    """Random numbers for every weight; biases and norms, too, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        weight.requires_grad_(False)
        if weight.ndim > 1:
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
        elif name.endswith("bias"):
            nn.init.normal_(weight, std=0.3, generator=generator)
        else:
            nn.init.uniform_(weight, 0.7, 1.3, generator=generator)


def small_model(family: str, attn: str = "sdpa", seed: int = 3) -> Any:
    """The family's class with random float32 weights.

    Args:
        family: a name of ``FAMILIES``.
        attn: attention backend.
        seed: of the weights.
    """
    config = small_config(family)
    config._attn_implementation = attn
    model = family_of(name_of(family)).classes()[0](config).eval()
    draw_weights(model, seed)
    if family.startswith("focusui"):  # sharper than random weights are, so that one region stands out
        model.multi_patch_pointer_head.projection_dec[2].weight.mul_(8)
    return model


def name_of(family: str) -> str:
    """The published model whose family it is."""
    return BUILT_ON[family][0] if family in BUILT_ON else NAMES[family]


def adapter_of(family: str, model: Any) -> VlmAdapter:
    """The pipeline's view of a small model."""
    kind, own, vision = family_of(name_of(family)), tokenizer_of(family), model.config.vision_config
    model.generation_config.eos_token_id = [own.eos_token_id]
    rules = ImageRules(vision.patch_size, 2, 2, 4096, 1 << 16, kind.mean, kind.std)
    return kind.adapter(name_of(family), model, own, rules, {}, "thousandths")  # type: ignore[call-arg]


def small_adapter(
    family: str,
    attn: str = "sdpa",
    dtype: str = "float32",
    device: str = "cpu",
    noise: int | None = None,
    strength: float = 1.0,
    seed: int = 3,
) -> VlmAdapter:
    """Adapter of a small model, the same numbers at every call.

    Args:
        family: a name of ``FAMILIES``.
        attn: attention backend.
        dtype: of the weights.
        device: of the weights.
        noise: seed of a relative change of every weight by up to ``strength`` roundings of ``dtype``, in float32; None
            for none.
        strength: of that change.
        seed: of the weights.
    """
    model = small_model(family, attn, seed)
    kept = getattr(torch, dtype)
    if noise is None:
        model = placed(model.to(kept), device)
    else:
        generator = torch.Generator().manual_seed(noise)
        for weight in model.parameters():
            weight.mul_(1 + strength * torch.finfo(kept).eps * (torch.rand(weight.shape, generator=generator) - 0.5))
    return adapter_of(family, model)


def placed(model: nn.Module, device: str) -> nn.Module:
    """The model with all of its weights and buffers on ``device``."""
    return model.to(device)
