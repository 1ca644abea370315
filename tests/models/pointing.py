"""Small FocusUI checkpoints with random weights, saved under the published names, for the tests."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vtprune_eval.methods.kernels.scorer import Scorer
from vtprune_eval.models import NANO, family_of
from vtprune_eval.models.focusui import ADDED

from .families import SIZES, draw_weights

# Short name to the module of the base family.
BASES = {"focusui-3b": "qwen2_5_vl", "focusui-qwen3vl-2b": "qwen3_vl"}


@cache
def pointer_tokenizer():
    """nano's tokenizer with the added tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(NANO, local_files_only=True)
    tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED)})
    return tokenizer


@cache
def small_model(name: str) -> torch.nn.Module:
    """The class with the head, random float32 weights."""
    torch.set_num_threads(1)
    tokenizer = pointer_tokenizer()
    ids = {
        f"{k}_token_id": tokenizer.convert_tokens_to_ids(f"<|{v}|>")
        for k, v in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    text, vision = SIZES[BASES[name]]
    model_class, config_class = family_of(name).classes()
    config = config_class(
        text_config={**text, "vocab_size": len(tokenizer)}, vision_config=vision, tie_word_embeddings=True, **ids
    )
    model = model_class(config).eval()
    draw_weights(model, seed=3)
    # Sharper than random weights are by themselves, so that one region stands out.
    model.multi_patch_pointer_head.projection_dec[2].weight.mul_(8)
    return model


def save_checkpoint(
    name: str, folder: Path, drop: tuple[str, ...] = (), change: dict[str, Any] | None = None, old_names: bool = False
) -> Path:
    """A folder as it is published; ``drop``: tensors left out; ``change``: other tensors under their names;
    ``old_names``: the base model's tensors as transformers 4 wrote them."""
    model = small_model(name)
    scorer = Scorer(model.config.text_config.hidden_size)
    draw_weights(scorer, seed=4)
    weights = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    if old_names:
        weights = {
            k.replace("model.visual.", "visual.").replace("model.language_model.", "model."): v
            for k, v in weights.items()
        }
    weights |= {f"patch_scorer.{k}": v for k, v in scorer.state_dict().items()} | (change or {})
    weights = {k: v.clone().contiguous() for k, v in weights.items() if k not in drop}
    model.config.save_pretrained(folder)
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "architectures": [family_of(name).published_as]}))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    pointer_tokenizer().save_pretrained(folder)
    settings = {"min_pixels": 4096, "max_pixels": 1 << 16, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
