"""The KV cache: preallocated per layer, with a physical length that may differ from the logical one.

A cache that is rebuilt at every token (as concatenating caches are) would credit pruning with avoiding copies that a
sane engine never makes; so it is preallocated for ``full`` too.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KVCache:
    """Keys and values of every decoder layer, batch 1.

    ``update`` has the form that transformers' attention modules call. Physical length per layer = entries held;
    logical positions are the pipeline's business and never derived from here.
    """

    def __init__(self, n_layers: int, room: int) -> None:
        """``room``: entries to reserve behind each layer's prompt, for the tokens to be decoded."""
        self._room = room
        self._keys: list[Tensor | None] = [None] * n_layers
        self._values: list[Tensor | None] = [None] * n_layers
        self._length = [0] * n_layers
        self._kept: list[Tensor | None] = [None] * n_layers
        self._missing: list[Tensor | None] = [None] * n_layers  # places that hold nothing, bool (heads, n_kept)

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append ``(1, heads, n, head_dim)`` to a layer and return everything it holds."""
        start, n = self._length[layer_idx], keys.shape[2]
        if self._keys[layer_idx] is None:
            self._reserve(layer_idx, keys, values, n)
        k, v = self._keys[layer_idx], self._values[layer_idx]
        assert k is not None and v is not None
        end = start + n
        k[:, :, start:end] = keys
        v[:, :, start:end] = values
        self._length[layer_idx] = end
        if start == 0:  # the prompt itself: attend to the fresh tensors, no strided read
            return keys, values
        return k[:, :, :end], v[:, :, :end]

    def _reserve(self, layer: int, keys: Tensor, values: Tensor, n: int) -> None:
        shape = (1, keys.shape[1], n + self._room, keys.shape[3])
        self._keys[layer] = torch.empty(shape, dtype=keys.dtype, device=keys.device)
        self._values[layer] = torch.empty((*shape[:3], values.shape[3]), dtype=values.dtype, device=values.device)
        self._length[layer] = 0

    def entries(self, layer: int) -> tuple[Tensor, Tensor]:
        """Views of the keys and values held by a layer, ``(heads, n, head_dim)`` each."""
        k, v = self._keys[layer], self._values[layer]
        assert k is not None and v is not None
        return k[0, :, : self._length[layer]], v[0, :, : self._length[layer]]

    def keep(self, layer: int, kept: Tensor, *, ragged: bool = True) -> None:
        """Replace a layer's storage by the kept entries plus room.

        Args:
            layer: decoder layer.
            kept: int64 ``(heads, n_kept)``. With as many rows as kv heads each head keeps its own entries; with a
                multiple (query-head granularity) the entries are stored once per query head. -1 holds nothing: heads
                that keep fewer than others are padded in front, and :meth:`mask` hides the padding.
            ragged: False where no -1 can be there, so that the device need not be asked.
        """
        keys, values = self.entries(layer)
        kept = kept.to(keys.device)  # a mask of a later layer may come from another GPU
        group = kept.shape[0] // keys.shape[0]
        heads = torch.arange(kept.shape[0], device=kept.device)[:, None] // group
        before, missing = self._kept[layer], kept < 0
        self._missing[layer] = missing if ragged and bool(missing.any()) else None
        self._kept[layer] = kept if before is None else before[heads, kept].masked_fill(missing, -1)
        kept = kept.clamp(min=0)
        keys, values = keys[heads, kept], values[heads, kept]  # whole rows; what is not kept is not repeated either
        self._reserve(layer, keys[None], values[None], kept.shape[1])
        self.update(keys[None], values[None], layer)

    def kept(self, layer: int) -> Tensor | None:
        """Which of the prompt's entries a layer holds, int64 ``(heads, n_kept)``: numbers among those that it
        processed in prefill, -1 for none. None for all."""
        return self._kept[layer]

    def mask(self, layer: int) -> Tensor | None:
        """Which places of a layer hold an entry, bool ``(heads, n)``, those appended since included; None for all."""
        missing = self._missing[layer]
        if missing is None:
            return None
        there = torch.ones(missing.shape[0], self._length[layer], dtype=torch.bool, device=missing.device)
        there[:, : missing.shape[1]] = ~missing
        return there

    def fork(self) -> KVCache:
        """A branch that shares the entries held now; ``keep`` on the branch copies what it keeps and no more.

        The entries themselves are never written again. The room behind them is shared, too: only one branch (or this
        cache) may be decoded at a time, which is what a loop over branches does.
        """
        branch = KVCache(len(self._keys), self._room)
        branch._keys, branch._values, branch._length = list(self._keys), list(self._values), list(self._length)
        branch._kept, branch._missing = list(self._kept), list(self._missing)
        return branch

    def fork_for_decoding(self) -> KVCache:
        """A branch that can be decoded while others that share entries with it wait: its room is its own."""
        branch = KVCache(len(self._keys), self._room)
        for layer, held in enumerate(self._keys):
            if held is not None:
                keys, values = self.entries(layer)
                branch._reserve(layer, keys[None], values[None], keys.shape[1])
                branch.update(keys[None], values[None], layer)
        branch._kept, branch._missing = list(self._kept), list(self._missing)
        return branch

    @property
    def ragged(self) -> bool:
        """Whether heads of a layer hold different numbers of entries."""
        return any(missing is not None for missing in self._missing)

    def lengths(self) -> tuple[int, ...]:
        """Entries held per head, for every layer; their mean, rounded up, where heads hold different numbers."""
        empty = (0 if m is None else int(m.sum()) // m.shape[0] for m in self._missing)
        return tuple(n - m for n, m in zip(self._length, empty, strict=True))

    def heads(self) -> tuple[int, ...]:
        """Stored heads of every layer."""
        return tuple(0 if k is None else k.shape[1] for k in self._keys)

    def held_bytes(self) -> int:
        """Bytes of the entries held now, without the room reserved for decoding and the padding of ragged heads."""
        total = 0
        for k, v, n in zip(self._keys, self._values, self.lengths(), strict=True):
            if k is not None and v is not None:
                total += n * k.shape[1] * (k.shape[3] + v.shape[3]) * k.element_size()
        return total
