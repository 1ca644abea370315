"""One sample through all stages: images, patches, ViT, prompt, decoder layers, KV cache, decode."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..budget import Budget, StageBudget
from ..clock import StageClock
from ..errors import UserError
from ..methods.base import HOOKS, ImageView, Method, PatchView, Places, TokenEdit, TokenView
from ..methods.kernels.topk import kept_by_score
from ..models.base import Encoded, Merging, VlmAdapter
from ..notes import Note
from ..outcome import Outcome, achieved
from ..profiling.flops import flops_of
from ..profiling.memory import PeakMemory, release_freed
from ..profiling.plan import matched
from ..registry import make_method
from ..sample import Sample, target_box
from .account import counts_of, notes_of, times_of
from .budgets import budget_of, by_hook, check_budget, check_feasible, resolve, sees_every_token
from .cache import KVCache
from .decode import Decoder, greedy
from .disk_cache import DiskCache
from .features import packed, unpacked, vit_key
from .images import Images, load_images
from .inside import kept_inside
from .positions import placed
from .prefill import Compression, Halfway, Hooks, PrefillResult, State, prefill
from .prompt import Prompt, build_prompt, patch_rows
from .recall import recall_of
from .stages import Begun, Entered, frozen, memory_errors, value_of
from .static import StaticDecode
from .vit_trunk import VitTrunk


class Pipeline:
    """A model, one or more methods with disjoint hooks, and a budget.

    Nothing is remembered between samples: another order gives the same outcomes.
    """

    def __init__(
        self,
        adapter: VlmAdapter,
        method: Method | Sequence[Method],
        budget: Budget,
        *,
        max_new_tokens: int = 64,
        seed: int = 0,
        logprobs: bool = False,
        copied: Callable[[str], Method] = make_method,
        record_kept: bool = False,
        decode_graphs: bool = False,
    ) -> None:
        """Check that hooks do not collide and that the budget means something.

        Args:
            adapter: the model.
            method: one, or several that are composed.
            budget: of them all.
            max_new_tokens: limit of an answer.
            seed: of everything random.
            logprobs: whether outcomes say how probable the model found each token of its answer.
            copied: makes the method whose count ``auto`` and ``like:`` copy, with the run's hyper-parameters.
            record_kept: whether outcomes say which blocks every layer and head holds.
            decode_graphs: whether answers are decoded with static shapes (:mod:`.static`).

        Raises:
            UserError: two methods use one hook, the budget does not fit a method, or a method asks for a layer that
                the model does not have.
        """
        self.adapter, self.budget, self.seed, self.max_new_tokens = adapter, budget, seed, max_new_tokens
        self._copied, self._record_kept, self.logprobs = copied, record_kept, logprobs
        self.methods = (method,) if isinstance(method, Method) else tuple(method)
        self._by_hook = by_hook(self.methods)
        for m in self.methods:
            self._check_depths(m)
            sized = sees_every_token(m, self.methods)
            check_budget(m, self._budget_of(m), len(adapter.text.layers) if sized else None)
        compressor = self._by_hook.get("compress_kv")
        if compressor is not None and compressor.repeats:
            self._check_repeat(compressor)
        if budget.is_full:
            self._by_hook = {}
        self._static = StaticDecode(adapter, max_new_tokens) if decode_graphs else None
        release_freed()

    def _check_repeat(self, compressor: Method) -> None:
        """Refuse a second pass over a prompt that not every layer holds."""
        for layer in range(len(self.adapter.text.layers)):
            if not self.adapter.has_cache(layer):
                raise UserError(
                    f"{compressor.name} repeats the prompt behind itself, and {self.adapter.name} has layers of linear "
                    "attention, whose state a second pass would change; choose another cache method."
                )

    def _check_depths(self, method: Method) -> None:
        """Refuse layers of the decoder and of the ViT that the model does not have."""
        if "prune_layer" in method.hooks():
            method.layers_of(len(self.adapter.text.layers))
        if "merge_patches" in method.hooks() and not self.adapter.merges:
            raise UserError(
                f"{method.name} merges inside the ViT, and the ViT of {self.adapter.name} attends in windows; choose a "
                "model whose ViT attends over the whole image, or a method that acts behind it."
            )
        try:
            self.adapter.check_needs(method.needs)
        except UserError as error:
            raise UserError(f"{method.name}: {error}") from None

    def _budget_of(self, method: Method) -> Budget:
        """What ``method`` is told of the budget; see :func:`.budgets.budget_of`."""
        return budget_of(method, self.methods, self.budget)

    def key(self, upto: str) -> tuple[object, ...]:
        """What the state of a sample depends on once all hooks up to ``upto`` (of :data:`HOOKS`) have run.

        Two pipelines of one model with equal keys compute the same state. A content-adaptive method of a composition
        has a budget of its own, so its key may be the same at different budgets.
        """
        parts: list[object] = [self.seed, self.budget.draw, self.max_new_tokens]
        for hook in HOOKS[: HOOKS.index(upto) + 1]:
            method = self._by_hook.get(hook)
            parts.append(None if method is None else (value_of(method), self._budget_of(method)))
        if upto == "prune_layer":
            parts.append(self.placing)
            if "prune_layer" in self._by_hook and "compress_kv" in self._by_hook:
                parts.append(value_of(self._by_hook["compress_kv"]))  # their queries are projected together
        return tuple(parts)

    def method_of(self, hook: str) -> Method | None:
        """The method that uses ``hook``, None if there is none or nothing is reduced."""
        return self._by_hook.get(hook)

    def at(self, budget: Budget) -> Pipeline:
        """The same pipeline at another budget below 100 %, for training with one drawn per sample."""
        other = copy.copy(self)
        other.budget = budget
        return other

    @property
    def needs(self) -> tuple[str, ...]:
        """Extra outputs that are asked of the ViT."""
        return self._by_hook["select_tokens"].needs if "select_tokens" in self._by_hook else ()

    @property
    def placing(self) -> str:
        """Where the tokens that are left stand; see :data:`.positions.PLACINGS`."""
        asked = {m.positions for m in self.methods if self._by_hook} - {"kept"}
        if len(asked) > 1:
            raise UserError(f"positions cannot be {' and '.join(sorted(asked))} at once; compose other methods.")
        return asked.pop() if asked else "kept"

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

    def seed_of(self, sample: Sample) -> int:
        """Seed of a sample's random draws."""
        seed = f"{self.seed}#{self.budget.draw}" if self.budget.draw else str(self.seed)
        return int.from_bytes(hashlib.sha256(f"{seed}/{sample.id}".encode()).digest()[:6], "big")

    def budgets(self, sample: Sample, images: Images, clock: StageClock) -> dict[str, StageBudget]:
        """What every hook is told for this sample."""
        block = self.adapter.images.block
        grids = tuple((h // block, w // block) for w, h in images.full)

        def view() -> PatchView:
            return PatchView(frozen(images.pixels), grids, block, self.seed_of(sample))

        with clock.stage("reference"):  # finding another method's count is the experimenter's cost, not a method's
            budgets = {h: resolve(self._budget_of(m), m, grids, view, self._copied) for h, m in self._by_hook.items()}
        return {h: self._matched(b, self._by_hook[h], grids, sample) for h, b in budgets.items()}

    def _matched(
        self, budget: StageBudget, method: Method, grids: Sequence[tuple[int, int]], sample: Sample
    ) -> StageBudget:
        """A budget of FLOPs as the tokens that cost as much; any other as it is.

        Raises:
            InfeasibleBudget: one token costs more.
        """
        if budget.asked.kind != "flops":
            return budget
        ids, _ = self.adapter.prompt_ids([h * w for h, w in grids], sample.question)
        n_text = len(ids) - budget.n_full
        return matched(self.adapter.dims, grids, n_text, method, budget.asked)

    def enter(
        self,
        sample: Sample,
        images: Images,
        budgets: dict[str, StageBudget],
        clock: StageClock,
        *,
        needs: Sequence[str] | None = None,
        store: DiskCache | None = None,
        prompt: Prompt | None = None,
        trunk: VitTrunk | None = None,
    ) -> Entered:
        """Stages 1 and 2: the prompt, and the images through the ViT.

        Args:
            sample: the sample.
            images: its images.
            budgets: from :meth:`budgets`.
            clock: takes the times.
            needs: extra outputs of the ViT where other pipelines need some, too; None for this one's own.
            store: cache of ViT outputs.
            prompt: of the sample with its images at their full sizes, where it was built before.
            trunk: ViT blocks that are shared with others.

        Raises:
            SampleError: ``too_long``.
        """
        prompt, keep = self.look(sample, images, budgets, clock, prompt)
        depth = self.depth_of(keep)
        needs = self.needs if needs is None else needs
        merging = self.merging(prompt, keep, budgets)
        encoded = self._encode(prompt, keep, depth, needs, clock, store, merging, trunk)
        return self.entered(sample, images, prompt, keep, encoded)

    def depth_of(self, keep: Sequence[np.ndarray | None]) -> int:
        """ViT blocks that still see every patch when the merge blocks ``keep`` stay, 0 where none does."""
        return self._by_hook["select_patches"].vit_depth if any(k is not None for k in keep) else 0

    def entered(
        self, sample: Sample, images: Images, prompt: Prompt, keep: Sequence[np.ndarray | None], encoded: Encoded
    ) -> Entered:
        """A sample behind the ViT.

        Args:
            sample: the sample.
            images: its images.
            prompt: from :meth:`look`.
            keep: from :meth:`look`.
            encoded: what the ViT made of the kept merge blocks.
        """
        block, merge2 = self.adapter.images.block, self.adapter.images.merge_size**2
        depth = self.depth_of(keep)
        full_grids = tuple((h // block, w // block) for w, h in images.full)
        whole = tuple(h * w * merge2 for h, w in prompt.layout.grids)
        kept = tuple(n if k is None else int(k.sum()) * merge2 for n, k in zip(whole, keep, strict=True))
        masks = tuple(None if k is None else torch.from_numpy(k.reshape(-1)) for k in keep)
        vit = (depth, whole if depth else ())
        if encoded.places is not None:
            masks = _left(masks, prompt.layout.n_tokens, encoded.places.cpu())
            vit, kept = (0, kept), tuple(int(m.sum()) * merge2 for m in masks if m is not None)
        return Entered(
            sample,
            prompt,
            encoded,
            masks,
            kept,
            images.file_sizes,
            full_grids,
            self.seed_of(sample),
            vit,
        )

    def look(
        self,
        sample: Sample,
        images: Images,
        budgets: dict[str, StageBudget],
        clock: StageClock,
        prompt: Prompt | None = None,
    ) -> tuple[Prompt, list[np.ndarray | None]]:
        """What needs no model: the prompt, and the kept merge blocks of every image before the ViT, None for all.

        Args:
            sample: as for :meth:`enter`.
            images: as for :meth:`enter`.
            budgets: as for :meth:`enter`.
            clock: as for :meth:`enter`.
            prompt: as for :meth:`enter`.

        Raises:
            SampleError: ``too_long``.
        """
        rules, reducer = self.adapter.images, self._by_hook.get("reduce_images")
        if reducer is None:
            pixels = list(images.pixels)
        else:
            with clock.stage("select"):
                pairs, seed = zip(images.file_sizes, images.full, strict=True), self.seed_of(sample)
                views = tuple(ImageView(file, full, rules.block, seed) for file, full in pairs)
                sizes = reducer.reduce_images(views, budgets["reduce_images"])
                _check_sizes(sizes, len(views), rules.block)
            with clock.stage("preprocess"):  # as the full model's own resize
                pixels = images.at(sizes, reducer.resample)
        if prompt is None or reducer is not None:
            with clock.stage("preprocess"):
                prompt = build_prompt(self.adapter, pixels, sample.question)
        return prompt, self._patches(prompt, budgets, self.seed_of(sample), clock)

    def _encode(
        self,
        prompt: Prompt,
        keep: list[np.ndarray | None],
        depth: int,
        needs: Sequence[str],
        clock: StageClock,
        store: DiskCache | None,
        merging: Merging | None,
        trunk: VitTrunk | None,
    ) -> Encoded:
        """The ViT's output on the kept patches, from ``store`` where it is there."""
        adapter, rules = self.adapter, self.adapter.images
        if not prompt.pixels:
            with clock.stage("vit"):
                return self._nothing()
        if merging is not None:
            store = None  # which blocks are merged depends on the method, which an entry does not name
        key = "" if store is None else vit_key(adapter, prompt.pixels, keep, depth, needs)
        stored = None if store is None else store.get(key)
        if stored is not None:
            return unpacked(stored, adapter.device)

        def patches() -> Tensor:
            with clock.stage("preprocess"):
                rows = [patch_rows(p, rules, None if depth else k) for p, k in zip(prompt.pixels, keep, strict=True)]
                return (rows[0] if len(rows) == 1 else torch.cat(rows)).to(adapter.device)

        masks = [None if k is None else torch.from_numpy(k.reshape(-1)) for k in keep]
        dropper = self._by_hook.get("select_patches")  # its depth, also where it found nothing to drop
        stop = None if dropper is None else dropper.vit_depth
        half = None if trunk is None else trunk.at(adapter, patches, prompt.layout.grids, stop)
        entering = patches() if half is None else half
        with clock.stage("vit"):
            encoded = adapter.encode(entering, prompt.layout.grids, masks, tuple(needs), depth, merging)
        if needs:
            clock.move("vit", "select", encoded.extras_ms)
        if store is not None:
            store.put(key, packed(encoded))
        return encoded

    def merging(self, prompt: Prompt, keep: list[np.ndarray | None], budgets: dict[str, StageBudget]) -> Merging | None:
        """What is merged inside the ViT."""
        method = self._by_hook.get("merge_patches")
        if method is None or not prompt.pixels:
            return None
        n_blocks = tuple(n if k is None else int(k.sum()) for n, k in zip(prompt.layout.n_tokens, keep, strict=True))
        counts = method.merge_patches(n_blocks, len(self.adapter.visual.blocks), budgets["merge_patches"])
        return Merging(counts, method.match, method.weighs_by_size)

    def _nothing(self) -> Encoded:
        """What the encoder gives for a question without images."""
        return Encoded(
            torch.zeros(
                0, self.adapter.text.embed_tokens.weight.shape[1], dtype=self.adapter.dtype, device=self.adapter.device
            ),
            (),
        )

    def _patches(
        self, prompt: Prompt, budgets: dict[str, StageBudget], seed: int, clock: StageClock
    ) -> list[np.ndarray | None]:
        """Stage 2: keep masks per image, None where nothing is dropped."""
        method = self._by_hook.get("select_patches")
        if method is None or not prompt.pixels:
            return [None] * len(prompt.pixels)
        layout = prompt.layout
        with clock.stage("select"):
            view = PatchView(frozen(prompt.pixels), layout.grids, layout.merge_size * layout.patch_size, seed)
            masks = method.select_patches(view, budgets["select_patches"])
            for mask, grid in zip(masks, layout.grids, strict=True):
                if mask.shape != grid or mask.dtype != np.bool_:
                    raise RuntimeError(f"{method.name}.select_patches: mask {mask.shape} {mask.dtype}, grid {grid}")
            if not any(mask.any() for mask in masks):
                raise RuntimeError(f"{method.name}.select_patches kept nothing")
            return [None if mask.all() else mask for mask in masks]

    def tokens(
        self, entered: Entered, present: Tensor, budgets: dict[str, StageBudget], ids: Tensor, clock: StageClock
    ) -> TokenEdit | None:
        """Stage 3: which visual tokens enter the prompt, and with which features; None where no method asks.

        Args:
            entered: from :meth:`enter`.
            present: its :attr:`Entered.present`, on the model's device.
            budgets: from :meth:`budgets`.
            ids: of the full prompt, on the model's device.
            clock: takes the times.
        """
        method = self._by_hook.get("select_tokens")
        if method is None or not len(entered.encoded.tokens):
            return None
        with clock.stage("select"):
            budget = budgets["select_tokens"]
            view = self.token_view(method, entered, present, ids)
            with torch.no_grad():  # which tokens stay has no gradient
                answer = method.select_tokens(view, budget)
            if isinstance(answer, TokenEdit):
                if answer.features is None or not torch.is_grad_enabled():
                    return answer
                merged: TokenEdit = method.select_tokens(view, budget)  # merged features and markers have one
                return merged
            if answer.dtype != torch.bool:
                answer = kept_by_score(answer, len(answer) if budget.n_keep is None else budget.n_keep)
            return TokenEdit(answer)

    def token_view(self, method: Method, entered: Entered, present: Tensor, ids: Tensor) -> TokenView:
        """What ``method`` may see in stage 3; arguments as for :meth:`tokens`."""
        adapter, prompt, sample = self.adapter, entered.prompt, entered.sample
        ends = [0, *(end for _, end in prompt.layout.spans)]
        starts = [*(start for start, _ in prompt.layout.spans), len(ids)]
        text = torch.cat([ids[end:start] for end, start in zip(ends, starts, strict=True)])
        words = adapter.text.embed_tokens(text)
        asked = sample.question if sample.instruction is None else sample.instruction
        question = adapter.tokenizer(asked, add_special_tokens=False)["input_ids"]
        return TokenView(
            prompt.layout,
            entered.encoded.tokens,
            words,
            frozen(prompt.pixels),
            present,
            entered.seed,
            {name: entered.encoded.extras[name] for name in method.needs},
            question_features=adapter.text.embed_tokens(torch.tensor(question, dtype=torch.long).to(ids.device)),
            token_embedding=self._token_embedding,
            target_boxes=_target_boxes(sample, entered.file_sizes[-1], prompt) if method.sees_target else (),
            model=adapter.name,
            model_folder=adapter.folder,
            n_layers=len(adapter.text.layers),
        )

    def _token_embedding(self, name: str) -> Tensor | None:
        """Embedding of a special token by its text; None where the tokenizer has no such token."""
        tokenizer = self.adapter.tokenizer
        number = tokenizer.convert_tokens_to_ids(name)
        if number is None or number == getattr(tokenizer, "unk_token_id", None):
            return None
        row: Tensor = self.adapter.text.embed_tokens.weight[number]
        return row

    def begin(self, entered: Entered, budgets: dict[str, StageBudget], clock: StageClock) -> Begun:
        """Stage 3: the sequence that enters the decoder."""
        device = self.adapter.device
        present, ids = entered.present.to(device), entered.prompt.ids.to(device)
        edit = self.tokens(entered, present, budgets, ids, clock)
        with clock.stage("prefill"):
            state, next_position, kept = self._assemble(entered.prompt, entered.encoded, present, edit, ids)
        return Begun(state, next_position, kept, edit, state.hidden.shape[1], int((~state.visual).sum()))

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

    def _assemble(
        self, prompt: Prompt, encoded: Encoded, present: Tensor, edit: TokenEdit | None, ids: Tensor
    ) -> tuple[State, int, tuple[tuple[int, ...], ...]]:
        """Cut ids, positions and DeepStack rows with one mask; put the visual features in place."""
        adapter, layout = self.adapter, prompt.layout
        kept, features, levels = chosen(encoded, present, edit)
        has_visual = None if edit is None else edit.has_visual
        visual = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        for start, end in layout.spans:
            visual[start:end] = True
        mask = ~visual
        mask[visual] = kept
        index = mask.nonzero()[:, 0]
        visual = visual[index]
        hidden = adapter.text.embed_tokens(ids[index])
        rows = visual.nonzero()[:, 0]
        hidden[rows] = features.to(hidden.dtype)
        positions, next_position = placed(layout, index, self.placing)
        if has_visual is not None:
            rows, levels = rows[has_visual], tuple(level[has_visual] for level in levels)
        rope = adapter.text.rotary_emb(hidden[None], positions[:, None])
        per_image = tuple(tuple(k.nonzero()[:, 0].tolist()) for k in kept.split(list(layout.n_tokens)))
        places = Places(partial(_on_host, layout.n_prompt, layout.spans, per_image))
        state = State(hidden[None], index, visual, rope, levels, rows, places)
        return state, next_position, per_image


def _on_host(n_prompt: int, spans: tuple[tuple[int, int], ...], kept: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Positions of all text and of the kept visual tokens, sorted int64."""
    there = np.ones(n_prompt, dtype=bool)
    for (start, end), of_image in zip(spans, kept, strict=True):
        there[start:end] = False
        there[start + np.array(of_image, dtype=np.int64)] = True
    return np.flatnonzero(there)


def chosen(encoded: Encoded, present: Tensor, edit: TokenEdit | None) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """What of the ViT's output enters the prompt.

    Args:
        encoded: of the present tokens.
        present: bool ``(n_visual,)``.
        edit: what ``select_tokens`` answered.

    Returns:
        bool ``(n_visual,)``; features ``(n_kept, dim)``; DeepStack levels, ``(n_kept, dim)`` each, () for none. Rows
        of markers are among the levels: ``edit.has_visual`` says which they are.
    """
    kept = present.clone()
    if edit is None:
        return kept, encoded.tokens, encoded.deepstack
    kept[present] = edit.keep
    features = encoded.tokens[edit.keep] if edit.features is None else edit.features
    return kept, features, tuple(level[edit.keep] for level in encoded.deepstack) if edit.deepstack else ()


def _per_image(places: Tensor, spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, ...], ...]:
    """Places in the full prompt as merge blocks of every image; ``spans``: where the images stand in it."""
    found = places.tolist()
    return tuple(tuple(p - start for p in found if start <= p < end) for start, end in spans)


def _left(masks: Sequence[Tensor | None], n_tokens: Sequence[int], places: Tensor) -> tuple[Tensor, ...]:
    """Masks of the merge blocks that are left, given their ``places`` among those that ``masks`` kept."""
    entered = torch.cat(
        [torch.ones(n, dtype=torch.bool) if m is None else m for n, m in zip(n_tokens, masks, strict=True)]
    )
    left = torch.zeros_like(entered)
    left[entered.nonzero()[:, 0][places]] = True
    return tuple(left.split(list(n_tokens)))


def _target_boxes(
    sample: Sample, file_size: tuple[int, int], prompt: Prompt
) -> tuple[tuple[float, float, float, float], ...]:
    """The sample's boxes (pixels of the last file) in pixels of the last image as the model sees it."""
    box = target_box(sample.target)
    if box is None:
        return ()
    sx, sy = (m / f for m, f in zip(prompt.layout.image_sizes[-1], file_size, strict=True))
    return ((box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy),)


def _check_sizes(sizes: tuple[tuple[int, int], ...], n_images: int, block: int) -> None:
    if len(sizes) != n_images or any(w % block or h % block or w < block or h < block for w, h in sizes):
        raise RuntimeError(f"reduce_images returned {sizes}; {n_images} sizes in multiples of {block} are needed")
