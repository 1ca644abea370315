"""One sample through all stages: images, patches, ViT, prompt, decoder layers, KV cache, decode."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..budget import Budget, StageBudget
from ..errors import SampleError, UserError
from ..methods.base import ImageView, Method, PatchView, TokenEdit, TokenView
from ..models.base import Encoded, VlmAdapter
from ..profiling.clock import StageClock
from ..profiling.flops import flops_of
from ..profiling.memory import PeakMemory, release_freed
from ..sample import Sample
from .budgets import check_budget, resolve
from .cache import KVCache
from .decode import Decoder, greedy
from .outcome import Counts, Outcome, Times
from .prefill import Hooks, State, prefill
from .prompt import Prompt, build_prompt, full_size, open_image, patch_rows, resize
from .select import kept_by_score


class Pipeline:
    """A model, one or more methods with disjoint hooks, and a budget.

    Nothing is remembered between samples: another order gives the same outcomes.
    """

    def __init__(self, adapter: VlmAdapter, method: Method | Sequence[Method], budget: Budget, *,
                 max_new_tokens: int = 64, seed: int = 0) -> None:
        """Check that hooks do not collide and that the budget means something.

        Raises:
            UserError: two methods use one hook, or the budget does not fit a method.
        """
        self.adapter, self.budget, self.seed, self.max_new_tokens = adapter, budget, seed, max_new_tokens
        self.methods = (method,) if isinstance(method, Method) else tuple(method)
        self._by_hook: dict[str, Method] = {}
        for m in self.methods:
            check_budget(m, self._budget_of(m))
            for hook in m.hooks():
                if hook in self._by_hook:
                    first = self._by_hook[hook].name
                    raise UserError(f"{first} and {m.name} both use {hook}: they cannot be combined.")
                self._by_hook[hook] = m
        pruner, compressor = self._by_hook.get("prune_layer"), self._by_hook.get("compress_kv")
        if pruner is not None and compressor is not None and pruner.trim_cache:
            raise UserError(f"{pruner.name} and {compressor.name} cannot be combined: {pruner.name} drops tokens from "
                            f"caches that {compressor.name} has already compressed.")
        if budget.is_full:
            self._by_hook = {}
        release_freed()

    def _budget_of(self, method: Method) -> Budget:
        """In a composition a content-adaptive method decides itself; the budget is the others'."""
        return Budget("auto") if len(self.methods) > 1 and method.adaptive else self.budget

    @torch.inference_mode()
    def run(self, sample: Sample) -> Outcome:
        """Answer one sample.

        Raises:
            SampleError: ``bad_image``, ``too_long``, ``out_of_memory``; the run goes on without this sample.
        """
        try:
            return self._run(sample)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise SampleError("out_of_memory", f"{sample.id}: not enough memory for this sample.") from error
        except RuntimeError as error:
            if "memory" in str(error) and ("alloc" in str(error) or "out of" in str(error)):
                raise SampleError("out_of_memory", f"{sample.id}: not enough memory for this sample.") from error
            raise

    def _run(self, sample: Sample) -> Outcome:
        adapter, rules = self.adapter, self.adapter.images
        clock, memory = StageClock(adapter.device), PeakMemory(adapter.device)
        memory.reset()
        seed = int.from_bytes(hashlib.sha256(f"{self.seed}/{sample.id}".encode()).digest()[:6], "big")
        with clock.stage("image_decode"):
            files = [open_image(path) for path in sample.images]
        file_sizes = tuple((f.shape[1], f.shape[0]) for f in files)
        with clock.stage("preprocess"):
            full = [full_size(s, rules, p.name) for s, p in zip(file_sizes, sample.images, strict=True)]
        full_grids = tuple((h // rules.block, w // rules.block) for w, h in full)
        sizes = tuple(full)
        budgets: dict[str, StageBudget] = {}
        pixels: list[np.ndarray] | None = None
        if self._by_hook:
            with clock.stage("preprocess"):
                pixels = [resize(f, s) for f, s in zip(files, full, strict=True)]
            view = PatchView(_frozen(pixels), full_grids, rules.block, seed)
            with clock.stage("reference"):  # finding another method's count is the experimenter's cost, not a method's
                budgets = {h: resolve(self._budget_of(m), m, view) for h, m in self._by_hook.items()}
        if "reduce_images" in self._by_hook:
            with clock.stage("select"):
                views = tuple(ImageView(s, f, rules.block) for s, f in zip(file_sizes, full, strict=True))
                sizes = self._by_hook["reduce_images"].reduce_images(views, budgets["reduce_images"])
                _check_sizes(sizes, len(files), rules.block)
                pixels = [resize(f, s, self._by_hook["reduce_images"].resample if s != o else "bicubic")
                          for f, s, o in zip(files, sizes, full, strict=True)]
        with clock.stage("preprocess"):
            if pixels is None:
                pixels = [resize(f, s) for f, s in zip(files, sizes, strict=True)]
            prompt = build_prompt(adapter, pixels, sample.question)
        del files
        keep = self._patches(prompt, budgets, seed, clock)
        depth = self._by_hook["select_patches"].vit_depth if any(k is not None for k in keep) else 0
        with clock.stage("preprocess"):
            rows = [patch_rows(p, rules, None if depth else k) for p, k in zip(pixels, keep, strict=True)]
            patches = (rows[0] if len(rows) == 1 else torch.cat(rows)).to(adapter.device) if rows else None
        masks = [None if k is None else torch.from_numpy(k.reshape(-1)) for k in keep]
        with clock.stage("vit"):
            needs = self._by_hook["select_tokens"].needs if "select_tokens" in self._by_hook else ()
            encoded = (self._nothing() if patches is None
                       else adapter.encode(patches, prompt.layout.grids, masks, needs, depth))
        entered = tuple(len(r) for r in rows)
        n_patches = entered if not depth else tuple(
            n if k is None else int(k.sum()) * rules.merge_size**2 for n, k in zip(entered, keep, strict=True))
        vit = (depth, entered if depth else ())
        return self._answer(sample, prompt, encoded, masks, n_patches, budgets, file_sizes, full_grids, seed, clock,
                            memory, vit)

    def _nothing(self) -> Encoded:
        """What the encoder gives for a question without images."""
        return Encoded(torch.zeros(0, self.adapter.text.embed_tokens.weight.shape[1], dtype=self.adapter.dtype,
                                   device=self.adapter.device), ())

    def _patches(self, prompt: Prompt, budgets: dict[str, StageBudget], seed: int,
                 clock: StageClock) -> list[np.ndarray | None]:
        """Stage 2: keep masks per image, None where nothing is dropped."""
        method = self._by_hook.get("select_patches")
        if method is None or not prompt.pixels:
            return [None] * len(prompt.pixels)
        layout = prompt.layout
        with clock.stage("select"):
            view = PatchView(_frozen(prompt.pixels), layout.grids, layout.merge_size * layout.patch_size, seed)
            masks = method.select_patches(view, budgets["select_patches"])
            for mask, grid in zip(masks, layout.grids, strict=True):
                if mask.shape != grid or mask.dtype != np.bool_:
                    raise RuntimeError(f"{method.name}.select_patches: mask {mask.shape} {mask.dtype}, grid {grid}")
            if not any(mask.any() for mask in masks):
                raise RuntimeError(f"{method.name}.select_patches kept nothing")
            return [None if mask.all() else mask for mask in masks]

    def _tokens(self, sample: Sample, prompt: Prompt, encoded: Encoded, present: Tensor,
                budgets: dict[str, StageBudget], ids: Tensor, seed: int, file_sizes: tuple[tuple[int, int], ...],
                clock: StageClock) -> TokenEdit | None:
        """Stage 3: which visual tokens enter the prompt, and with which features."""
        method = self._by_hook.get("select_tokens")
        if method is None or not len(encoded.tokens):
            return None
        adapter = self.adapter
        with clock.stage("select"):
            text = torch.ones(len(ids), dtype=torch.bool)
            for start, end in prompt.layout.spans:
                text[start:end] = False
            words = adapter.text.embed_tokens(ids[text.to(ids.device)])
            question = adapter.tokenizer(sample.question, add_special_tokens=False)["input_ids"]
            budget = budgets["select_tokens"]
            view = TokenView(
                prompt.layout, encoded.tokens, words, _frozen(prompt.pixels), present, seed, encoded.extras,
                question_features=adapter.text.embed_tokens(torch.tensor(question, dtype=torch.long).to(ids.device)),
                token_embedding=self._token_embedding,
                target_boxes=_target_boxes(sample, file_sizes[-1], prompt) if method.sees_target else (),
                model=adapter.name, model_folder=adapter.folder,
            )
            answer = method.select_tokens(view, budget)
            if isinstance(answer, TokenEdit):
                return answer
            if answer.dtype != torch.bool:
                answer = kept_by_score(answer, len(answer) if budget.n_keep is None else budget.n_keep)
            return TokenEdit(answer)

    def _token_embedding(self, name: str) -> Tensor | None:
        """Embedding of a special token by its text; None where the tokenizer has no such token."""
        tokenizer = self.adapter.tokenizer
        number = tokenizer.convert_tokens_to_ids(name)
        if number is None or number == getattr(tokenizer, "unk_token_id", None):
            return None
        return self.adapter.text.embed_tokens.weight[number]

    def _answer(self, sample: Sample, prompt: Prompt, encoded: Encoded, masks: list[Tensor | None],
                n_patches: tuple[int, ...], budgets: dict[str, StageBudget], file_sizes: tuple[tuple[int, int], ...],
                full_grids: tuple[tuple[int, int], ...], seed: int, clock: StageClock, memory: PeakMemory,
                vit: tuple[int, tuple[int, ...]]) -> Outcome:
        adapter, layout = self.adapter, prompt.layout
        device = adapter.device
        present = torch.cat([torch.zeros(0, dtype=torch.bool)] + [
            torch.ones(n, dtype=torch.bool) if m is None else m
            for n, m in zip(layout.n_tokens, masks, strict=True)]).to(device)
        ids = prompt.ids.to(device)
        edit = self._tokens(sample, prompt, encoded, present, budgets, ids, seed, file_sizes, clock)
        with clock.stage("prefill"):
            state, next_position, kept = self._assemble(prompt, encoded, present, edit, ids)
            cache = KVCache(len(adapter.text.layers), self.max_new_tokens)
        pruner, compressor = self._by_hook.get("prune_layer"), self._by_hook.get("compress_kv")
        start, hooks_before = clock.now(), clock.ms.get("select", 0.0)
        n_in, n_text = state.hidden.shape[1], int((~state.visual).sum())
        cache_budget = budgets.get("compress_kv")
        if cache_budget is not None:
            cache_budget = self._cache_budget(cache_budget, layout.n_prompt, n_text)
        hooks = Hooks(pruner, budgets.get("prune_layer"), compressor, cache_budget, seed, _frozen(prompt.pixels))
        result = prefill(adapter, state, cache, layout, hooks, clock)
        decoder = Decoder(adapter, cache, next_position, adapter.dims.q_heads)
        first = decoder.first(result.last)
        hooks_ms = clock.ms.get("select", 0.0) - hooks_before
        clock.ms["prefill"] += (clock.now() - start) / 1e6 - hooks_ms
        held, entries, heads = cache.held_bytes(), cache.lengths(), cache.heads()
        with clock.stage("decode"):
            new, finish = greedy(decoder, first, adapter.eos_ids, self.max_new_tokens)
        merge2 = layout.merge_size**2
        counts = Counts(
            patches_full=tuple(h * w * merge2 for h, w in full_grids), patches=n_patches,
            visual_full=tuple(h * w for h, w in full_grids), visual=tuple(len(k) for k in kept), n_text=n_text,
            prompt_full=n_text + sum(h * w for h, w in full_grids), prompt=n_in, layer_tokens=result.layer_tokens,
            layer_visual=result.layer_visual, cache_entries=entries, cache_heads=heads, n_new=len(new),
            vit_depth=vit[0], patches_entered=vit[1],
        )
        body = [t for t in new if t not in adapter.eos_ids]
        return Outcome(
            text=adapter.tokenizer.decode(body, skip_special_tokens=True), ids=tuple(new), finish=finish,
            model_sizes=layout.image_sizes, file_sizes=file_sizes, kept=kept, counts=counts,
            times=_times(clock.ms, len(new)), flops=flops_of(adapter.dims, counts), kv_bytes=held,
            peak_bytes=memory.read(), notes=self._notes(counts, budgets, edit),
        )

    def _cache_budget(self, budget: StageBudget, n_prompt: int, n_text: int) -> StageBudget:
        """The capacity per head that ``compress_kv`` is told, text entries included.

        ``of="visual"``: all text entries plus the budget's visual ones. ``of="prompt"`` (GUI-KV's reading): the
        percentage or count of the whole full prompt, whatever it is spent on.
        """
        if budget.n_keep is None:
            return budget
        if budget.asked.of == "prompt" and budget.asked.value is not None:
            return replace(budget, n_keep=budget.asked.count(n_prompt))
        return replace(budget, n_keep=n_text + budget.n_keep)

    def _assemble(self, prompt: Prompt, encoded: Encoded, present: Tensor, edit: TokenEdit | None,
                  ids: Tensor) -> tuple[State, int, tuple[tuple[int, ...], ...]]:
        """Cut ids, positions and DeepStack rows with one mask; put the visual features in place."""
        adapter, layout = self.adapter, prompt.layout
        features, levels = encoded.tokens, encoded.deepstack
        kept = present.clone()
        has_visual = None
        if edit is not None:
            kept[present] = edit.keep
            features = features[edit.keep] if edit.features is None else edit.features
            levels = tuple(level[edit.keep] for level in levels) if edit.deepstack else ()
            has_visual = edit.has_visual
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
        positions = layout.positions.to(ids.device)
        next_position = int(positions.max()) + 1
        positions = positions[:, index]
        if any(m.positions == "renumbered" for m in self.methods) and self._by_hook:
            positions = torch.arange(len(index), device=ids.device).expand(3, -1)
            next_position = len(index)
        if has_visual is not None:
            rows, levels = rows[has_visual], tuple(level[has_visual] for level in levels)
        rope = adapter.text.rotary_emb(hidden[None], positions[:, None])
        state = State(hidden[None], index, visual, rope, levels, rows)
        at, per_image = 0, []
        for n in layout.n_tokens:
            per_image.append(tuple(kept[at:at + n].nonzero()[:, 0].tolist()))
            at += n
        return state, next_position, tuple(per_image)

    def _notes(self, counts: Counts, budgets: dict[str, StageBudget], edit: TokenEdit | None) -> tuple[str, ...]:
        notes = []
        if edit is not None and edit.has_visual is not None and not bool(edit.has_visual.all()):
            n_markers = int((~edit.has_visual).sum())
            notes.append(f"{sum(counts.visual) - n_markers} visual tokens and {n_markers} markers")
        groups = {h // self.adapter.dims.kv_heads for h in counts.cache_heads if h}
        if "compress_kv" in self._by_hook and max(groups, default=1) > 1:
            notes.append(f"entries are stored once per query head: {max(groups)} times the bytes of grouped entries")
        n_cached = sum(map(self.adapter.has_cache, range(len(counts.cache_heads))))
        if "compress_kv" in self._by_hook and n_cached < len(counts.cache_heads):
            notes.append(f"the cache of {n_cached} of {len(counts.cache_heads)} decoder layers was compressed; the "
                         "others have linear attention and none")
        for hook, budget in budgets.items():
            asked = budget.n_keep
            if hook in {"select_patches", "select_tokens", "reduce_images"} and asked is not None:
                if sum(counts.visual) > asked:
                    notes.append(f"kept {sum(counts.visual)} visual tokens, {asked} were asked for")
                elif sum(counts.visual) < asked:
                    notes.append(f"under budget: kept {sum(counts.visual)} of {asked} allowed visual tokens")
        if any(b.n_keep is not None for b in budgets.values()) and not _dropped(counts):
            notes.append(f"NOTHING WAS DROPPED: budget {self.budget} was asked for, and the sample ran at 100 %")
        return tuple(notes)


def _target_boxes(sample: Sample, file_size: tuple[int, int],
                  prompt: Prompt) -> tuple[tuple[float, float, float, float], ...]:
    """The sample's boxes (pixels of the last file) in pixels of the last image as the model sees it."""
    box = sample.target.get("box_xyxy")
    boxes = [box] if box else []
    sx, sy = (m / f for m, f in zip(prompt.layout.image_sizes[-1], file_size, strict=True))
    return tuple((b[0] * sx, b[1] * sy, b[2] * sx, b[3] * sy) for b in boxes)


def _frozen(pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Read-only views: a hook cannot write into the image."""
    views = []
    for p in pixels:
        view = p.view()
        view.flags.writeable = False
        views.append(view)
    return tuple(views)


def _dropped(counts: Counts) -> bool:
    """True if any stage saw less than ``full`` would have shown it."""
    return (sum(counts.patches) < sum(counts.patches_full)
            or any(n < counts.prompt_full for n in (*counts.layer_tokens, *counts.cache_entries)))


def _check_sizes(sizes: tuple[tuple[int, int], ...], n_images: int, block: int) -> None:
    if len(sizes) != n_images or any(w % block or h % block or w < block or h < block for w, h in sizes):
        raise RuntimeError(f"reduce_images returned {sizes}; {n_images} sizes in multiples of {block} are needed")


def _times(ms: dict[str, float], n_new: int) -> Times:
    decode = ms["decode"]
    select, prefill = ms.get("select", 0.0), ms["prefill"]
    ttft = ms["preprocess"] + select + ms["vit"] + prefill
    return Times(
        image_decode_ms=ms["image_decode"], preprocess_ms=ms["preprocess"], select_ms=select, vit_ms=ms["vit"],
        prefill_ms=prefill, ttft_ms=ttft, tpot_ms=decode / (n_new - 1) if n_new > 1 else float("nan"),
        decode_ms=decode, e2e_ms=ms["image_decode"] + ttft + decode,
    )
