"""The values that leave the pipeline, as the files of a run hold them.

``docs/records.md`` and the JSON schemas beside it are made from this module (``scripts/schemas.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from ..notes import Value
from ..sample import Frame

__all__ = [
    "Answered",
    "Failed",
    "Frame",
    "Record",
    "RecordCounts",
    "Spent",
]


class RecordCounts(TypedDict, total=False):
    """What really went through each stage of one answer; see :class:`vtprune_eval.outcome.Counts`.

    Attributes:
        patches_full: ViT patches per image of the full model.
        patches: patches per image that went through the ViT.
        visual_full: visual tokens per image of the full model.
        visual: visual tokens per image at the input of decoder layer 0.
        n_text: text tokens of the prompt.
        prompt_full: tokens of the full prompt.
        prompt: tokens of the prompt at the input of layer 0.
        layer_tokens: tokens that every decoder layer processed in prefill.
        layer_visual: visual tokens that every decoder layer processed in prefill.
        cache_entries: entries held after prefill, per layer and stored head.
        cache_heads: stored heads per layer.
        n_new: generated tokens.
        vit_depth: ViT blocks that saw patches_entered; 0 where nothing is dropped inside.
        patches_entered: patches per image that entered the ViT, empty where they are patches.
        candidates: visual tokens that an action head chose from; 0 where the model decodes text.
        vit_patches: patches per image that every ViT block processed, where blocks were merged inside.
        cache_visual: entries of visual tokens held after prefill, over the stored heads of every layer.
    """

    patches_full: list[int]
    patches: list[int]
    visual_full: list[int]
    visual: list[int]
    n_text: int
    prompt_full: int
    prompt: int
    layer_tokens: list[int]
    layer_visual: list[float]
    cache_entries: list[int]
    cache_heads: list[int]
    n_new: int
    vit_depth: int
    patches_entered: list[int]
    candidates: int
    vit_patches: list[list[int]]
    cache_visual: list[int]


class Spent(TypedDict):
    """What a budget was and what came of it.

    Attributes:
        asked: the budget as asked for.
        reading: what its number counts: equal, paper or legacy.
        achieved_pct: percent of the full model's visual tokens per decoder layer, or of visual entries per layer and
            kv head where the cache was cut; null without images.
    """

    asked: str
    reading: str
    achieved_pct: float | None


class _Sample(TypedDict):
    schema: int
    key: str
    id: str
    reason: str
    message: str
    answer: str
    ids: list[int]
    finish: str
    score: float | None
    parsed: Any
    cluster: str | None
    meta: dict[str, Any]
    parts: Mapping[str, Any]
    protocol: str
    notes: list[dict[str, Value]]


class _Extra(TypedDict, total=False):
    kept_last: list[str]
    kept_inside: dict[str, Any]
    logprobs: list[float]
    energy_j: float | None
    gpu_process_bytes: int | None
    shared: str
    decoded: str
    worker: str
    engine: str
    draws: list[Any]


class Answered(_Sample, _Extra):
    """The record of a sample that was answered: one line of a file in ``records/``.

    Attributes:
        schema: version of the record, 1.
        key: identity of the cell: run, task, method and budget.
        id: of the sample.
        status: ok.
        reason: ok, wrong, partial, format_error, no_target or unscorable.
        message: empty.
        answer: the decoded text.
        ids: generated ids.
        finish: eos, length, or pointer where an action head answered.
        score: in [0, 1], null where the sample has no accuracy.
        parsed: the answer as understood.
        cluster: samples of one cluster (an episode) are not independent; null where the sample stands alone.
        meta: keys of the breakdown.
        parts: what the rule understood, and its secondary measures.
        protocol: whose rule gave the score.
        counts: what went through each stage.
        flops: per stage, 1 multiply-add = 2; an engine of others leaves null.
        kv_bytes: held by the KV cache after prefill.
        kept: merge blocks per image at the input of layer 0, as a hexadecimal bitmap.
        kept_last: the same behind the last layer, where a method drops inside the decoder.
        kept_inside: blocks by layer and head (with --record-kept full).
        frame: of the answer's coordinates.
        spent: the budget and what came of it; absent before there were readings.
        notes: what a reader must know: a code with its values (a sentence in records of early versions).
        target_recall: share of the target's blocks that survive, by stage; null where a sample has no box.
        logprobs: of every generated id (with --logprobs).
        peak_bytes: peak of memory; null for an answer from shared work.
        times: of every stage in ms; null for an answer from shared work.
        energy_j: joules; null without a GPU, and for an answer from shared work.
        gpu_process_bytes: GPU memory of the process; null likewise.
        shared: what the answer was branched from: answer (of a cell that came to the same tokens), prefill, layers (of
            the decoder), vit, vit_blocks or images.
        decoded: batched, alone (as where memory failed), or again (alone, after the pool was not sure); absent for a
            timed answer, which is always decoded alone.
        worker: that answered, where there were several.
        engine: of others that answered, with its version.
        draws: records of the repetitions of a random control, in memory alone.
    """

    status: Literal["ok"]
    counts: RecordCounts
    flops: dict[str, float] | None
    kv_bytes: int | None
    kept: list[str]
    frame: Frame
    spent: Spent
    target_recall: dict[str, float] | None
    peak_bytes: int | None
    times: dict[str, float | None] | None


class Failed(_Sample, _Extra):
    """The record of a sample that could not be answered: it counts as wrong, with a reason.

    Attributes:
        status: failed.
        reason: why, for example bad_image, oom or crash.
        message: what went wrong, one sentence.
        score: 0 where the task is scored, else null.
    """

    status: Literal["failed"]
    counts: None
    flops: None
    kv_bytes: None
    kept: None
    frame: None
    spent: None
    target_recall: None
    peak_bytes: None
    times: None


Record = Answered | Failed


class Reference(TypedDict):
    """What ratios to the full model need of its record."""

    id: str
    status: str
    times: dict[str, float | None] | None
    flops: dict[str, float] | None
