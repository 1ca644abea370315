"""What an outcome says of itself: counts, times, notes. Everything is counted here, nothing by a method."""

from __future__ import annotations

import torch
from torch import Tensor

from ..budget import Budget, StageBudget
from ..methods.base import TokenEdit
from ..models.base import VlmAdapter
from ..notes import Note, said
from ..outcome import Counts, Times
from .cache import KVCache
from .prefill import PrefillResult
from .stages import Begun, Entered


def counts_of(entered: Entered, begun: Begun, result: PrefillResult, cache: KVCache) -> Counts:
    """Lengths of every stage up to the end of the prefill; ``n_new`` is 0 until something is decoded."""
    merge2 = entered.prompt.layout.merge_size**2
    full = tuple(h * w for h, w in entered.full_grids)
    return Counts(
        patches_full=tuple(n * merge2 for n in full),
        patches=entered.n_patches,
        visual_full=full,
        visual=tuple(len(k) for k in begun.kept),
        n_text=begun.n_text,
        prompt_full=begun.n_text + sum(full),
        prompt=begun.n_in,
        layer_tokens=result.layer_tokens,
        layer_visual=result.layer_visual,
        cache_entries=cache.lengths(),
        cache_heads=cache.heads(),
        n_new=0,
        vit_depth=entered.vit[0],
        patches_entered=entered.vit[1],
        vit_patches=entered.encoded.vit_patches,
        candidates=result.candidates,
        cache_visual=visual_entries(entered, result, cache),
    )


def visual_entries(entered: Entered, result: PrefillResult, cache: KVCache) -> tuple[int, ...]:
    """Entries of visual tokens that every layer's cache holds, over all its stored heads."""
    layout, sums, masks = entered.prompt.layout, [], dict[int, Tensor]()
    places = torch.zeros(layout.n_prompt, dtype=torch.bool)
    for start, end in layout.spans:
        places[start:end] = True
    for layer, (index, heads) in enumerate(zip(result.layer_index, cache.heads(), strict=True)):
        visual = masks.setdefault(id(index), places.to(index.device)[index])  # layers that saw the same share one
        kept = cache.kept(layer)
        if kept is None:
            sums.append(visual.sum() * heads)
        else:
            sums.append((visual.to(kept.device)[kept.clamp(min=0)] & (kept >= 0)).sum())
    return tuple(torch.stack([s.to(sums[0].device) for s in sums]).tolist()) if sums else ()


def notes_of(
    adapter: VlmAdapter, asked: Budget, counts: Counts, budgets: dict[str, StageBudget], edit: TokenEdit | None
) -> tuple[Note, ...]:
    """What a reader of the outcome must know.

    Args:
        adapter: the model.
        asked: the budget as asked for.
        counts: what went through.
        budgets: what each hook was told.
        edit: what ``select_tokens`` answered, if it ran.
    """
    notes = []
    if edit is not None and edit.has_visual is not None and not bool(edit.has_visual.all()):
        n_markers = int((~edit.has_visual).sum())
        notes.append(Note("markers", {"tokens": sum(counts.visual) - n_markers, "markers": n_markers}))
    if edit is not None and edit.note:
        notes.append(said(edit.note))
    kv_heads = adapter.dims.kv_heads
    groups = {h // kv_heads for h in counts.cache_heads if h}
    if "compress_kv" in budgets and max(groups, default=1) > 1:
        notes.append(Note("per_query_head", {"times": max(groups)}))
    pruned = budgets["prune_layer"].n_keep if "prune_layer" in budgets else None
    seen = sum(counts.layer_visual) / max(1, len(counts.layer_visual))
    if pruned is not None and seen > pruned:
        notes.append(Note("over_layers", {"mean": round(seen, 4), "asked": pruned}))
    elif pruned is not None and seen <= pruned - 1:
        notes.append(Note("under_layers", {"mean": round(seen, 4), "allowed": pruned}))
    if "compress_kv" in budgets and adapter.points:
        notes.append(Note("cache_unused"))
    n_cached = sum(map(adapter.has_cache, range(len(counts.cache_heads))))
    held = sum(n * h for n, h in zip(counts.cache_entries, counts.cache_heads, strict=True))
    whole = n_cached * counts.prompt_full * kv_heads
    if "compress_kv" in budgets and held > whole:
        notes.append(Note("cache_larger", {"percent": round(100 * held / whole, 4)}))
    if "compress_kv" in budgets and n_cached < len(counts.cache_heads):
        notes.append(Note("cache_partial", {"cached": n_cached, "layers": len(counts.cache_heads)}))
    for hook, budget in budgets.items():
        allowed = budget.n_keep if pruned is None else None  # else the mean over the layers is what was asked for
        if hook in {"select_patches", "merge_patches", "select_tokens", "reduce_images"} and allowed is not None:
            if sum(counts.visual) > allowed:
                notes.append(Note("over", {"kept": sum(counts.visual), "asked": allowed}))
            elif sum(counts.visual) < allowed:
                notes.append(Note("under", {"kept": sum(counts.visual), "allowed": allowed}))
    if any(b.n_keep is not None for b in budgets.values()) and not _dropped(counts):
        notes.append(Note("nothing_dropped", {"budget": str(asked)}))
    return tuple(notes)


def _dropped(counts: Counts) -> bool:
    """True if any stage saw less than ``full`` would have shown it."""
    return sum(counts.patches) < sum(counts.patches_full) or any(
        n < counts.prompt_full for n in (*counts.layer_tokens, *counts.cache_entries)
    )


def times_of(ms: dict[str, float], n_new: int) -> Times:
    """Times of an answer of ``n_new`` tokens from the clock's stages (ms); a stage that did not run took 0."""
    image_decode, preprocess, select, vit, prefill_, decode = (
        ms.get(name, 0.0) for name in ("image_decode", "preprocess", "select", "vit", "prefill", "decode")
    )
    ttft = preprocess + select + vit + prefill_
    return Times(
        image_decode_ms=image_decode,
        preprocess_ms=preprocess,
        select_ms=select,
        vit_ms=vit,
        prefill_ms=prefill_,
        ttft_ms=ttft,
        tpot_ms=decode / (n_new - 1) if n_new > 1 else float("nan"),
        decode_ms=decode,
        e2e_ms=image_decode + ttft + decode,
    )
