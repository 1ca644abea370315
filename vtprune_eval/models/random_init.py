"""A model of the true architecture and size with random weights, without a download and in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def random_model(
    model_class: type,
    config: Any,
    *,
    dtype: torch.dtype,
    device: str,
    seed: int,
    places: Mapping[str, str] | None = None,
) -> Any:
    """Build ``model_class(config)`` with random weights.

    Latency, memory and FLOPs of such a model are those of the real one; its answers mean nothing. Matrices are
    filled from one block of normal numbers repeated with a shift (drawing billions of numbers would take minutes),
    scaled to keep activations of order one. Norm weights are 1, biases 0.

    Args:
        model_class: a transformers class that takes a configuration.
        config: its configuration.
        dtype: of the weights.
        device: of the weights.
        seed: of the block of numbers.
        places: device of every part, instead of ``device``, for several of them.
    """
    with torch.device("meta"):
        model = model_class(config)
    model = model.to(dtype)
    for part, place in (places or {"": device}).items():
        model.get_submodule(part).to_empty(device=place)
    model.tie_weights()  # leaving the meta device gave the LM head a matrix of its own, which the real model lacks
    generator = torch.Generator().manual_seed(seed)
    blocks: dict[torch.device, torch.Tensor] = {}
    drawn = torch.randn(1 << 20, generator=generator).to(dtype)
    with torch.no_grad():
        for number, (name, weight) in enumerate(model.named_parameters()):
            if name.endswith("bias"):
                weight.zero_()
            elif weight.ndim == 1:
                weight.fill_(1.0)
            else:
                flat, fan_in = weight.view(-1), weight[0].numel()
                block = blocks.setdefault(weight.device, drawn.to(weight.device))
                scale = 0.02 if "embed" in name and weight.ndim == 2 else fan_in**-0.5
                shift = (number * 7919) % block.numel()
                source = torch.roll(block, shift) * scale
                for start in range(0, flat.numel(), block.numel()):
                    piece = flat[start : start + block.numel()]
                    piece.copy_(source[: piece.numel()])
    # Rotary tables are buffers outside the weights; building on the meta device left them empty.
    for module in list(model.modules()):
        for child_name, child in list(module.named_children()):
            if hasattr(child, "inv_freq"):
                setattr(module, child_name, type(child)(config=child.config).to(child.inv_freq.device))
    return model.eval()
