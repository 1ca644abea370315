"""The sequence while it passes through the decoder, and one layer of it; evaluation and training run the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..methods.base import Places
from ..methods.kernels.topk import true_places
from ..models.base import VlmAdapter
from .cache import KVCache


@dataclass
class State:
    """The sequence while it passes through the decoder (batch 1).

    Attributes:
        hidden: ``(1, n, dim)``.
        index: positions in the full prompt, int64 ``(n,)``.
        visual: bool ``(n,)``.
        rope: cos and sin of the tokens, ``(1, n, head_dim)`` each.
        deepstack: per level ``(n_visual_rows, dim)``.
        deepstack_rows: rows of ``hidden`` that they are added to.
        places: ``index`` on the host, where it is known.
    """

    hidden: Tensor
    index: Tensor
    visual: Tensor
    rope: tuple[Tensor, Tensor]
    deepstack: tuple[Tensor, ...]
    deepstack_rows: Tensor
    places: Places | None = None

    def on_host(self) -> Places:
        """``index`` on the host, read once for all that see these tokens."""
        if self.places is None:
            self.places = Places(self.index.cpu().numpy)
        return self.places

    def to(self, device: torch.device) -> None:
        """Move everything to the device of the next layer, which is another one where the model lies on several."""
        if self.hidden.device == device:
            return
        self.hidden, self.index, self.visual = (t.to(device) for t in (self.hidden, self.index, self.visual))
        self.rope = (self.rope[0].to(device), self.rope[1].to(device))
        self.deepstack = tuple(level.to(device) for level in self.deepstack)
        self.deepstack_rows = self.deepstack_rows.to(device)

    def cut(self, keep: Tensor, kept: Tensor, n_before: int, n_visual: int, levels_done: int) -> None:
        """Shorten everything.

        Args:
            keep: bool mask ``(n,)``.
            kept: where it is True, sorted int64 ``(n_kept,)``.
            n_before: visual tokens, markers included, before the cut.
            n_visual: those among the kept.
            levels_done: DeepStack levels that were added already; without a level to come its rows are let go.
        """
        markers, self.places = len(self.deepstack_rows) != n_before, None
        self.hidden = self.hidden.index_select(1, kept)
        self.index, self.visual = self.index[kept], self.visual[kept]
        self.rope = (self.rope[0].index_select(1, kept), self.rope[1].index_select(1, kept))
        if levels_done >= len(self.deepstack):
            self.deepstack, self.deepstack_rows = (), self.deepstack_rows[:0]
            return
        survives = keep[self.deepstack_rows]
        # Without markers every visual token has a row, so that the number of rows is known without the device.
        rows = survives.nonzero()[:, 0] if markers else true_places(survives[None], n_visual)[0]
        new_row = keep.cumsum(0) - 1
        self.deepstack = tuple(level[rows] for level in self.deepstack)
        self.deepstack_rows = new_row[self.deepstack_rows[rows]]


def run_layer(
    adapter: VlmAdapter, state: State, number: int, mask: Tensor | None, cache: KVCache | None, **attention: Any
) -> Tensor:
    """One decoder layer and, behind it, the DeepStack level of its number; evaluation and training run the same.

    Args:
        adapter: the model.
        state: what enters the layer; its ``hidden`` leaves it.
        number: of the layer.
        mask: see :func:`causal_mask`.
        cache: takes keys and values; None where none are kept.
        attention: further arguments of the attention function, where sequences are packed.

    Returns:
        What entered the layer, ``(1, n, dim)``.
    """
    state.to(adapter.layer_devices[number])
    entered, layer = state.hidden, adapter.text.layers[number]
    left = layer(entered, position_embeddings=state.rope, attention_mask=mask, past_key_values=cache, **attention)
    state.hidden = left
    if number < len(state.deepstack) and len(state.deepstack_rows):
        state.hidden = left.index_add(1, state.deepstack_rows, state.deepstack[number][None].to(left.dtype))
    return entered


def causal_mask(adapter: VlmAdapter, hidden: Tensor) -> Tensor | None:
    """None where the attention backend is causal by itself; ``eager`` needs the mask spelled out, ``(1, 1, n, n)``."""
    if adapter.attention != "eager":
        return None
    n = hidden.shape[1]
    return torch.full((n, n), float("-inf"), dtype=hidden.dtype, device=hidden.device).triu(1)[None, None]
