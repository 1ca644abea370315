"""Short prompts pass through the decoder together, row behind row: one product per layer instead of one per prompt.

Cells that prune before the decoder have prompts of their own, and short ones: a layer's launches and the reading of its
weights cost more than their arithmetic. Their rows are put into one sequence, through which every row-wise part of a
layer passes at once; attention alone runs prompt by prompt.

As in :mod:`.batch`, the last bits depend on the number of rows. What is chosen from them is believed only where it
leads by the same margin; where it does not, and where a later step does not, the prompt is prefilled again alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from ..models.base import VlmAdapter
from .cache import KVCache
from .prefill import PrefillResult
from .state import State

# Rows of one pass, and of a prompt that takes part in one: longer ones have arithmetic enough.
PACK_ROWS, PACK_LONGEST = 1024, 256
# Types in which the deviation was measured: 2e-6 of the largest logit at most in float32.
PACKED_TYPES = {torch.float32}


@dataclass(frozen=True)
class Prefilled:
    """One prompt behind the decoder.

    Attributes:
        cache: its entries.
        result: what its layers processed.
        first: the first new token.
        sure: whether that token leads by more than the margin.
    """

    cache: KVCache
    result: PrefillResult
    first: int
    sure: bool


def packs(adapter: VlmAdapter) -> bool:
    """Whether prompts of this model can be prefilled together."""
    return adapter.dtype in PACKED_TYPES and adapter.attention == "sdpa" and len(adapter.devices) == 1


def packed_prefill(adapter: VlmAdapter, states: Sequence[State], room: Sequence[int], margin: float) -> list[Prefilled]:
    """All decoder layers on several prompts, without hooks.

    Args:
        adapter: the model; every decoder layer has a cache.
        states: of the prompts before the first layer; they are not changed.
        room: entries to reserve behind each prompt.
        margin: share of the best logit within which a lead is not believed.

    Returns:
        What came of each prompt, in their order.
    """
    ends = list(accumulate(s.hidden.shape[1] for s in states))
    starts = [0, *ends[:-1]]
    n_layers = len(adapter.text.layers)
    caches = [KVCache(n_layers, n) for n in room]
    hidden = torch.cat([s.hidden[0] for s in states])
    rope = torch.cat([s.rope[0] for s in states], 1), torch.cat([s.rope[1] for s in states], 1)
    for number, layer in enumerate(adapter.text.layers):
        normed = layer.input_layernorm(hidden)
        mixed = _attend(adapter, number, normed, rope, list(zip(starts, ends, caches, strict=True)))
        hidden = hidden + adapter.attention_output(number, normed, mixed[None])[0]
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        shown = [(s, a) for s, a in zip(states, starts, strict=True) if number < len(s.deepstack)]
        if shown:
            rows = torch.cat([s.deepstack_rows + a for s, a in shown])
            hidden = hidden.index_add(0, rows, torch.cat([s.deepstack[number] for s, _ in shown]).to(hidden.dtype))
    last = adapter.text.norm(hidden[torch.tensor(ends, device=hidden.device) - 1])
    best = adapter.lm_head(last[None])[0].float().topk(2, dim=-1)
    sure = best.values[:, 0] - best.values[:, 1] > margin * best.values.abs().amax(1)
    tokens, leads = torch.stack([best.indices[:, 0], sure.long()]).tolist()  # one read from the device
    return [
        Prefilled(cache, _result(state, last[i], n_layers), tokens[i], bool(leads[i]))
        for i, (state, cache) in enumerate(zip(states, caches, strict=True))
    ]


def _attend(
    adapter: VlmAdapter,
    number: int,
    normed: Tensor,
    rope: tuple[Tensor, Tensor],
    parts: Sequence[tuple[int, int, KVCache]],
) -> Tensor:
    """Weighted values of all rows, ``(n, q_heads * head_dim)``; ``parts``: a prompt's first and last row, its cache."""
    q, k, v = adapter.project(number, normed, rope)
    group = q.shape[0] // k.shape[0]
    mixed = []
    for start, end, cache in parts:
        keys, values = cache.update(k[None, :, start:end], v[None, :, start:end], number)
        keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
        out = torch.nn.functional.scaled_dot_product_attention(q[None, :, start:end], keys, values, is_causal=True)
        mixed.append(out[0].transpose(0, 1).flatten(1))
    return torch.cat(mixed)


def _result(state: State, last: Tensor, n_layers: int) -> PrefillResult:
    n_visual = int(state.visual.sum())
    return PrefillResult(
        last[None, None],
        (state.hidden.shape[1],) * n_layers,
        (n_visual,) * n_layers,
        state.index[state.visual],
        (state.index,) * n_layers,
    )
