"""Many branches decode together, and every answer is the one of decoding alone.

At batch 1 a decode step reads all weights for one token; branches of one prompt, or of several, can share that read.
A pool holds the caches of up to ``slots`` branches, padded to one length per layer. A branch whose answer ends gives
its slot to the next one. Lengths differ per layer and branch, positions per branch; a mask hides what is padding.

The last bits of a product depend on its number of rows, so a batched step may choose another token where two are nearly
equal. Such steps are found, not hoped away: where the best logit leads the second by less than :data:`MARGIN` of its
size, the branch leaves the pool and is decoded again alone, from its own cache, up to the token in doubt; with that
settled it takes a slot again. What it computed alone it keeps, so that no step is taken alone twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..models.base import VlmAdapter
from .cache import KVCache
from .decode import Decoder

# Share of the best logit's size within which a lead is not believed, by type. The largest deviation of a batched step's
# logits from the same step alone was 1.3e-6 in float32 (two models) and 0.7 % in bfloat16; there the largest lead
# within the margin that decoding alone overturned was 1.4 %, among 28,746 steps at small budgets
# (``scripts/bench/batched_decode.py``). float16, whose step is an eighth of bfloat16's, has not been measured.
MARGIN = {torch.float32: 1e-4, torch.bfloat16: 0.04, torch.float16: 0.01}
AUTO_SLOTS = 32
ALONE, BATCHED, AGAIN = "alone", "batched", "again"


@dataclass
class Branch:
    """A prompt that waits for its answer.

    Attributes:
        cache: its kept entries; read by the pool, never written, so that it can be decoded again.
        position: logical position of the token after the prompt.
        first: the first new token, from the prefill.
        limit: new tokens at most.
        done: called once with the ids, ``eos`` or ``length``, and how they were decoded; hands out what it returns, one
            answer for every cell that came to this branch.
        exact: where the prompt was prefilled beside others, gives cache and first token of a prefill of its own.
        ids: the new tokens so far.
        decoder: what decodes it alone, None as long as no step was in doubt.
        settled: the new tokens that it gave.
    """

    cache: KVCache
    position: int
    first: int
    limit: int
    done: Callable[[list[int], str, str], Sequence[Any]]
    exact: Callable[[], tuple[KVCache, int]] | None = None
    ids: list[int] = field(default_factory=list)
    decoder: Decoder | None = None
    settled: list[int] = field(default_factory=list)


class DecodePool:
    """Slots of branches that take their decode steps together; see the module's docstring."""

    def __init__(self, adapter: VlmAdapter, slots: int, margin: float | None = None) -> None:
        """Reserve nothing yet.

        Args:
            adapter: the model; all of its decoder layers have a cache.
            slots: branches at most; 1 decodes every branch alone.
            margin: share of the best logit within which a lead is not believed, None for that of the model's type.
        """
        self._adapter, self._slots = adapter, slots
        self._margin = MARGIN.get(adapter.dtype, max(MARGIN.values())) if margin is None else margin
        self._lanes: dict[tuple[tuple[int, ...], bool], _Lane] = {}
        self.failures: list[str] = []  # why branches were decoded one by one although they could have been batched
        self.tokens, self.steps_again = 0, 0  # of finished answers; steps that were taken alone because of a doubt
        self.doubts, self.overturned = 0, 0.0  # steps in doubt; the largest lead of them that was wrong

    @property
    def margin(self) -> float:
        """Share of the best logit within which a lead is not believed; 0 where nothing is batched."""
        return self._margin if self._slots > 1 else 0.0

    @property
    def waiting(self) -> int:
        """Branches without an answer."""
        return sum(len(lane.branches) for lane in self._lanes.values())

    def add(self, branch: Branch) -> Iterator[Any]:
        """Take a branch; yields what became ready meanwhile."""
        branch.ids = [branch.first]
        if self._slots == 1:
            yield from self._to_the_end(branch, ALONE)
            return
        if (end := self._end(branch, branch.ids)) is not None:
            yield from self._done(branch, end, ALONE)
            return
        while self.waiting >= self._slots:
            yield from self._step(max(self._lanes.values(), key=lambda lane: len(lane.branches)))
        yield from self._take(branch)

    def _take(self, branch: Branch) -> Iterator[Any]:
        """Give a branch a slot; where there is no memory for it, it and those beside it are decoded alone."""
        kind = branch.cache.heads(), branch.cache.ragged
        lane = self._lanes.setdefault(kind, _Lane(self._adapter, self._slots, ragged=kind[1]))
        try:
            lane.take(branch)
        except (MemoryError, RuntimeError) as error:
            self.failures.append(f"{type(error).__name__}: {error}"[:300])
            yield from self._one_by_one(lane, [branch])

    def drain(self) -> Iterator[Any]:
        """Step until every branch has its answer."""
        while self._lanes:
            key, lane = next(iter(self._lanes.items()))
            if lane.branches:
                yield from self._step(lane)  # which may bring new lanes, or take this one away
            else:
                del self._lanes[key]

    def _step(self, lane: _Lane) -> Iterator[Any]:
        try:
            chosen, leads = lane.step()
        except (MemoryError, RuntimeError) as error:
            self.failures.append(f"{type(error).__name__}: {error}"[:300])
            yield from self._one_by_one(lane, [])
            return
        leaving: list[tuple[int, str]] = []
        for number, (branch, token, lead) in enumerate(zip(lane.branches, chosen, leads, strict=True)):
            if not lead > self._margin:  # nor where it is no number
                leaving.append((number, AGAIN))
                continue
            branch.ids.append(token)
            if (end := self._end(branch, branch.ids)) is not None:
                leaving.append((number, end))
        doubted = []
        for number, why in reversed(leaving):
            branch = lane.release(number)
            if why == AGAIN:
                doubted.append((branch, chosen[number], leads[number]))
            else:
                yield from self._done(branch, why, BATCHED if branch.decoder is None else AGAIN)
        for branch, token, lead in doubted:
            before = list(branch.ids)
            end = self._settle(branch, len(before) + 1, doubted=True)
            self.doubts += 1
            if branch.ids[:-1] == before and branch.ids[-1] != token:
                self.overturned = max(self.overturned, lead)
            if end is not None:
                yield from self._done(branch, end, AGAIN)
            else:
                yield from self._take(branch)

    def _one_by_one(self, lane: _Lane, more: list[Branch]) -> Iterator[Any]:
        """What a lane holds, decoded alone: nothing that others share may cost a branch its answer."""
        held, lane.branches = lane.branches, []
        self._lanes = {k: v for k, v in self._lanes.items() if v is not lane}
        for branch in [*held, *more]:
            yield from self._to_the_end(branch, ALONE if branch.decoder is None else AGAIN)

    def _to_the_end(self, branch: Branch, how: str) -> Sequence[Any]:
        end = self._settle(branch, branch.limit)
        assert end is not None
        return self._done(branch, end, how)

    def _settle(self, branch: Branch, n: int, doubted: bool = False) -> str | None:
        """Decode a branch alone until ``n`` new tokens are those of a run of its own; says ``eos`` or ``length`` where
        its answer ends there.

        Args:
            branch: without a slot.
            n: new tokens.
            doubted: whether a batched step was in doubt, and not memory short.
        """
        adapter = self._adapter
        if branch.decoder is None:
            cache, first = (branch.cache.fork_for_decoding(), branch.first) if branch.exact is None else branch.exact()
            branch.decoder = Decoder(adapter, cache, branch.position, adapter.dims.q_heads)
            branch.cache, branch.settled = cache, [first]
        ids = branch.settled
        while (end := self._end(branch, ids)) is None and len(ids) < n:
            ids.append(branch.decoder.step(ids[-1]))
            self.steps_again += doubted
        branch.ids, branch.position = list(ids), branch.decoder.position
        return end

    def _end(self, branch: Branch, ids: list[int]) -> str | None:
        """Why an answer ends, None where it goes on."""
        return "eos" if ids[-1] in self._adapter.eos_ids else "length" if len(ids) >= branch.limit else None

    def _done(self, branch: Branch, end: str, how: str) -> Sequence[Any]:
        self.tokens += len(branch.ids)
        return branch.done(branch.ids, end, how)


def pool_within(adapter: VlmAdapter, longest: int, wanted: int, max_bytes: int) -> DecodePool | None:
    """A pool of at most ``wanted`` slots within ``max_bytes``, None where the model's branches cannot be batched.

    Args:
        adapter: the model.
        longest: tokens of a prompt with its answer.
        wanted: slots.
        max_bytes: for the branches' own caches and the slots.
    """
    n_layers, dims = len(adapter.text.layers), adapter.dims
    if adapter.points or not all(map(adapter.has_cache, range(n_layers))):
        return None
    each = 2 * n_layers * longest * 2 * dims.kv_heads * dims.head_dim * adapter.dtype.itemsize
    return DecodePool(adapter, max(1, min(wanted, max_bytes // each)))


class _Lane:
    """Branches whose layers store the same number of heads; active ones are the first rows of every tensor.

    Heads that hold fewer entries than others (``ragged``) have them at the end, behind padding.
    """

    def __init__(self, adapter: VlmAdapter, slots: int, ragged: bool = False) -> None:
        self._adapter, self._slots, self._ragged = adapter, slots, ragged
        self.branches: list[Branch] = []
        n_layers = len(adapter.text.layers)
        self._keys: list[Tensor | None] = [None] * n_layers
        self._values: list[Tensor | None] = [None] * n_layers
        self._starts: list[Tensor | None] = [None] * n_layers  # first entry per row and head, (slots, heads)
        self._lengths = [[0] * slots for _ in range(n_layers)]
        self._positions = [0] * slots

    def take(self, branch: Branch) -> None:
        """Copy a branch's cache into the next row."""
        row = len(self.branches)
        for layer in range(len(self._keys)):
            keys, values = branch.cache.entries(layer)
            self._room_for(layer, keys, values, keys.shape[1] + branch.limit)
            k, v = self._keys[layer], self._values[layer]
            assert k is not None and v is not None
            k[row, :, : keys.shape[1]], v[row, :, : keys.shape[1]] = keys, values
            self._lengths[layer][row] = keys.shape[1]
            if self._ragged:
                starts, there = self._starts_of(layer, keys), branch.cache.mask(layer)
                starts[row] = 0 if there is None else (~there).sum(1)
        self._positions[row] = branch.position
        self.branches.append(branch)

    def _room_for(self, layer: int, keys: Tensor, values: Tensor, need: int) -> None:
        held = self._keys[layer]
        if held is not None and held.shape[2] >= need:
            return
        room = need if held is None else max(need, held.shape[2] * 5 // 4)
        for store, like in ((self._keys, keys), (self._values, values)):
            old = store[layer]
            # zeros: what is masked is multiplied by nought, and nought times anything but a number is no number
            new = torch.zeros((self._slots, like.shape[0], room, like.shape[2]), dtype=like.dtype, device=like.device)
            if old is not None:
                n = len(self.branches)
                new[:n, :, : old.shape[2]] = old[:n]
            store[layer] = new

    def _starts_of(self, layer: int, like: Tensor) -> Tensor:
        starts = self._starts[layer]
        if starts is None:
            starts = self._starts[layer] = torch.zeros(self._slots, like.shape[0], dtype=torch.long, device=like.device)
        return starts

    def release(self, row: int) -> Branch:
        """Take a branch out; the last one moves into its row."""
        last = len(self.branches) - 1
        branch = self.branches[row]
        if row != last:
            for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
                assert keys is not None and values is not None
                n = self._lengths[layer][last]
                keys[row, :, :n], values[row, :, :n] = keys[last, :, :n].clone(), values[last, :, :n].clone()
                self._lengths[layer][row] = n
                if (starts := self._starts[layer]) is not None:
                    starts[row] = starts[last]
            self._positions[row] = self._positions[last]
            self.branches[row] = self.branches[last]
        self.branches.pop()
        return branch

    def logits(self) -> Tensor:
        """Feed every branch its last token at its next position; logits ``(n, vocabulary)``, in the model's type."""
        adapter, n = self._adapter, len(self.branches)
        device = adapter.device
        tokens = torch.tensor([[b.ids[-1] for b in self.branches]], device=device)
        hidden = adapter.text.embed_tokens(tokens)
        positions = torch.tensor([self._positions[:n]], device=device).expand(3, 1, n)
        rope = adapter.text.rotary_emb(hidden, positions)
        hidden = hidden[0]
        for number, layer in enumerate(adapter.text.layers):
            there = adapter.layer_devices[number]
            if hidden.device != there:
                hidden, rope = hidden.to(there), (rope[0].to(there), rope[1].to(there))
            normed = layer.input_layernorm(hidden)
            mixed = self._attend(number, *adapter.project(number, normed, rope))
            hidden = hidden + adapter.attention_output(number, normed, mixed[None])[0]
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        for row in range(n):
            self._positions[row] += 1
        out: Tensor = adapter.lm_head(adapter.text.norm(hidden[None]))[0]
        return out

    def _attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Append one key and value per branch, and mix the values.

        Args:
            layer: decoder layer.
            q: queries ``(q_heads, n, head_dim)``, one per branch.
            k: keys and values ``(kv_heads, n, head_dim)``.
            v: keys and values ``(kv_heads, n, head_dim)``.

        Returns:
            ``(n, q_heads * head_dim)``.
        """
        keys, values = self._keys[layer], self._values[layer]
        assert keys is not None and values is not None
        n, stored = len(self.branches), keys.shape[1]
        lengths = self._lengths[layer]
        at = torch.tensor(lengths[:n], device=k.device)
        rows, spread = torch.arange(n, device=k.device), stored // k.shape[0]
        keys[rows, :, at] = k.transpose(0, 1).repeat_interleave(spread, 1)
        values[rows, :, at] = v.transpose(0, 1).repeat_interleave(spread, 1)
        for row in range(n):
            lengths[row] += 1
        longest = max(lengths[:n])
        places = torch.arange(longest, device=k.device)
        mask = (places <= at[:, None])[:, None]
        if (starts := self._starts[layer]) is not None:
            mask = mask & (places >= starts[:n, :, None])
        grouped = q.transpose(0, 1).reshape(n, stored, q.shape[0] // stored, q.shape[2])
        mixed = torch.nn.functional.scaled_dot_product_attention(
            grouped, keys[:n, :, :longest], values[:n, :, :longest], attn_mask=mask[:, :, None]
        )
        return mixed.reshape(n, -1)

    def step(self) -> tuple[list[int], list[float]]:
        """The best token of every branch, and its lead over the second as a share of the best logit's size."""
        best = self.logits().float().topk(2, dim=-1)
        lead = (best.values[:, 0] - best.values[:, 1]) / best.values.abs().amax(1)
        one_read = torch.stack([best.indices[:, 0].double(), lead.double()])  # from the device, a step
        tokens, leads = one_read.tolist()
        return [int(token) for token in tokens], leads
