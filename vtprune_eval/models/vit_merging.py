"""Merging inside the ViT: what stands for what while the blocks of the ViT run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Merging


def attention_by_size(
    attn: Any, normed: Tensor, rope: tuple[Tensor, Tensor], sizes: Tensor, lengths: Sequence[int]
) -> Tensor:
    """ToMe's proportional attention: softmax(q k / sqrt(d) + log size) v inside every image, ``(n, dim)``.

    Args:
        attn: attention of a ViT block of the Qwen2-VL line.
        normed: its input, ``(n, dim)``.
        rope: cos and sin.
        sizes: what each of the ``n`` keys stands for.
        lengths: keys per image.
    """
    from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

    q, k, v = attn.qkv(normed).view(len(normed), 3, attn.num_heads, -1).unbind(1)
    q, k = apply_rotary_pos_emb_vision(q, k, *rope)
    parts, bias = [], sizes.log().to(q.dtype)
    for mine in zip(*(x.split(list(lengths)) for x in (q, k, v, bias)), strict=True):
        asked, keys, values = (x.transpose(0, 1)[None] for x in mine[:3])
        out = F.scaled_dot_product_attention(
            asked, keys, values, attn_mask=mine[3][None, None, None], scale=attn.scaling
        )
        parts.append(out[0].transpose(0, 1).flatten(1))
    return torch.as_tensor(attn.proj(torch.cat(parts)))


class Merger:
    """The merge blocks of all images while they pass through the ViT.

    Attributes:
        lengths: merge blocks per image now.
        patches: patches that each ViT block processed so far, per image.
    """

    def __init__(self, merging: Merging, lengths: Sequence[int], group: int, device: torch.device) -> None:
        """``lengths``: merge blocks per image at first; ``group``: patches per block."""
        self._merging, self._group = merging, group
        self.lengths, self.patches = list(lengths), list[tuple[int, ...]]()
        n = sum(lengths)
        self._place, self._size = torch.arange(n, device=device), torch.ones(n, device=device)
        self._merged = False

    def run(
        self, number: int, block: Any, hidden: Tensor, rope: tuple[Tensor, Tensor], bounds: Tensor, taps: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor], list[Tensor]]:
        """One ViT block, with merging between its attention and its feed-forward part.

        Args:
            number: of the block.
            hidden: ``(n_patches, dim)``.
            rope: cos and sin.
            bounds: of the images.
            taps: what was taken per merge block before, ``(n_blocks, ...)``; it is merged along.

        Returns:
            The three that change: hidden states, cos and sin, taps.
        """
        self.patches.append(tuple(n * self._group for n in self.lengths))
        normed = block.norm1(hidden)
        if self._merging.by_size and self._merged:
            sizes = self._size.repeat_interleave(self._group)
            hidden = hidden + attention_by_size(block.attn, normed, rope, sizes, self.patches[-1])
        else:
            longest = max(self.lengths) * self._group
            hidden = hidden + block.attn(normed, cu_seqlens=bounds, max_seqlen=longest, position_embeddings=rope)
        if any(counts[number] for counts in self._merging.counts):
            keys = block.attn.qkv(normed).view(len(normed), 3, block.attn.num_heads, -1)[:, 1].float().mean(1)
            self._merged = True
            hidden, rope, taps = self._merge(number, keys.view(len(self._place), -1), hidden, rope, taps)
        return hidden + block.mlp(block.norm2(hidden)), rope, taps

    def _merge(
        self, number: int, metric: Tensor, hidden: Tensor, rope: tuple[Tensor, Tensor], taps: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor], list[Tensor]]:
        parts, at = [], 0
        weighted = [self._by_block(x).float() * self._size[:, None] for x in (hidden, *taps)]
        sums: list[list[Tensor]] = [[] for _ in weighted]
        sizes, lengths = [], []
        for counts, length in zip(self._merging.counts, self.lengths, strict=True):
            match = self._merging.match(metric[at : at + length], counts[number])
            for out, x in zip(sums, weighted, strict=True):
                out.append(match.sums(x[at : at + length]))
            sizes.append(match.sums(self._size[at : at + length]))
            parts.append(match.order + at)
            lengths.append(len(match.order))
            at += length
        order, self._size, self.lengths = torch.cat(parts), torch.cat(sizes), lengths
        self._place = self._place[order]
        means = [torch.cat(out) / self._size[:, None] for out in sums]
        rows = (order[:, None] * self._group + torch.arange(self._group, device=order.device)).flatten()
        return (
            means[0].view(-1, hidden.shape[1]).to(hidden.dtype),
            (rope[0][rows], rope[1][rows]),
            [mean.to(tap.dtype) for mean, tap in zip(means[1:], taps, strict=True)],
        )

    def _by_block(self, x: Tensor) -> Tensor:
        """Rows of patches as one row per merge block; rows per block as they are."""
        return x.reshape(len(self._place), -1)

    def in_order(self) -> tuple[Tensor, Tensor]:
        """Rows of what is left by place, and those places, both int64."""
        order = self._place.argsort()
        return order, self._place[order]
