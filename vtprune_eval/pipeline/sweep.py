"""Many cells on one sample: what they have in common is computed once, and every cell branches from it.

Cells with the same hooks up to the ViT share its output; those that drop inside the ViT share its blocks up to there
with each other and with those that drop nothing; methods inside the decoder share the layers before the first
that they look at; those that agree up to the cache share the whole prefill: the prompt's keys, values and hidden states
are computed once, every cache method says what it keeps, and one branch after the other is cut out and decoded. Cells
that come to the same tokens or cache share the whole answer (:mod:`.alike`). Shared state is never written to. What a
cell computes for itself has the same shapes and inputs as in a run of its own, so that answers, kept indices and counts
are the same; where prompts are prefilled or branches are decoded together, a margin holds their tokens to those of a
run of their own (:mod:`.abreast`, :mod:`.batch`). Times, memory and energy mean nothing here and are thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..budget import StageBudget
from ..clock import StageClock
from ..errors import SampleError, UserError
from ..models.base import VlmAdapter
from ..profiling.memory import PeakMemory
from ..sample import Sample
from .abreast import PACK_LONGEST, PACK_ROWS, Prefilled, packed_prefill, packs
from .alike import of_one_cache, of_one_prompt
from .answer import ANSWER, IMAGES, LAYERS, PREFILL, VIT, VIT_BLOCKS, Answer
from .batch import Branch, DecodePool, pool_within
from .cache import KVCache
from .disk_cache import DiskCache
from .generate import Pipeline
from .images import Images
from .prefill import Halfway, PrefillResult
from .prompt import Prompt
from .room import branches_within, bytes_of, one_object_each, trunks_within
from .stages import Begun, Entered, Ready
from .trunk import first_hook, trunk
from .vit_trunk import VitTrunk, along_trunks

BEHIND_VIT = "merge_patches"  # the last hook that changes what the ViT gives


class Sweep:
    """The pipelines of one model that answer the same samples."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        max_branch_bytes: int,
        store: DiskCache | None = None,
        decode_batch: int = 1,
    ) -> None:
        """Take the cells.

        Args:
            pipelines: one per cell, of one adapter.
            max_branch_bytes: memory for the state that cells share. Where it does not suffice, fewer cells branch from
                a prefill at a time, then none.
            store: cache of ViT outputs.
            decode_batch: branches that decode together at most, 1 for none.
        """
        self._pipelines, self._max, self._store = list(pipelines), max_branch_bytes, store
        self._failures: list[str] = []
        # A batched step has other last bits: what is said of an answer's probability comes from steps of its own.
        self._decode_batch = 1 if any(p.logprobs for p in self._pipelines) else decode_batch
        self._pool: DecodePool | None = None
        self._prompts: dict[int, Prompt] = {}  # of the sample in hand

    @property
    def failures(self) -> list[str]:
        """Why samples were done cell by cell, or branches decoded one by one, although they could have been shared."""
        return self._failures + (self._pool.failures if self._pool else [])

    def sharing(self, cells: Sequence[int] | None = None) -> dict[str, int]:
        """How many cells share a prefill, how many an output of the ViT, and how many some of its blocks, with at least
        one other."""
        chosen = range(len(self._pipelines)) if cells is None else cells
        shared = {
            what: sum(len(g) for g in self._groups(chosen, hook) if len(g) > 1)
            for what, hook in ((PREFILL, "prune_layer"), (VIT, BEHIND_VIT))
        }
        walks = along_trunks(self._groups(chosen, BEHIND_VIT), self._pipelines, 0)
        return {**shared, VIT_BLOCKS: sum(len(group) for group, walk in walks if walk is not None)}

    def _groups(self, cells: Sequence[int], upto: str) -> list[list[int]]:
        """Cells by equal key, in the order of their first."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for cell in cells:
            groups.setdefault(self._pipelines[cell].key(upto), []).append(cell)
        return list(groups.values())

    @torch.inference_mode()
    def run(self, sample: Sample, images: Images, cells: Sequence[int]) -> Iterator[Answer]:
        """Answers of ``cells``, in the order in which they are ready; some may be of earlier samples, and some of this
        one may come from a later call or from :meth:`drain`.

        Where something goes wrong in what is shared, the cells are done one by one, so that each fails, or not, as it
        would alone; :attr:`failures` says why.

        Raises:
            UserError: of a hook; it ends the run.
        """
        together: list[Ready] = []
        self._prompts = {}
        for group, walk in along_trunks(self._groups(cells, BEHIND_VIT), self._pipelines, self._max // 2):
            answered: set[int] = set()
            if len(group) > 1 or self._store is not None or self._decode_batch > 1 or walk is not None:
                try:
                    yield from self._behind_vit(sample, images, group, answered, together, walk)
                except UserError:
                    raise
                except Exception as error:  # found again below, by the cell whose mistake it is
                    self._note(sample, error)
            for cell in group:
                if cell not in answered:
                    yield self._alone(cell, sample, images)
        yield from self._flush(together)
        self._prompts = {}

    def _note(self, sample: Sample, error: Exception) -> None:
        self._failures.append(f"{sample.id}: {type(error).__name__}: {error}"[:300])

    @torch.inference_mode()
    def drain(self) -> Iterator[Answer]:
        """The answers that are still being decoded."""
        if self._pool is not None:
            yield from self._pool.drain()

    def _alone(self, cell: int, sample: Sample, images: Images) -> Answer:
        try:
            return Answer(cell, self._pipelines[cell].run(sample, images), IMAGES, sample)
        except UserError:
            raise
        except Exception as error:
            return Answer(cell, error, IMAGES, sample)

    def _behind_vit(
        self,
        sample: Sample,
        images: Images,
        group: list[int],
        answered: set[int],
        together: list[Ready],
        walk: VitTrunk | None,
    ) -> Iterator[Answer]:
        """Cells that share the output of the ViT; ``answered`` gets those that need not be done again, ``together``
        those whose prefill waits for others; ``walk``: ViT blocks that are shared with other groups."""
        leader = self._pipelines[group[0]]
        clock = StageClock(leader.adapter.device)
        budgets = {cell: self._pipelines[cell].budgets(sample, images, clock) for cell in group}
        needs = sorted({need for cell in group for need in self._pipelines[cell].needs})
        known = self._prompts.get(id(images))
        parted = walk.served if walk else 0
        entered = leader.enter(
            sample, images, budgets[group[0]], clock, needs=needs, store=self._store, prompt=known, trunk=walk
        )
        if leader.method_of("reduce_images") is None:
            self._prompts = {id(images): entered.prompt}  # of these images alone, which the caller holds
        held = bytes_of(entered.encoded) + (walk.held_bytes if walk else 0)
        if held > self._max and len(group) > 1:
            return  # the caller does the cells one by one
        alone = []
        for part in self._groups(group, "prune_layer"):
            n_branches = branches_within(entered, [self._pipelines[c] for c in part], self._max - held)
            for first in range(0, len(part), max(1, n_branches)):
                some = part[first : first + max(1, n_branches)]
                if len(some) > 1:
                    yield from self._behind_prefill(entered, budgets, some, answered)
                else:
                    alone += some
        shared = VIT if len(group) > 1 else VIT_BLOCKS if walk and walk.served > parted else IMAGES
        trunks = trunks_within(entered, {c: self._pipelines[c] for c in alone}, self._max - held)
        for cells in trunks:
            yield from self._behind_trunk(entered, budgets, cells, answered)
        for cell in alone:
            if not any(cell in cells for cells in trunks):
                ready = Ready(cell, entered, images, budgets[cell], shared)
                yield from self._guarded(sample, self._single(ready, answered, together))

    def _guarded(self, sample: Sample, work: Iterator[Answer]) -> Iterator[Answer]:
        """What one cell does for itself; where it fails, the cell is done again alone and the others go on."""
        try:
            yield from work
        except UserError:
            raise
        except Exception as error:
            if not isinstance(error, SampleError):  # a budget that cannot be met says nothing of sharing
                self._note(sample, error)

    def _behind_trunk(
        self, entered: Entered, budgets: dict[int, dict[str, StageBudget]], cells: list[int], answered: set[int]
    ) -> Iterator[Answer]:
        """Cells that share the decoder layers before the first that a method looks at."""
        leader = self._pipelines[cells[0]]
        adapter = leader.adapter
        clock = StageClock(adapter.device)
        begun = leader.begin(entered, budgets[cells[0]], clock)
        stops: dict[int, list[int]] = {}
        for cell in cells:
            pruner, compressor = map(self._pipelines[cell].method_of, ("prune_layer", "compress_kv"))
            assert pruner is not None
            stops.setdefault(first_hook(adapter, pruner, compressor), []).append(cell)
        cache = KVCache(len(adapter.text.layers), leader.max_new_tokens)
        for since, state, held in trunk(adapter, begun.state, cache, stops):
            for cell in stops[since.layer]:
                own = replace(begun, state=replace(state))
                ready = Ready(cell, entered, None, budgets[cell], LAYERS)
                yield from self._guarded(entered.sample, self._rest(ready, own, held.fork(), answered, since))

    def _single(self, ready: Ready, answered: set[int], together: list[Ready]) -> Iterator[Answer]:
        """A cell that shares no prefill: its own, then the pool; a short one waits until there are others."""
        pipeline = self._pipelines[ready.cell]
        pool = self._pool_of(pipeline.adapter, ready.entered)
        if pool is None:
            clock, memory = StageClock(pipeline.adapter.device), PeakMemory(pipeline.adapter.device)
            outcome = pipeline.answer(ready.entered, ready.budgets, clock, memory)
            answered.add(ready.cell)
            yield Answer(ready.cell, outcome, ready.shared, ready.entered.sample)
            return
        begun = pipeline.begin(ready.entered, ready.budgets, StageClock(pipeline.adapter.device))
        hooks = (pipeline.method_of("prune_layer"), pipeline.method_of("compress_kv"))
        if not pool.margin or any(hooks) or begun.n_in > PACK_LONGEST or not packs(pipeline.adapter):
            yield from self._rest(ready, begun, self._new_cache(pipeline), answered)
            return
        together.append(replace(ready, begun=begun))
        answered.add(ready.cell)
        if sum(r.begun.n_in for r in together if r.begun is not None) > PACK_ROWS - PACK_LONGEST:
            yield from self._flush(together)

    @staticmethod
    def _new_cache(pipeline: Pipeline) -> KVCache:
        return KVCache(len(pipeline.adapter.text.layers), pipeline.max_new_tokens)

    def _rest(
        self,
        ready: Ready,
        begun: Begun,
        cache: KVCache,
        answered: set[int],
        since: Halfway | None = None,
        alike: Sequence[Ready] = (),
    ) -> Iterator[Answer]:
        """Prefill (of the layers behind ``since``), then the pool, or the decoder where there is none; cells that are
        ``alike`` take over the answer of the pool."""
        pipeline, entered, budgets = self._pipelines[ready.cell], ready.entered, ready.budgets
        adapter = pipeline.adapter
        clock, memory = StageClock(adapter.device), PeakMemory(adapter.device)
        compressor = pipeline.method_of("compress_kv")
        keep = partial(cache.keep, ragged=compressor is not None and compressor.ragged)
        compressions = pipeline.compression(entered, begun, budgets, keep)
        result = pipeline.prefill(entered, begun, budgets, cache, compressions, clock, since)
        decoder = pipeline.decoder(cache, begun)
        first = decoder.first(result.last)
        pool = self._pool_of(adapter, entered)
        if pool is None:
            outcome = pipeline.finish(entered, begun, budgets, result, cache, decoder, first, clock, memory)
            answered.add(ready.cell)
            yield Answer(ready.cell, outcome, ready.shared, entered.sample)
            return
        branch = self._branch(ready, begun, result, cache, first, alike)
        answered.update((ready.cell, *(r.cell for r in alike)))
        yield from pool.add(branch)

    def _flush(self, together: list[Ready]) -> Iterator[Answer]:
        """The prefill of all that wait for one, then the pool."""
        groups = of_one_prompt((r, self._pipelines[r.cell].max_new_tokens) for r in together)
        together.clear()
        pool = self._pool
        if not groups or pool is None:
            return
        waiting = [group[0] for group in groups]
        adapter = self._pipelines[waiting[0].cell].adapter
        states = [r.begun.state for r in waiting if r.begun is not None]
        done: list[Prefilled | None] = [None] * len(waiting)
        if len(waiting) > 1:
            try:
                rooms = [self._pipelines[r.cell].max_new_tokens for r in waiting]
                done = list(packed_prefill(adapter, states, rooms, pool.margin))
            except (MemoryError, RuntimeError) as error:
                self._note(waiting[0].entered.sample, error)
        for group, packed in zip(groups, done, strict=True):
            answered: set[int] = set()
            yield from self._guarded(group[0].entered.sample, self._behind_pack(group, packed, answered))
            for ready in group:
                if ready.cell not in answered and ready.images is not None:
                    yield self._alone(ready.cell, ready.entered.sample, ready.images)

    def _behind_pack(self, group: list[Ready], packed: Prefilled | None, answered: set[int]) -> Iterator[Answer]:
        """Cells of one prompt that was prefilled beside others; where its first token is not sure, alone."""
        ready, *alike = group
        pipeline, begun, pool = self._pipelines[ready.cell], ready.begun, self._pool
        assert begun is not None and pool is not None
        if packed is None or not packed.sure:
            own = replace(begun, state=replace(begun.state))
            yield from self._rest(ready, own, self._new_cache(pipeline), answered, alike=alike)
            return
        branch = self._branch(ready, begun, packed.result, packed.cache, packed.first, alike)
        branch.exact = partial(self._exact, replace(ready, images=None))
        answered.update(r.cell for r in group)
        yield from pool.add(branch)

    def _exact(self, ready: Ready) -> tuple[KVCache, int]:
        """Cache and first token of a prefill of its own."""
        pipeline, begun = self._pipelines[ready.cell], ready.begun
        assert begun is not None
        adapter, cache = pipeline.adapter, self._new_cache(pipeline)
        own = replace(begun, state=replace(begun.state))
        result = pipeline.prefill(ready.entered, own, ready.budgets, cache, (), StageClock(adapter.device))
        return cache, pipeline.decoder(cache, begun).first(result.last)

    def _branch(
        self, ready: Ready, begun: Begun, result: PrefillResult, cache: KVCache, first: int, alike: Sequence[Ready] = ()
    ) -> Branch:
        """A branch for the pool, whose answer is that of ``alike``, too; all but the answer is counted now."""
        sample, cells = ready.entered.sample, []  # what is kept until the answer must not hold what entered
        for r in (ready, *alike):
            own = self._pipelines[r.cell]
            draft = own.draft(r.entered, r.begun or begun, r.budgets, result, cache)
            cells.append((r.cell, own, draft, ready.shared if r is ready else ANSWER))

        def done(ids: list[int], finish: str, how: str) -> list[Answer]:
            return [Answer(c, own.outcome(d, ids, finish, {}, 0), said, sample, how) for c, own, d, said in cells]

        return Branch(cache, begun.next_position, first, self._pipelines[ready.cell].max_new_tokens, done)

    def _pool_of(self, adapter: VlmAdapter, entered: Entered) -> DecodePool | None:
        """The pool, None where branches of this model cannot be batched or there is no memory for two."""
        if self._pool is None and self._decode_batch > 1:
            longest = entered.prompt.layout.n_prompt + max(p.max_new_tokens for p in self._pipelines)
            self._pool = pool_within(adapter, longest, self._decode_batch, self._max)
        return self._pool

    def _behind_prefill(
        self, entered: Entered, budgets: dict[int, dict[str, StageBudget]], cells: list[int], answered: set[int]
    ) -> Iterator[Answer]:
        """Cells that share the prefill: it runs once, then every branch is cut out, decoded and let go."""
        leader = self._pipelines[cells[0]]
        adapter = leader.adapter
        clock, memory = StageClock(adapter.device), PeakMemory(adapter.device)
        kept: dict[int, dict[int, Tensor]] = {cell: {} for cell in cells}
        begun = leader.begin(entered, budgets[cells[0]], clock)
        cache = KVCache(len(adapter.text.layers), leader.max_new_tokens)
        branches = [
            branch
            for cell in cells
            for branch in self._pipelines[cell].compression(entered, begun, budgets[cell], kept[cell].__setitem__)
        ]
        result = leader.prefill(entered, begun, budgets[cells[0]], cache, one_object_each(branches), clock)
        pool = self._pool_of(adapter, entered)
        if pool is not None:
            yield from self._into_pool(pool, entered, begun, budgets, result, cache, kept, answered)
            return
        first = None  # the same for all: it depends on the prompt's last hidden state alone
        said: list[float] = []
        for cell in cells:
            branch = cache.fork()
            for layer, entries in kept.pop(cell).items():
                branch.keep(layer, entries)
            decoder = self._pipelines[cell].decoder(branch, begun)
            if first is None:
                first = decoder.first(result.last)
                said = list(decoder.logprobs or ())
            elif decoder.logprobs is not None:
                decoder.logprobs += said
            outcome = self._pipelines[cell].finish(
                entered, begun, budgets[cell], result, branch, decoder, first, clock, memory
            )
            answered.add(cell)
            yield Answer(cell, outcome, PREFILL, entered.sample)

    def _into_pool(
        self,
        pool: DecodePool,
        entered: Entered,
        begun: Begun,
        budgets: dict[int, dict[str, StageBudget]],
        result: PrefillResult,
        cache: KVCache,
        kept: dict[int, dict[int, Tensor]],
        answered: set[int],
    ) -> Iterator[Answer]:
        """The branches of one prefill, those with equal caches as one; ``kept``: by cell and layer."""
        first = None
        for group in of_one_cache(kept, {cell: self._pipelines[cell].max_new_tokens for cell in kept}):
            leader, *alike = [Ready(cell, entered, None, budgets[cell], PREFILL) for cell in group]
            branch = cache.fork()
            for layer, entries in kept[leader.cell].items():
                branch.keep(layer, entries)
            for cell in group:
                del kept[cell]
            if first is None:  # the same for all: it depends on the prompt's last hidden state alone
                first = self._pipelines[leader.cell].decoder(branch, begun).first(result.last)
            waiting = self._branch(leader, begun, result, branch, first, alike)
            answered.update(group)
            yield from pool.add(waiting)
