"""A second pass that repeats the prompt behind itself, for cache methods that score by reconstruction (KVzip)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..methods.base import LayerView, Method, Repeated
from ..models.base import VlmAdapter
from .cache import KVCache


@dataclass(frozen=True)
class Whole:
    """The prompt as it entered decoder layer 0; kept until the pass is over.

    Attributes:
        hidden: ``(1, n, dim)``.
        positions: rotary position ids, ``(3, n)``.
        deepstack: as in :class:`.prefill.State`.
        deepstack_rows: as in :class:`.prefill.State`.
    """

    hidden: Tensor
    positions: Tensor
    deepstack: tuple[Tensor, ...]
    deepstack_rows: Tensor


class _Behind:
    """A cache that shows a layer its entries and the new ones behind them, and stores nothing."""

    def __init__(self, cache: KVCache) -> None:
        self._cache, self.keys = cache, torch.empty(0)

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        held_keys, held_values = self._cache.entries(layer_idx)
        self.keys = torch.cat([held_keys[None], keys], 2)
        return self.keys, torch.cat([held_values[None], values], 2)


def repeated(
    adapter: VlmAdapter, whole: Whole, cache: KVCache, method: Method, views: list[LayerView]
) -> list[tuple[Any, ...]]:
    """What ``method`` observes of every layer while the prompt is repeated, chunk by chunk.

    Args:
        adapter: the model.
        whole: its prompt.
        cache: of the whole prompt, which is not changed.
        method: asks for the pass.
        views: one per decoder layer.

    Returns:
        per layer what :meth:`Method.observe_repeat` returned, one per chunk.
    """
    n, device = whole.hidden.shape[1], whole.hidden.device
    words = adapter.tokenizer(method.repeats, add_special_tokens=False)["input_ids"]
    asked = adapter.text.embed_tokens(torch.tensor([words], dtype=torch.long, device=device))
    start = int(whole.positions.max()) + 1
    first = start + torch.arange(len(words), device=device).expand(3, -1)
    out: list[list[Any]] = [[] for _ in views]
    for begin, end in method.chunks(n):
        rows = torch.arange(begin, end, device=device)
        hidden = torch.cat([asked, whole.hidden[:, rows]], 1)
        again = whole.positions[:, rows]
        again = again - again.min() + start + len(words)
        rope = adapter.text.rotary_emb(hidden, torch.cat([first, again], 1)[:, None])
        inside = (whole.deepstack_rows >= begin) & (whole.deepstack_rows < end)
        added = whole.deepstack_rows[inside] - begin + len(words)
        mask = _mask(adapter, hidden, n)
        for number, layer in enumerate(adapter.text.layers):
            there = adapter.layer_devices[number]
            hidden, rope = hidden.to(there), (rope[0].to(there), rope[1].to(there))
            behind = _Behind(cache)
            normed = layer.input_layernorm(hidden[0])
            queries = adapter.project(number, normed, rope)[0]
            shown = None if mask is None else mask.to(there)
            hidden = layer(hidden, position_embeddings=rope, attention_mask=shown, past_key_values=behind)
            if number < len(whole.deepstack) and len(added):
                level = whole.deepstack[number][inside].to(there, hidden.dtype)
                hidden = hidden.index_add(1, added.to(there), level[None])
            pass_ = Repeated(queries, behind.keys[0], n, begin, end)
            out[number].append(method.observe_repeat(views[number], pass_))
    return [tuple(chunks) for chunks in out]


def _mask(adapter: VlmAdapter, hidden: Tensor, n: int) -> Tensor | None:
    """All of the prompt and the repeated part so far, ``(1, 1, m, n + m)``; None where the backend aligns by itself."""
    if adapter.attention == "flash_attention_2":
        return None
    m = hidden.shape[1]
    mask = torch.zeros(m, n + m, dtype=hidden.dtype, device=hidden.device)
    mask[:, n:] = torch.full((m, m), float("-inf"), dtype=hidden.dtype, device=hidden.device).triu(1)
    return mask[None, None]
