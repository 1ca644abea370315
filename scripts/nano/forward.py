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


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    return (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6) * weight).bfloat16()


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of ``x (..., length, head_dim)``."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _line(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight.bfloat16(), None if bias is None else bias.bfloat16())


def _text_layer(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
    watch: bool,
    norm1: Tensor,
    wq: Tensor,
    wk: Tensor,
    wv: Tensor,
    q_norm: Tensor,
    k_norm: Tensor,
    wo: Tensor,
    norm2: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """One Qwen3 decoder layer in bfloat16 with a float32 residual stream; with ``watch`` also its attention.

    Plain attention: on CPU its backward is faster than the fused kernel's.
    """
    batch, length, _ = x.shape
    head_dim = q_norm.shape[0]
    h = _rms(x, norm1)
    q = _turn(_rms(_line(h, wq).view(batch, length, -1, head_dim), q_norm).transpose(1, 2), cos, sin)
    k = _turn(_rms(_line(h, wk).view(batch, length, -1, head_dim), k_norm).transpose(1, 2), cos, sin)
    v = _line(h, wv).view(batch, length, -1, head_dim).transpose(1, 2)
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    attention = torch.softmax((q @ k.transpose(-1, -2)).float() * head_dim**-0.5 + mask, -1)
    out = (attention.bfloat16() @ v).transpose(1, 2).reshape(batch, length, -1)
    x = x + _line(out, wo).float()
    h = _rms(x, norm2)
    x = x + _line(F.silu(_line(h, gate)) * _line(h, up), down).float()
    return x, attention if watch else None


def _vision_layer(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    w1: Tensor,
    b1: Tensor,
    wqkv: Tensor,
    bqkv: Tensor,
    wo: Tensor,
    bo: Tensor,
    w2: Tensor,
    b2: Tensor,
    up: Tensor,
    bup: Tensor,
    down: Tensor,
    bdown: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """One vision block over equal-sized images ``x (n, n_patches, dim)``; ``bias`` is added to its scores."""
    n, length, dim = x.shape
    h = F.layer_norm(x, (dim,), w1, b1, 1e-6).bfloat16()
    q, k, v = _line(h, wqkv, bqkv).view(n, length, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    q, k = _turn(q, cos, sin), _turn(k, cos, sin)
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    attention = torch.softmax(scores if bias is None else scores + bias, -1)
    x = x + _line((attention.bfloat16() @ v).transpose(1, 2).reshape(n, length, dim), wo, bo).float()
    h = F.layer_norm(x, (dim,), w2, b2, 1e-6).bfloat16()
    return x + _line(F.gelu(_line(h, up, bup), approximate="tanh"), down, bdown).float()


def compile_layers() -> None:
    """Fuse the layers' elementwise work with ``torch.compile`` (needs a C++ compiler): a step takes half the time."""
    global _text_layer, _vision_layer
    _text_layer = torch.compile(_text_layer, dynamic=True)
    _vision_layer = torch.compile(_vision_layer, dynamic=True)


def encode(visual: nn.Module, images: Tensor, present: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
    """Visual tokens of equal-sized images.

    Args:
        visual: a ``Qwen3VLVisionModel``.
        images: uint8 ``(n, height, width, 3)``.
        present: bool ``(n, n_tokens)``: what these blocks become is what it is where the others are dropped before the
            first layer. What the others become means nothing.

    Returns:
        merged tokens ``(n, n_tokens, dim)`` and the same for every DeepStack tap.
    """
    from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

    n, height, width, _ = images.shape
    grid = torch.tensor([[1, height // 16, width // 16]])
    weight = visual.patch_embed.proj.weight.sum(2).flatten(1)  # a still image repeats in time: add both kernels
    x = F.linear(patchify(images), weight, visual.patch_embed.proj.bias).float()
    index, share = get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=visual.num_grid_per_side,
        mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners,
        spatial_merge_size=2,
        kwargs={},
    )
    x = x + (visual.pos_embed(index) * share[:, :, None]).sum(1)
    cos, sin = (t.bfloat16() for t in visual.rotary_pos_emb(x, get_vision_position_ids(grid, 2, kwargs={})))
    bias = None
    if present is not None:
        here = present.repeat_interleave(4, 1)  # the patches of a block follow each other
        bias = torch.zeros(n, 1, *2 * here.shape[1:], dtype=torch.bfloat16)
        bias.masked_fill_((here[:, :, None] & ~here[:, None])[:, None], -1e4)
    taps = []
    for i, block in enumerate(visual.blocks):
        a, m = block.attn, block.mlp
        x = _vision_layer(
            x,
            cos,
            sin,
            visual.config.num_heads,
            block.norm1.weight,
            block.norm1.bias,
            a.qkv.weight,
            a.qkv.bias,
            a.proj.weight,
            a.proj.bias,
            block.norm2.weight,
            block.norm2.bias,
            m.linear_fc1.weight,
            m.linear_fc1.bias,
            m.linear_fc2.weight,
            m.linear_fc2.bias,
            bias,
        )
        if i in visual.deepstack_visual_indexes:
            merger = visual.deepstack_merger_list[visual.deepstack_visual_indexes.index(i)]
            taps.append(merger(x).view(n, -1, merger.linear_fc2.out_features))
    return visual.merger(x).view(n, -1, visual.merger.linear_fc2.out_features), taps


def decode(
    text: nn.Module,
    embeds: Tensor,
    positions: Tensor,
    mask: Tensor,
    spans: list[tuple[int, int]],
    taps: list[Tensor],
    watch: tuple[int, ...] = (),
) -> tuple[Tensor, list[Tensor], dict[int, Tensor]]:
    """Run the decoder over a batch of equal layouts.

    Args:
        text: a ``Qwen3VLTextModel``.
        embeds: ``(batch, length, dim)`` with visual tokens in place.
        positions: ``(3, length)``, the same for all rows.
        mask: float ``(1, 1, length, length)``, added to the scores.
        spans: half-open spans of the images' tokens.
        taps: DeepStack features ``(batch, n_visual, dim)`` in the order of the spans.
        watch: layers whose attention is returned.

    Returns:
        final hidden states ``(batch, length, dim)``, those after every layer, and attention by watched layer.
    """
    cos, sin = (t[0].bfloat16() for t in text.rotary_emb(embeds, positions[:, None]))
    x = embeds
    states, seen = [], {}
    for i, layer in enumerate(text.layers):
        a, m = layer.self_attn, layer.mlp
        x, weights = _text_layer(
            x,
            cos,
            sin,
            mask,
            i in watch,
            layer.input_layernorm.weight,
            a.q_proj.weight,
            a.k_proj.weight,
            a.v_proj.weight,
            a.q_norm.weight,
            a.k_norm.weight,
            a.o_proj.weight,
            layer.post_attention_layernorm.weight,
            m.gate_proj.weight,
            m.up_proj.weight,
            m.down_proj.weight,
        )
        if weights is not None:
            seen[i] = weights
        if i < len(taps):
            add = torch.zeros_like(x)
            at = 0
            for start, end in spans:
                add[:, start:end] = taps[i][:, at : at + end - start].to(add.dtype)
                at += end - start
            x = x + add
        states.append(x)
    return text.norm(x), states, seen


class Table(nn.Module):
    """The token embeddings while training: a pair of characters is the sum of two character vectors and its own rest.

    1,296 pairs share 72 vectors, so a pair that was seen seldom still means its letters. The sum is written into the
    model's (tied) embedding when the folder is saved; the class that runs it knows nothing of this.
    """

    def __init__(self, vocabulary: list[str], size: int, dim: int, std: float = 0.5) -> None:
        super().__init__()
        alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
        index = torch.zeros(2, size, dtype=torch.long)  # row 0 of both tables stays zero: not made of characters
        for i, token in enumerate(vocabulary):
            if len(token) in (1, 2) and all(c in alphabet for c in token):
                index[0, i] = 1 + alphabet.index(token[0])
                index[1, i] = 1 + alphabet.index(token[1]) if len(token) == 2 else 37
        self.register_buffer("index", index)
        self.first = nn.Parameter(torch.randn(38, dim) * std)
        self.second = nn.Parameter(torch.randn(38, dim) * std)
        self.rest = nn.Parameter(torch.randn(size, dim) * std * 1.4 * (index[0] == 0)[:, None])
        self.register_buffer("real", (torch.arange(38) > 0).float()[:, None])

    def forward(self) -> Tensor:
        """The embedding matrix ``(size, dim)``."""
        return (self.first * self.real)[self.index[0]] + (self.second * self.real)[self.index[1]] + self.rest


class DenseReader(nn.Module):
    """Auxiliary head, dropped after training: what each merge block shows.

    Per block: two characters in each of its four patches (37 classes each: none, 26 letters, 10 digits), the icon, the
    centre of its target, and, where it shows a value, the first four characters of the value's key (for a table's
    cell: of its row and its column). The last one teaches the encoder which label a value belongs to.
    """

    def __init__(self, dim: int, n_icons: int) -> None:
        super().__init__()
        self.chars = nn.Linear(dim, 4 * 2 * 37)
        self.icons = nn.Linear(dim, n_icons + 1)
        self.points = nn.Linear(dim, 2 * 100)
        self.names = nn.Linear(dim, 2 * 4 * 37)

    def forward(
        self, tokens: Tensor, chars: Tensor, icons: Tensor, points: Tensor, names: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and its parts.

        Args:
            tokens: ``(n, n_tokens, dim)``.
            chars: int64 ``(n, n_tokens, 4, 2)``, 0 means none.
            icons: int64 ``(n, n_tokens)``, 0 means none.
            points: int64 ``(n, n_tokens, 2)``, centre in hundredths of the target a block belongs to, -100 for none.
            names: int64 ``(n, n_tokens, 2, 4)``, 0 for none, -100 for unknown.
        """
        text = _filled(self.chars(tokens).view(*chars.shape, 37), chars)
        label = _filled(self.names(tokens).view(*names.shape, 37), names)
        places = self.points(tokens).view(-1, 100).float()
        known = points.flatten() >= 0
        where = F.cross_entropy(places[known], points.flatten()[known]) if known.any() else places.sum() * 0
        icon = F.cross_entropy(self.icons(tokens).float().flatten(0, 1), icons.flatten())
        parts = {"chars": text, "points": where, "names": label, "icons": icon}
        return text + 0.3 * where + 0.3 * icon + 0.3 * label, parts


def _filled(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy in which the many empty places weigh together a quarter of the filled ones."""
    loss = F.cross_entropy(logits.float().flatten(0, -2), wanted.flatten(), reduction="none").view_as(wanted)
    shown, empty = (wanted > 0).float(), (wanted == 0).float()
    weight = shown + empty * 0.25 * shown.mean().clamp(min=0.01) / empty.mean().clamp(min=0.01)
    return (loss * weight).sum() / weight.sum()


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
