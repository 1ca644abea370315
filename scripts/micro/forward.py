"""Micro's training forward: nano's vision layers, a decoder over pages and their questions, and the reader heads.

The weights stay in the unmodified class's own modules. Questions about one page are independent of each other: each
sees the page and itself, at the positions it would have alone, so a page's keys and values serve all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import nano.forward as nf
import torch
import torch.nn.functional as F
from nano.forward import _filled, _line, _rms, _turn
from torch import Tensor, nn

from .characters import SLOTS

WAVES = 6  # frequencies of a place's code per axis
FUSED_FROM = 900  # patches per image from which the fused kernel's backward is the faster one on CPUs


def _fused_vision_layer(
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
    """nano's vision block with scaled_dot_product_attention."""
    n, length, dim = x.shape
    h = F.layer_norm(x, (dim,), w1, b1, 1e-6).bfloat16()
    q, k, v = _line(h, wqkv, bqkv).view(n, length, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(_turn(q, cos, sin), _turn(k, cos, sin), v, bias)
    x = x + _line(out.transpose(1, 2).reshape(n, length, dim), wo, bo).float()
    h = F.layer_norm(x, (dim,), w2, b2, 1e-6).bfloat16()
    return x + _line(F.gelu(_line(h, up, bup), approximate="tanh"), down, bdown).float()


def _text_layer(
    page: Tensor,
    asked: Tensor,
    turn_page: tuple[Tensor, Tensor],
    turn_asked: tuple[Tensor, Tensor],
    mask: Tensor,
    missing: Tensor,
    own: Tensor,
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
) -> tuple[Tensor, Tensor, Tensor]:
    """One Qwen3 decoder layer in bfloat16 with a float32 residual stream.

    Args:
        page: ``(rows, n_page, dim)``, what precedes the questions.
        asked: ``(rows, questions, length, dim)``.
        turn_page: cosine and sine of the positions.
        turn_asked: cosine and sine of the positions.
        mask: added to the page's own scores ``(rows, 1, n_page, n_page)``.
        missing: to those of the questions with the page ``(rows, 1, 1, n_page)``.
        own: to those within a question ``(length, length)``.

    Returns:
        both streams, and the questions' attention ``(rows, heads, questions * length, n_page + length)``.
    """
    rows, n_page, _ = page.shape
    _, n_asked, length, _ = asked.shape
    head = q_norm.shape[0]
    groups = wq.shape[0] // wk.shape[0]

    def split(x: Tensor, weight: Tensor, n: int) -> Tensor:
        return _line(x, weight).view(n, -1, weight.shape[0] // head, head)

    def turned(x: Tensor, weight: Tensor, norm: Tensor, n: int, turn: tuple[Tensor, Tensor]) -> Tensor:
        return _turn(_rms(split(x, weight, n), norm).transpose(1, 2), *turn)

    h, g = _rms(page, norm1), _rms(asked, norm1)
    q1, q2 = turned(h, wq, q_norm, rows, turn_page), turned(g, wq, q_norm, rows * n_asked, turn_asked)
    k1, k2 = turned(h, wk, k_norm, rows, turn_page), turned(g, wk, k_norm, rows * n_asked, turn_asked)
    v1, v2 = split(h, wv, rows).transpose(1, 2), split(g, wv, rows * n_asked).transpose(1, 2)
    k1, k2, v1, v2 = (t.repeat_interleave(groups, 1) for t in (k1, k2, v1, v2))
    heads = q1.shape[1]
    weights = torch.softmax((q1 @ k1.transpose(-1, -2)).float() * head**-0.5 + mask, -1)
    page = page + _line((weights.bfloat16() @ v1).transpose(1, 2).reshape(rows, n_page, -1), wo).float()
    flat = q2.view(rows, n_asked, heads, length, head).transpose(1, 2).reshape(rows, heads, n_asked * length, head)
    far = (flat @ k1.transpose(-1, -2)).float() * head**-0.5 + missing
    near = (q2 @ k2.transpose(-1, -2)).float() * head**-0.5 + own
    near = near.view(rows, n_asked, heads, length, length).transpose(1, 2).reshape(rows, heads, -1, length)
    attention = torch.softmax(torch.cat([far, near], -1), -1)
    used = attention.bfloat16()
    out = used[..., :n_page] @ v1
    within = used[..., n_page:].reshape(rows, heads, n_asked, length, length).transpose(1, 2)
    within = within.reshape(rows * n_asked, heads, length, length) @ v2
    out = out.view(rows, heads, n_asked, length, head).transpose(1, 2)
    out = (out + within.view(rows, n_asked, heads, length, head)).transpose(2, 3)
    asked = asked + _line(out.reshape(rows, n_asked, length, -1), wo).float()
    h, g = _rms(page, norm2), _rms(asked, norm2)
    page = page + _line(F.silu(_line(h, gate)) * _line(h, up), down).float()
    asked = asked + _line(F.silu(_line(g, gate)) * _line(g, up), down).float()
    return page, asked, attention


@dataclass
class Decoded:
    """Hidden states of the questions after the last norm, both streams after every layer, attention by layer."""

    hidden: Tensor
    pages: list[Tensor]
    asked: list[Tensor]
    attention: list[Tensor]


def decode(
    text: nn.Module,
    page: Tensor,
    asked: Tensor,
    positions: tuple[Tensor, Tensor],
    present: Tensor,
    visual: Tensor,
    taps: list[Tensor],
) -> Decoded:
    """Run the decoder over pages and their questions.

    Args:
        text: a ``Qwen3VLTextModel``.
        page: embeddings of what precedes the questions, visual tokens in place, ``(rows, n_page, dim)``.
        asked: embeddings ``(rows, questions, length, dim)``.
        positions: int64 ``(3, n_page)`` and ``(3, length)``, the latter for every question alike.
        present: bool ``(rows, n_page)``, False for what nothing may look at.
        visual: int64 ``(n_visual,)``, places of the visual tokens.
        taps: DeepStack rows ``(rows, n_visual, dim)``.
    """
    turns = [tuple(t[0].bfloat16() for t in text.rotary_emb(page, p[:, None])) for p in positions]
    missing = torch.zeros(len(page), 1, 1, page.shape[1]).masked_fill_(~present[:, None, None], -1e4)
    n_page, length = page.shape[1], asked.shape[2]
    mask = missing + torch.full((n_page, n_page), -1e4).triu_(1)
    own = torch.full((length, length), -1e4).triu_(1)
    out = Decoded(asked, [], [], [])
    for i, layer in enumerate(text.layers):
        a, m = layer.self_attn, layer.mlp
        page, asked, attention = _text_layer(
            page,
            asked,
            turns[0],
            turns[1],
            mask,
            missing,
            own,
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
        if i < len(taps):
            page = page.index_add(1, visual, taps[i].to(page.dtype))
        out.pages.append(page)
        out.asked.append(asked)
        out.attention.append(attention)
    out.hidden = text.norm(asked)
    return out


def prepare(compiled: bool = True) -> None:
    """Choose the layers' kernels, once per process; ``compiled`` needs a C++ compiler and halves a step's time."""
    global _text_layer
    plain, fused = nf._vision_layer, _fused_vision_layer
    if compiled:
        import torch._inductor.config as inductor

        inductor.cpp.dynamic_threads = True  # the number of threads is asked for at run time
        plain, fused = torch.compile(plain, dynamic=True), torch.compile(fused, dynamic=True)
        _text_layer = torch.compile(_text_layer, dynamic=True)
    nf._vision_layer = lambda x, *rest: (fused if x.shape[1] > FUSED_FROM else plain)(x, *rest)


def waves(rows: int, cols: int, corners: bool = False) -> Tensor:
    """Code of every block's place on a page, ``(rows * cols, 2 * WAVES)``: cosine waves over its height and width.

    Args:
        rows: blocks per side.
        cols: blocks per side.
        corners: the first and the last lie on the page's edges, not half a block inside.
    """

    def over(n: int) -> Tensor:
        at = torch.arange(n) / max(1, n - 1) if corners else (torch.arange(n) + 0.5) / n
        return torch.cos(at[:, None] * torch.arange(1, WAVES + 1) * torch.pi)

    return torch.cat([over(rows).repeat_interleave(cols, 0), over(cols).repeat(rows, 1)], 1)


class Reader(nn.Module):
    """Auxiliary heads, dropped after training: what each merge block shows.

    Per 16-px patch the characters whose centres lie in it and the ones before and after them; per block the icon, the
    centre of its target in hundredths, its own place on the page, and, where it shows a number, which of its digits
    these are and the first four characters of the key that it belongs to.
    """

    def __init__(self, dim: int, n_icons: int, n_digits: int = 4) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, 4 * SLOTS * 37)
        self.outer = nn.Linear(dim, 4 * 2 * 37)
        self.icons = nn.Linear(dim, n_icons + 1)
        self.points = nn.Linear(dim, 2 * 100)
        self.names = nn.Linear(dim, 4 * 37)
        self.digits = nn.Linear(dim, n_digits * 12)
        self.place = nn.Linear(dim, 2 * WAVES)

    def places(self, tokens: Tensor, rows: int, cols: int) -> Tensor:
        """Loss of every block's own place, as waves over the page's height and width.

        Nothing else in the reading stage needs a place, and an encoder that is not asked for it forgets it: after 1,400
        reading steps without this loss no linear map found it in the visual tokens.

        Args:
            tokens: ``(n, rows * cols, dim)``, block by block.
            rows: blocks per side.
            cols: blocks per side.
        """
        return F.mse_loss(self.place(tokens).float(), waves(rows, cols).expand(len(tokens), -1, -1))

    def numbers(self, tokens: Tensor, digits: Tensor) -> tuple[Tensor, float]:
        """Loss of the digits that blocks show, and the share of blocks that have all of theirs right.

        Args:
            tokens: ``(n, n_blocks, dim)``.
            digits: int64 ``(n, n_blocks, n_digits)``, of :func:`~micro.targets.digits`.
        """
        logits = self.digits(tokens).float().view(*digits.shape, 12)
        known = digits[..., 0] >= 0
        if not known.any():
            return logits.sum() * 0, 0.0
        whole = (logits[known].argmax(-1) == digits[known]).all(-1)
        return F.cross_entropy(logits[known].flatten(0, 1), digits[known].flatten()), float(whole.float().mean())

    def read(self, tokens: Tensor, inner: Tensor, outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses of the characters in the patches and around them, and the logits of the former.

        Args:
            tokens: ``(n, n_blocks, dim)``.
            inner: int64 ``(n, n_blocks, 4, SLOTS)``, 0 for none.
            outer: int64 ``(n, n_blocks, 4, 2)``, 0 for none, -100 for unknown.
        """
        logits = self.inner(tokens).view(*inner.shape, 37)
        around = self.outer(tokens).float().view(-1, 37)
        known = outer.flatten() >= 0
        beside = F.cross_entropy(around[known], outer.flatten()[known]) if known.any() else around.sum() * 0
        return _filled(logits, inner), beside, logits
