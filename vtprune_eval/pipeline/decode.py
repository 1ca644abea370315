"""Stage 6: greedy decoding from the cache that was kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..models.base import VlmAdapter
from .cache import KVCache


class Decoder:
    """Continues a prompt token by token; the next position is logical, never the cache's length.

    Attributes:
        logprobs: natural logarithm of the probability that the model gave to each chosen token, in order; None where
            nobody asked for them.
    """

    def __init__(
        self, adapter: VlmAdapter, cache: KVCache, next_position: int, n_query_heads: int, *, logprobs: bool = False
    ) -> None:
        self.logprobs: list[float] | None = [] if logprobs else None
        self._adapter, self._cache, self._position = adapter, cache, next_position
        # Read once: the sizes are made anew from the configuration at every look, which a step per layer would feel.
        grouped = n_query_heads != adapter.dims.kv_heads
        self._heads = cache.heads()
        spread = [grouped and h == n_query_heads and h != 0 for h in self._heads]
        self._own = [s or cache.mask(number) is not None for number, s in enumerate(spread)]

    @property
    def position(self) -> int:
        """Logical position of the token that is fed next."""
        return self._position

    def first(self, last: Tensor) -> int:
        """The first token, from the last hidden state of the prefill ``(1, 1, dim)``; -1 where the model points."""
        if self._adapter.points:
            return -1
        return self._chosen(self._adapter.lm_head(last)[0, -1])

    def step(self, token: int) -> int:
        """Feed ``token`` at the next logical position; returns the greedy continuation."""
        return self._chosen(self.logits(token))

    def _chosen(self, logits: Tensor) -> int:
        token = int(logits.argmax())
        if self.logprobs is not None:
            self.logprobs.append(float(logits.float().log_softmax(-1)[token]))
        return token

    def logits(self, token: int) -> Tensor:
        """Feed ``token`` at the next logical position; logits of what follows, ``(vocabulary,)``."""
        adapter = self._adapter
        device = adapter.device
        hidden = adapter.text.embed_tokens(torch.tensor([[token]], device=device))
        rope = adapter.text.rotary_emb(hidden, torch.full((3, 1, 1), self._position, device=device))
        self._position += 1
        for number, layer in enumerate(adapter.text.layers):
            if self._own[number]:
                hidden = self._own_sets(number, layer, hidden, rope)
            else:
                hidden = layer(hidden, position_embeddings=rope, attention_mask=None, past_key_values=self._cache)
        out: Tensor = adapter.lm_head(adapter.text.norm(hidden))[0, -1]
        return out

    def _own_sets(self, number: int, module: Any, hidden: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """A layer whose heads hold entries of their own: once per query head (GUI-KV's published storage), or different
        numbers of them (AdaKV)."""
        there = self._adapter.layer_devices[number]
        hidden, rope = hidden.to(there), (rope[0].to(there), rope[1].to(there))
        normed: Tensor = module.input_layernorm(hidden[0])
        q, k, v = self._adapter.project(number, normed, rope)
        copies, group = self._heads[number] // k.shape[0], q.shape[0] // self._heads[number]
        keys, values = self._cache.update(
            k.repeat_interleave(copies, 0)[None], v.repeat_interleave(copies, 0)[None], number
        )
        mask = self._cache.mask(number)
        if mask is not None:
            keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
            mask = mask.repeat_interleave(group, 0)[None, :, None]
        out = torch.nn.functional.scaled_dot_product_attention(q[None], keys, values, attn_mask=mask)
        hidden = hidden + self._adapter.attention_output(number, normed, out.transpose(1, 2).flatten(2))
        added: Tensor = module.mlp(module.post_attention_layernorm(hidden))
        return hidden + added


def greedy(decoder: Decoder, first: int, eos: frozenset[int], max_new_tokens: int) -> tuple[list[int], str]:
    """Generate until an end token or ``max_new_tokens``.

    Returns:
        ids (the end token included, if reached) and ``eos`` or ``length``.
    """
    ids = [first]
    while ids[-1] not in eos:
        if len(ids) >= max_new_tokens:
            return ids, "length"
        ids.append(decoder.step(ids[-1]))
    return ids, "eos"
