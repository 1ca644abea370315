"""Small FocusUI checkpoints with random weights, saved under the published names, for the tests."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vtprune_eval.methods.kernels.scorer import Scorer
from vtprune_eval.models import family_of
from vtprune_eval.selftest.small import draw_weights, small_model, tokenizer_of

# Short name to the family with the head.
FAMILIES = {"focusui-3b": "focusui_qwen2_5_vl", "focusui-qwen3vl-2b": "focusui_qwen3_vl"}


@cache
def pointing_model(name: str) -> torch.nn.Module:
    """The class with the head, random float32 weights."""
    torch.set_num_threads(1)
    return small_model(FAMILIES[name])


def save_checkpoint(
    name: str, folder: Path, drop: tuple[str, ...] = (), change: dict[str, Any] | None = None, old_names: bool = False
) -> Path:
    """A folder as it is published; ``drop``: tensors left out; ``change``: other tensors under their names;
    ``old_names``: the base model's tensors as transformers 4 wrote them."""
    model = pointing_model(name)
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
    tokenizer_of(FAMILIES[name]).save_pretrained(folder)
    settings = {"min_pixels": 4096, "max_pixels": 1 << 16, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
