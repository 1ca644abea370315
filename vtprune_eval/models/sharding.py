"""One model over several GPUs: which module lies where, by accelerate.

The ViT, the embeddings and the first decoder layer share the first GPU, the other decoder layers follow in order, so
that hidden states cross from one GPU to the next as few times as there are GPUs. Hooks of accelerate move the inputs of
a placed module to its device; the pipeline takes everything else that belongs to the sequence along, and what a method
sees of a layer is on that layer's device.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from .memory import GIB

# Share of a GPU's free memory that weights may take: activations and the KV cache come on top.
SHARE = 0.85
_FIRST = (
    "model.visual",
    "model.language_model.embed_tokens",
    "model.language_model.rotary_emb",
    "model.language_model.layers.0",
)


def free_per_gpu() -> dict[int, int]:
    """Free bytes of every visible GPU."""
    return {n: torch.cuda.mem_get_info(n)[0] for n in range(torch.cuda.device_count())}


def device_map(name: str, model_class: Any, config: Any, dtype: torch.dtype, free: Mapping[int, int]) -> dict[str, str]:
    """Module name to device (``cuda:N``) for every part of ``model_class(config)``; nothing is allocated.

    Args:
        name: short name of the model, for the sentence.
        dtype: of the weights.
        free: bytes per GPU.

    Raises:
        UserError: accelerate is missing, or the weights do not fit.
    """
    try:
        from accelerate import infer_auto_device_map  # type: ignore[import-untyped, unused-ignore]
        from accelerate.utils import get_balanced_memory  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise UserError("--device spread needs the package accelerate: pip install 'vtprune_eval[sharding]'.") from None
    with torch.device("meta"):
        model = model_class(config)
    model.tie_weights()
    beside = [type(child).__name__ for part, child in model.named_children() if part != "model"]
    whole = [*model._no_split_modules, type(model.model.visual).__name__, *beside]
    room = {gpu: int(n * SHARE) for gpu, n in free.items()}
    logging.getLogger("accelerate").setLevel(logging.ERROR)  # it would list the GPUs that it looked for
    room = get_balanced_memory(model, max_memory=dict(room), no_split_module_classes=whole, dtype=dtype)
    places = infer_auto_device_map(
        model, max_memory=room, no_split_module_classes=whole, dtype=dtype, clean_result=False
    )
    if any(place in ("cpu", "disk") for place in places.values()):
        need = sum(p.numel() for p in model.parameters()) * dtype.itemsize
        remedy = "use a smaller model" if dtype.itemsize == 2 else "use --dtype bfloat16 or a smaller model"
        raise UserError(
            f"{name}: the weights ({need / GIB:.1f} GiB) do not fit into {SHARE:.0%} of the free memory of "
            f"{len(free)} GPUs ({sum(free.values()) / GIB:.1f} GiB); {remedy}."
        )
    places = _parts(model, places) | dict.fromkeys(_FIRST, min(free))
    if model.lm_head.weight is model.model.language_model.embed_tokens.weight:
        places["lm_head"] = min(free)
    return {part: f"cuda:{place}" for part, place in places.items()}


def _parts(model: nn.Module, places: Mapping[str, Any]) -> dict[str, Any]:
    """The same places for the modules that the pipeline calls one by one: accelerate names a whole where it fits."""
    out: dict[str, Any] = {}
    for part, place in places.items():
        if part in ("", "model", "model.language_model", "model.language_model.layers"):
            inside = ((f"{part}.{child}".lstrip("."), place) for child, _ in model.get_submodule(part).named_children())
            out |= _parts(model, dict(inside))
        else:
            out[part] = place
    return out


def follow(model: nn.Module, places: Mapping[str, str]) -> None:
    """Let every module of ``places`` take its inputs to its own device; its weights are there already."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module  # type: ignore[import-untyped, unused-ignore]

    for part, place in places.items():
        add_hook_to_module(
            model.get_submodule(part),
            AlignDevicesHook(execution_device=torch.device(place), skip_keys="past_key_values"),
        )
