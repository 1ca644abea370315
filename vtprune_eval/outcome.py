"""What the pipeline hands back for one sample; every number is counted by the pipeline, never by a method."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .notes import Note


@dataclass(frozen=True)
class Counts:
    """What really went through each stage.

    Attributes:
        patches_full: ViT patches of the full model, and those that went through the ViT, per image.
        patches: ViT patches of the full model, and those that went through the ViT, per image.
        visual_full: visual tokens per image of the full model, and at the input of decoder layer 0.
        visual: visual tokens per image of the full model, and at the input of decoder layer 0.
        n_text: text tokens of the prompt (markers added by a method count as visual in ``visual``).
        prompt_full: logical prompt length, and physical length at layer 0.
        prompt: logical prompt length, and physical length at layer 0.
        layer_tokens: tokens (text + visual) processed by each decoder layer in prefill.
        layer_visual: visual tokens processed by each decoder layer in prefill.
        cache_entries: entries held after prefill per layer and stored head.
        cache_heads: stored heads per layer (kv heads, or query heads in a method's declared mode).
        n_new: generated tokens.
        vit_depth: ViT blocks that saw ``patches_entered``; the others saw ``patches``. 0: nothing is dropped inside.
        patches_entered: patches per image that entered the ViT, () when they are ``patches``.
        cache_visual: entries of visual tokens held after prefill, over all stored heads of each layer; () where nobody
            counted them.
        vit_patches: patches per image that each ViT block processed, where blocks were merged inside; () otherwise.
        candidates: visual tokens that an action head chose from; 0 where the model decodes text.
    """

    patches_full: tuple[int, ...]
    patches: tuple[int, ...]
    visual_full: tuple[int, ...]
    visual: tuple[int, ...]
    n_text: int
    prompt_full: int
    prompt: int
    layer_tokens: tuple[int, ...]
    layer_visual: tuple[int, ...]
    cache_entries: tuple[int, ...]
    cache_heads: tuple[int, ...]
    n_new: int
    vit_depth: int = 0
    patches_entered: tuple[int, ...] = ()
    candidates: int = 0
    vit_patches: tuple[tuple[int, ...], ...] = ()
    cache_visual: tuple[int, ...] = ()


@dataclass(frozen=True)
class Times:
    """Wall time of each stage in milliseconds (monotonic clock, device synchronised at both edges).

    ``ttft_ms`` runs from preprocessing to the first token: preprocess + select + vit + prefill, as spent.
    ``tpot_ms`` is the mean time per generated token after the first (NaN with fewer than two tokens);
    ``e2e_ms`` is image decode to the last token.
    """

    image_decode_ms: float
    preprocess_ms: float
    select_ms: float
    vit_ms: float
    prefill_ms: float
    ttft_ms: float
    tpot_ms: float
    decode_ms: float
    e2e_ms: float


@dataclass(frozen=True)
class KeptInside:
    """What layers and heads of the decoder held of the images, beside what entered it.

    Attributes:
        layers: (decoder layer, kept merge blocks per image as sorted flat indices) from which on other blocks are
            processed; () where all layers process what entered.
        heads: per decoder layer the heads that ``bits`` has rows of; 0 where the layer has no cache, or its cache holds
            all that the layer processed.
        bits: which blocks they hold, ``(sum of heads, merge blocks of all images)`` in raster order, eight to a byte
            (``numpy.packbits``).
    """

    layers: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]
    heads: tuple[int, ...]
    bits: bytes


@dataclass(frozen=True)
class Outcome:
    """One generated answer and what it cost.

    Attributes:
        text: the decoded answer without special tokens.
        ids: generated ids (with the end token, if reached).
        finish: ``eos`` or ``length``; ``pointer`` where an action head answered.
        model_sizes: (width, height) of every image as the model saw it (coordinate frame of the answer).
        file_sizes: (width, height) of every image file.
        kept: kept merge blocks per image at the input of layer 0, as sorted flat indices.
        kept_last: those that are left behind the last layer, () without a method that drops tokens inside the decoder.
        kv_bytes: bytes truly held by the KV cache after prefill (sum of the live entries' storage).
        peak_bytes: peak memory during the sample (device allocation on CUDA, resident size of the process on CPU).
        target_recall: share of the target's blocks that survive, by stage (:data:`.recall.STAGES`); None without a box.
        asked: the budget as asked for, as text.
        reading: what its number counts.
        achieved: percent of the full model's visual tokens per decoder layer, or of visual entries per layer and kv
            head for a method that cuts the cache (None without images).
        inside: kept blocks by layer and head; None where nothing was dropped inside, or nobody asked.
        notes: things a reader must know (e.g. under budget).
        logprobs: natural logarithm of the probability of every generated id, () where they were not asked for.
    """

    text: str
    ids: tuple[int, ...]
    finish: str
    model_sizes: tuple[tuple[int, int], ...]
    file_sizes: tuple[tuple[int, int], ...]
    kept: tuple[tuple[int, ...], ...]
    counts: Counts
    times: Times
    flops: dict[str, float]
    kv_bytes: int
    peak_bytes: int
    notes: tuple[Note, ...] = ()
    kept_last: tuple[tuple[int, ...], ...] = ()
    target_recall: dict[str, float] | None = None
    asked: str = ""
    reading: str = ""
    achieved: float | None = None
    inside: KeptInside | None = None
    logprobs: tuple[float, ...] = ()


def achieved(counts: Counts, hooks: Collection[str], kv_heads: int) -> float | None:
    """What was spent, in the one unit of all methods: percent of the full model's visual tokens.

    Args:
        counts: of a sample.
        hooks: that acted.
        kv_heads: of the model.

    Returns:
        visual tokens per decoder layer, averaged; where the cache was cut, visual entries per layer and kv head. None
        without visual tokens.
    """
    n_full = sum(counts.visual_full)
    if not n_full or not counts.layer_visual:
        return None
    spent, places = spending(counts, hooks, kv_heads)
    return 100 * spent / (places * n_full)


def spending(counts: Counts, hooks: Collection[str], kv_heads: int) -> tuple[int, int]:
    """The same as a sum of whole numbers, and the number of layers (and heads) that it is a sum over."""
    if "compress_kv" in hooks and counts.cache_visual:
        held = [n for n, heads in zip(counts.cache_visual, counts.cache_heads, strict=True) if heads]
        return sum(held), len(held) * kv_heads
    return sum(counts.layer_visual), len(counts.layer_visual)
