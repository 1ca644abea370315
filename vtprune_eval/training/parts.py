"""Which weights are trained, and the folder that holds them afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from ..extras import require
from ..models.base import VlmAdapter
from .cost import Trained
from .spec import TrainSpec


def choose_parts(spec: TrainSpec, adapter: VlmAdapter, marker: int | None) -> tuple[Trained, Any]:
    """Mark the trained weights of a model.

    Args:
        spec: what is trained.
        adapter: the model.
        marker: id of the marker's token where only its row is trained.

    Returns:
        What the counting needs, and peft's model around ours where LoRA is used.

    Raises:
        UserError: peft is missing, or the model has no action head.
    """
    model, text = adapter.model, adapter.model.model.language_model
    wrapped = None
    if spec.lora:
        wrapped = with_lora(adapter, spec.lora)
        trained = Trained(vision=False, lora=True, checkpointing=spec.checkpointing)
    elif spec.train == "all":
        model.requires_grad_(True)
        trained = Trained(checkpointing=spec.checkpointing)
    elif spec.train == "decoder":
        text.requires_grad_(True)
        model.lm_head.requires_grad_(True)
        trained = Trained(vision=False, checkpointing=spec.checkpointing)
    elif spec.train == "head":
        if not adapter.points:
            raise UserError(f"{adapter.name} has no action head; --train head is for the focusui models.")
        model.multi_patch_pointer_head.requires_grad_(True)
        trained = Trained(vision=False, decoder=False)
    elif spec.train == "marker":
        weight = text.embed_tokens.weight.requires_grad_(True)
        row = torch.zeros(len(weight), 1, device=weight.device)
        row[marker] = 1
        weight.register_hook(lambda gradient: gradient * row)
        # As with LoRA, gradients pass through the decoder's matrices, and none is trained.
        trained = Trained(vision=False, lora=True, checkpointing=spec.checkpointing)
    else:  # the scorer alone
        trained = Trained(vision=False, decoder=False)
    if spec.checkpointing:
        # The name until transformers 5.22, and since.
        new = getattr(model, "activation_checkpointing_enable", None)
        (new or model.gradient_checkpointing_enable)({"use_reentrant": False})
    model.train()
    return trained, wrapped


def with_lora(adapter: VlmAdapter, rank: int) -> Any:
    """peft's LoRA of ``rank`` on every matrix of the decoder layers, put into the model in place."""
    require("peft", "--lora")
    from peft import LoraConfig, get_peft_model

    inside = {id(m) for m in adapter.model.model.language_model.layers.modules()}
    names = [n for n, m in adapter.model.named_modules() if isinstance(m, nn.Linear) and id(m) in inside]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names)
    return get_peft_model(adapter.model, config)


def parameter_groups(learner: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters for AdamW: matrices with weight decay, the rest (norms, biases) without.

    Raises:
        UserError: nothing is trained.
    """
    every = [p for p in learner.parameters() if p.requires_grad]
    if not every:
        raise UserError("nothing is trained with these settings; choose another part with --train.")
    decayed = [p for p in every if p.ndim >= 2]
    plain = [p for p in every if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [g for g in groups if g["params"]]


def export(
    adapter: VlmAdapter,
    wrapped: Any,
    out: Path,
    scorer: Path | None = None,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write the model as a hub-format folder that evaluation loads; a model without LoRA can be trained on behind it.

    Everything but the weights is that of the folder which the training started from; the weights have the type that it
    names.

    Args:
        adapter: the model.
        wrapped: peft's model around it, or None.
        out: folder.
        scorer: FocusUI's, or None.
        state: whole tensors of a model that is divided among processes.
    """
    model = adapter.model if wrapped is None else wrapped.merge_and_unload()
    source = adapter.folder
    named = json.loads((source / "config.json").read_text()) if source is not None else {}
    kind = named.get("dtype") or named.get("torch_dtype") or (named.get("text_config") or {}).get("dtype")
    weights: dict[str, Any] = {}
    held_by: set[tuple[int, Any]] = set()
    for name, tensor in model.state_dict().items():
        own = getattr(tensor, "to_local", lambda t=tensor: t)()
        place = (own.data_ptr(), tensor.shape)  # a tied LM head is written once, as the class does
        if place not in held_by:
            held_by.add(place)
            weights[name] = tensor if state is None else state[name]
    if kind in {"bfloat16", "float16", "float32"}:
        weights = {k: v.to(getattr(torch, kind)) if v.is_floating_point() else v for k, v in weights.items()}
    text = model.config.get_text_config()
    held, text._attn_implementation = text._attn_implementation, "sdpa"  # no folder names our attention function
    try:
        model.save_pretrained(out, state_dict=weights)
    finally:
        text._attn_implementation = held
    if source is None:
        _settings(adapter, out)
    else:
        for file in source.iterdir():
            if file.is_file() and file.suffix not in {".safetensors", ".md"} and not file.name.endswith(".index.json"):
                shutil.copy(file, out / file.name)
        if (source / "focusui").is_dir():
            shutil.copytree(source / "focusui", out / "focusui", dirs_exist_ok=True)
    adapter.tokenizer.save_pretrained(out)
    if scorer is not None and scorer.exists():
        target = out / scorer.parent.name / scorer.name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(scorer, target)


def _settings(adapter: VlmAdapter, out: Path) -> None:
    """The image processor's settings of a model that came from no folder."""
    rules = adapter.images
    data = {
        "patch_size": rules.patch_size,
        "merge_size": rules.merge_size,
        "temporal_patch_size": rules.temporal,
        "image_mean": list(rules.mean),
        "image_std": list(rules.std),
        "size": {"shortest_edge": rules.min_pixels, "longest_edge": rules.max_pixels},
    }
    (out / "preprocessor_config.json").write_text(json.dumps(data, indent=1) + "\n")
