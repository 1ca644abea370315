"""One sample through all stages: images, patches, ViT, prompt, decoder layers, KV cache, decode."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..budget import Budget, StageBudget
from ..clock import StageClock
from ..methods.base import Method
from ..notes import Note
from ..outcome import Outcome, achieved
from ..profiling.flops import flops_of
from ..profiling.memory import PeakMemory
from ..sample import Sample
from .account import counts_of, notes_of, times_of
from .budgets import check_feasible
from .cache import KVCache
from .decode import Decoder, greedy
from .hooks import Compression, Hooks
from .images import Images, load_images
from .inside import kept_inside
from .prefill import Halfway, PrefillResult, prefill
from .recall import recall_of
from .sequence import Sequencing
from .stages import Begun, Entered, frozen, memory_errors


class Pipeline(Sequencing):
    """A model, one or more methods with disjoint hooks, and a budget.

    What is composed stands in :mod:`.composition`, what happens up to the ViT in :mod:`.looking`, up to the decoder in
    :mod:`.sequence`; decoder layers, cache and answer are here.

    Nothing is remembered between samples: another order gives the same outcomes.
    """

    def at(self, budget: Budget) -> Pipeline:
        """The same pipeline at another budget below 100 %, for training with one drawn per sample."""
        other = copy.copy(self)
        other.budget = budget
        return other

    @torch.inference_mode()
    def run(self, sample: Sample, images: Images | None = None) -> Outcome:
        """Answer one sample; ``images``: its images where they are at hand, so that only the rest is timed.

        Raises:
            SampleError: ``bad_image``, ``too_long``, ``out_of_memory``; the run goes on without this sample.
        """
        with memory_errors(sample):
            clock, memory = StageClock(*self.adapter.devices), PeakMemory(*self.adapter.devices)
            memory.reset()
            if images is None:
                reduced = "reduce_images" in self._by_hook
                images = load_images(
                    sample, self.adapter.images, clock, keep_files=reduced, hand_over=True, resized=not reduced
                )
            budgets = self.budgets(sample, images, clock)
            entered = self.enter(sample, images, budgets, clock)
            del images
            return self.answer(entered, budgets, clock, memory)

    def compression(
        self, entered: Entered, begun: Begun, budgets: dict[str, StageBudget], apply: Callable[[int, Tensor], None]
    ) -> tuple[Compression, ...]:
        """This pipeline's branch of the cache, () where it compresses none."""
        compressor = self._by_hook.get("compress_kv")
        if compressor is None:
            return ()
        n_prompt = entered.prompt.layout.n_prompt
        budget = self._cache_budget(compressor, budgets["compress_kv"], n_prompt, begun.n_text)
        return (Compression(compressor, budget, apply),)

    def prefill(
        self,
        entered: Entered,
        begun: Begun,
        budgets: dict[str, StageBudget],
        cache: KVCache,
        compressions: tuple[Compression, ...],
        clock: StageClock,
        since: Halfway | None = None,
    ) -> PrefillResult:
        """Stages 4 and 5: the decoder layers, those behind ``since``; consumes the state of ``begun``."""
        pruner = self._by_hook.get("prune_layer")
        hooks = Hooks(
            pruner,
            budgets.get("prune_layer"),
            () if pruner is None else self._left(pruner, budgets["prune_layer"], begun),
            compressions,
            entered.seed,
            frozen(entered.prompt.pixels),
        )
        return prefill(self.adapter, begun.state, cache, entered.prompt.layout, hooks, clock, since)

    def answer(
        self, entered: Entered, budgets: dict[str, StageBudget], clock: StageClock, memory: PeakMemory
    ) -> Outcome:
        """Everything behind the ViT."""
        begun = self.begin(entered, budgets, clock)
        cache = KVCache(len(self.adapter.text.layers), self.max_new_tokens)
        start, hooks_before = clock.now(), clock.ms.get("select", 0.0)
        compressor = self._by_hook.get("compress_kv")
        keep = partial(cache.keep, ragged=compressor is not None and compressor.ragged)
        compressions = self.compression(entered, begun, budgets, keep)
        result = self.prefill(entered, begun, budgets, cache, compressions, clock)
        decoder = self.decoder(cache, begun)
        first = decoder.first(result.last)
        hooks_ms = clock.ms.get("select", 0.0) - hooks_before
        clock.ms["prefill"] += (clock.now() - start) / 1e6 - hooks_ms
        return self.finish(entered, begun, budgets, result, cache, decoder, first, clock, memory)

    def decoder(self, cache: KVCache, begun: Begun) -> Decoder:
        """What continues the prompt from ``cache``."""
        heads = self.adapter.dims.q_heads
        return Decoder(self.adapter, cache, begun.next_position, heads, logprobs=self.logprobs)

    def finish(
        self,
        entered: Entered,
        begun: Begun,
        budgets: dict[str, StageBudget],
        result: PrefillResult,
        cache: KVCache,
        decoder: Decoder,
        first: int,
        clock: StageClock,
        memory: PeakMemory,
    ) -> Outcome:
        """Stage 6: decode from ``cache``, and count."""
        draft = self.draft(entered, begun, budgets, result, cache)
        static = self._statically(cache, begun.next_position, first, clock)
        if static is not None:
            return self.outcome(draft, *static, clock.ms, memory.read())
        if self._static is not None:
            draft = replace(draft, notes=(*draft.notes, Note("decoded_eagerly")))
        with clock.stage("decode"):
            new, finish = (
                greedy(decoder, first, self.adapter.eos_ids, self.max_new_tokens)
                if result.pointed is None
                else ([], "pointer")
            )
        return self.outcome(draft, new, finish, clock.ms, memory.read(), decoder.logprobs or ())

    def _statically(self, cache: KVCache, position: int, first: int, clock: StageClock) -> tuple[list[int], str] | None:
        """The answer with static shapes; None where they are not asked for, or a step was too close to call."""
        if self._static is None:
            return None
        with clock.stage("reference"):  # buffers and captured graph are made once per cell
            self._static.prepare(cache)
        with clock.stage("decode"):
            found = self._static.answer(cache, position, first, self.adapter.eos_ids, self.max_new_tokens)
        if found is None:
            del clock.ms["decode"]  # the time is that of the eager steps that follow
        return found

    def draft(
        self, entered: Entered, begun: Begun, budgets: dict[str, StageBudget], result: PrefillResult, cache: KVCache
    ) -> Outcome:
        """Everything of an outcome that is known before the first decode step; ``text`` where the model points."""
        layout, counts = entered.prompt.layout, counts_of(entered, begun, result, cache)
        return Outcome(
            text=result.pointed or "",
            ids=(),
            finish="",
            model_sizes=layout.image_sizes,
            file_sizes=entered.file_sizes,
            kept=begun.kept,
            kept_last=_per_image(result.visual_index, layout.spans) if "prune_layer" in self._by_hook else (),
            counts=counts,
            times=times_of({}, 0),
            flops={},
            kv_bytes=cache.held_bytes(),
            peak_bytes=0,
            notes=notes_of(self.adapter, self.budget, counts, budgets, begun.edit),
            target_recall=recall_of(entered, begun, result, cache),
            asked=str(self.budget),
            reading=self.budget.reading,
            achieved=achieved(counts, self._by_hook, self.adapter.dims.kv_heads),
            inside=kept_inside(layout, result, cache) if self._record_kept else None,
        )

    def outcome(
        self,
        draft: Outcome,
        ids: Sequence[int],
        finish: str,
        ms: dict[str, float],
        peak_bytes: int,
        logprobs: Sequence[float] = (),
    ) -> Outcome:
        """A draft with its answer.

        Args:
            draft: from :meth:`draft`.
            ids: generated ids, the end token included.
            finish: ``eos``, ``length`` or ``pointer``.
            ms: times of the stages.
            peak_bytes: peak memory.
            logprobs: of the ids, () where they were not asked for.
        """
        adapter, counts = self.adapter, replace(draft.counts, n_new=len(ids))
        body = [t for t in ids if t not in adapter.eos_ids]
        return replace(
            draft,
            text=draft.text if finish == "pointer" else adapter.tokenizer.decode(body, skip_special_tokens=True),
            ids=tuple(ids),
            finish=finish,
            counts=counts,
            times=times_of(ms, len(ids)),
            flops=flops_of(adapter.dims, counts),
            peak_bytes=peak_bytes,
            logprobs=tuple(logprobs),
        )

    def _left(self, pruner: Method, budget: StageBudget, begun: Begun) -> tuple[int, ...]:
        """Visual tokens that may be left behind each layer at which ``pruner`` drops some.

        Raises:
            InfeasibleBudget: more tokens than were asked for would be processed.
        """
        kept, n_layers = tuple(len(k) for k in begun.kept), len(self.adapter.text.layers)
        left = pruner.stage_counts(kept, n_layers, budget)
        check_feasible(pruner, kept, left, n_layers, budget)
        return left

    def _cache_budget(self, method: Method, budget: StageBudget, n_prompt: int, n_text: int) -> StageBudget:
        """The capacity per head that ``compress_kv`` is told: all text entries plus the budget's visual ones, or what
        the paper's reading makes of the whole full prompt."""
        if budget.n_keep is None:
            return budget
        asked = budget.asked
        if asked.reading == "paper" and method.paper_of == "prompt" and asked.is_number:
            return replace(budget, n_keep=method.paper_count(n_prompt, asked))
        text = 0 if asked.reading == "paper" else n_text
        return replace(budget, n_keep=n_text + budget.n_keep, n_text=text)


def _per_image(places: Tensor, spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, ...], ...]:
    """Places in the full prompt as merge blocks of every image; ``spans``: where the images stand in it."""
    found = places.tolist()
    return tuple(tuple(p - start for p in found if start <= p < end) for start, end in spans)
