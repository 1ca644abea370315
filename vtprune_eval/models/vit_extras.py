"""Extra outputs of a ViT block that some methods ask for: received attention and mean keys.

Computed from the block's own projections, for at most ``ATTENTION_CHUNK`` queries at a time: never a map of the whole
image, so that SDPA and FlashAttention stay usable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Queries whose attention is materialised at once.
ATTENTION_CHUNK = 256


def read_needs(needs: Sequence[str], depth: int) -> dict[int, list[tuple[str, str]]]:
    """ViT block to the (need, kind) pairs wanted of it.

    Raises:
        ValueError: an unknown kind or a block outside the tower.
    """
    wanted: dict[int, list[tuple[str, str]]] = {}
    for need in needs:
        kind, _, text = need.partition(":")
        if kind not in {"encoder_attention", "encoder_keys"} or not (text == "mid"
                                                                     or text.removeprefix("-").isdigit()):
            raise ValueError(f"unknown need {need!r}")
        block = depth // 2 - 1 if text == "mid" else int(text)
        if not -depth <= block < depth:
            raise ValueError(f"need {need!r}: the ViT has {depth} blocks")
        wanted.setdefault(block % depth, []).append((need, kind))
    return wanted


def block_extra(block: Any, kind: str, hidden: Tensor, rope: tuple[Tensor, Tensor], lengths: Sequence[int],
                group: int) -> Tensor:
    """One extra output of a ViT block for its input ``hidden``; see :meth:`VlmAdapter.encode`.

    Args:
        block: a ViT block of the Qwen2-VL line; kind: ``encoder_attention`` or ``encoder_keys``.
        hidden: ``(n_patches, dim)``; rope: cos and sin, ``(n_patches, head_dim)`` each.
        lengths: patches per attention segment of this block (images, or windows).
        group: patches per visual token.

    Returns:
        ``encoder_attention``: float32 ``(n_patches / group,)``; ``encoder_keys``: ``(n_patches / group, dim)``.
    """
    from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

    a = block.attn
    n = hidden.shape[0]
    q, k, _ = a.qkv(block.norm1(hidden)).view(n, 3, a.num_heads, -1).unbind(1)
    if kind == "encoder_keys":
        return k.reshape(n // group, group, -1).mean(1)
    q, k = apply_rotary_pos_emb_vision(q, k, *rope)
    received = []
    at = 0
    for length in lengths:
        queries, keys = q[at:at + length].transpose(0, 1), k[at:at + length].permute(1, 2, 0)
        total = torch.zeros(length, dtype=torch.float32, device=hidden.device)
        for start in range(0, length, ATTENTION_CHUNK):
            scores = (queries[:, start:start + ATTENTION_CHUNK] @ keys).float() * a.scaling
            total += scores.softmax(-1).sum((0, 1))
        received.append(total / a.num_heads)
        at += length
    return torch.cat(received).view(-1, group).mean(1)
