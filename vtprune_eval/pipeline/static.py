"""Decoding with static shapes (``--decode-graphs``): one step whose tensors never change their size, so that a GPU can
replay it as a captured graph and no step waits for kernel launches.

The cache of a prompt is copied into buffers of a fixed length per layer; how many entries it has, the position and the
token lie on the device, and a mask hides what is not there yet. On CUDA the step is captured once per cell, and again
where a longer prompt needs longer buffers; elsewhere the same step runs eagerly.

A masked step has other last bits than the eager one. As in :mod:`.batch`, a token is believed where it leads by the
margin of the model's type; where one does not, the answer is decoded (and timed) eagerly, and its record says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..models.base import VlmAdapter
from .batch import MARGIN
from .cache import KVCache

# Runs before a capture, on a stream of their own: libraries make their workspaces in the first.
WARM_UPS = 3


@dataclass
class _Layer:
    """Buffers of one decoder layer.

    Attributes:
        keys: ``(stored_heads, length, head_dim)``.
        values: as the keys.
        absent: places of the prompt that hold nothing, bool ``(stored_heads, length)``: heads that keep fewer.
        filled: entries of the prompt, int64 ``(1,)``.
        places: 0, 1, ..., ``(length,)``.
    """

    keys: Tensor
    values: Tensor
    absent: Tensor
    filled: Tensor
    places: Tensor

    @classmethod
    def like(cls, keys: Tensor, values: Tensor, length: int) -> _Layer:
        """Buffers of ``length`` entries for a cache's ``keys`` and ``values``, ``(heads, n, head_dim)`` each."""
        heads, _, width = keys.shape
        # zeros: what is masked is multiplied by nought, and nought times anything but a number is no number
        return cls(
            keys.new_zeros(heads, length, width),
            values.new_zeros(heads, length, values.shape[2]),
            torch.zeros(heads, length, dtype=torch.bool, device=keys.device),
            torch.zeros(1, dtype=torch.long, device=keys.device),
            torch.arange(length, device=keys.device),
        )

    def fits(self, keys: Tensor, room: int) -> bool:
        """Whether a cache's ``keys`` and ``room`` further entries have a place here."""
        return self.keys.shape[0] == keys.shape[0] and self.keys.shape[1] >= keys.shape[1] + room

    def load(self, keys: Tensor, values: Tensor, mask: Tensor | None) -> None:
        """Copy a cache; ``mask``: which of its places hold an entry, bool ``(heads, n)``, None for all."""
        n = keys.shape[1]
        self.keys[:, :n], self.values[:, :n] = keys, values
        self.absent.zero_()
        if mask is not None:
            self.absent[:, :n] = ~mask
        self.filled.fill_(n)


class StaticDecode:
    """The decode step of one cell."""

    def __init__(self, adapter: VlmAdapter, room: int) -> None:
        """Take the model.

        Args:
            adapter: the model.
            room: new tokens at most.

        Raises:
            UserError: a model whose decode step has no static shape.
        """
        check_static(adapter)
        self._adapter, self._room, device = adapter, room, adapter.device
        self._layers: list[_Layer] = []
        self._margin = MARGIN.get(adapter.dtype, max(MARGIN.values()))
        self._token = torch.zeros(1, 1, dtype=torch.long, device=device)
        self._position = torch.zeros(3, 1, 1, dtype=torch.long, device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self._out = torch.zeros(2, dtype=torch.long, device=device)
        self._replay: Callable[[], Any] | None = None
        self.captures = 0  # how often a step was captured, or would have been

    def prepare(self, cache: KVCache) -> None:
        """Make buffers in which ``cache`` fits, and the step on them, where those at hand do not do."""
        held = [cache.entries(layer) for layer in range(len(self._adapter.text.layers))]
        if self._layers and all(own.fits(k, self._room) for own, (k, _) in zip(self._layers, held, strict=True)):
            return
        self._replay = None
        longest = [own.keys.shape[1] for own in self._layers] or [0] * len(held)
        # A quarter in reserve, so that a slightly longer prompt needs no capture of its own.
        lengths = [max(n, k.shape[1] * 5 // 4 + self._room) for n, (k, _) in zip(longest, held, strict=True)]
        self._layers = [_Layer.like(k, v, n) for (k, v), n in zip(held, lengths, strict=True)]
        self._replay = self._captured() if self._adapter.device.type == "cuda" else self._forward
        self.captures += 1

    def _captured(self) -> Callable[[], Any]:
        """The step as a CUDA graph. It has not been run on a GPU."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._step.zero_()  # a warm-up's entry is overwritten by the first real one
                self._forward()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._forward()
        return graph.replay

    def answer(
        self, cache: KVCache, position: int, first: int, eos: frozenset[int], limit: int
    ) -> tuple[list[int], str] | None:
        """Decode greedily from ``cache``, which is not changed.

        Args:
            cache: of the prompt, for which :meth:`prepare` was called.
            position: logical position of the first new token.
            first: that token.
            eos: ids that end an answer.
            limit: new tokens at most.

        Returns:
            As :func:`.decode.greedy`; None where a token did not lead by the margin.
        """
        assert self._replay is not None
        for number, layer in enumerate(self._layers):
            layer.load(*cache.entries(number), cache.mask(number))
        self._token.fill_(first)
        self._position.fill_(position)
        self._step.zero_()
        ids = [first]
        while ids[-1] not in eos:
            if len(ids) >= limit:
                return ids, "length"
            self._replay()
            token, sure = self._out.tolist()  # one read from the device a step
            if not sure:
                return None
            ids.append(token)
        return ids, "eos"

    def _forward(self) -> None:
        """Feed the token, choose the next, and go on by one; everything on the device."""
        adapter = self._adapter
        hidden = adapter.text.embed_tokens(self._token)
        rope = adapter.text.rotary_emb(hidden, self._position)
        hidden = hidden[0]
        for number, layer in enumerate(adapter.text.layers):
            normed = layer.input_layernorm(hidden)
            mixed = self._attend(self._layers[number], *adapter.project(number, normed, rope))
            hidden = hidden + adapter.attention_output(number, normed, mixed[None])[0]
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        best = adapter.lm_head(adapter.text.norm(hidden[None]))[0, -1].float().topk(2)
        sure = best.values[0] - best.values[1] > self._margin * best.values.abs().amax()
        self._out.copy_(torch.stack([best.indices[0], sure.long()]))
        self._token.copy_(best.indices[:1, None])
        self._position.add_(1)
        self._step.add_(1)

    def _attend(self, own: _Layer, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Put one entry into its place, and mix the values, ``(1, q_heads * head_dim)``; one row each."""
        stored = own.keys.shape[0]
        at, spread = own.filled + self._step, stored // k.shape[0]
        own.keys.index_copy_(1, at, k.repeat_interleave(spread, 0))
        own.values.index_copy_(1, at, v.repeat_interleave(spread, 0))
        there = (own.places <= at)[None] & ~own.absent
        grouped = q.reshape(stored, -1, q.shape[2])
        mixed = torch.nn.functional.scaled_dot_product_attention(
            grouped[None], own.keys[None], own.values[None], attn_mask=there[None, :, None]
        )
        return mixed.reshape(1, -1)


def check_static(adapter: VlmAdapter) -> None:
    """Refuse a model whose decode step has no static shape on one device.

    Raises:
        UserError: why.
    """
    n_layers = len(adapter.text.layers)
    why = (
        "it answers from the prefill and decodes nothing"
        if adapter.points
        else "some of its layers have linear attention, whose state is not part of the cache"
        if not all(map(adapter.has_cache, range(n_layers)))
        else f"it lies on {len(adapter.devices)} devices"
        if len(adapter.devices) > 1
        else ""
    )
    if why:
        raise UserError(f"--decode-graphs cannot be used with {adapter.name}, because {why}; leave it out.")
