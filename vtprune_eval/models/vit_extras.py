"""Extra outputs of a ViT block that some methods ask for: received attention and mean keys.

Computed from the block's own projections, for at most ``ATTENTION_CHUNK`` queries at a time: never a map of the whole
image, so that SDPA and FlashAttention stay usable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError

# Queries whose attention is materialised at once.
ATTENTION_CHUNK = 256
# What can be asked of a ViT block.
KINDS = ("encoder_attention", "encoder_wide_attention", "encoder_keys")


def read_needs(
    needs: Sequence[str], depth: int, is_global: Callable[[int], bool] = lambda block: True
) -> dict[int, list[tuple[str, str]]]:
    """ViT block to the (need, kind) pairs wanted of it.

    Args:
        needs: see :meth:`VlmAdapter.encode`.
        depth: blocks of the ViT.
        is_global: whether a block attends over the whole image.

    Raises:
        ValueError: an unknown kind.
        UserError: a block outside the ViT, or no block at all.
    """
    wanted: dict[int, list[tuple[str, str]]] = {}
    for need in needs:
        kind, _, text = need.partition(":")
        if kind not in KINDS:
            raise ValueError(f"unknown need {need!r}")
        wanted.setdefault(_block_of(text, depth, is_global), []).append((need, kind))
    return wanted


def _block_of(text: str, depth: int, is_global: Callable[[int], bool]) -> int:
    """Index from 0 of the ViT block that ``text`` names.

    ``early``, ``mid``, ``penultimate`` and ``last`` move to the nearest block with full attention, the later of two:
    inside a window, the attention that a token receives says nothing about the other windows.
    """
    names = {"mid": depth // 2 - 1, "penultimate": depth - 2, "last": depth - 1, "early": depth // 4 - 1}
    if text in names:
        block = max(0, names[text])
        return min(filter(is_global, range(depth)), key=lambda b: (abs(b - block), -b), default=block)
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or not -depth <= int(text) < depth:
        raise UserError(
            f"ViT block {text!r} is not one of this model's {depth}: choose {-depth} to {depth - 1}, "
            f"{', '.join(names)}."
        )
    return int(text) % depth


def block_extras(
    block: Any,
    wanted: Sequence[tuple[str, str]],
    hidden: Tensor,
    rope: tuple[Tensor, Tensor],
    lengths: Sequence[int],
    group: int,
) -> dict[str, Tensor]:
    """Extra outputs of a ViT block for its input ``hidden``; see :meth:`VlmAdapter.encode`.

    Args:
        block: a ViT block of the Qwen2-VL line.
        wanted: (need, kind) pairs of :func:`read_needs`.
        hidden: ``(n_patches, dim)``.
        rope: cos and sin, ``(n_patches, head_dim)`` each.
        lengths: patches per attention segment of this block (images, or windows).
        group: patches per visual token.

    Returns:
        By need. ``encoder_attention``: float32 ``(n_patches / group,)``; ``encoder_keys``:
        ``(n_patches / group, dim)``.
    """
    from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

    a = block.attn
    n = hidden.shape[0]
    q, k, _ = a.qkv(block.norm1(hidden)).view(n, 3, a.num_heads, -1).unbind(1)
    out = {need: k.reshape(n // group, group, -1).mean(1) for need, kind in wanted if kind == "encoder_keys"}
    q, k = apply_rotary_pos_emb_vision(q, k, *rope)
    for kind in ("encoder_attention", "encoder_wide_attention"):
        asking = [need for need, wanted_kind in wanted if wanted_kind == kind]
        if asking:
            # One softmax per head, or one over all heads' dot products together (PruMerge).
            n_heads, scale = (a.num_heads, a.scaling) if kind == "encoder_attention" else (1, hidden.shape[1] ** -0.5)
            received = []
            at = 0
            for length in lengths:
                queries, keys = (x[at : at + length].reshape(length, n_heads, -1).transpose(0, 1) for x in (q, k))
                received.append(encoder_received(queries, keys, scale))
                at += length
            out |= dict.fromkeys(asking, torch.cat(received).view(-1, group).mean(1))
    return out


def encoder_received(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Attention that each key receives, summed over the queries and averaged over the heads, float32 ``(n,)``.

    Args:
        queries: ``(heads, m, d)``.
        keys: ``(heads, n, d)``.
        scale: of the dot products.
    """
    total = torch.zeros(keys.shape[1], dtype=torch.float32, device=keys.device)
    for part in queries.split(ATTENTION_CHUNK, 1):
        total += ((part @ keys.transpose(1, 2)).float() * scale).softmax(-1).sum((0, 1))
    return total / len(keys)
