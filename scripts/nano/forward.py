"""Batched training forward of the unmodified Qwen3-VL modules.

The weights stay in the class's own modules; only the order of evaluation differs, for speed: the patch embedding as
a matrix product, vision attention over equal-sized images as one batch, several independent questions about the same
images in one sequence (each sees the images and itself only, at the positions it would have alone).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patchify(images: Tensor) -> Tensor:
    """uint8 images ``(n, height, width, 3)`` to patches ``(n, n_patches, 768)`` in merge-block order, in [-1, 1]."""
    n, height, width, _ = images.shape
    x = images.view(n, height // 32, 2, 16, width // 32, 2, 16, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return x.reshape(n, height * width // 256, 768).float().div_(127.5).sub_(1.0)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Plain attention ``(n, heads, length, head_dim)``: on CPU its backward is faster than the fused kernel's."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return torch.softmax(scores, -1, dtype=v.dtype) @ v


def encode(visual: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Visual tokens of equal-sized images.

    Args:
        visual: a ``Qwen3VLVisionModel``.
        images: uint8 ``(n, height, width, 3)``.

    Returns:
        merged tokens ``(n, n_tokens, dim)`` and the same for every DeepStack tap.
    """
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision
    from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

    n, height, width, _ = images.shape
    grid = torch.tensor([[1, height // 16, width // 16]])
    weight = visual.patch_embed.proj.weight.sum(2).flatten(1)  # a still image repeats in time: add both kernels
    x = F.linear(patchify(images), weight, visual.patch_embed.proj.bias)
    index, share = get_vision_interpolation_indices_and_weights(
        grid, num_grid_per_side=visual.num_grid_per_side, mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners, spatial_merge_size=2, kwargs={},
    )
    x = x + (visual.pos_embed(index) * share[:, :, None]).sum(1)
    cos, sin = visual.rotary_pos_emb(x, get_vision_position_ids(grid, 2, kwargs={}))
    heads = visual.config.num_heads
    taps = []
    for i, block in enumerate(visual.blocks):
        qkv = block.attn.qkv(block.norm1(x)).view(n, x.shape[1], 3, heads, -1)
        q, k, v = qkv.unbind(2)
        q, k = apply_rotary_pos_emb_vision(q, k, cos, sin)
        out = _attend(q.to(v.dtype).transpose(1, 2), k.to(v.dtype).transpose(1, 2), v.transpose(1, 2))
        x = x + block.attn.proj(out.transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
        if i in visual.deepstack_visual_indexes:
            merger = visual.deepstack_merger_list[visual.deepstack_visual_indexes.index(i)]
            taps.append(merger(x).view(n, -1, merger.linear_fc2.out_features))
    return visual.merger(x).view(n, -1, visual.merger.linear_fc2.out_features), taps


def decode(text: nn.Module, embeds: Tensor, positions: Tensor, mask: Tensor, spans: list[tuple[int, int]],
           taps: list[Tensor], watch: tuple[int, ...] = ()) -> tuple[Tensor, list[Tensor], dict[int, Tensor]]:
    """Run the decoder over a batch of equal layouts.

    Args:
        text: a ``Qwen3VLTextModel``.
        embeds: ``(batch, length, dim)`` with visual tokens in place.
        positions: ``(3, length)``, the same for all rows.
        mask: bool ``(1, 1, length, length)``, True where attention is allowed.
        spans: half-open spans of the images' tokens.
        taps: DeepStack features ``(batch, n_visual, dim)`` in the order of the spans.

    Returns:
        final hidden states ``(batch, length, dim)`` and those after every layer, for the pointers.
    """
    rope = text.rotary_emb(embeds, positions[:, None])
    x = embeds
    states, seen = [], {}
    for i, layer in enumerate(text.layers):
        out, weights = layer.self_attn(layer.input_layernorm(x), position_embeddings=rope, attention_mask=mask)
        if i in watch:
            seen[i] = weights
        x = x + out
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        if i < len(taps):
            add = torch.zeros_like(x)
            at = 0
            for start, end in spans:
                add[:, start:end] = taps[i][:, at:at + end - start].to(add.dtype)
                at += end - start
            x = x + add
        states.append(x)
    return text.norm(x), states, seen


class DenseReader(nn.Module):
    """Auxiliary head, dropped after training: what each merge block shows.

    Per block: two characters in each of its four patches (37 classes each: none, 26 letters, 10 digits) and the icon.
    """

    def __init__(self, dim: int, n_icons: int) -> None:
        super().__init__()
        self.chars = nn.Linear(dim, 4 * 2 * 37)
        self.icons = nn.Linear(dim, n_icons + 1)
        self.points = nn.Linear(dim, 2 * 100)

    def forward(self, tokens: Tensor, chars: Tensor, icons: Tensor, points: Tensor) -> Tensor:
        """Loss; ``chars`` int64 ``(n, n_tokens, 4, 2)``, ``icons`` int64 ``(n, n_tokens)``, 0 means none.

        ``points`` int64 ``(n, n_tokens, 2)``: centre in hundredths of the target a block belongs to, -100 for none.
        """
        logits = self.chars(tokens).view(*tokens.shape[:2], 4, 2, 37).float()
        loss = F.cross_entropy(logits.flatten(0, 3), chars.flatten(), reduction="none").view_as(chars)
        shown = (chars > 0).float()
        # Empty patches are the many: give them as much weight together as a quarter of the filled ones.
        balance = shown + (1 - shown) * 0.25 * shown.mean().clamp(min=0.01) / (1 - shown).mean().clamp(min=0.01)
        text = (loss * balance).sum() / balance.sum()
        places = self.points(tokens).view(-1, 100).float()
        known = points.flatten() >= 0
        where = F.cross_entropy(places[known], points.flatten()[known]) if known.any() else places.sum() * 0
        return text + 0.3 * where + 0.3 * F.cross_entropy(self.icons(tokens).float().flatten(0, 1), icons.flatten())


class Pointers(nn.Module):
    """Auxiliary heads, dropped after training: where the decoder should look.

    At the last prompt token of a question, two dot products with the visual tokens say which blocks the question names
    (after layer ``AT[0]``) and which hold the answer (after layer ``AT[1]``). Without this target a small model takes
    very long to discover that it must compare the letters of the question with those of the screen.
    """

    AT = (2, 3)

    def __init__(self, dim: int, width: int = 128) -> None:
        super().__init__()
        self.ask = nn.ModuleList(nn.Linear(dim, width) for _ in self.AT)
        self.show = nn.ModuleList(nn.Linear(dim, width) for _ in self.AT)

    def forward(self, states: list[Tensor], at: Tensor, visual: Tensor, wanted: Tensor) -> Tensor:
        """Loss.

        Args:
            states: hidden states after every decoder layer, ``(batch, length, dim)``.
            at: int64 ``(batch, n_questions)``, position of the last prompt token of every question.
            visual: int64 ``(n_visual,)``, positions of the visual tokens.
            wanted: ``(2, batch, n_questions, n_visual)``, target shares per head; all zero where there is none.
        """
        total = states[0].new_zeros(())
        for head, layer in enumerate(self.AT):
            x = F.layer_norm(states[layer], states[layer].shape[-1:])
            q = self.ask[head](x.gather(1, at[:, :, None].expand(-1, -1, x.shape[2])))
            k = self.show[head](x[:, visual])
            scores = (q @ k.transpose(1, 2)).float() * k.shape[-1] ** -0.5
            mass = wanted[head].sum(-1)
            loss = -(wanted[head] * scores.log_softmax(-1)).sum(-1)
            total = total + loss.sum() / mass.sum().clamp(min=1.0)
        return total
